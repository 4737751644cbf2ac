// The daemon dies at every named point of its journal, writeback, mirror and eviction, in the middle of a workload that
// passes all of them. Started again on the same cache folder it must be sound, and every byte that was fsynced, and every
// byte that another client put on the server, must be on the server in the end.

import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { CRASH_POINTS, type CrashPoint } from '../../src/cache/crash_points.js';
import type { Drive } from '../support/drive.js';
import { FsError, type FsProcess } from '../support/fs_process.js';
import { eventually } from '../support/processes.js';
import type { OwnServer } from '../support/servers.js';
import type { LinkedServer, Stage } from '../support/stage.js';
import { useStage } from '../support/world.js';

const stage = useStage();

/** The daemon is gone: what was expected. */
class Died extends Error {}

/** Everything the workload was promised, by the text that must be found again. */
class Ledger {
  readonly #kept = new Map<string, string>();

  /** `text` was fsynced at `place`; what `place` had before is replaced. */
  promise(place: string, text: string): void {
    this.#kept.set(place, text);
  }

  /** An operation that may take it away has begun. */
  release(place: string): void {
    this.#kept.delete(place);
  }

  get texts(): string[] {
    return [...this.#kept.values()];
  }
}

class Workload {
  readonly ledger = new Ledger();
  readonly #drive: Drive;
  readonly #fs: FsProcess;
  readonly #server: OwnServer;
  readonly #link: LinkedServer;
  readonly #folder: string;

  constructor(drive: Drive, fs: FsProcess, server: OwnServer, link: LinkedServer, folder: string) {
    this.#drive = drive;
    this.#fs = fs;
    this.#server = server;
    this.#link = link;
    this.#folder = folder;
  }

