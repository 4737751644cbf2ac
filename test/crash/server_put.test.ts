// kill -9 of the server while an upload runs: the file is the old version, whole, or (once answered) the new one. What
// was answered is there after the restart; what was not leaves no trace.

import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { OwnServer } from '../support/servers.js';

let dir: string;
let server: OwnServer;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'crash-put-'));
  server = await OwnServer.open(dir);
});
afterEach(async () => {
  await server?.stop('SIGKILL');
  await rm(dir, { recursive: true, force: true });
});

/** Sends `before` of an upload of `size` bytes and leaves it standing. */
function begin(name: string, size: number, before: Buffer): Promise<() => void> {
  const { root, user, password } = server.login;
  return new Promise((resolve) => {
    const req = request(root + name, {
      method: 'PUT',
      auth: `${user}:${password}`,
      headers: { 'Content-Length': String(size) },
    });
    // The server is killed under it: that it breaks is what the test is about.
    req.on('error', () => undefined);
    req.write(before, () => resolve(() => req.destroy()));
  });
}

test('in the middle of a body: the old version stays, nothing half-written is left', async () => {
  const old = randomBytes(300_000);
  await server.dav.put('big', old);
  await server.dav.put('small', 'the old one');
  const abort = [
    await begin('big', 3_000_000, randomBytes(2_000_000)),
    await begin('small', 1000, randomBytes(500)),
    await begin('never was', 3_000_000, randomBytes(1_000_000)),
  ];
  await server.stop('SIGKILL');
  for (const each of abort) each();
  await server.start();
  expect((await server.dav.get('big')).equals(old)).toBe(true);
  expect(await server.dav.text('small')).toBe('the old one');
  await expect(server.dav.get('never was')).rejects.toThrow();
  const files = await readdir(server.data, { recursive: true, withFileTypes: true });
  const temporary = files.filter((entry) => entry.isFile() && /(^|\/)tmp$/.test(entry.parentPath));
  expect(temporary.map(({ name }) => name)).toEqual([]);
});

test('under a load of uploads: whatever was answered is there, whole', async () => {
  for (let round = 0; round < 3; round++) {
    const answered = new Map<string, string>();
    const attempted = new Map<string, Set<string>>();
    const writers = Array.from({ length: 8 }, async (_, writer) => {
      for (let i = 0; i < 1000; i++) {
        const name = `r${round}-w${writer}-${i % 5}`;
        const bytes = randomBytes(i % 3 === 0 ? 90_000 : 3000);
        const hash = createHash('sha256').update(bytes).digest('hex');
        attempted.set(name, (attempted.get(name) ?? new Set()).add(hash));
        await server.dav.put(name, bytes);
        answered.set(name, hash);
        attempted.set(name, new Set([hash]));
      }
    });
    const settled = Promise.allSettled(writers);
    await expect.poll(() => answered.size, { timeout: 20_000 }).toBeGreaterThan(20);
    await server.stop('SIGKILL');
    await settled;
    await server.start();
    expect(answered.size).toBeGreaterThan(20);
    for (const name of answered.keys()) {
      const found = createHash('sha256')
        .update(await server.dav.get(name))
        .digest('hex');
      // The last answered version, or one that was on its way when the power went.
      expect(attempted.get(name)).toContain(found);
    }
  }
});
