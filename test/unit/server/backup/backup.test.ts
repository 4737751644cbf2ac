import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  access,
  cp,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { backup } from '../../../../src/server/backup/backup.js';
import { copyBlobFile } from '../../../../src/server/backup/blob_files.js';
import { backupRuns, takeBackupLease } from '../../../../src/server/backup/lease.js';
import { restore } from '../../../../src/server/backup/restore.js';
import { dataDirLayout } from '../../../../src/server/data_dir.js';
import { TestServer } from '../api/test_server.js';

let server: TestServer;
let scratch: string;
let target: string;

beforeEach(async () => {
  server = await TestServer.start();
  scratch = await mkdtemp(join(tmpdir(), 'backup-'));
  target = join(scratch, 'backup');
});

afterEach(async () => {
  await server.end();
  await rm(scratch, { recursive: true, force: true });
});

const put = async (path: string, body: string | Buffer) => {
  expect((await server.call('PUT', `/webdav/${path}`, { body })).status).toBeLessThan(300);
};

async function blobNames(dir: string): Promise<string[]> {
  const objects = join(dir, 'blobs', 'objects');
  const names: string[] = [];
  for (const shard of await readdir(objects)) {
    for (const name of await readdir(join(objects, shard))) names.push(shard + name);
  }
  return names.sort();
}

/** Runs `work` against a server on the restored folder. */
async function onRestored(dataDir: string, work: () => Promise<void>): Promise<void> {
  const own = server;
  await own.stop();
  await own.run({ dataDir });
  try {
    await work();
  } finally {
    await own.stop();
    await own.run();
  }
}

