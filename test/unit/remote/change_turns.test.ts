import { expect, it } from 'vitest';
import { ChangeTurns } from '../../../src/remote/change_turns.js';
import { codeOf } from '../../contract/remote_contract.js';

it('a request that changes locks has its turn to its end, also when nobody waits for it any more', async () => {
  const turns = new ChangeTurns();
  const stopping = new AbortController();
  const log: string[] = [];
  let answer = (): void => undefined;
  const first = turns.changingLocks(stopping.signal, async () => {
    log.push('first asks');
    await new Promise<void>((resolve) => {
      answer = resolve;
    });
    log.push('first is answered');
  });
  const second = turns.changingLocks(undefined, async () => void log.push('second asks'));
  await new Promise((resolve) => setImmediate(resolve));
  stopping.abort();
  expect(await codeOf(first)).toBe('interrupted');
  expect(log).toEqual(['first asks']);
  answer();
  await second;
  expect(log).toEqual(['first asks', 'first is answered', 'second asks']);
});

it('a failure, and an end before its turn, let the next one go on', async () => {
  const turns = new ChangeTurns();
  await expect(turns.changingLocks(undefined, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  const stopped = AbortSignal.abort();
  let asked = 0;
  const ask = async () => void asked++;
  expect(await codeOf(turns.changingLocks(stopped, ask))).toBe('interrupted');
  await turns.changingLocks(undefined, ask);
  expect(asked).toBe(1);
});
