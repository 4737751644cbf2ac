// The ownCloud family as far as its preconditions go, in memory, for tests of what the drive makes of servers that cannot
// be had here:
//   sabre   Nextcloud and ownCloud 10: sabre/dav lib/DAV/Server.php, checkPreconditions: only a file has a tag to match, so
//           If-Match on a collection is 412 whatever it says; the If header likewise
//           Nextcloud refuses times of the first day of 1970 and before with 500, when the content is already stored
//           (apps/dav/lib/Connector/Sabre/MtimeSanitizer.php; File.php, put; FilesPlugin.php, handleUpdateProperties)
//   ocis    Infinite Scale: reva internal/http/services/owncloud/ocdav: put.go passes If-Match on and reads no
//           If-None-Match, delete.go and move.go read neither, move.go deletes what `Overwrite: T` replaces; ids are
//           STORAGE$SPACE!NODE with UUIDs (storagespace.FormatResourceID); propfind.go puts all properties of a file that
//           is being processed under status 425
// Both say the ETag header twice, for what changes it on the way (apps/dav/lib/Connector/Sabre/CopyEtagHeaderPlugin.php).

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

interface Kept {
  readonly id: number;
  tag: number;
  /** Null = a collection. */
  content: Buffer | null;
  processing?: boolean;
}

export interface FamilyServer {
  readonly url: string;
  readonly kind: 'sabre' | 'ocis';
  readonly requests: { readonly method: string; readonly path: string; readonly headers: IncomingMessage['headers'] }[];
  /** Encoded paths below the root, no slash at the end. */
  readonly nodes: Map<string, Kept>;
  /** Another client: makes or changes what is at `path`, and the tags above. */
  write(path: string, content: string | null): void;
  text(path: string): string | null;
  /** Called before a request is answered; true = it has answered. */
  before: ((request: IncomingMessage, response: ServerResponse) => boolean) | null;
  close(): Promise<void>;
}

const BASE = '/remote.php/dav/files/anna';
const SPACE = '1284d238-aa92-42ce-bdc4-0b0000009157$4c510ada-c86b-4815-8820-42cdf82c3d51';

