import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type DataDir, prepareDataDir } from '../../../../src/server/data_dir.js';
import { readServerState, ServerLock } from '../../../../src/server/server_lock.js';

let root: string;
let dir: DataDir;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'lock-'));
  dir = await prepareDataDir(join(root, 'data'));
});

afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

test('is held by one, free after its release', async () => {
  const first = await ServerLock.acquire(dir);
  await first.publish('http://127.0.0.1:1');
  expect(readServerState(dir)).toMatchObject({ pid: process.pid, purpose: 'server', url: 'http://127.0.0.1:1' });
  await expect(ServerLock.acquire(dir)).rejects.toMatchObject({
    code: 'busy',
    message: expect.stringMatching(new RegExp(`process ${process.pid} \\(server\\) does at http://127\\.0\\.0\\.1:1`)),
  });
  await first.release();
  expect(readServerState(dir)).toBeNull();
  await (await ServerLock.acquire(dir)).release();
});

// What a server process does, without the rest of the server.
const HOLDER = `
  const Database = require('better-sqlite3');
  const db = new Database(process.argv[1], { timeout: 0 });
  db.pragma('locking_mode = EXCLUSIVE');
  db.exec('BEGIN EXCLUSIVE');
  require('node:fs').writeFileSync(process.argv[2], JSON.stringify(
    { pid: process.pid, purpose: 'server', url: null, startedAt: new Date().toISOString() }));
  console.log('held');
  setInterval(() => {}, 1000);
`;

test('of a process that was killed is free at once', async () => {
  const child = spawn(process.execPath, ['-e', HOLDER, dir.lockFile, dir.stateFile], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    await once(child.stdout, 'data');
    await expect(ServerLock.acquire(dir)).rejects.toMatchObject({
      code: 'busy',
      message: expect.stringContaining(`process ${child.pid} (server)`),
    });
  } finally {
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }
  expect(readServerState(dir)?.pid).toBe(child.pid);
  const lock = await ServerLock.acquire(dir);
  expect(readServerState(dir)?.pid).toBe(process.pid);
  await lock.release();
});
