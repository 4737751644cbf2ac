import { describe, expect, it } from 'vitest';
import { negotiate } from '../../../src/fs/init.js';
import { Init, Init2 } from '../../../src/fs/wire/flags.js';
import type { InitOp } from '../../../src/fs/wire/ops.js';

const kernel: InitOp = {
  kind: 'init',
  major: 7,
  minor: 45,
  maxReadahead_bytes: 131072,
  flags: 0x73fffffb,
  flags2: 0x5fd,
};

describe('INIT', () => {
  it('takes requests of 1 MiB, READDIRPLUS, parallel lookups, explicit invalidation', () => {
    const { reply } = negotiate(kernel, { passthrough: false });
    const wanted =
      Init.MAX_PAGES | Init.DO_READDIRPLUS | Init.PARALLEL_DIROPS | Init.EXPLICIT_INVAL_DATA | Init.HANDLE_KILLPRIV_V2;
    expect(reply.flags & wanted).toBe(wanted);
    expect(reply.flags & Init.READDIRPLUS_AUTO).toBe(0); // or who reads all names first asks for each of them again
    expect(reply).toMatchObject({ minor: 45, maxWrite_bytes: 1 << 20, maxPages: 256, timeGranularity_ns: 1 });
  });

  it('never takes the write-back cache or the locks of others', () => {
    const { reply } = negotiate(kernel, { passthrough: true });
    expect(reply.flags & ((1 << 16) | (1 << 1) | (1 << 10))).toBe(0);
  });

  it('takes nothing the kernel does not offer', () => {
    const { reply } = negotiate({ ...kernel, flags: Init.BIG_WRITES, flags2: 0 }, { passthrough: true });
    expect(reply.flags).toBe(Init.BIG_WRITES);
    expect(reply.flags2).toBe(0);
    expect(reply.maxStackDepth).toBe(0);
  });

  it('passes through only where both want it, with a stack depth of one', () => {
    expect(negotiate(kernel, { passthrough: true })).toMatchObject({ passthrough: true, reply: { maxStackDepth: 1 } });
    expect(negotiate(kernel, { passthrough: true }).reply.flags2 & Init2.PASSTHROUGH).not.toBe(0);
    expect(negotiate(kernel, { passthrough: false })).toMatchObject({
      passthrough: false,
      reply: { maxStackDepth: 0 },
    });
    const old = { ...kernel, flags2: kernel.flags2 & ~Init2.PASSTHROUGH };
    expect(negotiate(old, { passthrough: true }).passthrough).toBe(false);
  });

  it('speaks no newer protocol than the kernel', () => {
    expect(negotiate({ ...kernel, minor: 36 }, { passthrough: true }).reply.minor).toBe(36);
    expect(negotiate({ ...kernel, minor: 99 }, { passthrough: true }).reply.minor).toBe(45);
  });

  it('refuses kernels that are too old, saying what is required and found', () => {
    expect(() => negotiate({ ...kernel, minor: 30 }, { passthrough: true })).toThrow(/7\.31 .*required.*7\.30/);
    expect(() => negotiate({ ...kernel, major: 8 }, { passthrough: true })).toThrow(/speaks 8\.45/);
  });
});