  async run(): Promise<void> {
    const { ledger } = this;
    await this.#try((fs) => fs.mkdir(this.#path('')));
    await this.#try((fs) => fs.mkdir(this.#path('sub')));
    for (let i = 0; i < 5; i++) await this.#keep(`keep-${i}`, `first ${i}`);
    await this.#try((fs) => fs.writeFile(this.#path('gone'), 'to be removed'));
    await this.#flush();
    for (let i = 0; i < 3; i++) await this.#saveAtomically('keep-0', `saved ${i}`);
    ledger.release('keep-1');
    await this.#try((fs) => fs.rename(this.#path('keep-1'), this.#path('sub/moved')));
    ledger.promise('sub/moved', this.#text('first 1'));
    await this.#try((fs) => fs.unlink(this.#path('gone')));
    await this.#flush();
    await this.#try(async (fs) => {
      const fd = await fs.open(this.#path('keep-2'), 'O_WRONLY|O_APPEND');
      await fs.write(fd, this.#text('appended'));
      await fs.fsync(fd);
      await fs.close(fd);
    });
    ledger.promise('appended to keep-2', this.#text('appended'));
    await this.#server.dav.put(this.#remote('theirs'), this.#text('theirs'));
    ledger.promise('theirs', this.#text('theirs'));
    await this.#try((fs) =>
      eventually(
        'their file',
        async () => this.#drive.daemonEnded || 'ok' in (await fs.ask({ op: 'lstat', path: this.#path('theirs') })),
      ),
    );
    await this.#flush();
    this.#link.proxy.cut = true;
    await this.#keep('keep-3', 'edited while apart');
    await this.#server.dav.put(this.#remote('keep-3'), this.#text('their edit of keep-3'));
    ledger.promise('their keep-3', this.#text('their edit of keep-3'));
    this.#link.proxy.cut = false;
    await this.#flush();
    await this.#unlessDead(() => this.#drive.mustCli(['free', this.#path('')]));
    await this.#try(async (fs) => void (await fs.readFile(this.#path('theirs'))));
    await this.#try(async (fs) => void (await fs.readFile(this.#path('keep-4'))));
    // More than the cache may hold: what was read first is evicted.
    for (let i = 0; i < 4; i++) await this.#server.dav.put(this.#remote(`large-${i}`), Buffer.alloc(2 << 20, `${i}`));
    for (let i = 0; i < 4; i++) {
      await this.#try((fs) =>
        eventually('a large file', async () => {
          const answer = await fs.ask({ op: 'sha256', path: this.#path(`large-${i}`) });
          return 'ok' in answer || this.#drive.daemonEnded;
        }),
      );
    }
    await this.#keep('keep-4', 'last');
    await this.#flush();
  }

  #path(name: string): string {
    return this.#drive.path(this.#folder, ...(name === '' ? [] : [name]));
  }

  #remote(name: string): string {
    return `${this.#folder}/${name}`;
  }

  /** Long enough for several blocks, and unmistakable. */
  #text(what: string): string {
    return `[${this.#folder}: ${what}] `.repeat(300);
  }

  async #keep(name: string, what: string): Promise<void> {
    this.ledger.release(name);
    await this.#try((fs) => fs.writeFile(this.#path(name), this.#text(what), { sync: true }));
    this.ledger.promise(name, this.#text(what));
  }

  /** As editors do: the new content is safe beside the old one before it takes its name. */
  async #saveAtomically(name: string, what: string): Promise<void> {
    await this.#try((fs) => fs.writeFile(this.#path(`.${name}.tmp`), this.#text(what), { sync: true }));
    this.ledger.promise(`${name}.tmp`, this.#text(what));
    this.ledger.release(name);
    await this.#try((fs) => fs.rename(this.#path(`.${name}.tmp`), this.#path(name)));
    this.ledger.release(`${name}.tmp`);
    this.ledger.promise(name, this.#text(what));
  }

  async #try(work: (fs: FsProcess) => Promise<unknown>): Promise<void> {
    try {
      await work(this.#fs);
    } catch (error) {
      // The call that was on its way when the daemon died gives an errno; before that nothing may fail.
      if (!(error instanceof FsError) && !this.#drive.daemonEnded) throw error;
      await eventually('the daemon to be gone after a failed call', () => this.#drive.daemonEnded, Boolean, 5000).catch(
        () => {
          throw error;
        },
      );
    }
    if (this.#drive.daemonEnded) throw new Died();
  }

  async #flush(): Promise<void> {
    await this.#unlessDead(() => this.#drive.flush());
  }

  async #unlessDead(command: () => Promise<unknown>): Promise<void> {
    try {
      await command();
    } catch (error) {
      const dead = await eventually('the daemon to be gone', () => this.#drive.daemonEnded, Boolean, 5000).catch(
        () => false,
      );
      throw dead ? new Died() : error;
    }
  }
}

/** Everything that was promised is on the server, the drive shows it, and `check` finds nothing. */
async function verify(
  drive: Drive,
  fs: FsProcess,
  server: OwnServer,
  folder: string,
  ledger: Ledger | null,
): Promise<void> {
  await drive.mustCli(['check', drive.dir]);
  await drive.flush();
  await drive.mustCli(['check', drive.dir]);
  const found = (await server.dav.exists(folder)) ? [...(await server.dav.files(folder)).values()].map(String) : [];
  for (const text of ledger?.texts ?? []) {
    expect(
      found.some((content) => content.includes(text)),
      `"${text.slice(0, 80)}…" must be on the server; there are:\n${found.map((content) => content.slice(0, 80)).join('\n')}`,
    ).toBe(true);
  }
  if (await server.dav.exists(folder)) {
    const names = async () =>
      Object.entries(await fs.tree(drive.path(folder)))
        .filter(([, [kind]]) => kind === 'file')
        .map(([name]) => name)
        .sort();
    const there = [...(await server.dav.files(folder)).keys()].map((path) => path.slice(folder.length + 1)).sort();
    expect(
      await eventually('the drive to show what the server has', names, (list) => list.join() === there.join()),
    ).toEqual(there);
  }
}

async function dieAndRecover(at: Stage, server: OwnServer, point: CrashPoint, pass: number): Promise<boolean> {
  const folder = `${point.replace('.', '-')}-${pass}`;
  const link = await at.link(server);
  const drive = at.drive(link, {
    env: { CLOUDMOUNT_CRASH_AT: `${point}:${pass}` },
    args: ['--cache-size', '5M', '--min-free', '0'],
  });
  const fs = at.fs();
  let died = false;
  let ledger: Ledger | null = null;
  try {
    await drive.mount();
    const workload = new Workload(drive, fs, server, link, folder);
    ledger = workload.ledger;
    await workload.run();
  } catch (error) {
    died = error instanceof Died || (ledger === null && drive.daemonEnded && (await drive.endedBy()) === 'SIGKILL');
    if (!died) throw error;
  }
  link.proxy.cut = false;
  const recover = async () => {
    if (ledger !== null) expect(await drive.endedBy()).toBe('SIGKILL');
    await eventually('the guard to unmount', () => !drive.mounted);
    // What the workload still did then went into the bare folder.
    for (const name of await readdir(drive.dir)) await rm(join(drive.dir, name), { recursive: true });
    drive.change({ env: {} });
    await drive.mount();
  };
  if (died) await recover();
  try {
    await verify(drive, fs, server, folder, ledger);
  } catch (error) {
    if (died || !drive.daemonEnded) throw error;
    // Some points are passed a moment after the last operation.
    died = true;
    await recover();
    await verify(drive, fs, server, folder, ledger);
  }
  await drive.unmount();
  await fs.end();
  return died;
}

let shared: Promise<OwnServer> | null = null;
const server = () => {
  shared ??= stage().ownServer();
  return shared;
};

for (const point of CRASH_POINTS) {
  it(`killed at ${point}: the cache is sound and nothing that was fsynced is lost`, async () => {
    expect(await dieAndRecover(stage(), await server(), point, 1), 'the workload must pass the point').toBe(true);
    await dieAndRecover(stage(), await server(), point, 3);
  });
}
