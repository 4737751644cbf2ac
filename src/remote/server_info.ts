// What a connect learned about a server, as plain data: a mount without network builds its Remote from what an earlier
// one wrote down. Holds no credentials.

import { CloudError } from '../errors.js';
import type { RemoteCapabilities } from './remote.js';

/** How the server can be made to check a version before it changes something. */
export type ConditionalWrites =
  | 'if_match' // If-Match with strong tags (RFC 9110)
  | 'if_header' // the If header (RFC 4918), which mod_dav compares weakly: its young files have weak tags only
  | 'put_if_match' // If-Match of a PUT and nothing else (Infinite Scale): sent, and looked at before every change
  | 'none'; // ignores both: look right before, under a lock where there are locks

/** What an If header (RFC 4918 section 10.4) must look like where a list about the addressed resource does not name it. */
export type IfHeader =
  | 'absolute' // others are named with the host: Go compares it
  | 'nginx' // compares a name as it is written with an address that is decoded, or as its beginning: `/` is everything
  | 'lighttpd'; // refuses a token of any other resource

export interface ServerInfo {
  readonly version: 1;
  readonly dialect: RemoteCapabilities['dialect'];
  /** `scheme://host:port`. */
  readonly origin: string;
  /** Encoded path of the DAV root, slash at both ends. */
  readonly base: string;
  /** Our id on the server, where it has ids. */
  readonly user: string | null;
  /** Encoded path where chunked uploads are put together, slash at both ends. */
  readonly uploads: string | null;
  /** Path of the push WebSocket and of what gives tokens for it. */
  readonly push: { readonly socket: string; readonly preAuth: string | null } | null;
  readonly conditional: ConditionalWrites;
  /** Absent = each list names its resource by its path. */
  readonly ifHeader?: IfHeader;
  /** It tells `current-user-privilege-set` (RFC 3744 section 5.4); absent = no. */
  readonly privileges?: boolean;
  /** What the server calls itself, for people. */
  readonly product: string;
  readonly capabilities: RemoteCapabilities;
}

const CAPABILITIES: readonly (keyof RemoteCapabilities)[] = [
  'changeFeed',
  'push',
  'collectionEtags',
  'fileIds',
  'symlinks',
  'xattrs',
  'posix',
  'setMtime',
  'locks',
  'chunkedUpload',
  'conditionalPut',
];

function bad(problem: string): CloudError {
  return new CloudError('invalid', `reading what is known about the server: ${problem}`);
}

/** Checks what was stored (a JSON text or what it parses to). Throws `invalid`. */
export function parseServerInfo(stored: unknown): ServerInfo {
  let value = stored;
  if (typeof value === 'string') {
    try {
      value = JSON.parse(value);
    } catch {
      throw bad('JSON is required');
    }
  }
  if (typeof value !== 'object' || value === null) throw bad('an object is required');
  const info = value as Record<string, unknown>;
  if (info['version'] !== 1) throw bad(`version 1 is required, found ${String(info['version'])}`);
  for (const key of ['origin', 'base', 'product']) if (typeof info[key] !== 'string') throw bad(`${key} must be text`);
  for (const key of ['user', 'uploads']) {
    if (info[key] !== null && typeof info[key] !== 'string') throw bad(`${key} must be text or null`);
  }
  if (!['cloudmount', 'nextcloud', 'owncloud', 'generic'].includes(String(info['dialect'])))
    throw bad('unknown dialect');
  if (!['if_match', 'if_header', 'put_if_match', 'none'].includes(String(info['conditional'])))
    throw bad('unknown conditional');
  if (![undefined, 'absolute', 'nginx', 'lighttpd'].includes(info['ifHeader'] as string | undefined))
    throw bad('unknown ifHeader');
  if (!URL.canParse(String(info['origin']))) throw bad('origin must be a URL');
  const push = info['push'] as { socket?: unknown; preAuth?: unknown } | null | undefined;
  const isPath = (path: unknown) => typeof path === 'string' && path.startsWith('/');
  if (push === undefined || (push !== null && !isPath(push.socket))) throw bad('push must name a socket by its path');
  const capabilities = info['capabilities'] as Record<string, unknown> | null | undefined;
  if (typeof capabilities !== 'object' || capabilities === null) throw bad('capabilities are required');
  for (const key of CAPABILITIES)
    if (typeof capabilities[key] !== 'boolean') throw bad(`capabilities.${key} is required`);
  return value as ServerInfo;
}
