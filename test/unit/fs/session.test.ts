import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Clock, systemClock } from '../../../src/clock.js';
import { RequestBuffer } from '../../../src/fs/request_buffer.js';
import { Opcode } from '../../../src/fs/wire/abi.js';
import { ROOT_INO } from '../../../src/ids.js';
import type { Log } from '../../../src/log.js';
import { silentLog } from '../../../src/log.js';
import { MemCache, type MemNode } from '../../support/mem_cache.js';
import { FakeKernel, NUL, readBody, text, u32, u64, writeBody } from './fake_kernel.js';

let cache: MemCache;
let file: MemNode;
let kernel: FakeKernel;
const never = new Promise<void>(() => undefined);

beforeEach(() => {
  cache = new MemCache(mkdtempSync(join(tmpdir(), 'session-')));
  file = cache.add(ROOT_INO, 'f', 'file', 'content');
  kernel = new FakeKernel(cache);
});
afterEach(() => {
  kernel.session.end();
  expect(kernel.repliesTwice).toBe(0);
  cache.close();
});

async function blockedRead() {
  const { handle } = await kernel.open(file.ino);
  file.gate = never;
  return kernel.post(Opcode.READ, file.ino, readBody(handle, 0, 100)).unique;
}

describe('answers', () => {
  it('what is known is answered before handle() returns', () => {
    const { unique, handled } = kernel.post(Opcode.GETATTR, file.ino, Buffer.alloc(16));
    expect(kernel.replyTo(unique)).toMatchObject({ error: 0 });
    expect(handled).toBe('answered');
    expect(kernel.session.stats().inFlight).toBe(0);
  });

  it('of every request the cache is told before it is answered', () => {
    kernel.post(Opcode.GETATTR, file.ino, Buffer.alloc(16));
    kernel.post(Opcode.DESTROY, 0, Buffer.alloc(0));
    expect(cache.requests).toBe(2);
  });

  it('what has to wait is in flight until it is answered', async () => {
    cache.delay_ms = 5;
    const { unique } = kernel.post(Opcode.LOOKUP, ROOT_INO, text('f'));
    expect(kernel.replyTo(unique)).toBeUndefined();
    expect(kernel.session.stats().inFlight).toBe(1);
    expect((await kernel.reply(unique)).error).toBe(0);
    await Promise.resolve();
    expect(kernel.session.stats().inFlight).toBe(0);
  });

  it('FORGET, BATCH_FORGET and INTERRUPT get none', async () => {
    await kernel.lookup(ROOT_INO, 'f');
    const posts = [
      kernel.post(Opcode.FORGET, file.ino, u64(1)),
      kernel.post(Opcode.BATCH_FORGET, 0, Buffer.concat([u32(1, 0), u64(file.ino, 1)])),
      kernel.post(Opcode.INTERRUPT, 0, u64(12345)),
    ];
    await new Promise((done) => setImmediate(done));
    expect(posts.map(({ unique }) => kernel.replyTo(unique))).toEqual([undefined, undefined, undefined]);
  });

  it.each([
    ['LINK', Opcode.LINK, 1],
    ['IOCTL', Opcode.IOCTL, 25],
    ['POLL', Opcode.POLL, 38],
    ['COPY_FILE_RANGE', Opcode.COPY_FILE_RANGE, 38],
    ['COPY_FILE_RANGE_64', Opcode.COPY_FILE_RANGE_64, 38],
    ['STATX', Opcode.STATX, 38],
    ['SYNCFS', Opcode.SYNCFS, 38],
    ['TMPFILE', Opcode.TMPFILE, 38],
    ['BMAP', Opcode.BMAP, 38],
    ['GETLK', Opcode.GETLK, 38],
    ['an opcode of tomorrow', 4242, 38],
  ])('%s is refused cleanly', async (_, opcode, errno) => {
    expect((await kernel.call(opcode, file.ino, Buffer.alloc(64))).error).toBe(-errno);
  });

  it('DESTROY is answered', async () => {
    expect((await kernel.call(Opcode.DESTROY, 0)).error).toBe(0);
  });
});