export async function startFamilyServer(kind: FamilyServer['kind']): Promise<FamilyServer> {
  const nodes = new Map<string, Kept>([['', { id: 1, tag: 1, content: null }]]);
  let last = 1;
  const touch = (path: string): void => {
    for (let at = path; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/')))) {
      const node = nodes.get(at);
      if (node !== undefined) node.tag = ++last;
      if (at === '') return;
    }
  };
  const write = (path: string, content: string | Buffer | null): void => {
    const bytes = content === null ? null : Buffer.from(content);
    const node = nodes.get(path);
    if (node === undefined) nodes.set(path, { id: ++last, tag: 0, content: bytes });
    else node.content = bytes;
    touch(path);
  };
  const removeTree = (path: string): void => {
    for (const one of [...nodes.keys()]) if (one === path || one.startsWith(`${path}/`)) nodes.delete(one);
    touch(path);
  };
  const etagOf = (node: Kept) => `"t${node.tag}"`;
  const idOf = (node: Kept) => (kind === 'ocis' ? `${SPACE}!00000000-0000-4000-8000-${node.id}` : String(node.id));
  const headerIdOf = (node: Kept) => (kind === 'ocis' ? idOf(node) : `${String(node.id).padStart(8, '0')}ocabc1d2e3f4`);
  const described = (path: string, node: Kept): string => {
    const dir = node.content === null;
    return (
      `<d:response><d:href>${BASE}/${path}${dir && path !== '' ? '/' : ''}</d:href><d:propstat><d:prop>` +
      `<d:resourcetype>${dir ? '<d:collection/>' : ''}</d:resourcetype><d:getetag>${etagOf(node).replaceAll('"', '&quot;')}</d:getetag>` +
      `${dir ? '' : `<d:getcontentlength>${node.content?.length}</d:getcontentlength>`}` +
      `<d:getlastmodified>Sun, 06 Nov 1994 08:49:37 GMT</d:getlastmodified>` +
      `<oc:fileid>${idOf(node)}</oc:fileid><oc:permissions>${dir ? 'RGDNVCK' : 'RGDNVW'}</oc:permissions></d:prop>` +
      `<d:status>HTTP/1.1 ${node.processing === true ? '425 TOO EARLY' : '200 OK'}</d:status></d:propstat></d:response>`
    );
  };
  const fileTag = (path: string): string | null => {
    const node = nodes.get(path);
    return node === undefined || node.content === null ? null : etagOf(node);
  };
  /** Status that refuses, null = go on. */
  const refused = (request: IncomingMessage, path: string): number | null => {
    const ifMatch = request.headers['if-match'];
    if (kind === 'ocis') {
      return request.method === 'PUT' && ifMatch !== undefined && ifMatch !== fileTag(path) ? 412 : null;
    }
    if (ifMatch !== undefined && (!nodes.has(path) || fileTag(path) !== ifMatch)) return 412;
    if (request.headers['if-none-match'] === '*' && nodes.has(path)) return 412;
    const list = /^<(?<uri>[^>]*)> \(\[(?<tag>[^\]]*)\]\)$/.exec(String(request.headers['if'] ?? ''))?.groups;
    if (list === undefined) return null;
    const about = below(new URL(list['uri'] ?? '', 'http://x').pathname);
    if (!nodes.has(about)) return 404;
    return fileTag(about) === list['tag'] ? null : 412;
  };
  const below = (address: string) => address.slice(BASE.length).replace(/^\/|\/$/g, '');
  const answer = (request: IncomingMessage, response: ServerResponse, body: Buffer): ServerResponse => {
    const end = (status: number, headers: Record<string, string> = {}, text = '') => {
      const { etag } = headers;
      return response.writeHead(status, { ...headers, ...(etag === undefined ? {} : { 'oc-etag': etag }) }).end(text);
    };
    const json = (value: unknown) => end(200, { 'content-type': 'application/json' }, JSON.stringify(value));
    const address = (request.url ?? '').replace(/\?.*$/, '');
    if (address === '/status.php') {
      const sabre = { productname: 'Nextcloud', version: '29.0.1.1' };
      const ocis = { productname: 'Infinite Scale', version: '10.11.0.0', product: 'Infinite Scale' };
      return json({ installed: true, maintenance: false, ...(kind === 'ocis' ? ocis : sabre) });
    }
    if (address === '/ocs/v2.php/cloud/capabilities') {
      return json({ ocs: { data: { capabilities: { dav: { chunking: kind === 'ocis' ? '' : '1.0' } } } } });
    }
    if (address === '/ocs/v2.php/cloud/user') return json({ ocs: { data: { id: 'anna' } } });
    if (!address.startsWith(BASE)) return end(404);
    const path = below(address);
    const no = refused(request, path);
    if (no !== null) return end(no);
    const node = nodes.get(path);
    const parent = path.slice(0, Math.max(0, path.lastIndexOf('/')));
    switch (request.method) {
      case 'PROPFIND': {
        if (node === undefined) return end(404);
        const members = [...nodes].filter(
          ([one]) => one !== '' && one.slice(0, Math.max(0, one.lastIndexOf('/'))) === path,
        );
        const shown: [string, Kept][] = request.headers.depth === '0' ? [[path, node]] : [[path, node], ...members];
        const responses = shown.map(([one, kept]) => described(one, kept)).join('');
        const ns = 'xmlns:d="DAV:" xmlns:oc="http://owncloud.org/ns"';
        return end(207, { 'content-type': 'application/xml' }, `<d:multistatus ${ns}>${responses}</d:multistatus>`);
      }
      case 'GET':
        if (node === undefined || node.content === null) return end(404);
        return end(200, { etag: etagOf(node) }, node.content.toString());
      case 'PUT': {
        if (node?.content === null || !nodes.has(parent)) return end(409);
        write(path, body);
        const kept = nodes.get(path);
        const time = request.headers['x-oc-mtime'];
        if (kept === undefined || (kind === 'sabre' && time !== undefined && Number(time) <= 86_400)) return end(500);
        return end(node === undefined ? 201 : 204, { etag: etagOf(kept), 'oc-fileid': headerIdOf(kept) });
      }
      case 'PROPPATCH': {
        const time = /lastmodified>(-?\d+)</.exec(body.toString())?.[1];
        if (node === undefined || time === undefined || kind === 'ocis') return end(403);
        if (Number(time) <= 86_400) return end(500);
        const done = `<d:response><d:href>${address}</d:href><d:status>HTTP/1.1 200 OK</d:status></d:response>`;
        return end(207, { 'content-type': 'application/xml' }, `<d:multistatus xmlns:d="DAV:">${done}</d:multistatus>`);
      }
      case 'MKCOL':
        if (node !== undefined) return end(405);
        write(path, null);
        return end(201);
      case 'DELETE':
        if (node === undefined) return end(404);
        removeTree(path);
        return end(204);
      case 'MOVE': {
        const to = below(new URL(String(request.headers['destination'])).pathname);
        if (node === undefined) return end(404);
        const replaced = nodes.has(to);
        if (replaced && request.headers['overwrite'] === 'F') return end(412);
        if (replaced) removeTree(to);
        for (const [one, kept] of [...nodes]) {
          if (one !== path && !one.startsWith(`${path}/`)) continue;
          nodes.delete(one);
          nodes.set(to + one.slice(path.length), kept);
        }
        touch(path);
        touch(to);
        return end(replaced ? 204 : 201);
      }
      default:
        return end(405);
    }
  };
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const { method = '', url = '', headers } = request;
      family.requests.push({ method, path: url, headers });
      if (family.before?.(request, response) !== true) answer(request, response, Buffer.concat(parts));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const family: FamilyServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    kind,
    requests: [],
    nodes,
    write,
    text: (path) => nodes.get(path)?.content?.toString() ?? null,
    before: null,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return family;
}
