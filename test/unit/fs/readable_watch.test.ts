import { closeSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { watchReadable } from '../../../src/fs/readable_watch.js';
import { rawRead, rawWrite, setNonBlocking, socketpair } from '../../../src/libc.js';

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