describe('a backup', () => {
  test('restored elsewhere has every file, user, property and token', async () => {
    const big = randomBytes(3_000_000);
    await server.call('MKCOL', '/webdav/d');
    await put('d/big.bin', big);
    await put('d/small.txt', 'small');
    await put(encodeURIComponent('näme %'), 'special');
    const patch = `<propertyupdate xmlns="DAV:"><set><prop><color xmlns="urn:x">blue</color></prop></set></propertyupdate>`;
    await server.call('PROPPATCH', '/webdav/d/small.txt', { body: patch });
    const { secret } = await server.running.accounts.createToken('bert', 'phone');
    const result = await backup(server.dataDir, target);
    expect(result).toMatchObject({
      added: 1,
      manifest: {
        version: 1,
        contents: { count: 1, size_bytes: 3_000_000 },
        // As people count: small ones, which are in the database, too.
        files: { users: (await server.running.accounts.list()).length, count: 3, size_bytes: 3_000_012 },
      },
    });

    for (const name of await readdir(target)) {
      expect((await stat(join(target, name))).mode & 0o077, name).toBe(0);
    }

    const restored = join(scratch, 'restored');
    expect(await restore(target, restored)).toMatchObject({
      dataDir: restored,
      contents: 1,
      files: result.manifest.files,
      previous: null,
    });
    expect((await stat(restored)).mode & 0o777).toBe(0o700);
    await onRestored(restored, async () => {
      expect((await server.call('GET', '/webdav/d/big.bin')).body.equals(big)).toBe(true);
      expect((await server.call('GET', '/webdav/d/small.txt')).text).toBe('small');
      expect((await server.call('GET', `/webdav/${encodeURIComponent('näme %')}`)).text).toBe('special');
      expect((await server.call('PROPFIND', '/webdav/d/small.txt', { headers: { depth: '0' } })).text).toContain(
        'blue',
      );
      expect((await server.call('PROPFIND', '/webdav/', { user: 'bert', password: secret })).status).toBe(207);
    });
  });

  test('taken while files are written is of one moment', async () => {
    // Pairs are written one after the other: a snapshot that has `b7` must have `a7`, and contents that fit.
    let round = 0;
    let stop = false;
    const content = (name: string, n: number) => Buffer.alloc(100_000 + n, `${name}${n} `);
    const writer = (async () => {
      while (!stop) {
        await put('a', content('a', round));
        await put('b', content('b', round));
        round += 1;
      }
    })();
    const results: string[] = [];
    for (let i = 0; i < 5; i++) {
      await backup(server.dataDir, target);
      const restored = join(scratch, `restored-${i}`);
      await restore(target, restored);
      results.push(restored);
    }
    stop = true;
    await writer;
    for (const restored of results) {
      await onRestored(restored, async () => {
        const numbers = [];
        for (const name of ['a', 'b']) {
          const { status, body } = await server.call('GET', `/webdav/${name}`);
          if (status === 404) continue;
          const n = body.length - 100_000;
          expect(body.equals(content(name, n))).toBe(true);
          numbers.push(n);
        }
        const [a = 0, b = a] = numbers;
        expect([0, 1]).toContain(a - b);
      });
    }
    expect(round).toBeGreaterThan(0);
  });

  test('again copies only what is new and drops what is gone', async () => {
    await put('keep', Buffer.alloc(100_000, 'k'));
    await put('drop', Buffer.alloc(100_000, 'd'));
    expect(await backup(server.dataDir, target)).toMatchObject({ added: 2 });
    await put('more', Buffer.alloc(100_000, 'm'));
    await server.call('DELETE', '/webdav/drop');
    const second = await backup(server.dataDir, target);
    expect(second).toMatchObject({ added: 1, added_bytes: 100_000, manifest: { contents: { count: 2 } } });
    const hashes = ['k', 'm'].map((fill) => createHash('sha256').update(Buffer.alloc(100_000, fill)).digest('hex'));
    expect(await blobNames(target)).toEqual(hashes.sort());
    expect((await readdir(target)).sort()).toEqual([
      'backup.lock',
      'blobs',
      'manifest.json',
      second.manifest.database.file,
    ]);
  });

  test('that fails leaves the one before whole', async () => {
    await put('one', Buffer.alloc(100_000, '1'));
    const first = await backup(server.dataDir, target);
    await put('two', Buffer.alloc(100_000, '2'));
    const [gone = ''] = (await blobNames(server.dataDir)).filter(
      (name) => name === createHash('sha256').update(Buffer.alloc(100_000, '2')).digest('hex'),
    );
    await rm(join(server.dataDir, 'blobs', 'objects', gone.slice(0, 2), gone.slice(2)));
    await expect(backup(server.dataDir, target)).rejects.toMatchObject({ code: 'corrupt' });
    expect(JSON.parse(await readFile(join(target, 'manifest.json'), 'utf8'))).toEqual(first.manifest);
    await restore(target, join(scratch, 'restored'));
    await onRestored(join(scratch, 'restored'), async () => {
      expect((await server.call('GET', '/webdav/one')).body.length).toBe(100_000);
    });
  });

  test('two at once into one folder: one is refused, and what is there is whole', async () => {
    for (let i = 0; i < 20; i++) await put(`f${i}`, Buffer.alloc(100_000 + i, String(i)));
    await backup(server.dataDir, target);
    await put('more', Buffer.alloc(100_000, 'm'));
    const both = await Promise.allSettled([backup(server.dataDir, target), backup(server.dataDir, target)]);
    const [refused] = both.flatMap((one) => (one.status === 'rejected' ? [one.reason as unknown] : []));
    expect(refused).toMatchObject({ code: 'busy', message: expect.stringContaining(target) });
    await restore(target, join(scratch, 'restored'));
    await onRestored(join(scratch, 'restored'), async () => {
      expect((await server.call('GET', '/webdav/more')).body.length).toBe(100_000);
    });
    expect(await backup(server.dataDir, target)).toMatchObject({ added: 0 });
  });

  test('is whole also where cleaning up after it does not go as it should', async () => {
    await put('one', Buffer.alloc(100_000, '1'));
    await backup(server.dataDir, target);
    await put('two', Buffer.alloc(100_000, '2'));
    // Of another program: what stands here is a folder otherwise.
    await writeFile(join(target, 'blobs', 'objects', '.DS_Store'), 'x');
    await mkdir(join(target, 'blobs', 'objects', '00', 'deep'), { recursive: true });
    await backup(server.dataDir, target).catch(() => undefined);
    await restore(target, join(scratch, 'restored'));
    await onRestored(join(scratch, 'restored'), async () => {
      expect((await server.call('GET', '/webdav/two')).body.length).toBe(100_000);
    });
  });

  test('of a folder no server runs on, stopped or killed', async () => {
    await put('f', Buffer.alloc(100_000, 'f'));
    const killed = join(scratch, 'killed');
    // What a kill leaves: the log not yet in the database, nobody's shared memory.
    await cp(server.dataDir, killed, { recursive: true });
    await rm(join(killed, 'cloudmount.db-shm'));
    expect((await stat(join(killed, 'cloudmount.db-wal'))).size).toBeGreaterThan(0);
    expect(await backup(killed, target)).toMatchObject({ manifest: { contents: { count: 1 } } });
    await server.stop();
    expect(await backup(server.dataDir, join(scratch, 'second'))).toMatchObject({
      manifest: { contents: { count: 1 } },
    });
    await server.run();
  });

  test('can be interrupted and taken up again', async () => {
    for (let i = 0; i < 5; i++) await put(`f${i}`, Buffer.alloc(100_000, String(i)));
    const abort = new AbortController();
    const interrupted = backup(server.dataDir, target, {
      signal: abort.signal,
      onProgress: ({ done }) => {
        if (done === 3) abort.abort();
      },
    });
    await expect(interrupted).rejects.toMatchObject({ code: 'interrupted' });
    await expect(access(join(target, 'manifest.json'))).rejects.toThrow();
    expect(await backup(server.dataDir, target)).toMatchObject({ added: 2, manifest: { contents: { count: 5 } } });
  });

  test('tells how far it is', async () => {
    for (let i = 0; i < 3; i++) await put(`f${i}`, Buffer.alloc(100_000, String(i)));
    const seen: number[] = [];
    await backup(server.dataDir, target, {
      onProgress: ({ done, total, done_bytes, total_bytes }) => {
        expect([total, total_bytes, done_bytes]).toEqual([3, 300_000, done * 100_000]);
        seen.push(done);
      },
    });
    expect(seen).toEqual([1, 2, 3]);
  });

  test('goes into no folder with other things in it, and not into the data', async () => {
    await mkdir(target);
    await writeFile(join(target, 'photo.jpg'), 'mine');
    await expect(backup(server.dataDir, target)).rejects.toMatchObject({
      code: 'exists',
      message: expect.stringContaining('photo.jpg'),
    });
    await expect(backup(server.dataDir, join(server.dataDir, 'backup'))).rejects.toMatchObject({ code: 'invalid' });
    await expect(backup(scratch, join(scratch, 'x'))).rejects.toMatchObject({ code: 'not_found' });
    await expect(access(join(scratch, 'x'))).rejects.toThrow();
  });

  test('holds its lease only while it runs', async () => {
    const dir = dataDirLayout(server.dataDir);
    await put('f', Buffer.alloc(100_000));
    const during: boolean[] = [];
    await backup(server.dataDir, target, { onProgress: () => during.push(backupRuns(dir, Date.now())) });
    expect(during).toEqual([true]);
    expect(backupRuns(dir, Date.now())).toBe(false);
    const giveBack = await takeBackupLease(dir);
    const [lease = ''] = (await readdir(dir.root)).filter((name) => name.endsWith('.lease'));
    await utimes(join(dir.root, lease), 1000, 1000);
    expect(backupRuns(dir, Date.now())).toBe(false);
    giveBack();
  });

  test('that was killed while the clock was ahead keeps nothing from being collected for years', async () => {
    const dir = dataDirLayout(server.dataDir);
    const giveBack = await takeBackupLease(dir);
    const [lease = ''] = (await readdir(dir.root)).filter((name) => name.endsWith('.lease'));
    await utimes(join(dir.root, lease), 2_500_000_000, 2_500_000_000);
    expect(backupRuns(dir, Date.now())).toBe(false);
    giveBack();
  });

  test('keeps its lease when another one ends', async () => {
    const dir = dataDirLayout(server.dataDir);
    const giveBackFirst = await takeBackupLease(dir);
    const giveBackSecond = await takeBackupLease(dir);
    giveBackFirst();
    expect(backupRuns(dir, Date.now())).toBe(true);
    giveBackSecond();
    expect(backupRuns(dir, Date.now())).toBe(false);
  });
});