describe('what goes wrong with one request', () => {
  it('a defect is EIO, is logged, and the next request works', async () => {
    const logged: unknown[] = [];
    const log: Log = { ...silentLog, error: (fields) => void logged.push(fields) };
    kernel.session.end();
    kernel = new FakeKernel(cache, { log });
    cache.lookup = () => {
      throw new TypeError('a defect');
    };
    expect((await kernel.lookup(ROOT_INO, 'f')).error).toBe(-5);
    cache.lookup = () => Promise.reject(new TypeError('a later defect'));
    expect((await kernel.lookup(ROOT_INO, 'f')).error).toBe(-5);
    expect(logged).toHaveLength(2);
    expect((await kernel.call(Opcode.GETATTR, file.ino, Buffer.alloc(16))).error).toBe(0);
  });

  it('a request that cannot be decoded is answered all the same', async () => {
    expect((await kernel.call(Opcode.READ, file.ino, Buffer.alloc(3))).error).toBe(-5);
    expect((await kernel.lookup(ROOT_INO, 'x'.repeat(256))).error).toBe(-36);
  });

  it('garbage without a header is dropped', () => {
    const buffer = new RequestBuffer();
    buffer.bytes.fill(0xff, 0, 64);
    expect(kernel.session.handle(buffer, 64)).toBe('answered');
    expect(kernel.session.handle(buffer, 3)).toBe('answered');
  });
});

describe('INTERRUPT', () => {
  const NOBODY = { uid: 0, gid: 0, pid: 0 };

  it('ends the read that waits with EINTR', async () => {
    kernel.caller = NOBODY;
    const unique = await blockedRead();
    kernel.post(Opcode.INTERRUPT, 0, u64(unique));
    expect((await kernel.reply(unique)).error).toBe(-4);
  });

  it('leaves others alone', async () => {
    const unique = await blockedRead();
    kernel.post(Opcode.INTERRUPT, 0, u64(unique + 1000));
    await new Promise((done) => setImmediate(done));
    expect(kernel.replyTo(unique)).toBeUndefined();
  });

  it('for a signal that asks for no end ends nothing; for the next one, of which the kernel says nothing, it does', async () => {
    // What is sent to a process that is stopped stays pending, as in one that waits for us.
    const child = spawn('python3', ['-uc', 'import signal; signal.signal(14, print); print(1); signal.pause()']);
    try {
      await once(child.stdout, 'data');
      child.kill('SIGSTOP');
      child.kill('SIGALRM');
      kernel.caller = { ...NOBODY, pid: child.pid ?? 0 };
      const unique = await blockedRead();
      kernel.post(Opcode.INTERRUPT, 0, u64(unique));
      await new Promise((done) => setTimeout(done, 300));
      expect(kernel.replyTo(unique)).toBeUndefined();
      child.kill('SIGINT');
      expect((await kernel.reply(unique)).error).toBe(-4);
    } finally {
      child.kill('SIGKILL');
    }
  });
});

describe('bounds', () => {
  it('a request that only reads is aborted past its bound; one that stores is not', async () => {
    let now_ms = 0;
    const clock: Clock = { ...systemClock, monotonic_ms: () => now_ms, timestamp: () => systemClock.timestamp() };
    kernel.session.end();
    kernel = new FakeKernel(cache, { clock });
    const { handle } = await kernel.open(file.ino, 2);
    file.gate = never;
    const read = kernel.post(Opcode.READ, file.ino, readBody(handle, 0, 100)).unique;
    const stalled: { release?: () => void } = {};
    kernel.handles.file(handle as never).file.write = () =>
      new Promise((done) => {
        stalled.release = done;
      });
    const write = kernel.post(Opcode.WRITE, file.ino, writeBody(handle, 0, Buffer.from('x'))).unique;
    now_ms = 999;
    kernel.session.sweep();
    await new Promise((done) => setImmediate(done));
    expect(kernel.replyTo(read)).toBeUndefined();
    now_ms = 1000;
    kernel.session.sweep();
    expect((await kernel.reply(read)).error).toBe(-4);
    expect(kernel.replyTo(write)).toBeUndefined();
    stalled.release?.();
    expect((await kernel.reply(write)).error).toBe(0);
  });

  it('one that does not end when aborted is answered without it, and what it yields later is undone', async () => {
    let now_ms = 0;
    const clock: Clock = { ...systemClock, monotonic_ms: () => now_ms, timestamp: () => systemClock.timestamp() };
    kernel.session.end();
    kernel = new FakeKernel(cache, { clock });
    const lookup: { finish?: () => void } = {};
    cache.lookup = () =>
      new Promise((done) => {
        lookup.finish = () => done(file);
      });
    const { unique } = kernel.post(Opcode.LOOKUP, ROOT_INO, text('f'));
    now_ms = 1_000;
    kernel.session.sweep();
    now_ms = 60_000;
    kernel.session.sweep();
    expect((await kernel.reply(unique)).error).toBe(-110);
    expect(kernel.session.stats().inFlight).toBe(0);
    lookup.finish?.();
    await new Promise((done) => setImmediate(done));
    expect(kernel.inodes.lookups(file.ino)).toBe(0);
  });
});

