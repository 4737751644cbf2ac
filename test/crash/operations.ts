// The primitive operations of the crash workloads, and the content that each write leaves: a function of the number of
// the operation, so that the log need not hold it.

export type Operation =
  | { readonly op: 'create'; readonly path: string; readonly handle: number }
  | { readonly op: 'open'; readonly path: string; readonly handle: number; readonly truncate: boolean }
  | { readonly op: 'write'; readonly handle: number; readonly offset: number; readonly size_bytes: number }
  | { readonly op: 'truncate'; readonly handle: number; readonly size_bytes: number }
  | { readonly op: 'fsync'; readonly handle: number }
  | { readonly op: 'close'; readonly handle: number }
  | { readonly op: 'cut'; readonly path: string; readonly size_bytes: number }
  | { readonly op: 'rename'; readonly from: string; readonly to: string }
  | { readonly op: 'unlink'; readonly path: string }
  | { readonly op: 'mkdir'; readonly path: string }
  | { readonly op: 'rmdir'; readonly path: string }
  | { readonly op: 'read'; readonly path: string }
  | { readonly op: 'flush' }
  | { readonly op: 'settle' }
  | { readonly op: 'pause'; readonly ms: number };

/** `number` counts from 1; 0 says that the cache is open, -1 that the workload has ended. */
export type LogLine =
  | { readonly number: number; readonly operation: Operation }
  | { readonly number: number; readonly done: true }
  | { readonly number: number; readonly failed: string; readonly message: string };

/** Never zero, so that a hole is never taken for something written. */
export function contentOf(number: number, offset: number, size_bytes: number): Buffer {
  const bytes = Buffer.alloc(size_bytes);
  for (let i = 0; i < size_bytes; i += 1)
    bytes[i] = 1 + ((number * 37 + (offset + i) * 11 + ((offset + i) >> 8)) % 255);
  return bytes;
}