describe('where a backup cannot be written or read', () => {
  test('it is told in one sentence', async () => {
    const file = join(scratch, 'file');
    await writeFile(file, '');
    for (const place of [file, join(file, 'below')]) {
      await expect(backup(server.dataDir, place)).rejects.toMatchObject({
        name: 'CloudError',
        message: expect.stringMatching(/^backup to .*: it must be a folder this user can write to; E/) as string,
      });
    }
    // What is there and cannot be read is not said to be missing.
    const unreadable = join(scratch, 'unreadable');
    await mkdir(unreadable);
    await symlink('cloudmount.db', join(unreadable, 'cloudmount.db'));
    await expect(backup(unreadable, target)).rejects.toMatchObject({
      message: expect.stringContaining('ELOOP') as string,
    });
  });
});

describe('copying a content', () => {
  test('verifies what it copies', async () => {
    const data = randomBytes(2_500_000);
    const blob = { sha256: createHash('sha256').update(data).digest('hex'), size_bytes: data.length };
    const from = join(scratch, 'from');
    const to = join(scratch, 'deep', 'to');
    await writeFile(from, data);
    await copyBlobFile(from, to, blob);
    expect((await readFile(to)).equals(data)).toBe(true);
    data[1_000_000] = (data[1_000_000] ?? 0) ^ 1;
    await writeFile(from, data);
    await rm(to);
    await expect(copyBlobFile(from, to, blob)).rejects.toMatchObject({ code: 'corrupt' });
    expect(await readdir(join(scratch, 'deep'))).toEqual([]);
  });
});

