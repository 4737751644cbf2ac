// What the journal promises beyond the crash tests: who waits for the disk, what happens when it refuses, and what an
// end in good or bad order means for the next start.

import { readdir, readFile, readlink, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Sqlite from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ContentFile } from '../../../src/cache/content/content_file.js';
import { Database } from '../../../src/cache/metadata/database.js';
import { CloudError } from '../../../src/errors.js';
import { silentLog } from '../../../src/log.js';
import { FakeRemote, FakeServer } from '../../support/fake_remote.js';
import { CALLER, TestCache } from '../../support/test_cache.js';

let remote: FakeRemote;
let drive: TestCache;

beforeEach(async () => {
  remote = new FakeRemote(new FakeServer());
  remote.server.write('here.txt', 'as the server has it');
  drive = await TestCache.open({ remote, quiet_ms: 60_000 });
  await drive.until('the tree is here', async () => (await drive.node('here.txt')) !== null);
});
afterEach(() => drive.close());

/** The folder as a crash of the process would leave it. */
async function killedFolder(): Promise<string> {
  const { cp, mkdtemp } = await import('node:fs/promises');
  const { tmpdir } = await import('node:os');
  const dir = await mkdtemp(join(tmpdir(), 'cm-killed-'));
  await cp(drive.dir, dir, { recursive: true });
  for (const name of ['lock', 'owner']) await rm(join(dir, name), { recursive: true, force: true });
  return dir;
}

function openAgain(dir: string, options: { readonly owner?: string } = {}): Promise<TestCache> {
  return TestCache.open({ dir, remote: new FakeRemote(remote.server), quiet_ms: 60_000, ...options });
}

async function afterKill(): Promise<TestCache> {
  return openAgain(await killedFolder());
}

async function endOf(copy: TestCache): Promise<void> {
  expect(await copy.check()).toEqual([]);
  await copy.close();
  await rm(copy.dir, { recursive: true });
}

it('an operation that fails does not undo what is being written to an open file', async () => {
  await drive.mkdir('d');
  const file = await drive.open('d/open.txt', 'w');
  await file.write(0, Buffer.from('0123456789'), CALLER);
  await expect(drive.rmdir('d')).rejects.toMatchObject({ code: 'not_empty' });
  await expect(drive.mkdir('d')).rejects.toMatchObject({ code: 'exists' });
  expect((await drive.must('d/open.txt')).size_bytes).toBe(10);
  await file.write(10, Buffer.from('more'), CALLER);
  await file.flush(CALLER);
  file.release();
  expect(await drive.read('d/open.txt')).toBe('0123456789more');
});

/** The next change of the records finds no room. */
function fullDisk() {
  const { transaction } = Database.prototype;
  return vi.spyOn(Database.prototype, 'transaction').mockImplementationOnce(function (this: Database, work) {
    return transaction.call(this, () => {
      work();
      throw new CloudError('no_space', 'test: the disk is full');
    }) as never;
  });
}

for (const [what, change] of Object.entries({
  'is not removed': () => drive.unlink('mine.txt'),
  'is not replaced': () => drive.rename('new.txt', 'mine.txt'),
})) {
  for (const saved of [true, false]) {
    it(`a file that ${what} because the disk is full keeps its unsent content, ${saved ? 'saved' : 'just written'}`, async () => {
      await drive.write('new.txt', 'newer');
      await drive.write('mine.txt', 'unsent');
      if (saved) await drive.check();
      const full = fullDisk();
      await expect(change()).rejects.toThrow('the disk is full');
      full.mockRestore();
      await sleep(700); // what nobody wants any more goes with the next save
      expect(await drive.read('mine.txt')).toBe('unsent');
      expect(await drive.check()).toEqual([]);
      await drive.cache.flush('', AbortSignal.timeout(5000));
      expect(remote.server.text('mine.txt')).toBe('unsent');
    });
  }
}

