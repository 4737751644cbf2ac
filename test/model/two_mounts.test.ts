// Two drives and a direct client of one account, at random, while requests fail, answers are lost and the network comes
// and goes. Every edit appends a line of its own to what its author saw, so no honest edit ever takes a line away. In the
// end every line that was ever acknowledged is on the server, under its name or in a conflict copy, unless somebody who
// had seen it deleted it; both drives show exactly what the server has; and `check` finds nothing.

import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { isCloudError } from '../../src/errors.js';
import type { RemoteCapabilities } from '../../src/remote/remote.js';
import { GENERIC } from '../support/capabilities.js';
import { FakeRemote, FakeServer } from '../support/fake_remote.js';
import { gateSeeds, Random } from '../support/random.js';
import { CALLER, TestCache } from '../support/test_cache.js';
import { trace } from '../support/trace.js';

const STEPS = 160;
const FILES = ['a.txt', 'b.txt', 'd/a.txt', 'd/b.txt', 'd/e/c.txt'] as const;
const DIRS = ['d', 'd/e'] as const;

const open: TestCache[] = [];
afterEach(async () => {
  for (const cache of open.splice(0)) await cache.close().catch(() => undefined);
});

class Run {
  readonly #random: Random;
  readonly #server = new FakeServer();
  readonly #drives: TestCache[] = [];
  readonly #acknowledged = new Set<string>();
  readonly #deleted = new Set<string>();
  readonly #trace: string[] = [];
  readonly #capabilities: Partial<RemoteCapabilities>;
  #lines = 0;

  constructor(random: Random, capabilities: Partial<RemoteCapabilities>) {
    this.#random = random;
    this.#capabilities = capabilities;
  }

  async run(): Promise<void> {
    for (const host of ['one', 'two']) {
      const remote = new FakeRemote(this.#server, { capabilities: this.#capabilities });
      const drive = await TestCache.open({
        remote,
        quiet_ms: 15,
        dirCacheTime_ms: 50,
        account: { name: 'test', user: 'anna', host },
      });
      open.push(drive);
      this.#drives.push(drive);
    }
    for (let i = 0; i < STEPS; i++) {
      if (this.#random.chance(0.15)) this.#disturb();
      const who = this.#random.below(3);
      const drive = this.#drives[who];
      if (drive === undefined) this.#direct();
      else await this.#step(drive, who);
      if (this.#random.chance(0.5)) await sleep(this.#random.below(30));
    }
    await this.#settle();
  }

  #say(line: string): void {
    this.#trace.push(line);
    trace(line);
  }

  #line(): string {
    this.#lines += 1;
    return `line ${this.#lines}\n`;
  }

  #disturb(): void {
    const { remote } = this.#random.pick(this.#drives) ?? { remote: null };
    if (remote === null) return;
    this.#random.weighted<() => void>([
      [3, () => remote.failNext('put', 'network', { when: this.#random.chance(0.5) ? 'after' : 'before' })],
      [2, () => remote.failNext('move', 'network', { when: 'after' })],
      [2, () => remote.failNext('mkdir', 'network', { when: 'after' })],
      [2, () => remote.failNext('remove', 'timeout', { when: 'after' })],
      [1, () => remote.failNext('changes', 'server')],
      [1, () => remote.failNext('list', 'network')],
      [1, () => remote.failNext('read', 'network')],
      [2, () => remote.goOffline()],
      [4, () => remote.goOnline()],
    ])();
  }

  async #step(drive: TestCache, who: number): Promise<void> {
    const random = this.#random;
    const file = random.pick(FILES);
    const note = (what: string) => this.#say(`${who}: ${what}`);
    try {
      await random.weighted<() => Promise<void>>([
        [6, async () => this.#append(drive, file, note)],
        [2, async () => this.#saveAtomically(drive, file, note)],
        [1, async () => this.#remove(drive, file, note)],
        [
          2,
          async () => {
            const to = random.pick(FILES);
            if ((await drive.node(to)) !== null) return;
            await drive.rename(file, to, 'noreplace');
            note(`mv ${file} ${to}`);
          },
        ],
        [
          1,
          async () => {
            await drive.rename('d', 'moved', 'noreplace');
            note('mv d moved');
            await sleep(random.below(40));
            await drive.rename('moved', 'd', 'noreplace');
            note('mv moved d');
          },
        ],
      ])();
    } catch (error) {
      if (!isCloudError(error)) throw error;
      note(`${file}: ${error.code}`);
    }
  }

  async #parents(drive: TestCache, file: string): Promise<void> {
    for (const dir of DIRS) if (file.startsWith(`${dir}/`) && (await drive.node(dir)) === null) await drive.mkdir(dir);
  }

  async #append(drive: TestCache, file: string, note: (what: string) => void): Promise<void> {
    await this.#parents(drive, file);
    const line = this.#line();
    const handle = await drive.open(file, (await drive.node(file)) === null ? 'wx' : 'r+');
    try {
      const { size_bytes } = drive.cache.node(handle.ino);
      // Reading first is what an editor does: it must see what it keeps.
      await handle.read(0, size_bytes, CALLER);
      await handle.write(drive.cache.node(handle.ino).size_bytes, Buffer.from(line), CALLER);
      await handle.flush(CALLER);
      this.#acknowledged.add(line);
      note(`${file} += ${line.trim()}`);
    } finally {
      handle.release();
    }
  }

  async #saveAtomically(drive: TestCache, file: string, note: (what: string) => void): Promise<void> {
    await this.#parents(drive, file);
    const old = (await drive.node(file)) === null ? '' : await drive.read(file);
    const seen = (await drive.node(file))?.ino;
    const line = this.#line();
    await drive.write(`${file}.tmp`, old + line);
    // The program replaces what it has read: had the name changed hands meanwhile, it would be the program's loss.
    if ((await drive.node(file))?.ino !== seen || (seen !== undefined && (await drive.read(file)) !== old)) {
      await drive.unlink(`${file}.tmp`);
      return;
    }
    await drive.rename(`${file}.tmp`, file);
    this.#acknowledged.add(line);
    note(`${file} saved with ${line.trim()}`);
  }

