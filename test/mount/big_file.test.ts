import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { must } from '../support/processes.js';
import { useStage } from '../support/world.js';

const GIB = 1024 ** 3;
const MIB = 1024 ** 2;
const stage = useStage();

it('4 KiB at the end of a 4 GiB file cost under 2 MiB of transfer', async () => {
  const server = await stage().ownServer();
  const fs = stage().fs();
  const writer = await stage().mount(server);
  const fd = await fs.open(writer.path('huge'), 'O_RDWR|O_CREAT');
  await fs.ftruncate(fd, 4 * GIB);
  await fs.pwrite(fd, 'the last words', 4 * GIB - 14);
  await fs.close(fd);
  await writer.flush('', 240);
  await writer.unmount();
  const link = await stage().link(server);
  const reader = await stage().mount(link);
  await fs.list(reader.dir);
  const before = link.proxy.received_bytes;
  const again = await fs.open(reader.path('huge'));
  const end = await fs.pread(again, 4096, 4 * GIB - 4096);
  expect(end.subarray(-14).toString()).toBe('the last words');
  await fs.close(again);
  expect(link.proxy.received_bytes - before).toBeLessThan(2 * MIB);
  await reader.unmount();
}, 300_000);

it('a large file copied in and out matches by checksum, and the daemon and the server stay small', async () => {
  const size = 512 * MIB;
  const server = await stage().ownServer();
  const fs = stage().fs();
  const drive = await stage().mount(server);
  const idle = drive.rss_bytes();
  const hash = await fs.fill(drive.path('large'), size, { seed: 41 });
  await drive.flush();
  const served = createHash('sha256');
  const answer = await fetch(`${server.login.root}large`, {
    headers: { authorization: `Basic ${btoa(`${server.login.user}:${server.login.password}`)}` },
  });
  if (answer.body === null) throw new Error('the server sent no body');
  for await (const chunk of answer.body) served.update(chunk as Uint8Array);
  expect(served.digest('hex')).toBe(hash);
  await drive.mustCli(['free', drive.path('large')]);
  expect((await fs.sha256(drive.path('large'))).sha256).toBe(hash);
  await must('cp', [drive.path('large'), join(stage().folder('out'), 'copy')], { timeout_ms: 100_000 });
  expect(drive.peakRss_bytes()).toBeLessThan(250 * MIB);
  expect(drive.rss_bytes()).toBeLessThan(idle + 128 * MIB);
  const serverPeak = Number(/VmHWM:\s+(\d+)/.exec(await must('cat', [`/proc/${server.pid}/status`]))?.[1]) * 1024;
  expect(serverPeak).toBeLessThan(300 * MIB);
  await drive.unmount();
});

it('a file larger than the whole cache is read from end to end', async () => {
  const server = await stage().ownServer();
  const fs = stage().fs();
  const writer = await stage().mount(server);
  const hash = await fs.fill(writer.path('large'), 96 * MIB, { seed: 42 });
  await writer.flush();
  await writer.unmount();
  const reader = await stage().mount(server, { args: ['--cache-size', '32M'] });
  expect((await fs.sha256(reader.path('large'))).sha256).toBe(hash);
  expect((await fs.sha256(reader.path('large'))).sha256).toBe(hash);
  const used = Number((await must('du', ['-s', '-B1', reader.cacheDir])).split('\t')[0]);
  expect(used).toBeLessThan(80 * MIB);
  await reader.unmount();
});
