// A server of nothing but DAV for the tests of this room: storage in a temporary folder, one tree per user, no
// passwords (the user is the one in the path).

import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, request as httpRequest, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { type Clock, systemClock } from '../../../../src/clock.js';
import { silentLog } from '../../../../src/log.js';
import { createDavHandler, type DavHandler, type DavLimits } from '../../../../src/server/dav/handler.js';
import { LocalBlobStore } from '../../../../src/server/storage/blobs/local_blob_store.js';
import type { NodeId } from '../../../../src/server/storage/metadata/metadata_store.js';
import { SqliteDatabase } from '../../../../src/server/storage/metadata/sqlite/database.js';
import { METADATA_SCHEMA } from '../../../../src/server/storage/metadata/sqlite/schema.js';
import { SqliteMetadataStore } from '../../../../src/server/storage/metadata/sqlite/sqlite_metadata_store.js';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Buffer;
  readonly text: string;
}

export interface Ask {
  readonly user?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer | Readable;
}

export interface DavServer {
  readonly dir: string;
  readonly port: number;
  readonly metadata: SqliteMetadataStore;
  readonly database: SqliteDatabase;
  readonly blobs: LocalBlobStore;
  readonly handler: DavHandler;
  rootOf(user: string): Promise<NodeId>;
  /** `path` is encoded and relative to the user's tree, without a leading slash. */
  ask(method: string, path: string, options?: Ask): Promise<Answer>;
  close(): Promise<void>;
}

export interface DavServerOptions {
  readonly dir?: string;
  readonly clock?: Clock;
  readonly limits?: Partial<DavLimits>;
  readonly port?: number;
}

export async function startDavServer(options: DavServerOptions = {}): Promise<DavServer> {
  const clock = options.clock ?? systemClock;
  const dir = options.dir ?? (await mkdtemp(join(tmpdir(), 'cloudmount-dav-')));
  const database = SqliteDatabase.open(join(dir, 'db.sqlite'), [METADATA_SCHEMA]);
  const metadata = new SqliteMetadataStore(database, { clock });
  const blobs = await LocalBlobStore.open(join(dir, 'blobs'));
  const handler = createDavHandler({ metadata, blobs, clock, limits: options.limits ?? {} });
  const roots = new Map<string, Promise<NodeId>>();
  const rootOf = (user: string) => {
    let root = roots.get(user);
    if (root === undefined) {
      root = metadata.write((tx) => tx.ensureRoot(user)).then((node) => node.id);
      roots.set(user, root);
    }
    return root;
  };
  let requests = 0;
  const http: Server = createServer((req, res) => {
    // Two people may share a tree: /dav/files/anna/ as bert with `X-Test-User: bert`.
    const owner = /^\/dav\/files\/([a-z]+)(\/|$)/.exec(req.url ?? '')?.[1] ?? 'anna';
    const user = (req.headers['x-test-user'] as string | undefined) ?? owner;
    void rootOf(owner).then((rootId) =>
      handler.handle(req, res, {
        principal: { userId: user, displayName: `${user} Example` },
        basePath: `/dav/files/${owner}/`,
        rootId,
        requestId: String(++requests),
        log: silentLog,
      }),
    );
  });
  await new Promise<void>((resolve) => http.listen(options.port ?? 0, '127.0.0.1', resolve));
  const { port } = http.address() as AddressInfo;

  const ask = (method: string, path: string, { user, headers = {}, body }: Ask = {}): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const req = httpRequest(
        {
          host: '127.0.0.1',
          port,
          method,
          path: `/dav/files/anna/${path}`,
          headers: {
            ...(user === undefined ? {} : { 'X-Test-User': user }),
            ...(typeof body === 'string' || Buffer.isBuffer(body)
              ? { 'Content-Length': String(Buffer.byteLength(body)) }
              : {}),
            ...headers,
          },
        },
        (res) => {
          const chunks: Buffer[] = [];
          res.on('data', (chunk: Buffer) => chunks.push(chunk));
          res.on('error', reject);
          res.on('end', () => {
            const bytes = Buffer.concat(chunks);
            resolve({ status: res.statusCode ?? 0, headers: res.headers, bytes, text: bytes.toString() });
          });
        },
      );
      req.on('error', reject);
      if (body === undefined || typeof body === 'string' || Buffer.isBuffer(body)) req.end(body);
      else body.pipe(req);
    });

  return {
    dir,
    port,
    metadata,
    database,
    blobs,
    handler,
    rootOf,
    ask,
    async close() {
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
      await metadata.close();
      await database.close();
      await blobs.close();
      if (options.dir === undefined) await rm(dir, { recursive: true, force: true });
    },
  };
}
