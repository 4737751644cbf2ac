// The server all targets of one run share, filled once with what the workloads read, and asked whether what they wrote
// has arrived.

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DavClient } from '../test/support/dav_client.js';
import { must } from '../test/support/processes.js';
import type { ServerKind, TestServer } from '../test/support/servers.js';
import { ForeignServer } from '../test/support/servers.js';
import { BareClient } from './http_limit.js';

const SMALL = Buffer.from('0123456789');

export class BenchServer {
  readonly server: TestServer;
  readonly #dir: string;
  readonly #client: BareClient;
  /** What is on the server, and how to make the same in a local folder. */
  readonly prepared = new Map<string, (path: string) => Promise<void>>();

  constructor(server: TestServer, dir: string) {
    this.server = server;
    this.#dir = dir;
    this.#client = new BareClient(server.login);
  }

  get kind(): ServerKind {
    return this.server.kind;
  }
  get archivePath(): string {
    return join(this.#dir, 'files.tar');
  }
  get repositoryPath(): string {
    return join(this.#dir, 'repository.git');
  }

  async file(path: string, size: number): Promise<void> {
    await this.#once(path, async (local) => {
      await must('sh', ['-c', 'head -c "$1" /dev/urandom > "$0"', local, String(size)]);
    });
  }

  /** Has the server read this file: what is cold is the drive, not the server, as for the bare client beside it. */
  async inMemory(path: string, size: number): Promise<void> {
    await this.#client.readParallel(path, size);
  }

  async flat(path: string, files: number): Promise<void> {
    await this.#once(path, async (local) => {
      await mkdir(local);
      await this.#client.parallel(range(files), (i) => writeFile(join(local, `f${i}`), SMALL));
    });
  }

  async tree(path: string, folders: number, each: number): Promise<void> {
    await this.#once(path, async (local) => {
      await mkdir(local);
      for (const d of range(folders)) await mkdir(join(local, `d${d}`));
      await this.#client.parallel(range(folders * each), (i) =>
        writeFile(join(local, `d${Math.floor(i / each)}`, `f${i}`), SMALL),
      );
    });
  }

  /** 2,000 files of 2,000 bytes in 100 folders, some of them executable, as one archive outside of any drive. */
  async archive(): Promise<void> {
    const tree = join(this.#dir, 'archive');
    await must('sh', [
      '-c',
      'rm -rf "$0" && mkdir "$0" && cd "$0" && for d in $(seq 100); do mkdir d$d; for f in $(seq 20); do head -c 2000 /dev/urandom > d$d/f$f; done; chmod +x d$d/f1; done',
      tree,
    ]);
    await must('tar', ['-cf', this.archivePath, '-C', tree, '.']);
    await must('chmod', ['a+r', this.archivePath]);
  }

  /** 1,000 files, 500 commits. */
  async repository(): Promise<void> {
    const stream: string[] = [];
    const commit = (i: number, files: readonly string[]) => {
      stream.push(
        `commit refs/heads/main\ncommitter Bench <bench@example.org> ${1_600_000_000 + i} +0000\ndata 2\n${i % 10}\n`,
      );
      stream.push(...files);
    };
    const file = (path: string, text: string) => `M 100644 inline ${path}\ndata ${text.length}\n${text}\n`;
    commit(
      0,
      range(1000).map((i) => file(`d${i % 50}/f${i}`, `file ${i}\n`.repeat(100))),
    );
    for (const i of range(499)) commit(i + 1, [file(`d${i % 50}/f${i}`, `file ${i}, changed\n`.repeat(100))]);
    await must('rm', ['-rf', this.repositoryPath]);
    await must('git', ['init', '-q', '--bare', '-b', 'main', this.repositoryPath]);
    await must('git', ['-C', this.repositoryPath, 'fast-import', '--quiet'], { input: stream.join('') });
    await must('chmod', ['-R', 'a+rX', this.repositoryPath]);
  }

  /** Waits until `folder` holds so many files with so many bytes in all. */
  async arrived(folder: string, files: number, bytes: number, bound_ms = 400_000): Promise<void> {
    const deadline = performance.now() + bound_ms;
    for (;;) {
      const found = await this.#count(folder);
      if (found.files === files && found.bytes === bytes) return;
      if (performance.now() > deadline) {
        throw new Error(
          `${folder}: expected ${files} files, ${bytes} bytes on the server, found ${JSON.stringify(found)}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Waits until nothing on the server has changed for two seconds. */
  async settled(): Promise<void> {
    let last = '';
    for (let quiet = 0; quiet < 4; ) {
      const now = JSON.stringify(await this.#count(''));
      quiet = now === last ? quiet + 1 : 0;
      last = now;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }

  async close(): Promise<void> {
    await this.#client.close();
  }

  async #count(folder: string): Promise<{ files: number; bytes: number }> {
    if (this.server instanceof ForeignServer) {
      const said = await must('sh', [
        '-c',
        'find "$0" -type f -printf "%s\\n" | awk \'{n++; s+=$1} END {print n+0, s+0}\'',
        join(this.server.root, folder),
      ]);
      const [files = 0, bytes = 0] = said.trim().split(' ').map(Number);
      return { files, bytes };
    }
    const { root, user, password } = this.server.login;
    const answer = await fetch(root + folder, {
      method: 'PROPFIND',
      headers: { authorization: `Basic ${btoa(`${user}:${password}`)}`, depth: 'infinity' },
      body: '<?xml version="1.0"?><propfind xmlns="DAV:"><prop><getcontentlength/></prop></propfind>',
    });
    const sizes = [...(await answer.text()).matchAll(/getcontentlength[^>]*>(\d+)</g)].map(([, size]) => Number(size));
    return { files: sizes.length, bytes: sizes.reduce((sum, size) => sum + size, 0) };
  }

  /** Makes a thing locally and puts it on the server: straight into the folder of a foreign one, by PUT into ours. */
  async #once(path: string, make: (local: string) => Promise<void>): Promise<void> {
    if (this.prepared.has(path)) return;
    const local = join(this.#dir, 'prepared', path);
    await mkdir(dirname(local), { recursive: true });
    await make(local);
    this.prepared.set(path, async (target) => {
      await must('cp', ['-r', local, target]);
    });
    if (this.server instanceof ForeignServer) {
      await must('cp', ['-r', local, join(this.server.root, path)]);
      await must('chmod', ['-R', 'a+rwX', this.server.root]);
      return;
    }
    const dav = new DavClient(this.server.login);
    const list = async (...args: string[]) =>
      (await must('find', [local, ...args, '-printf', '%P\n']))
        .split('\n')
        .slice(0, -1)
        .map((below) => (below === '' ? path : `${path}/${below}`));
    for (const folder of await list('-type', 'd')) await dav.mkcol(folder);
    const files = await list('-type', 'f');
    await this.#client.parallel(files, async (file) =>
      dav.put(file, await readFile(join(this.#dir, 'prepared', file))),
    );
    await dav.close();
  }
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}
