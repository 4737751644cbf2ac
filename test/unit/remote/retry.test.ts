import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Clock } from '../../../src/clock.js';
import { CloudError, type ErrorCode } from '../../../src/errors.js';
import { isTransient, retry } from '../../../src/remote/retry.js';
import { codeOf } from '../../contract/remote_contract.js';

/** Sleeps are written down and over at once. */
class TestClock implements Clock {
  readonly slept: number[] = [];
  #now_ms = 0;
  now_ms(): number {
    return this.#now_ms;
  }
  timestamp() {
    return { s: 0, ns: 0 };
  }
  monotonic_ms(): number {
    return this.#now_ms;
  }
  async sleep(delay_ms: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    this.slept.push(delay_ms);
    this.#now_ms += delay_ms;
  }
}

function failing(times: number, code: ErrorCode, retryAfter_s?: number) {
  let calls = 0;
  return {
    calls: () => calls,
    run: async (tried: number) => {
      expect(tried).toBe(calls);
      calls += 1;
      if (calls <= times) {
        throw new CloudError(code, 'made to fail', retryAfter_s === undefined ? {} : { retryAfter_s });
      }
      return 'done';
    },
  };
}

describe('retry', () => {
  it('tries again what may work the next time, and nothing else', async () => {
    for (const code of ['network', 'server', 'busy_server'] as const) {
      const call = failing(2, code);
      expect(await retry(call.run, { clock: new TestClock() })).toBe('done');
      expect(call.calls()).toBe(3);
    }
    for (const code of ['precondition', 'not_found', 'timeout', 'protocol', 'unauthorized', 'interrupted'] as const) {
      const call = failing(1, code);
      expect(await codeOf(retry(call.run, { clock: new TestClock() }))).toBe(code);
      expect(call.calls()).toBe(1);
      expect(isTransient(new CloudError(code, ''))).toBe(false);
    }
  });

  it('ends after its tries with the last error as it was', async () => {
    const call = failing(9, 'busy_server', 1);
    const error = await retry(call.run, { clock: new TestClock(), tries: 3 }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'busy_server', details: { retryAfter_s: 1 } });
    expect(call.calls()).toBe(3);
  });

  it('waits longer each time, somewhere below a limit that doubles', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.double({ min: 0, max: 0.999, noNaN: true }), { minLength: 5, maxLength: 5 }),
        async (dice) => {
          const clock = new TestClock();
          let thrown = 0;
          const random = () => dice[thrown++] ?? 0;
          await retry(failing(5, 'network').run, {
            clock,
            random,
            tries: 6,
            base_ms: 100,
            max_ms: 400,
            deadline_ms: 1e9,
          });
          expect(clock.slept).toEqual([100, 200, 400, 400, 400].map((limit, i) => (dice[i] ?? 0) * limit));
        },
      ),
    );
  });

  it('waits as long as the server asks, but not beyond its deadline', async () => {
    const clock = new TestClock();
    await retry(failing(1, 'busy_server', 7).run, { clock, random: () => 0 });
    expect(clock.slept).toEqual([7000]);
    const late = failing(1, 'busy_server', 60);
    expect(await codeOf(retry(late.run, { clock: new TestClock(), deadline_ms: 20_000 }))).toBe('busy_server');
    expect(late.calls()).toBe(1);
  });

  it('is ended by its signal while it waits', async () => {
    const abort = new AbortController();
    abort.abort();
    const call = failing(1, 'network');
    expect(await codeOf(retry(call.run, { clock: new TestClock(), signal: abort.signal }))).toBe('interrupted');
  });
});
