// The system calls that Node does not offer, for what is faster with them and works without: loaded when first wanted, and
// where that cannot be, a server serves all the same.

export type NativeCalls = typeof import('../libc.js');

let calls: Promise<NativeCalls | null> | null = null;

export function nativeCalls(): Promise<NativeCalls | null> {
  calls ??= import('../libc.js').catch(() => null);
  return calls;
}
