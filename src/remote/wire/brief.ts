// `cm:brief`: in one property all that a drive wants to know of a file or folder about which there is nothing unusual (no
// lock, no share, no attributes of the user's own). A tree of many thousands is mostly those, and to write and read twenty
// elements for each is most of the work of listing it.
//
// KIND FILEID SIZE MTIME PERMISSIONS ETAG MODE UID GID SHA256, with `-` for what the node does not have.

import type { Timestamp } from '../../clock.js';
import { CloudError } from '../../errors.js';
import { formatMode, formatTimestamp, parseMode, parseOwnerId } from './cloudmount_props.js';

export interface Brief {
  readonly kind: 'file' | 'dir';
  readonly fileid: string;
  /** Of a file's content; 0 for a folder. */
  readonly size_bytes: number;
  readonly mtime: Timestamp;
  /** As `oc:permissions`. */
  readonly permissions: string;
  /** Quotes included. */
  readonly etag: string;
  readonly mode: number | null;
  readonly uid: number | null;
  readonly gid: number | null;
  /** Hex. */
  readonly sha256: string | null;
}

const PATTERN =
  /^([fd]) (\d{1,19}) (\d{1,16}) (-?\d{1,15}\.\d{9}) ([A-Z]+|-) ("[!#-~]*") ([0-7]{4}|-) (\d{1,10}|-) (\d{1,10}|-) ([0-9a-f]{64}|-)$/;

/** Nothing in it needs escaping in XML if nothing in the ETag does. */
export function formatBrief(node: Brief): string {
  const { mode, uid, gid } = node;
  return (
    `${node.kind === 'dir' ? 'd' : 'f'} ${node.fileid} ${node.size_bytes} ${formatTimestamp(node.mtime)}` +
    ` ${node.permissions || '-'} ${node.etag} ${mode === null ? '-' : formatMode(mode)} ${uid ?? '-'} ${gid ?? '-'}` +
    ` ${node.sha256 ?? '-'}`
  );
}

/** Throws `invalid`. */
export function parseBrief(text: string): Brief {
  const match = PATTERN.exec(text);
  if (match === null) {
    throw new CloudError(
      'invalid',
      `reading cm:brief: ten fields of their forms are required, found ${JSON.stringify(text.slice(0, 200))}`,
    );
  }
  const [
    ,
    kind,
    fileid = '',
    size,
    mtime = '',
    letters = '',
    etag = '',
    mode = '-',
    uid = '-',
    gid = '-',
    sha256 = '-',
  ] = match;
  const size_bytes = Number(size);
  if (!Number.isSafeInteger(size_bytes)) {
    throw new CloudError('invalid', `reading cm:brief: a size below 2^53 is required, found ${size}`);
  }
  return {
    kind: kind === 'd' ? 'dir' : 'file',
    fileid,
    size_bytes,
    mtime: { s: Number(mtime.slice(0, -10)) + 0, ns: Number(mtime.slice(-9)) },
    permissions: letters === '-' ? '' : letters,
    etag,
    mode: mode === '-' ? null : parseMode(mode),
    uid: uid === '-' ? null : parseOwnerId(uid),
    gid: gid === '-' ? null : parseOwnerId(gid),
    sha256: sha256 === '-' ? null : sha256,
  };
}
