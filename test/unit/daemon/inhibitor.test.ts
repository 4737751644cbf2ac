import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ShutdownInhibitor } from '../../../src/daemon/inhibitor.js';
import { silentLog } from '../../../src/log.js';
import { isAlive } from '../../../src/process_state.js';

let dir = '';
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cm-inh-'));
});
afterEach(() => rm(dir, { recursive: true }));

/** Stands in for systemd-inhibit: notes its process and arguments, runs the command it is given. */
async function command(body: string): Promise<string> {
  const path = join(dir, 'systemd-inhibit');
  await writeFile(path, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  return path;
}

const runs = async () => (await readFile(join(dir, 'runs'), 'utf8').catch(() => '')).trim().split('\n').filter(Boolean);

it('holds one lock while it is needed, and lets go by closing the pipe', async () => {
  const path = await command(`echo "$$ $*" >> ${dir}/runs\nfor last; do :; done\nexec "$last"`);
  const inhibitor = new ShutdownInhibitor(silentLog, path);
  inhibitor.set(false, 'nothing');
  expect(inhibitor.held).toBe(false);
  inhibitor.set(true, 'Uploading 3 changes');
  inhibitor.set(true, 'Uploading 2 changes');
  await expect.poll(async () => (await runs()).length).toBe(1);
  expect(inhibitor.held).toBe(true);
  const [line = ''] = await runs();
  expect(line).toContain('--what=shutdown');
  expect(line).toContain('--why=Uploading 3 changes');
  const pid = Number(line.split(' ')[0]);
  expect(isAlive(pid)).toBe(true);
  inhibitor.set(false, '');
  expect(inhibitor.held).toBe(false);
  await expect.poll(() => isAlive(pid)).toBe(false);
  inhibitor.set(true, 'again');
  await expect.poll(async () => (await runs()).length).toBe(2);
  inhibitor.release();
});

it('is not asked again at once where there is no logind, but later: it may have been restarted', async () => {
  const path = await command(`echo "$$" >> ${dir}/runs\nexit 1`);
  let now_ms = 0;
  const inhibitor = new ShutdownInhibitor(silentLog, path, () => now_ms);
  inhibitor.set(true, 'x');
  await expect.poll(() => inhibitor.held).toBe(false);
  inhibitor.set(true, 'x');
  expect(inhibitor.held).toBe(false);
  expect(await runs()).toHaveLength(1);
  now_ms += 60_000;
  inhibitor.set(true, 'x');
  await expect.poll(async () => (await runs()).length).toBe(2);
  inhibitor.release();
});

it('a machine without systemd-inhibit is none that fails', async () => {
  const inhibitor = new ShutdownInhibitor(silentLog, join(dir, 'absent'));
  inhibitor.set(true, 'x');
  await expect.poll(() => inhibitor.held).toBe(false);
  inhibitor.release();
});
