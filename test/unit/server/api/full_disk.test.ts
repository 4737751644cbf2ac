// A disk that people have filled: what is there can be read and removed, also after a restart. Needs a small disk, and so root.

import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, rmdirSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { dataDirLayout } from '../../../../src/server/data_dir.js';
import { keepSpareRoom } from '../../../../src/spare_room.js';
import { TestServer } from './test_server.js';

let disk: string;
let server: TestServer;

beforeEach(async (context) => {
  context.skip(process.getuid?.() !== 0, 'only root mounts');
  disk = mkdtempSync(join(tmpdir(), 'cloudmount-disk-'));
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

const SHARES = '/ocs/v2.php/apps/files_sharing/api/v1/shares';

test('what takes no content does not fill the rest either', async () => {
  const name = (i: number) => `${i}`.padStart(250, 'n');
  const folder = Array.from({ length: 8 }, () => 'd'.repeat(250)).join('/');
  for (const [at] of [...folder].entries()) {
    if (folder[at] === '/') expect((await server.call('MKCOL', `/webdav/${folder.slice(0, at)}`)).status).toBe(201);
  }
  expect((await server.call('MKCOL', `/webdav/${folder}`)).status).toBe(201);
  for (const file of ['a', 'b', 'moved0']) expect((await PUT(`${folder}/${file}`, 0, 0)).status).toBe(201);
  for (const file of ['huge0', 'huge1']) expect((await PUT(file, 17_000_000, 0)).status).toBe(201);
  for (let i = 0, status = 201; status === 201; i++) status = (await PUT(`big${i}`, 500_000 + i, i)).status;
  const lockBody = `<d:lockinfo xmlns:d="DAV:"><d:lockscope><d:shared/></d:lockscope><d:locktype><d:write/></d:locktype></d:lockinfo>`;
  const properties = (i: number) =>
    `<d:propertyupdate xmlns:d="DAV:"><d:set><d:prop><p${i} xmlns="u:">${'p'.repeat(100_000)}</p${i}></d:prop></d:set></d:propertyupdate>`;
  const destination = (i: number) => ({ destination: `${server.url}/webdav/${folder}/moved${i}` });
  const ways: readonly ((i: number) => Promise<number>)[] = [
    async (i) => (await PUT(name(i), 0, 0)).status,
    async (i) => (await server.call('MKCOL', `/webdav/${folder}/${name(i)}`)).status,
    async (i) => (await server.call('LOCK', `/webdav/lock${i}`, { body: lockBody })).status,
    async () => (await server.call('LOCK', `/webdav/${folder}/b`, { headers: { 'x-user-lock': '1' } })).status,
    async (i) => (await server.call('PROPPATCH', '/webdav/big0', { body: properties(i) })).status,
    async (i) =>
      (await server.call('COPY', '/webdav/big0', { headers: { destination: `${server.url}/webdav/copy${i}` } })).status,
    async (i) => (await server.call('MKCOL', `/remote.php/dav/uploads/alice/${i}`)).status,
    async (i) => {
      const { status, body } = await server.call('POST', `${SHARES}?path=big0&shareType=3&note=${i}`, {
        headers: { 'ocs-apirequest': 'true' },
      });
      // Whoever asks in OCS is answered in OCS.
      if (status !== 200) expect(String(body)).toContain(`<status>failure</status><statuscode>${status}</statuscode>`);
      return status;
    },
    async (i) => (await server.call('MOVE', `/webdav/${folder}/moved${i}`, { headers: destination(i + 1) })).status,
  ];
  for (const way of ways) {
    let status = 0;
    for (let i = 0; status < 300 && i < 5000; i++) status = await way(i);
    expect([ways.indexOf(way), status]).toEqual([ways.indexOf(way), 507]);
  }
  for (const file of [`${folder}/a`, 'huge0', 'huge1']) {
    expect((await server.call('DELETE', `/webdav/${file}`)).status).toBe(204);
  }
}, 120_000);

/** As another program does it, to the last byte. */
function fill(): void {
  const file = openSync(join(disk, 'log'), 'w');
  try {
    for (let size = 1 << 20; size > 0; size >>= 1) {
      try {
        for (;;) writeSync(file, Buffer.alloc(size, 1));
      } catch (error) {
        expect((error as NodeJS.ErrnoException).code).toBe('ENOSPC');
      }
    }
  } finally {
    closeSync(file);
  }
  expect(statfsSync(disk).bavail).toBe(0);
}

const free = (): number => statfsSync(disk).bavail * statfsSync(disk).bsize;

test('where others have filled it to the last byte the server starts, is read and removed from, and takes nothing', async () => {
  const dataDir = join(disk, 'data');
  const dir = dataDirLayout(dataDir);
  expect((await PUT('huge', 17_000_000, 1)).status).toBe(201);
  expect((await PUT('small', 1000, 1)).status).toBe(201);
  await keepSpareRoom(dir, free());
  for (const isRunning of [false, true]) {
    if (!isRunning) await server.stop();
    fill();
    if (!isRunning) await server.run({ dataDir });
    else await new Promise((resolve) => setTimeout(resolve, 2100)); // how long free room is believed
    const isTold = server.lines.some(
      ({ level, message }) => level === 'warn' && message.startsWith('the disk is full'),
    );
    if (!isRunning) expect([isTold, existsSync(dir.spare)]).toEqual([true, false]);
    expect((await server.call('GET', '/webdav/huge')).body).toHaveLength(17_000_000);
    expect((await server.call('PROPFIND', '/webdav/', { headers: { depth: '1' } })).status).toBe(207);
    for (const bytes of [0, 1000, 2_000_000]) expect((await PUT('more', bytes, 1)).status).toBe(507);
    expect((await server.call('MKCOL', '/webdav/folder')).status).toBe(507);
    // The first that is refused gives up the room for the next.
    const statuses = [];
    for (let i = 0; i < 2; i++) statuses.push((await server.call('DELETE', '/webdav/small')).status);
    expect(statuses).toContain(204);
    rmSync(join(disk, 'log'));
    expect((await PUT('small', 1000, 1)).status).toBe(201);
    await keepSpareRoom(dir, free());
    expect(existsSync(dir.spare)).toBe(true);
  }
  // Without it a start says what is wrong.
  await server.stop();
  rmSync(dir.spare);
  fill();
  await expect(server.run({ dataDir })).rejects.toMatchObject({ code: 'no_space' });
  rmSync(join(disk, 'log'));
  await server.run({ dataDir });
}, 60_000);
