import { closeSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FuseDevice, type RequestHandler } from '../../../src/fs/device.js';
import type { Handled } from '../../../src/fs/session.js';
import { rawRead, rawWrite, socketpair } from '../../../src/libc.js';
import { silentLog } from '../../../src/log.js';

type Poll = ConstructorParameters<typeof FuseDevice>[3];

describe('FuseDevice', () => {
  /** A device on a socket: reads are messages, and a hang-up is an end. */
  function device(handler: RequestHandler, busyPoll?: Poll) {
    const [ours, theirs] = socketpair();
    return { theirs, device: new FuseDevice(ours, handler, silentLog, busyPoll) };
  }

  it('hands over what arrives, and goes on after a handler that throws', async () => {
    const got: string[] = [];
    let done: () => void = () => undefined;
    const second = new Promise<void>((resolve) => {
      done = resolve;
    });
    const { theirs, device: dev } = device({
      handle(buffer, length) {
        got.push(buffer.bytes.toString('latin1', 0, length));
        if (got.length === 2) done();
        else rawWrite(theirs, Buffer.from('second'), 6);
        throw new Error('a defect');
      },
    });
    rawWrite(theirs, Buffer.from('first'), 5);
    await second;
    expect(got).toEqual(['first', 'second']);
    dev.dispose();
    closeSync(theirs);
  });

  it('reads the next request into another buffer while one is kept', async () => {
    const buffers: unknown[] = [];
    let free: () => void = () => undefined;
    let done: () => void = () => undefined;
    const finished = new Promise<void>((resolve) => {
      done = resolve;
    });
    const { theirs, device: dev } = device({
      handle(buffer) {
        buffers.push(buffer);
        if (buffers.length < 3) rawWrite(theirs, Buffer.from('x'), 1);
        else done();
        if (buffers.length === 1) {
          return new Promise((resolve) => {
            free = resolve;
          });
        }
        return 'answered';
      },
    });
    rawWrite(theirs, Buffer.from('x'), 1);
    await finished;
    // Compared by identity here: a matcher would look into the megabytes.
    expect([buffers[0] === buffers[1], buffers[1] === buffers[2]]).toEqual([false, true]);
    free();
    dev.dispose();
    closeSync(theirs);
  });

  it('sends replies, large data included, and says when the connection is gone', async () => {
    const { theirs, device: dev } = device({ handle: () => 'answered' });
    const buffer = Buffer.alloc(100_000);
    expect(dev.send(Buffer.from('headXXXX'), 4, null)).toBe('delivered');
    expect(rawRead(theirs, buffer, buffer.length)).toBe(4);
    expect(dev.send(Buffer.from('headXXXX'), 4, Buffer.alloc(50_000, 1))).toBe('delivered');
    expect(rawRead(theirs, buffer, buffer.length)).toBe(50_004);
    closeSync(theirs);
    expect(await dev.closed).toMatchObject({ reason: 'aborted' });
    expect(dev.send(Buffer.from('head'), 4, null)).toBe('closed');
    dev.dispose();
    dev.dispose();
  });

  describe('looks for the next request a little longer', () => {
    // However busy the machine is: neither a turn nor a look ends before its time.
    beforeEach(() => {
      let now_ms = 0;
      vi.spyOn(performance, 'now').mockImplementation(() => {
        now_ms += 0.01;
        return now_ms;
      });
    });
    afterEach(() => {
      vi.restoreAllMocks();
    });

    /** Says what the device asks, and lets the next request come at the moment when nothing is there. */
    async function looks(worthwhile: boolean, comes: boolean, handled: () => Handled): Promise<string[]> {
      const seen: string[] = [];
      const poll = {
        isWorthwhile: () => {
          seen.push('asks');
          if (comes && seen.length === 2) rawWrite(theirs, Buffer.from('second'), 6);
          return worthwhile;
        },
        found: () => seen.push('found'),
        foundNothing: () => seen.push('nothing'),
      };
      const last = comes ? 'second' : 'first';
      const { theirs, device: dev } = device(
        {
          handle(buffer, length) {
            const request = buffer.bytes.toString('latin1', 0, length);
            seen.push(request);
            if (request === last) setImmediate(over); // after the turn in which it was read
            return handled();
          },
        },
        poll,
      );
      let over: () => void = () => undefined;
      const end = new Promise<void>((resolve) => {
        over = resolve;
      });
      rawWrite(theirs, Buffer.from('first'), 5);
      await end;
      dev.dispose();
      closeSync(theirs);
      return seen;
    }

    it('after an answer, and takes it in the same turn', async () => {
      const seen = await looks(true, true, () => 'answered');
      expect(seen).toEqual(['first', 'asks', 'found', 'second', 'asks', 'nothing']);
    });

    it('and says when it was in vain', async () => {
      expect(await looks(true, false, () => 'answered')).toEqual(['first', 'asks', 'nothing']);
    });

    it('only where that is worthwhile', async () => {
      expect(await looks(false, true, () => 'answered')).toEqual(['first', 'asks', 'second', 'asks']);
    });

    it.each([
      ['waits', (): Handled => 'waits'],
      ['keeps its buffer', (): Handled => Promise.resolve()],
    ])('not after one that %s', async (_, handled) => {
      expect(await looks(true, false, handled)).toEqual(['first']);
    });
  });
});