describe('a restore', () => {
  beforeEach(async () => {
    await put('f', Buffer.alloc(100_000, 'f'));
    await backup(server.dataDir, target);
  });

  test('does not touch a folder with something in it', async () => {
    const occupied = join(scratch, 'occupied');
    await mkdir(occupied);
    await writeFile(join(occupied, 'mine'), 'mine');
    await expect(restore(target, occupied)).rejects.toMatchObject({ code: 'not_empty' });
    expect(await readdir(occupied)).toEqual(['mine']);
  });

  test('with force puts it aside, whole', async () => {
    const occupied = join(scratch, 'occupied');
    await mkdir(occupied);
    await writeFile(join(occupied, 'mine'), 'mine');
    const { previous } = await restore(target, occupied, { force: true });
    expect(previous).not.toBeNull();
    expect(await readFile(join(previous ?? '', 'mine'), 'utf8')).toBe('mine');
    await onRestored(occupied, async () => {
      expect((await server.call('GET', '/webdav/f')).status).toBe(200);
    });
  });

  test('goes where a symlink leads, which is a disk of its own as a rule', async () => {
    await mkdir(join(scratch, 'disk', 'cloud'), { recursive: true });
    await writeFile(join(scratch, 'disk', 'cloud', 'mine'), 'mine');
    await symlink(join('disk', 'cloud'), join(scratch, 'cloud'));
    const { dataDir, previous } = await restore(target, join(scratch, 'cloud'), { force: true });
    expect(dataDir).toBe(join(scratch, 'disk', 'cloud'));
    expect((await lstat(join(scratch, 'cloud'))).isSymbolicLink()).toBe(true);
    expect(await blobNames(join(scratch, 'disk', 'cloud'))).toHaveLength(1);
    expect(await readdir(previous ?? '')).toContain('mine');
  });

  test.runIf(process.getuid?.() === 0)('says before it begins that a mount point stays where it is', async () => {
    const volume = join(scratch, 'volume');
    await mkdir(volume);
    execFileSync('mount', ['-t', 'tmpfs', 'none', volume]);
    try {
      for (const what of ['empty', 'with something in it']) {
        const steps: unknown[] = [];
        const options = { force: true, onProgress: (step: unknown) => void steps.push(step) };
        await expect(restore(target, volume, options), what).rejects.toMatchObject({
          code: 'invalid',
          message: expect.stringContaining(join(volume, 'cloud')),
        });
        expect(steps).toEqual([]);
        await writeFile(join(volume, 'mine'), 'mine');
      }
      expect(await readdir(volume)).toEqual(['mine']);
      await restore(target, join(volume, 'cloud'));
      expect(await blobNames(join(volume, 'cloud'))).toHaveLength(1);
    } finally {
      execFileSync('umount', [volume]);
    }
  });

  test('never goes under a running server', async () => {
    await expect(restore(target, server.dataDir, { force: true })).rejects.toMatchObject({
      code: 'busy',
      message: expect.stringContaining(`process ${process.pid}`),
    });
    expect((await server.call('GET', '/webdav/f')).status).toBe(200);
  });

  test('takes an empty folder, and makes a missing one', async () => {
    const empty = join(scratch, 'empty');
    await mkdir(empty);
    await restore(target, empty);
    await restore(target, join(scratch, 'new', 'deep'));
    for (const dir of [empty, join(scratch, 'new', 'deep')]) expect(await blobNames(dir)).toHaveLength(1);
  });

  test.each([
    [
      'a damaged content',
      'corrupt',
      async () => {
        const [name = ''] = await blobNames(target);
        const file = join(target, 'blobs', 'objects', name.slice(0, 2), name.slice(2));
        await rm(file);
        await writeFile(file, Buffer.alloc(100_000, 'x'));
      },
    ],
    [
      'a missing content',
      'corrupt',
      async () => {
        await rm(join(target, 'blobs'), { recursive: true });
      },
    ],
    [
      'a damaged database',
      'corrupt',
      async () => {
        const [name = ''] = (await readdir(target)).filter((entry) => entry.endsWith('.db'));
        const file = join(target, name);
        const data = await readFile(file);
        data[data.length - 10] = (data[data.length - 10] ?? 0) ^ 1;
        await writeFile(file, data);
      },
    ],
    [
      'a manifest of a newer program',
      'unsupported',
      async () => {
        const file = join(target, 'manifest.json');
        await writeFile(file, (await readFile(file, 'utf8')).replace('"version": 1', '"version": 2'));
      },
    ],
    [
      'a manifest that leads elsewhere',
      'corrupt',
      async () => {
        const file = join(target, 'manifest.json');
        await writeFile(file, (await readFile(file, 'utf8')).replace('"metadata-', '"../metadata-'));
      },
    ],
    [
      'no manifest',
      'not_found',
      async () => {
        await rm(join(target, 'manifest.json'));
      },
    ],
  ])('of a backup with %s restores nothing', async (_what, code, damage) => {
    await damage();
    const restored = join(scratch, 'restored');
    await expect(restore(target, restored)).rejects.toMatchObject({ code });
    expect((await readdir(scratch)).sort()).toEqual(['backup']);
  });

  test('starts a new history: sync tokens of later times are void', async () => {
    const report = (token: string) =>
      `<sync-collection xmlns="DAV:"><sync-token>${token}</sync-token><sync-level>infinite</sync-level><prop><getetag/></prop></sync-collection>`;
    await put('later', 'x');
    const listing = await server.call('REPORT', '/webdav/', { body: report('') });
    const token = /<d:sync-token>([^<]*)</.exec(listing.text)?.[1] ?? '';
    expect((await server.call('REPORT', '/webdav/', { body: report(token) })).status).toBe(207);
    await restore(target, join(scratch, 'restored'));
    await onRestored(join(scratch, 'restored'), async () => {
      const answer = await server.call('REPORT', '/webdav/', { body: report(token) });
      expect(answer.status).toBe(403);
      expect(answer.text).toContain('valid-sync-token');
    });
  });

  test('gives nothing the file id of what was made and lost, in an earlier restore of the same backup neither', async () => {
    const made = async (name: string): Promise<string> => {
      expect((await server.call('MKCOL', `/webdav/${name}`)).status).toBe(201);
      const { text } = await server.call('PROPFIND', `/webdav/${name}`, {
        headers: { depth: '0' },
        body: '<propfind xmlns="DAV:"><prop><fileid xmlns="http://owncloud.org/ns"/></prop></propfind>',
      });
      return /fileid>(\d+)</.exec(text)?.[1] ?? '';
    };
    const ids = [await made('lost')];
    for (const name of ['once', 'twice']) {
      await restore(target, join(scratch, name));
      await onRestored(join(scratch, name), async () => void ids.push(await made('new'), await made('newer')));
    }
    expect(ids.every((id) => /^\d+$/.test(id))).toBe(true);
    expect(new Set(ids).size).toBe(ids.length);
  });

  test.each([
    ['shares', ['before']],
    ['no share', []],
  ])('of a backup with %s gives no new share the number of one that was lost', async (_what, before) => {
    const shared = async (path: string): Promise<string> => {
      await put(path, 'x');
      const { status, text } = await server.call(
        'POST',
        `/ocs/v2.php/apps/files_sharing/api/v1/shares?path=/${path}&shareType=3`,
        { headers: { 'ocs-apirequest': 'true' } },
      );
      expect(status).toBe(200);
      return /<id>(\d+)</.exec(text)?.[1] ?? '';
    };
    for (const path of before) await shared(path);
    await backup(server.dataDir, target);
    const ids = [await shared('lost'), await shared('gone')];
    await restore(target, join(scratch, 'restored'));
    await onRestored(join(scratch, 'restored'), async () => void ids.push(await shared('new'), await shared('newer')));
    expect(ids.every((id) => /^\d+$/.test(id))).toBe(true);
    expect(new Set(ids).size).toBe(ids.length);
  });
});
