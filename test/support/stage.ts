// Where one test file plays: a temporary folder with servers, drives and helper processes, all of them ended and the
// folder removed at the end, also when a test failed. Closing fails if the product left a mount behind.

import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Drive, type DriveOptions, type DriveTarget } from './drive.js';
import { FsProcess } from './fs_process.js';
import { type LinkOptions, LinkProxy } from './link_proxy.js';
import { detachAllBelow, mountsBelow } from './mounts.js';
import { atExit } from './processes.js';
import { ForeignServer, OwnServer, type ServerKind, type TestServer } from './servers.js';

export class Stage {
  readonly dir: string;
  readonly #closers: (() => Promise<void>)[] = [];
  #count = 0;
  #closed = false;

  constructor() {
    // Short: a Unix socket's path has 107 bytes, and the runtime folders are below this one.
    this.dir = mkdtempSync(join(tmpdir(), 'cm-'));
    chmodSync(this.dir, 0o755); // drives of other users are below it
    atExit(() => {
      if (this.#closed) return;
      detachAllBelow(this.dir);
      if (mountsBelow(this.dir).length === 0) rmSync(this.dir, { recursive: true, force: true });
    });
  }

  /** A new folder in the stage. */
  folder(label: string): string {
    this.#count += 1;
    const dir = join(this.dir, `${label}${this.#count}`);
    mkdirSync(dir);
    return dir;
  }

  async ownServer(args: readonly string[] = []): Promise<OwnServer> {
    const server = await OwnServer.open(this.folder('s'), args);
    this.#closers.push(() => server.stop());
    return server;
  }

  async server(kind: ServerKind, args: readonly string[] = []): Promise<TestServer> {
    if (kind === 'cloudmount') return this.ownServer(args);
    const server = await ForeignServer.open(kind, this.folder('s'));
    this.#closers.push(() => server.stop());
    return server;
  }

  /** A drive that is not mounted yet. */
  drive(target: DriveTarget, options: DriveOptions = {}): Drive {
    const drive = new Drive(this.folder('d'), target, options);
    this.#closers.push(() => drive.end());
    return drive;
  }

  mount(target: DriveTarget, options: DriveOptions = {}): Promise<Drive> {
    return this.drive(target, options).mount();
  }

  fs(options: { readonly user?: { readonly uid: number; readonly gid: number } } = {}): FsProcess {
    const fs = new FsProcess(options);
    this.#closers.push(() => fs.end());
    return fs;
  }

  /** A link to the server with a delay, a rate and counters. */
  async link(target: TestServer, options: Omit<LinkOptions, 'targetPort'> = {}): Promise<LinkedServer> {
    const proxy = await LinkProxy.open({ ...options, targetPort: target.port });
    this.#closers.push(() => proxy.close());
    const swap = (url: string) => url.replace(`:${target.port}`, `:${proxy.port}`);
    return { proxy, url: swap(target.url), login: { ...target.login, root: swap(target.login.root) } };
  }

  /** Anything else that must be ended with the stage. */
  defer(close: () => Promise<void>): void {
    this.#closers.push(close);
  }

  async close(): Promise<void> {
    const errors: unknown[] = [];
    for (const close of this.#closers.reverse()) await close().catch((error: unknown) => errors.push(error));
    this.#closers.length = 0;
    const left = mountsBelow(this.dir);
    detachAllBelow(this.dir);
    if (mountsBelow(this.dir).length === 0) rmSync(this.dir, { recursive: true, force: true });
    this.#closed = true;
    if (left.length > 0)
      errors.push(new Error(`still mounted at the end: ${left.map((entry) => entry.dir).join(', ')}`));
    if (errors.length > 0) throw new AggregateError(errors, `closing the stage: ${errors.map(String).join('; ')}`);
  }
}

export interface LinkedServer extends DriveTarget {
  readonly proxy: LinkProxy;
}
