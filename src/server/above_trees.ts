// The collections above the users' trees (`/`, `/dav/`, `/dav/files/`, …). They exist because clients walk down from
// the root or ask it what the server can do; they hold nothing and nothing can be put into them.

import { encodeSegment } from '../names.js';
import { parseDepth } from '../remote/wire/depth.js';
import {
  MULTISTATUS_START,
  MULTISTATUS_TYPE,
  multistatusEnd,
  propResponse,
  rawProperty,
  textProperty,
} from '../remote/wire/multistatus.js';
import { DAV } from '../remote/wire/ns.js';
import { DAV_CLASSES } from './dav/methods/options.js';
import type { RequestContext, UserContext } from './http_context.js';
import { sendEmpty, sendMethodNotAllowed, sendText } from './respond.js';

/** What the server says of itself, wherever it is asked (RFC 4918 section 10.1). */
export const DAV_OPTIONS_HEADERS: Readonly<Record<string, string>> = {
  DAV: DAV_CLASSES,
  'MS-Author-Via': 'DAV',
  'X-Cloudmount': '1',
  'Accept-Ranges': 'bytes',
};

const ABOVE_METHODS = 'OPTIONS, GET, HEAD, PROPFIND';

export function sendAboveOptions(context: RequestContext): void {
  sendEmpty(context, 200, { ...DAV_OPTIONS_HEADERS, Allow: ABOVE_METHODS });
}

export function answerAbove(context: UserContext, members: readonly string[] | 'self'): void {
  switch (context.request.method) {
    case 'GET':
    case 'HEAD':
      sendText(context, 200, 'A WebDAV collection. Open it with a WebDAV client.\n');
      return;
    case 'PROPFIND':
      sendListing(context, members === 'self' ? [context.principal.user.name] : members);
      return;
    default:
      sendMethodNotAllowed(context, ABOVE_METHODS);
  }
}

function sendListing(context: UserContext, members: readonly string[]): void {
  const self = context.path.endsWith('/') ? context.path : `${context.path}/`;
  const depth = parseDepth(headerOf(context, 'depth'), 'infinity');
  let body = MULTISTATUS_START + response(context, self, '');
  // Infinity would be every file of the user: like servers that refuse it, one level is told (RFC 4918 section 9.1).
  if (depth !== 0) for (const name of members) body += response(context, `${self}${encodeSegment(name)}/`, name);
  body += multistatusEnd();
  context.response.writeHead(207, { 'Content-Type': MULTISTATUS_TYPE, 'Content-Length': Buffer.byteLength(body) });
  context.response.end(body);
}

function response(context: UserContext, href: string, name: string): string {
  const own = `${context.path.startsWith('/remote.php') ? '/remote.php' : ''}/dav/files/${encodeSegment(context.principal.user.name)}/`;
  return propResponse(href, [
    {
      status: 200,
      props: [
        rawProperty({ ns: DAV, local: 'resourcetype' }, '<d:collection/>'),
        textProperty({ ns: DAV, local: 'displayname' }, name),
        rawProperty({ ns: DAV, local: 'current-user-principal' }, `<d:href>${own}</d:href>`),
      ],
    },
  ]);
}

function headerOf(context: RequestContext, name: string): string | undefined {
  const value = context.request.headers[name];
  return Array.isArray(value) ? value.join(',') : value;
}