describe('replies the kernel does not take', () => {
  it('LOOKUP: the reference is given back', async () => {
    kernel.delivery = 'not_wanted';
    await kernel.lookup(ROOT_INO, 'f');
    expect(kernel.inodes.lookups(file.ino)).toBe(0);
  });

  it('OPEN and CREATE: the handle is released', async () => {
    kernel.delivery = 'not_wanted';
    await kernel.open(file.ino);
    await kernel.call(Opcode.CREATE, ROOT_INO, Buffer.concat([u32(0o102, 0o644, 0, 0), text('new')]));
    expect(kernel.handles.size).toBe(0);
    expect(kernel.inodes.size).toBe(0);
    expect(file.opens).toBe(0);
  });

  it('READDIRPLUS: every counted entry is given back', async () => {
    const { body } = await kernel.call(Opcode.OPENDIR, ROOT_INO, u32(0, 0));
    kernel.delivery = 'not_wanted';
    await kernel.call(Opcode.READDIRPLUS, ROOT_INO, readBody(Number(body.readBigUInt64LE(0)), 0, 4096));
    expect(kernel.inodes.size).toBe(0);
  });
});

describe('request buffers', () => {
  it('a WRITE that waits keeps its buffer until it is done', async () => {
    const { handle } = await kernel.open(file.ino, 2);
    cache.delay_ms = 5;
    const { unique, handled } = kernel.post(Opcode.WRITE, file.ino, writeBody(handle, 0, Buffer.from('CONTENT')));
    expect(handled).toBeInstanceOf(Promise);
    await handled;
    expect(kernel.replyTo(unique)?.error).toBe(0);
    cache.delay_ms = 0;
    expect((await kernel.read(file.ino, handle, 0, 100)).body.toString()).toBe('CONTENT');
  });

  it('other requests that wait do not', () => {
    cache.delay_ms = 5;
    expect(kernel.post(Opcode.LOOKUP, ROOT_INO, text('f')).handled).toBe('waits');
  });
});

describe('the end', () => {
  it('what waits is aborted, and nothing is sent any more', async () => {
    const unique = await blockedRead();
    kernel.session.end();
    await new Promise((done) => setImmediate(done));
    expect(kernel.replyTo(unique)).toBeUndefined();
    expect(kernel.session.stats().inFlight).toBe(0);
  });

  it('refusing: what waits ends, what comes is EIO, FORGET stays unanswered', async () => {
    const unique = await blockedRead();
    kernel.session.refuse();
    expect((await kernel.reply(unique)).error).toBe(-4);
    expect((await kernel.call(Opcode.GETATTR, file.ino, Buffer.alloc(16))).error).toBe(-5);
    const forget = kernel.post(Opcode.FORGET, file.ino, u64(1)).unique;
    await new Promise((done) => setImmediate(done));
    expect(kernel.replyTo(forget)).toBeUndefined();
  });
});

it('counts requests by name', async () => {
  await kernel.lookup(ROOT_INO, Buffer.from('f'));
  await kernel.call(Opcode.LOOKUP, ROOT_INO, Buffer.concat([Buffer.from('g'), NUL]));
  expect(kernel.session.stats()).toMatchObject({ requests: { lookup: 2 }, errors: 0 });
});
