// The plainest WebDAV server there may be (class 1, no conditions), in memory, for tests of what the drive makes of oddities
// that the servers at hand do not have: `odd` says which.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

interface Kept {
  /** As it was made. */
  readonly path: string;
  readonly tag: number;
  /** Null = a collection. */
  readonly content: Buffer | null;
}

export interface Oddities {
  /** How a path below the root is addressed in answers; null = as usual. */
  href?: (path: string) => string | null;
  /** `getcontentlength`; null = not told. */
  length?: (path: string, content: Buffer) => string | null;
  /** HEAD tells no length, either. */
  hidesLength?: boolean;
  /** Names that mean the same: what is looked for instead of the path. */
  fold?: (path: string) => string;
  /** How a name that is made is kept. */
  keep?: (path: string) => string;
  /** Are members named in answers below the collection as it was asked for, or as it is kept? */
  answersAsKept?: boolean;
}

export interface PlainServer {
  readonly url: string;
  readonly requests: { readonly method: string; readonly path: string; readonly headers: IncomingMessage['headers'] }[];
  odd: Oddities;
  /** Another client: makes or replaces what is at `path`. */
  write(path: string, content: string | null): void;
  remove(path: string): void;
  /** Paths as they are kept, sorted. */
  paths(): string[];
  text(path: string): string | null;
  /** Called before a request is answered; true = it has answered. */
  before: ((request: IncomingMessage, response: ServerResponse, body: Buffer) => boolean) | null;
  close(): Promise<void>;
}

const encoded = (path: string) => path.split('/').map(encodeURIComponent).join('/');
const above = (path: string) => path.slice(0, Math.max(0, path.lastIndexOf('/')));

export async function startPlainServer(): Promise<PlainServer> {
  const nodes = new Map<string, Kept>([['', { path: '', tag: 1, content: null }]]);
  let last = 1;
  const key = (path: string) => plain.odd.fold?.(path) ?? path;
  const nodeAt = (path: string) => nodes.get(key(path));
  const below = (address: string) => decodeURIComponent(address).replace(/^\/|\/$/g, '');
  const write = (path: string, content: string | Buffer | null): void => {
    const kept = nodeAt(path)?.path ?? plain.odd.keep?.(path) ?? path;
    nodes.set(key(path), { path: kept, tag: ++last, content: content === null ? null : Buffer.from(content) });
  };
  const removeTree = (path: string): void => {
    const gone = key(path);
    for (const one of [...nodes.keys()]) if (one === gone || one.startsWith(`${gone}/`)) nodes.delete(one);
  };
  const described = (shown: string, { path, tag, content }: Kept): string => {
    const length = content === null ? null : (plain.odd.length ?? ((_, bytes) => String(bytes.length)))(path, content);
    const href = plain.odd.href?.(path) ?? `/${encoded(shown)}${content === null && shown !== '' ? '/' : ''}`;
    return (
      `<d:response><d:href>${href.replaceAll('&', '&amp;')}</d:href><d:propstat><d:prop>` +
      `<d:resourcetype>${content === null ? '<d:collection/>' : ''}</d:resourcetype><d:getetag>"t${tag}"</d:getetag>` +
      (length === null ? '' : `<d:getcontentlength>${length}</d:getcontentlength>`) +
      '<d:getlastmodified>Sun, 06 Nov 1994 08:49:37 GMT</d:getlastmodified></d:prop>' +
      '<d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>'
    );
  };
  const listed = (path: string, node: Kept, depth: string | undefined): string => {
    const at = plain.odd.answersAsKept === true ? node.path : path;
    const responses = [described(at, node)];
    if (depth !== '0') {
      for (const [one, member] of nodes) {
        if (one === '' || above(one) !== key(path)) continue;
        const name = member.path.slice(above(member.path).length).replace(/^\//, '');
        responses.push(described(at === '' ? name : `${at}/${name}`, member));
      }
    }
    return `<d:multistatus xmlns:d="DAV:">${responses.join('')}</d:multistatus>`;
  };
  const move = (node: Kept, path: string, to: string, overwrite: boolean): number => {
    const target = nodeAt(to);
    if (target !== undefined && !overwrite) return 412;
    if (target !== undefined) removeTree(to); // itself, perhaps: as Go's does
    const from = key(path);
    for (const [one, kept] of [...nodes]) {
      if (one !== from && !one.startsWith(`${from}/`)) continue;
      nodes.delete(one);
      const place = to + kept.path.slice(node.path.length);
      nodes.set(key(place), { ...kept, path: plain.odd.keep?.(place) ?? place });
    }
    return target === undefined ? 201 : 204;
  };
  const content = (request: IncomingMessage, response: ServerResponse, { tag, content: all }: Kept) => {
    const bytes = all ?? Buffer.alloc(0);
    const headers = { etag: `"t${tag}"`, 'content-type': 'application/octet-stream' };
    if (request.method === 'HEAD') {
      const length = plain.odd.hidesLength === true ? {} : { 'content-length': String(bytes.length) };
      return response.writeHead(200, { ...headers, ...length }).end();
    }
    const [, first, end] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    if (first === undefined) return response.writeHead(200, headers).end(bytes);
    const part = bytes.subarray(Number(first), Number(end) + 1);
    const range = `bytes ${first}-${Number(first) + part.length - 1}/${bytes.length}`;
    return response.writeHead(206, { ...headers, 'content-range': range, 'content-length': part.length }).end(part);
  };
  const answer = (request: IncomingMessage, response: ServerResponse, body: Buffer): ServerResponse => {
    const end = (status: number, headers: Record<string, string> = {}, text = '') =>
      response.writeHead(status, headers).end(text);
    if (request.method === 'OPTIONS') return end(200, { dav: '1', server: 'Plain/1' });
    const path = below(request.url ?? '/');
    const node = nodeAt(path);
    switch (request.method) {
      case 'PROPFIND':
        if (node === undefined) return end(404);
        return end(207, { 'content-type': 'application/xml' }, listed(path, node, request.headers.depth as string));
      case 'HEAD':
      case 'GET':
        return node === undefined || node.content === null ? end(404) : content(request, response, node);
      case 'PUT':
        if (node?.content === null || nodeAt(above(path)) === undefined) return end(409);
        write(path, body);
        return end(node === undefined ? 201 : 204);
      case 'MKCOL':
        if (node !== undefined) return end(405);
        write(path, null);
        return end(201);
      case 'DELETE':
        if (node === undefined) return end(404);
        removeTree(path);
        return end(204);
      case 'MOVE': {
        if (node === undefined) return end(404);
        const to = below(new URL(String(request.headers['destination']), 'http://x').pathname);
        return end(move(node, path, to, request.headers['overwrite'] !== 'F'));
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
      const body = Buffer.concat(parts);
      plain.requests.push({ method, path: url, headers });
      if (plain.before?.(request, response, body) !== true) answer(request, response, body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const plain: PlainServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    requests: [],
    odd: {},
    write,
    remove: removeTree,
    paths: () => [...nodes.values()].flatMap(({ path }) => (path === '' ? [] : [path])).sort(),
    text: (path) => nodeAt(path)?.content?.toString() ?? null,
    before: null,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return plain;
}