it('a write to a file that lost its name while it was open brings it back, also when the disk was full at first', async () => {
  expect(await drive.read('here.txt')).toBe('as the server has it');
  const file = await drive.open('here.txt', 'r+');
  remote.server.write('here.txt', 'another version');
  await drive.until('it shows', async () => (await drive.must('here.txt')).ino !== file.ino);
  const full = fullDisk();
  expect(() => file.write(0, Buffer.from('AS'), CALLER)).toThrow('the disk is full');
  full.mockRestore();
  await file.write(0, Buffer.from('AS'), CALLER);
  await file.flush(CALLER);
  file.release();
  const [copy = ''] = (await drive.list()).filter((name) => name.includes('conflict'));
  expect(await drive.read(copy)).toBe('AS the server has it');
  expect(await drive.read('here.txt')).toBe('another version');
});

it('a file that the disk does not take keeps no others open', async () => {
  const held = async () => {
    const links = await Promise.all(
      (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
    );
    return links.filter((link) => link.startsWith(join(drive.dir, 'content'))).length;
  };
  await drive.write('bad.txt', 'one');
  const { ino: bad } = await drive.must('bad.txt');
  const { sync, syncTimes } = ContentFile.prototype;
  const refused = new CloudError('io', 'test: a bad sector');
  const spies = [
    vi.spyOn(ContentFile.prototype, 'sync').mockImplementation(function (this: ContentFile) {
      return this.ino === bad ? Promise.reject(refused) : sync.call(this);
    }),
    vi.spyOn(ContentFile.prototype, 'syncTimes').mockImplementation(function (this: ContentFile) {
      return this.ino === bad ? Promise.reject(refused) : syncTimes.call(this);
    }),
  ];
  try {
    for (let i = 0; i < 20; i += 1) await drive.write(`good-${i}.txt`, 'text');
    await drive.until('all others are closed', async () => (await held()) <= 1);
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
});

describe('a large file that is sent while the disk takes it', () => {
  const CONTENT = 'in parts '.repeat(1000);

  async function writeLarge(): Promise<void> {
    remote.chunkedFrom_bytes = 1000;
    remote.uploadChunk_bytes = 1000;
    const file = await drive.open('large.txt', 'w');
    await file.write(0, Buffer.from(CONTENT), CALLER);
    await file.flush(CALLER);
    file.release();
  }

  it('is put in place only when the disk has it, and so is the note of where its parts are', async () => {
    let finish = () => {};
    const disk = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const sync = vi.spyOn(ContentFile.prototype, 'sync').mockImplementation(() => disk);
    const syncTimes = vi.spyOn(ContentFile.prototype, 'syncTimes').mockImplementation(() => disk);
    try {
      await writeLarge();
      const flushed = drive.cache.flush('', AbortSignal.timeout(5000));
      await drive.until('its parts are there', () => remote.bytesWritten === CONTENT.length);
      await sleep(100);
      expect(remote.server.paths()).not.toContain('large.txt');
      const cut = await killedFolder();
      const db = new Sqlite(join(cut, 'metadata.db'));
      const noted = () => db.prepare("SELECT upload_state FROM node WHERE name = 'large.txt'").pluck().get();
      expect(noted()).toBeNull();
      db.close();
      await rm(cut, { recursive: true });
      finish();
      await flushed;
      expect(remote.server.text('large.txt')).toBe(CONTENT);
    } finally {
      finish();
      sync.mockRestore();
      syncTimes.mockRestore();
    }
  });

  it('is not put in place when the disk does not take it', async () => {
    const refused = new CloudError('io', 'test: the disk is broken');
    const sync = vi.spyOn(ContentFile.prototype, 'sync').mockRejectedValue(refused);
    const syncTimes = vi.spyOn(ContentFile.prototype, 'syncTimes').mockRejectedValue(refused);
    try {
      await writeLarge();
      const flushed = drive.cache.flush('', AbortSignal.timeout(5000));
      await expect(flushed).rejects.toThrow('the disk is broken');
      expect(remote.server.paths()).not.toContain('large.txt');
    } finally {
      sync.mockRestore();
      syncTimes.mockRestore();
    }
    expect(await drive.read('large.txt')).toBe(CONTENT);
    await drive.cache.flush('', AbortSignal.timeout(5000));
    expect(remote.server.text('large.txt')).toBe(CONTENT);
  });
});

describe('a process that is killed', () => {
  it('loses nothing that was written to a new file, synced or not', async () => {
    const file = await drive.open('new.txt', 'w');
    await file.write(0, Buffer.from('first, '), CALLER);
    await file.write(7, Buffer.from('then more'), CALLER);
    const copy = await afterKill();
    expect(await copy.read('new.txt')).toBe('first, then more');
    await endOf(copy);
    file.release();
  });

  it('between a truncate and the bytes that follow leaves a file that is neither damaged nor a mixture', async () => {
    expect(await drive.read('here.txt')).toBe('as the server has it');
    const file = await drive.open('here.txt', 'w');
    const emptied = await afterKill();
    expect(await emptied.read('here.txt')).toBe('');
    await endOf(emptied);
    await file.write(0, Buffer.from('new'), CALLER);
    const begun = await afterKill();
    expect(await begun.read('here.txt')).toBe('new');
    await begun.cache.flush('', AbortSignal.timeout(5000));
    // Under its name, or beside what the copy before has sent.
    expect(remote.server.paths().map((path) => remote.server.text(path))).toContain('new');
    await endOf(begun);
    file.release();
  });

  for (const size_bytes of [0, 700_000]) {
    it(`before a file of which a part is here is cut to ${size_bytes} bytes leaves no zeros where nothing was fetched`, async () => {
      const whole = 'from the server '.repeat(200_000);
      remote.server.write('large.txt', whole);
      await drive.until('it is here', async () => (await drive.node('large.txt')) !== null);
      const file = await drive.open('large.txt', 'r+');
      await file.read(2_000_000, 10, CALLER);
      let finish = () => {};
      const disk = new Promise<void>((resolve) => {
        finish = resolve;
      });
      const durable = vi.spyOn(Database.prototype, 'durable').mockImplementation(() => disk);
      const cutting = drive.cache.setattr(file.ino, { size_bytes }, CALLER);
      const copy = await killedFolder();
      durable.mockRestore();
      finish();
      await cutting;
      file.release();
      const after = await openAgain(copy);
      expect(whole.startsWith(await after.read('large.txt'))).toBe(true);
      await after.cache.flush('large.txt', AbortSignal.timeout(5000));
      expect(whole.startsWith(remote.server.text('large.txt'))).toBe(true);
      await endOf(after);
    });
  }

  it('keeps what was written after a truncate that the disk refused', async () => {
    const whole = 'from the server '.repeat(200_000);
    remote.server.write('large.txt', whole);
    await drive.until('it is here', async () => (await drive.node('large.txt')) !== null);
    const file = await drive.open('large.txt', 'r+');
    await file.write(1_000_000, Buffer.from('before'), CALLER);
    await file.fsync(CALLER);
    const refused = vi.spyOn(ContentFile.prototype, 'truncate').mockImplementation(() => {
      throw new CloudError('no_space', 'test: the disk is full');
    });
    await expect((async () => drive.cache.setattr(file.ino, { size_bytes: 100 }, CALLER))()).rejects.toMatchObject({
      code: 'no_space',
    });
    refused.mockRestore();
    await file.write(2_000_000, Buffer.from('written after that'), CALLER);
    await file.fsync(CALLER);
    const expected = `${whole.slice(0, 1_000_000)}before${whole.slice(1_000_006, 2_000_000)}written after that${whole.slice(2_000_018)}`;
    const after = await openAgain(await killedFolder());
    expect((await after.read('large.txt')) === expected).toBe(true);
    await endOf(after);
    file.release();
  });

  it('never gets bytes of the old version back below what was truncated away', async () => {
    const file = await drive.open('here.txt', 'r+');
    await drive.cache.setattr(file.ino, { size_bytes: 3 }, CALLER);
    await drive.cache.setattr(file.ino, { size_bytes: 10 }, CALLER);
    await file.fsync(CALLER);
    const copy = await afterKill();
    expect(await copy.read('here.txt')).toBe('as \0\0\0\0\0\0\0');
    await endOf(copy);
    file.release();
  });

  it('while more of a changed and closed file still comes in loses nothing of the change', async () => {
    remote.server.write('large.txt', 'from the server '.repeat(200_000));
    await drive.until('it is here', async () => (await drive.node('large.txt')) !== null);
    remote.chunk_bytes = 4096;
    remote.chunkLatency_ms = 60;
    const file = await drive.open('large.txt', 'r+');
    await file.read(0, 10, CALLER);
    await file.write(1_000_000, Buffer.from('changed here'), CALLER);
    await file.flush(CALLER);
    file.release();
    // The rest of the block that was read for goes on coming; nobody waits for it.
    await sleep(700);
    const before = remote.bytesRead;
    await drive.until('more came', () => remote.bytesRead > before);
    const copy = await afterKill();
    const again = await copy.open('large.txt');
    expect(Buffer.from(await again.read(1_000_000, 12, CALLER)).toString()).toBe('changed here');
    again.release();
    await endOf(copy);
  });

  it('leaves nothing of files that were removed while they were open', async () => {
    const file = await drive.open('gone.txt', 'w');
    await file.write(0, Buffer.from('x'), CALLER);
    await file.fsync(CALLER);
    await drive.unlink('gone.txt');
    const copy = await afterKill();
    expect(await copy.list()).toEqual(['here.txt']);
    await endOf(copy);
    file.release();
  });
});

it('what a killed process had written is taken over by a later start when the disk is full at the first', async () => {
  const file = await drive.open('new.txt', 'w');
  await file.write(0, Buffer.from('written, not saved'), CALLER);
  const dir = await killedFolder();
  const { transaction } = Database.prototype;
  let count = 0;
  const full = vi.spyOn(Database.prototype, 'transaction').mockImplementation(function (this: Database, work) {
    count += 1;
    if (count === 2) throw new CloudError('no_space', 'test: the disk is full'); // the first says whose the cache is
    return transaction.call(this, work) as never;
  });
  const first = await openAgain(dir).catch((error: unknown) => error);
  full.mockRestore();
  if (first instanceof TestCache) await first.close();
  const copy = await openAgain(dir);
  expect(await copy.read('new.txt')).toBe('written, not saved');
  await endOf(copy);
  file.release();
});

it('a power cut is still known as one after a start that was refused', async () => {
  const file = await drive.open('here.txt', 'w'); // emptied, and the new content never reached the disk
  const dir = await killedFolder();
  const db = new Sqlite(join(dir, 'metadata.db'));
  db.exec("UPDATE setting SET value = 'another' WHERE key = 'boot'; INSERT INTO setting VALUES ('owner', 'anna')");
  db.close();
  await expect(openAgain(dir, { owner: 'bert' })).rejects.toThrow('of anna');
  const copy = await openAgain(dir, { owner: 'anna' });
  expect(await copy.read('here.txt')).toBe('as the server has it');
  await endOf(copy);
  file.release();
});

describe('the end of the last run', () => {
  const path = () => join(drive.dir, 'metadata.db');

  it('in good order is known, once', async () => {
    await drive.close();
    expect(await readdir(drive.dir)).toContain('metadata.db.clean');
    const first = await Database.open(path(), silentLog);
    expect(first.previousEnd).toBe('clean');
    expect(await readdir(drive.dir)).not.toContain('metadata.db.clean');
    await first.close(false);
    const second = await Database.open(path(), silentLog);
    expect(second.previousEnd).toBe('killed');
    await second.close(true);
  });

  it('tells a killed process from a restarted machine', async () => {
    await drive.close();
    const db = await Database.open(path(), silentLog);
    db.sql.prepare("UPDATE setting SET value = 'another' WHERE key = 'boot'").run();
    await db.close(false);
    const again = await Database.open(path(), silentLog);
    expect(again.previousEnd).toBe('power_cut');
    await again.close(true);
  });

  it('is not believed when the file is not the one that was left', async () => {
    await drive.close();
    const mark = await readFile(`${path()}.clean`, 'utf8');
    const db = await Database.open(path(), silentLog);
    db.sql.prepare("INSERT OR REPLACE INTO setting VALUES ('x', 'y')").run();
    await db.close(false);
    await (await import('node:fs/promises')).writeFile(`${path()}.clean`, mark);
    const again = await Database.open(path(), silentLog);
    expect(again.previousEnd).toBe('killed');
    await again.close(true);
  });
});
