// Branded identifiers: numbers and strings that must not be mixed up, kept apart by the type checker at no run-time cost.

declare const brand: unique symbol;
type Brand<T, B extends string> = T & { readonly [brand]: B };

/** Inode number of the drive. Allocated once per node by the cache, stable across remounts. The root is 1. */
export type Ino = Brand<number, 'Ino'>;

/** One name in a directory, as decoded by `names.ts` (any POSIX name; bytes that are no UTF-8 are lone surrogates). */
export type Name = Brand<string, 'Name'>;

/** Names joined with `/`, relative to the account's root, no leading or trailing `/`. The root itself is `''`. */
export type RemotePath = Brand<string, 'RemotePath'>;

/** File handle the kernel carries between OPEN and RELEASE. */
export type HandleId = Brand<number, 'HandleId'>;

export const ROOT_INO = 1 as Ino;
export const ROOT_PATH = '' as RemotePath;

export function joinPath(parent: RemotePath, name: Name): RemotePath {
  return (parent === '' ? name : `${parent}/${name}`) as RemotePath;
}

/** Parent and last name of a path; the root has no parent and must not be asked. */
export function splitPath(path: RemotePath): { parent: RemotePath; name: Name } {
  const cut = path.lastIndexOf('/');
  return { parent: path.slice(0, Math.max(cut, 0)) as RemotePath, name: path.slice(cut + 1) as Name };
}

/** The last name of a path. */
export function nameOf(path: RemotePath): Name {
  return path.slice(path.lastIndexOf('/') + 1) as Name;
}

/** Is `path` a member of the collection `parent`? */
export function isMember(path: RemotePath, parent: RemotePath): boolean {
  const cut = path.lastIndexOf('/');
  return cut < 0 ? parent === '' && path !== '' : cut === parent.length && path.startsWith(parent);
}

/** Is `path` the same as `ancestor` or below it? */
export function isWithin(path: RemotePath, ancestor: RemotePath): boolean {
  return ancestor === '' || path === ancestor || path.startsWith(`${ancestor}/`);
}
