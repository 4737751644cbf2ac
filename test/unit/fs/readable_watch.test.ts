import { closeSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { FuseDevice, type RequestHandler } from '../../../src/fs/device.js';
import { watchReadable } from '../../../src/fs/readable_watch.js';
import { rawRead, rawWrite, setNonBlocking, socketpair } from '../../../src/libc.js';
import { silentLog } from '../../../src/log.js';

describe('watching a descriptor', () => {
  it('calls on every arrival, until it is stopped', async () => {
    const [ours, theirs] = socketpair();
    setNonBlocking(ours);
    const seen: string[] = [];
    const buffer = Buffer.alloc(16);
    let arrived: () => void = () => undefined;
    const watch = watchReadable(ours, () => {
      for (;;) {
        const n = rawRead(ours, buffer, buffer.length);
        if (n <= 0) return true;
        seen.push(buffer.toString('latin1', 0, n));
        arrived();
      }
    });
    for (const word of ['one', 'two', 'three']) {
      const next = new Promise<void>((done) => {
        arrived = done;
      });
      rawWrite(theirs, Buffer.from(word), word.length);
      await next;
    }
    expect(seen).toEqual(['one', 'two', 'three']);
    watch.stop();
    rawWrite(theirs, Buffer.from('x'), 1);
    for (let i = 0; i < 5; i++) await new Promise((done) => setImmediate(done));
    expect(seen).toHaveLength(3);
    closeSync(ours);
    closeSync(theirs);
  });

  it('calls again while something is left', async () => {
    const [ours, theirs] = socketpair();
    setNonBlocking(ours);
    rawWrite(theirs, Buffer.from('abc'), 3);
    const one = Buffer.alloc(1);
    let text = '';
    await new Promise<void>((done) => {
      const watch = watchReadable(ours, () => {
        if (rawRead(ours, one, 1) === 1) text += one.toString('latin1');
        if (text.length === 3) {
          watch.stop();
          done();
        }
        return false;
      });
    });
    expect(text).toBe('abc');
    closeSync(ours);
    closeSync(theirs);
  });
});

describe('FuseDevice', () => {
  /** A device on a socket: reads are messages, and a hang-up is an end. */
  function device(handler: RequestHandler) {
    const [ours, theirs] = socketpair();
    return { theirs, device: new FuseDevice(ours, handler, silentLog) };
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
});
