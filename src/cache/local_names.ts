// Names that only this machine cares about: lock and swap files of editors, probes of file managers. They live in the
// drive like any file but never reach the server. Renamed to an ordinary name they become ordinary files.

const LOCAL_ONLY: readonly RegExp[] = [
  /^\.~lock\..*#$/, // LibreOffice
  /^~\$./, // Microsoft Office
  /^\..*\.sw[a-p]x?$/, // vim swap
  /^4913$/, // vim's probe for a writable directory
  /^\.#./, // emacs lock (a symlink)
  /^\..*\.kate-swp$/,
  /^\.goutputstream-[A-Z0-9]{6}$/, // GLib's atomic save
  /^\.nfs[0-9a-f]{8,}$/,
  /^\.fuse_hidden[0-9a-f]+$/,
];

export function isLocalOnly(name: string): boolean {
  const first = name.charCodeAt(0);
  // `.`, `~` and `4` start every pattern above: the common case costs one comparison.
  if (first !== 0x2e && first !== 0x7e && first !== 0x34) return false;
  return LOCAL_ONLY.some((pattern) => pattern.test(name));
}
