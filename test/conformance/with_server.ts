// A server of our own in this process for one foreign client: an account, the requests it saw, a folder to work in.

import { access, constants, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RunningServer, startServer } from '../../src/server/server.js';
import { DavClient } from '../support/dav_client.js';

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly status: number;
}

export interface ServerForClients {
  readonly server: RunningServer;
  readonly url: string;
  readonly user: string;
  readonly password: string;
  /** A plain client in the user's tree, beside the one under test. */
  readonly dav: DavClient;
  /** Every request answered so far, in order. */
  readonly seen: SeenRequest[];
  /** Scratch folder of the test. */
  readonly dir: string;
  close(): Promise<void>;
}

export async function serverForClients(): Promise<ServerForClients> {
  const dir = await mkdtemp(join(tmpdir(), 'conformance-'));
  const seen: SeenRequest[] = [];
  const quiet = () => {};
  const server = await startServer({
    dataDir: join(dir, 'data'),
    listen: { host: '127.0.0.1', port: 0 },
    log: {
      debug: quiet,
      warn: quiet,
      error: (fields, message) => console.error(message, fields),
      info: (fields, message) => {
        if (message === 'request') seen.push(fields as unknown as SeenRequest);
      },
    },
  });
  const user = 'alice';
  const password = 'correct horse battery';
  await server.accounts.create({ name: user, password });
  const dav = new DavClient({ root: `${server.url}/dav/files/${user}/`, user, password });
  return {
    server,
    url: server.url,
    user,
    password,
    dav,
    seen,
    dir,
    close: async () => {
      await dav.close();
      await server.close({ graceful_ms: 2_000 });
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** The program, or an error that says which package has it: without its client a conformance test proves nothing. */
export async function requireProgram(name: string, debianPackage: string): Promise<string> {
  for (const dir of [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/sbin']) {
    const file = join(dir, name);
    const found = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return file;
  }
  throw new Error(`${name} is not installed: this test needs it (apt-get install ${debianPackage})`);
}
