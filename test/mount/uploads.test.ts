import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { mustCli } from '../support/cli.js';
import { eventually } from '../support/processes.js';
import { errno, useStage } from '../support/world.js';

const MIB = 1024 ** 2;
const stage = useStage();

it('--write-through: close waits for the server', async () => {
  const server = await stage().server('cloudmount');
  const drive = await stage().mount(server, { args: ['--write-through'] });
  const fs = stage().fs();
  for (let i = 0; i < 5; i++) {
    await fs.writeFile(drive.path('file'), `version ${i}`);
    expect(await server.dav.text('file')).toBe(`version ${i}`);
  }
  await drive.unmount();
});

it('quota exceeded: the file stays, marked failed with the reason; freeing space lets it go through', async () => {
  const server = await stage().ownServer();
  await mustCli(['user', 'quota', 'alice', '1M', '--data', server.data]);
  const drive = await stage().mount(server);
  const fs = stage().fs();
  const hash = await fs.fill(drive.path('too-big'), 3 * MIB, { seed: 61 });
  await eventually('the failure to be shown', async () => {
    const status = await fs.getxattr(drive.path('too-big'), 'user.cloudmount.status');
    return status.toString() === 'failed';
  });
  expect((await fs.getxattr(drive.path('too-big'), 'user.cloudmount.error')).toString()).not.toBe('');
  expect((await drive.cli(['status', '--json'])).stdout).toContain('too-big');
  expect((await fs.sha256(drive.path('too-big'))).sha256).toBe(hash);
  await drive.remount();
  expect((await fs.sha256(drive.path('too-big'))).sha256).toBe(hash);
  await mustCli(['user', 'quota', 'alice', '10M', '--data', server.data]);
  await drive.flush();
  expect((await server.dav.get('too-big')).length).toBe(3 * MIB);
  await drive.unmount();
});

it('discard is what throws local changes away, and nothing else does', async () => {
  const server = await stage().ownServer();
  await server.dav.put('file', 'on the server');
  const drive = await stage().mount(server);
  const fs = stage().fs();
  expect(await fs.readText(drive.path('file'))).toBe('on the server');
  await mustCli(['user', 'quota', 'alice', '1K', '--data', server.data]);
  const regretted = 'a change I regret '.repeat(200);
  await fs.writeFile(drive.path('file'), regretted);
  await eventually('the upload to be refused', async () =>
    (await fs.getxattr(drive.path('file'), 'user.cloudmount.status')).equals(Buffer.from('failed')),
  );
  await drive.mustCli(['free', drive.dir]);
  await drive.remount();
  expect(await fs.readText(drive.path('file'))).toBe(regretted);
  await drive.mustCli(['discard', drive.path('file'), '--yes']);
  await eventually(
    'the version of the server',
    async () => (await fs.readText(drive.path('file'))) === 'on the server',
  );
  await drive.flush();
  expect(await server.dav.text('file')).toBe('on the server');
  await drive.unmount();
});

it('an upload that is cut, or whose server dies, is resumed and arrives whole', async () => {
  const server = await stage().ownServer();
  const link = await stage().link(server, { rate_bitsPerSecond: 200_000_000 });
  const drive = await stage().mount(link);
  const fs = stage().fs();
  const hash = await fs.fill(drive.path('large'), 40 * MIB, { seed: 62 });
  for (let i = 0; i < 3; i++) {
    const before = link.proxy.sent_bytes;
    await eventually('some of it to be sent', () => link.proxy.sent_bytes > before + 4 * MIB);
    link.proxy.cut = true;
    link.proxy.cut = false;
  }
  await server.stop('SIGKILL');
  await server.start();
  await drive.flush();
  expect(
    createHash('sha256')
      .update(await server.dav.get('large'))
      .digest('hex'),
  ).toBe(hash);
  expect(await server.dav.list()).toEqual(['large']);
  await drive.unmount();
});

it('half an upload is never visible on the server', async () => {
  const server = await stage().ownServer();
  await server.dav.put('file', 'the whole old version');
  const link = await stage().link(server, { rate_bitsPerSecond: 50_000_000 });
  const drive = await stage().mount(link);
  const fs = stage().fs();
  await fs.fill(drive.path('file'), 8 * MIB, { seed: 63 });
  const seen = new Set<number>();
  await eventually('the upload to be complete', async () => {
    seen.add((await server.dav.get('file')).length);
    return seen.has(8 * MIB);
  });
  expect([...seen].sort((a, b) => a - b)).toEqual([21, 8 * MIB]);
  await drive.unmount();
});

it('a writer faster than the network is slowed, the cache limit holds, and every byte arrives', async () => {
  const server = await stage().ownServer();
  const link = await stage().link(server, { rate_bitsPerSecond: 160_000_000 });
  const drive = await stage().mount(link, { args: ['--cache-size', '24M'] });
  const fs = stage().fs();
  const hashes: string[] = [];
  for (let i = 0; i < 8; i++) hashes.push(await fs.fill(drive.path(`f${i}`), 8 * MIB, { seed: 70 + i }));
  await drive.flush();
  for (const [i, hash] of hashes.entries()) expect((await fs.sha256(drive.path(`f${i}`))).sha256).toBe(hash);
  await drive.unmount();
});

it('a cache that is full of dirty data while offline gives ENOSPC and loses nothing', async () => {
  const server = await stage().ownServer();
  const link = await stage().link(server);
  const drive = await stage().mount(link, { args: ['--cache-size', '16M', '--timeout', '2'] });
  const fs = stage().fs();
  // What is in a folder that was never listed cannot be known without the server.
  expect(await fs.list(drive.dir)).toEqual([]);
  link.proxy.cut = true;
  const kept: [string, string][] = [];
  let refused: string | null = null;
  for (let i = 0; i < 12 && refused === null; i++) {
    const answer = await fs.ask({ op: 'fill', path: drive.path(`f${i}`), size: 4 * MIB, seed: i, sync: true }, 110_000);
    if ('errno' in answer) refused = answer.errno;
    else kept.push([`f${i}`, String(answer.ok)]);
  }
  expect(refused).toBe('ENOSPC');
  for (const [name, hash] of kept) expect((await fs.sha256(drive.path(name))).sha256).toBe(hash);
  link.proxy.cut = false;
  await drive.flush();
  for (const [name] of kept) expect((await server.dav.get(name)).length).toBe(4 * MIB);
  await expect(fs.stat(drive.path('never'))).rejects.toMatchObject(errno('ENOENT'));
  await drive.unmount();
});
