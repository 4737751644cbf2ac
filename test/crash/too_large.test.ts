// A changed file that is larger than the cache makes room of what the server has as well. Killed in the middle of that, nothing
// of it may pass for zeros that somebody wrote.

import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { FsError } from '../support/fs_process.js';
import { eventually } from '../support/processes.js';
import { Random } from '../support/random.js';
import { useStage } from '../support/world.js';

const stage = useStage();
const SIZE_bytes = 24 << 20;

it.each([
  ['evict.before_record', 1],
  ['evict.after_record', 1],
  ['evict.after_record', 3],
] as const)('killed at %s, pass %d: it is sent as it was', async (point, pass) => {
  const server = await stage().ownServer();
  const bytes = new Random(1).bytes(SIZE_bytes);
  await server.dav.put('large', bytes);
  const drive = stage().drive(server, {
    env: { CLOUDMOUNT_CRASH_AT: `${point}:${pass}` },
    args: ['--cache-size', '5M', '--min-free', '0'],
  });
  const fs = stage().fs();
  await drive.mount();
  const path = drive.path('large');
  await eventually('the file', () => fs.exists(path));
  const fd = await fs.open(path, 'O_RDWR');
  await fs.pwrite(fd, 'changed here', 3_000_000);
  for (let at = 0; at < 2 << 20; at += 1 << 20) await fs.pread(fd, 1 << 20, at);
  await fs.fsync(fd); // the record claims what is here
  await fs.close(fd);
  bytes.write('changed here', 3_000_000);
  const failure = await fs.readFile(path).then(
    () => null,
    (error: unknown) => error,
  );
  expect(failure).toBeInstanceOf(FsError);
  expect(await drive.endedBy()).toBe('SIGKILL');
  await eventually('the guard to unmount', () => !drive.mounted);
  for (const name of await readdir(drive.dir)) await rm(join(drive.dir, name), { recursive: true });
  drive.change({ env: {}, args: ['--cache-size', '100M', '--min-free', '0'] });
  await drive.mount();
  await drive.flush();
  expect((await fs.readFile(path)).equals(bytes)).toBe(true);
  expect((await server.dav.get('large')).equals(bytes)).toBe(true);
  await drive.unmount();
});
