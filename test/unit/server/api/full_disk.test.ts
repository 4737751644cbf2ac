// A disk that people have filled: what is there can be read and removed, also after a restart. Needs a small disk, and so root.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { TestServer } from './test_server.js';

const disk = mkdtempSync(join(tmpdir(), 'cloudmount-disk-'));
let server: TestServer;

beforeEach(async (context) => {
  context.skip(process.getuid?.() !== 0, 'only root mounts');
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=128m', 'none', disk]);
  server = await TestServer.start({ dataDir: join(disk, 'data') });
});

afterEach(async () => {
  if (process.getuid?.() !== 0) return;
  await server.end();
  execFileSync('umount', [disk]);
  rmdirSync(disk);
});

const PUT = (name: string, bytes: number, at: number) =>
  server.call('PUT', `/webdav/${name}`, { body: Buffer.alloc(bytes, at) });

test('who has filled the disk can make room again', async () => {
  const uploads = '/remote.php/dav/uploads/alice/u';
  expect((await server.call('MKCOL', uploads)).status).toBe(201);
  // With contents of their own, with chunks, and with what is kept in the database.
  const ways: readonly ((i: number) => Promise<number>)[] = [
    async (i) => (await PUT(`huge${i}`, 17_000_000 + i, i)).status,
    async (i) => (await server.call('PUT', `${uploads}/${50 + i}`, { body: Buffer.alloc(17_000_000, i) })).status,
    async (i) => (await PUT(`big${i}`, 2_000_000, i)).status,
    async (i) => (await server.call('PUT', `${uploads}/${i}`, { body: Buffer.alloc(300_000, i) })).status,
    async (i) => (await PUT(`small${i}`, 60_000, i)).status,
    async (i) => (await PUT(`tiny${i}`, 1000, i)).status,
  ];
  for (const way of ways) {
    let status = 201;
    for (let i = 0; status === 201 && i < 100; i++) status = await way(i);
    expect(status).toBe(507);
  }
  for (let i = 0; i < 3; i++) expect((await server.call('DELETE', `/webdav/huge${i}`)).status).toBe(204);
  await server.stop();
  await server.run({ dataDir: join(disk, 'data') });
  expect((await server.call('GET', '/webdav/huge3')).body).toHaveLength(17_000_003);
  expect((await server.call('DELETE', '/webdav/huge3')).status).toBe(204);
}, 60_000);