  async #remove(drive: TestCache, file: string, note: (what: string) => void): Promise<void> {
    if ((await drive.node(file)) === null) return;
    const seen = await drive.read(file);
    if ((await drive.node(file)) === null || (await drive.read(file)) !== seen) return;
    await drive.unlink(file);
    for (const line of seen.split(/(?<=\n)/)) this.#deleted.add(line);
    note(`rm ${file} (${seen.trim().replaceAll('\n', ', ')})`);
  }

  /** Somebody else, with a client that sends its changes at once. */
  #direct(): void {
    const file = this.#random.pick(FILES);
    for (const dir of DIRS) {
      const entry = this.#server.entry(dir);
      if (file.startsWith(`${dir}/`) && entry === null) this.#server.mkdir(dir);
    }
    const line = this.#line();
    const entry = this.#server.entry(file);
    if (entry !== null && entry.kind !== 'file') return;
    const old = entry === null ? '' : this.#server.text(file);
    if (entry !== null && this.#random.chance(0.1)) {
      this.#server.remove(file);
      for (const gone of old.split(/(?<=\n)/)) this.#deleted.add(gone);
      this.#say(`direct: rm ${file}`);
      return;
    }
    this.#server.write(file, old + line);
    this.#acknowledged.add(line);
    this.#say(`direct: ${file} += ${line.trim()}`);
  }

  async #settle(): Promise<void> {
    for (const { remote, cache } of this.#drives) {
      remote.clearFailures();
      remote.goOnline();
      await cache.reconnect();
    }
    const about = () => `seed ${this.#random.seed}\n${this.#trace.join('\n')}`;
    for (const drive of this.#drives) {
      await drive.until('it is online', () => drive.cache.status().connection === 'online', 20_000);
    }
    for (let round = 0; round < 3; round++) {
      for (const drive of this.#drives) {
        await drive.flush('', 30_000).catch((error: unknown) => {
          throw new Error(`${String(error)}\n${JSON.stringify(drive.cache.status().queue, null, 1)}\n${about()}`);
        });
      }
    }
    // What one has sent may be a conflict for the other, who sends its copy then: there is no moment at which it is known
    // that all is said, but in the end all have the same.
    const server = () => this.#server.paths().sort();
    const isQuiet = ({ cache }: TestCache) => cache.status().queue.length === 0;
    const isSame = async (drive: TestCache) => isQuiet(drive) && same(await tree(drive), server());
    await this.#drives[0]
      ?.until(
        'all drives show what the server has',
        async () => !(await Promise.all(this.#drives.map(isSame))).includes(false),
      )
      .catch(async (error: unknown) => {
        const shown = await Promise.all(this.#drives.map(async (drive) => (await tree(drive)).join(' | ')));
        throw new Error([String(error), ...shown, server().join(' | '), about()].join('\n'));
      });
    const files = server().filter((path) => this.#server.entry(path)?.kind === 'file');
    const everything = files.map((path) => this.#server.text(path)).join('');
    const present = new Set(everything.split(/(?<=\n)/));
    const lost = [...this.#acknowledged].filter((line) => !present.has(line) && !this.#deleted.has(line));
    expect(lost, `lost lines; ${about()}`).toEqual([]);
    for (const drive of this.#drives) {
      // The last version of a file may still be on its way to this drive; reading the one before is refused, not mixed.
      for (const path of files) {
        const expected = this.#server.text(path);
        const read = async () => drive.read(path).catch((error: unknown) => String(error));
        await drive.until(`${path} is read; ${about()}`, async () => (await read()) === expected);
      }
      expect(await drive.check(), about()).toEqual([]);
    }
  }
}

async function tree(drive: TestCache, path = ''): Promise<string[]> {
  const names: string[] = [];
  for (const name of await drive.list(path)) {
    const full = path === '' ? name : `${path}/${name}`;
    names.push(full);
    const node = await drive.node(full);
    if (node?.kind === 'dir') names.push(...(await tree(drive, full)));
  }
  return names.sort();
}

function same(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}

describe('no silent overwrite under any interleaving of two mounts and a direct client', () => {
  for (const [name, capabilities] of [
    ['our server', {}],
    ['a generic server', GENERIC],
  ] as const) {
    for (const seed of gateSeeds(4)) {
      it(`${name}, seed ${seed}`, async () => {
        await new Run(new Random(seed), capabilities).run();
      }, 120_000);
    }
  }
});
