// Attributes that travel as headers with PUT and MKCOL: `X-OC-Mtime` (seconds, with a fraction from our own drive) and
// `X-Cloudmount-Mode`, `-Uid`, `-Gid`.

import { parseMode, parseOwnerId, parseTimestamp } from '../../remote/wire/cloudmount_props.js';
import type { Attributes } from '../storage/metadata/metadata_store.js';
import type { DavRequest } from './context.js';

/** Throws `invalid` on a value that cannot be read. */
export function attributesOf(request: DavRequest): Attributes {
  const { headers } = request.req;
  const one = <T>(name: string, parse: (text: string) => T): T | undefined => {
    const value = headers[name];
    return typeof value === 'string' && value !== '' ? parse(value) : undefined;
  };
  return {
    mtime: one('x-oc-mtime', parseTimestamp),
    mode: one('x-cloudmount-mode', parseMode),
    uid: one('x-cloudmount-uid', parseOwnerId),
    gid: one('x-cloudmount-gid', parseOwnerId),
  };
}
