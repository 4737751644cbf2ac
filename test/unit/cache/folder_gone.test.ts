// The cache folder is moved away (or removed, or its disk unmounted) under a running drive.

import { existsSync, renameSync, rmSync } from 'node:fs';
import { expect, it } from 'vitest';
import { CloudError } from '../../../src/errors.js';
import { FakeRemote } from '../../support/fake_remote.js';
import { CALLER, TestCache } from '../../support/test_cache.js';

it('says that nothing is kept, and keeps it when it is back', async () => {
  const remote = new FakeRemote();
  let drive = await TestCache.open({ remote, quiet_ms: 0 });
  const { dir } = drive;
  const accept = remote.before('put', () => {
    throw new CloudError('quota', 'the server is full');
  });
  const old = await drive.open('old', 'w');
  await old.write(0, Buffer.from('old'), CALLER);
  await old.fsync(CALLER);
  expect(drive.cache.status().inPlace).toBe(true);

  renameSync(dir, `${dir}.away`);
  expect(drive.cache.status().inPlace).toBe(false);
  await old.write(3, Buffer.from(' and new'), CALLER);
  await expect(old.fsync(CALLER)).rejects.toMatchObject({ code: 'io' });
  await expect(drive.cache.fsyncDir(old.ino)).rejects.toMatchObject({ code: 'io' });
  await expect(drive.write('another', 'x')).rejects.toMatchObject({ code: 'io' });
  expect(await drive.check()).toEqual([expect.stringContaining('was removed or replaced while the drive uses it')]);
  expect(existsSync(dir)).toBe(false);
  await old.flush(CALLER);

  renameSync(`${dir}.away`, dir);
  await old.fsync(CALLER);
  old.release();
  expect(drive.cache.status().inPlace).toBe(true);
  expect((await drive.check()).join()).not.toContain('removed');
  await drive.close();
  accept();
  drive = await TestCache.open({ remote, dir, quiet_ms: 0 });
  await drive.flush();
  expect(remote.server.read('old').toString()).toBe('old and new');
  await drive.close();
  rmSync(dir, { recursive: true });
});
