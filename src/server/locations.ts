// Which URL means what. A user's tree can be reached under several addresses, because clients have them built in; they
// are the same tree. Addresses are judged by decoded segments, so `%66iles` is `files`; whatever could be mistaken for
// another path (`..`, empty segments, encoded slashes) is refused by `segmentsOfHref`.

import { segmentsOfHref } from '../remote/wire/href.js';
import { pathBelow, type ResourcePath } from './dav/resource_path.js';

export type Location =
  /** In a user's tree. `user` null = the one who asks. `base` is the encoded path of the tree's root as the client
   * wrote it, with slashes at both ends; `path` what is below that. */
  | { readonly kind: 'files'; readonly user: string | null; readonly base: string; readonly path: ResourcePath }
  /** In a user's chunked uploads: the upload and the chunk, null where the path ends before. */
  | { readonly kind: 'uploads'; readonly user: string; readonly upload: string | null; readonly chunk: string | null }
  /** A collection above the trees: it only lists what is below it. */
  | { readonly kind: 'above'; readonly members: readonly string[] | 'self' }
  | { readonly kind: 'other' };

type Branch =
  | { readonly kind: 'files'; readonly named: boolean }
  | { readonly kind: 'uploads' }
  | { readonly kind: 'above'; readonly members: readonly string[] | 'self' };

const DAV_ROOTS = [['remote.php', 'dav'], ['dav']];

const BRANCHES: ReadonlyMap<string, Branch> = new Map<string, Branch>([
  ['', { kind: 'above', members: ['dav', 'webdav'] }],
  ['remote.php', { kind: 'above', members: ['dav', 'webdav'] }],
  ['remote.php/webdav', { kind: 'files', named: false }],
  ['webdav', { kind: 'files', named: false }],
  ...DAV_ROOTS.flatMap((root): [string, Branch][] => {
    const path = root.join('/');
    return [
      [path, { kind: 'above', members: ['files', 'uploads'] }],
      [`${path}/files`, { kind: 'files', named: true }],
      [`${path}/uploads`, { kind: 'uploads' }],
    ];
  }),
]);

const LONGEST_BRANCH = 3;

/** Judges a raw URL path. Throws `invalid` on one that is no safe address. */
export function locate(path: string): Location {
  const address = segmentsOfHref(path);
  const { segments } = address;
  for (let length = Math.min(LONGEST_BRANCH, segments.length); length >= 0; length--) {
    const branch = BRANCHES.get(segments.slice(0, length).join('/'));
    if (branch === undefined) continue;
    const rest = segments.slice(length);
    switch (branch.kind) {
      case 'above':
        return rest.length === 0 ? branch : { kind: 'other' };
      case 'files': {
        if (!branch.named) {
          return { kind: 'files', user: null, base: baseOf(path, length), path: pathBelow(address, length) };
        }
        const [user] = rest;
        if (user === undefined) return { kind: 'above', members: 'self' };
        return { kind: 'files', user, base: baseOf(path, length + 1), path: pathBelow(address, length + 1) };
      }
      case 'uploads': {
        const [user, upload, chunk, ...further] = rest;
        if (user === undefined) return { kind: 'above', members: 'self' };
        if (further.length > 0) return { kind: 'other' };
        return { kind: 'uploads', user, upload: upload ?? null, chunk: chunk ?? null };
      }
    }
  }
  return { kind: 'other' };
}

/** The first `count` segments of the raw path, slashes at both ends. */
function baseOf(path: string, count: number): string {
  let end = 0;
  for (let i = 0; i < count; i++) {
    end = path.indexOf('/', end + 1);
    if (end < 0) return `${path}/`;
  }
  return path.slice(0, end + 1);
}
