import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { EmbeddedServer } from '../../../bin/cli/embedded_server.js';

let dir: string;
const program = process.argv[1] ?? '';

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cloudmount-up-'));
});

afterEach(async () => {
  vi.useRealTimers();
  process.argv[1] = program;
  await rm(dir, { recursive: true, force: true });
});

test('a server that takes long to start is waited for, not killed and started from the beginning', async () => {
  // Stands for one that brings its folder up to date first.
  const script = join(dir, 'slow.cjs');
  await writeFile(
    script,
    "setTimeout(() => process.send({ kind: 'serving', url: 'http://127.0.0.1:1' }), 500); process.on('SIGTERM', () => process.exit(0));",
  );
  process.argv[1] = script;
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const slow: number[] = [];
  const starting = EmbeddedServer.start({
    dataDir: dir,
    host: '127.0.0.1',
    port: 1,
    logFile: join(dir, 'log'),
    onRestart: (reason) => expect.fail(reason),
    onSlow: (seconds) => void slow.push(seconds),
  });
  starting.catch(() => undefined);
  vi.advanceTimersByTime(5 * 60_000);
  const server = await starting;
  expect(slow).toEqual([30]);
  expect(server.url).toBe('http://127.0.0.1:1');
  await server.stop();
});
