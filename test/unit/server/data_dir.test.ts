import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { prepareDataDir } from '../../../src/server/data_dir.js';
import { ServerLock } from '../../../src/server/server_lock.js';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cloudmount-data-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

it('a backup is not taken for the data of a server, and stays as it is', async () => {
  const backup = join(dir, 'backup');
  await mkdir(backup);
  await writeFile(join(backup, 'manifest.json'), '{}');
  await expect(prepareDataDir(backup)).rejects.toMatchObject({
    code: 'invalid',
    message: expect.stringContaining('cloudmount restore'),
  });
  expect(await readdir(backup)).toEqual(['manifest.json']);
});

it('where no folder can be, that is said, and at once', async () => {
  await expect(prepareDataDir('/proc/nowhere/data')).rejects.toMatchObject({
    message: expect.stringMatching(/\/proc\/nowhere\/data.*ENOENT/s) as string,
  });
});

it('a lock that cannot be opened, as one that root has made, is named with what to do', async () => {
  const data = await prepareDataDir(join(dir, 'data'));
  await mkdir(data.lockFile);
  await expect(ServerLock.acquire(data)).rejects.toMatchObject({
    code: 'io',
    message: expect.stringMatching(/locking .*server\.lock: .* is required, found: .* can be removed/) as string,
  });
});
