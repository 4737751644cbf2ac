import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { isAlive, startTime } from '../../src/process_state.js';

it('a process runs until it has ended, also where nobody asks for its end', async () => {
  // The shell becomes another program, which does not know that it has a child.
  const parent = spawn('sh', ['-c', 'sleep 0.3 & echo $!; exec sleep 30'], { stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    const [line] = (await once(parent.stdout, 'data')) as [Buffer];
    const pid = Number(line.toString());
    expect([isAlive(pid), isAlive(parent.pid ?? 0)]).toEqual([true, true]);
    await expect.poll(() => isAlive(pid)).toBe(false);
    expect(readFileSync(`/proc/${pid}/stat`, 'utf8')).toContain(') Z '); // its number is still taken
    expect(startTime(pid)).toBeNull();
  } finally {
    parent.kill('SIGKILL');
  }
  await once(parent, 'exit');
  expect(isAlive(parent.pid ?? 0)).toBe(false);
});

it('is known by when it began', () => {
  expect(startTime(process.pid)).toMatch(/^\d+$/);
  expect(startTime(process.pid)).toBe(startTime(process.pid));
  expect([isAlive(process.pid), isAlive(1), isAlive(2 ** 22 + 1)]).toEqual([true, true, false]);
});
