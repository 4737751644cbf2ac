import { describe, expect, test } from 'vitest';
import { Gate } from '../../../../src/server/auth/gate.js';

describe('a gate', () => {
  test('lets through as many as it is wide, queues as many as it may, refuses the rest', async () => {
    const gate = new Gate(2, 3);
    let running = 0;
    let most = 0;
    const releases: (() => void)[] = [];
    const work = () =>
      gate.run(async () => {
        running += 1;
        most = Math.max(most, running);
        await new Promise<void>((resolve) => releases.push(resolve));
        running -= 1;
      });
    const five = Array.from({ length: 5 }, work);
    await expect(work()).rejects.toMatchObject({ code: 'busy_server' });
    while (releases.length > 0) {
      releases.shift()?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(five);
    expect(most).toBe(2);
    await expect(gate.run(async () => 'free again')).resolves.toBe('free again');
  });

  test('a failure frees its place', async () => {
    const gate = new Gate(1, 0);
    await expect(gate.run(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
    await expect(gate.run(async () => 'yes')).resolves.toBe('yes');
  });
});
