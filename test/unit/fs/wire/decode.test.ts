import { describe, expect, it } from 'vitest';
import { CloudError } from '../../../../src/errors.js';
import { Cursor, ShortReadError } from '../../../../src/fs/wire/cursor.js';
import { DecodeError, decodeRequest } from '../../../../src/fs/wire/decode.js';
import type { Op } from '../../../../src/fs/wire/ops.js';
import { type VectorName, vectors } from './vectors.js';

function decode(bytes: Buffer) {
  return decodeRequest(new Cursor(bytes), bytes.length);
}
function bytesOf(name: VectorName): Buffer {
  return Buffer.from(vectors[name], 'hex');
}

const nothingChanged = {
  kind: 'setattr',
  handle: null,
  mode: null,
  uid: null,
  gid: null,
  size: null,
  atime: null,
  mtime: null,
  ctime: null,
  killSuidgid: false,
} as const;

const expected: Record<VectorName, unknown> = {
  init: {
    kind: 'init',
    major: 7,
    minor: 45,
    maxReadahead_bytes: 131072,
    flags: 0x73fffffb,
    flags2: 0x5fd,
  },
  lookup: { kind: 'lookup', name: 'nosuch' },
  batchForget: {
    kind: 'batch_forget',
    forgets: [
      { ino: 0x12, nlookup: 2 },
      { ino: 0xf, nlookup: 2 },
      { ino: 0x10, nlookup: 2 },
    ],
  },
  getattr: { kind: 'getattr', handle: null },
  ftruncate: { ...nothingChanged, handle: 1, size: 2 },
  chmod: { ...nothingChanged, mode: 0o100600 },
  chown: { ...nothingChanged, uid: 1, gid: 2, killSuidgid: true },
  utimes: { ...nothingChanged, atime: { s: -5, ns: 7 }, mtime: { s: 1222222222, ns: 333444555 } },
  touch: { ...nothingChanged, atime: 'now', mtime: 'now' },
  readlink: { kind: 'readlink' },
  symlink: { kind: 'symlink', name: 's', target: 'tar/get' },
  mknod: { kind: 'mknod', name: 'n', mode: 0o100600 },
  mkdir: { kind: 'mkdir', name: 'd', mode: 0o750 },
  unlink: { kind: 'unlink', name: '\udcffh' },
  rmdir: { kind: 'rmdir', name: 'd' },
  rename: { kind: 'rename', name: 'f', newParent: 1, newName: 'g', flags: 0 },
  rename2: { kind: 'rename', name: 'g', newParent: 16, newName: '\udcffh', flags: 1 },
  link: { kind: 'link' },
  openTruncate: { kind: 'open', flags: 0o101001, killSuidgid: false },
  create: { kind: 'create', name: 'f', flags: 0o100302, mode: 0o100640 },
  read: { kind: 'read', handle: 1, offset: 0, size: 4096 },
  write: { kind: 'write', handle: 1, offset: 0, data: Buffer.from('hello'), append: false, killSuidgid: false },
  statfs: { kind: 'statfs' },
  release: { kind: 'release', handle: 1 },
  fsync: { kind: 'fsync', handle: 1, dataOnly: false },
  fdatasync: { kind: 'fsync', handle: 1, dataOnly: true },
  setxattr: { kind: 'setxattr', name: 'user.k', value: Buffer.from('v\0w'), flags: 1 },
  getxattr: { kind: 'getxattr', name: 'security.capability', size: 0 },
  listxattr: { kind: 'listxattr', size: 256 },
  removexattr: { kind: 'removexattr', name: 'user.k' },
  flush: { kind: 'flush', handle: 1 },
  opendir: { kind: 'opendir' },
  readdir: { kind: 'readdir', handle: 3, offset: 17, size: 32768, plus: false },
  readdirplus: { kind: 'readdir', handle: 3, offset: 0, size: 32768, plus: true },
  releasedir: { kind: 'releasedir', handle: 3 },
  fsyncdir: { kind: 'fsyncdir' },
  ioctl: { kind: 'ioctl' },
  fallocate: { kind: 'fallocate', handle: 1, offset: 4096, length: 8192, mode: 3 },
  lseek: { kind: 'lseek', handle: 1, offset: 1, whence: 4 },
  copyFileRange: { kind: 'unknown' },
};

describe('requests as the kernel sent them', () => {
  for (const name of Object.keys(vectors) as VectorName[]) {
    it(name, () => {
      expect(decode(bytesOf(name)).op).toEqual(expected[name]);
    });
  }

  it('the header', () => {
    expect(decode(bytesOf('write'))).toMatchObject({ opcode: 16, unique: 14, ino: 15, uid: 0, gid: 0, pid: 0x40ab });
  });

  it('data is a view into the request buffer, not a copy', () => {
    const bytes = bytesOf('write');
    const { op } = decode(bytes);
    if (op.kind !== 'write') throw new Error('a write is expected');
    expect(op.data.buffer).toBe(bytes.buffer);
  });
});

describe('requests that are not what they should be', () => {
  // What follows the part that is needed is padding, which may be missing without harm.
  const withBody = (Object.keys(vectors) as VectorName[]).filter(
    (name) => !['init', 'readlink', 'statfs', 'opendir', 'fsyncdir', 'ioctl', 'link', 'copyFileRange'].includes(name),
  );
  for (const name of withBody) {
    it(`${name}, cut after the header, is a DecodeError that names the request`, () => {
      const bytes = Buffer.from(bytesOf(name).subarray(0, 40));
      bytes.writeUInt32LE(40, 0);
      let error: unknown;
      try {
        decode(bytes);
      } catch (caught) {
        error = caught;
      }
      expect(error).toBeInstanceOf(DecodeError);
      expect((error as DecodeError).unique).toBe(Number(bytesOf(name).readBigUInt64LE(8)));
      expect((error as DecodeError).cause).toBeInstanceOf(ShortReadError);
    });
  }

  it('never reads what an earlier, longer request left in the buffer', () => {
    const shared = Buffer.alloc(200, 0x61);
    const name = bytesOf('lookup').subarray(0, 46); // without its NUL, and there is none behind it either
    name.copy(shared);
    shared.writeUInt32LE(46, 0);
    expect(() => decodeRequest(new Cursor(shared), 46)).toThrow(DecodeError);
    shared[46] = 0; // a NUL beyond the end of this request does not count
    expect(() => decodeRequest(new Cursor(shared), 46)).toThrow(/without its NUL/);
  });

  it('a write that states more data than there is', () => {
    const bytes = bytesOf('write');
    bytes.writeUInt32LE(6, 56);
    expect(() => decode(bytes)).toThrow(/needs 6 bytes/);
  });

  it('BATCH_FORGET that counts more than there is', () => {
    const bytes = bytesOf('batchForget');
    bytes.writeUInt32LE(0xffffffff, 40);
    expect(() => decode(bytes)).toThrow(DecodeError);
  });

  it('a length that is not that of the request, and a torn header', () => {
    const bytes = bytesOf('lookup');
    bytes.writeUInt32LE(48, 0);
    expect(() => decode(bytes)).toThrow(ShortReadError);
    expect(() => decode(Buffer.alloc(39))).toThrow(ShortReadError);
    expect(() => decode(Buffer.alloc(0))).toThrow(ShortReadError);
  });

  it('names above 255 bytes are name_too_long, of 255 bytes fine', () => {
    const lookup = (length: number) => {
      const bytes = Buffer.concat([bytesOf('lookup').subarray(0, 40), Buffer.alloc(length, 0x78), Buffer.alloc(1)]);
      bytes.writeUInt32LE(bytes.length, 0);
      return bytes;
    };
    expect(decode(lookup(255)).op).toMatchObject({ kind: 'lookup', name: 'x'.repeat(255) });
    try {
      decode(lookup(256));
      expect.unreachable();
    } catch (error) {
      expect((error as DecodeError).cause).toMatchObject({ code: 'name_too_long' } satisfies Partial<CloudError>);
    }
  });

  it('sizes above 2^53 are too_large', () => {
    const bytes = bytesOf('ftruncate');
    bytes.writeBigUInt64LE(2n ** 62n, 56);
    try {
      decode(bytes);
      expect.unreachable();
    } catch (error) {
      expect((error as DecodeError).cause).toBeInstanceOf(CloudError);
      expect((error as DecodeError).cause).toMatchObject({ code: 'too_large' });
    }
  });

  it('extensions at the end are no part of the operation', () => {
    const bytes = Buffer.concat([bytesOf('symlink'), Buffer.alloc(16, 0xee)]);
    bytes.writeUInt32LE(bytes.length, 0);
    bytes.writeUInt16LE(2, 36);
    expect(decode(bytes).op).toEqual<Op>({ kind: 'symlink', name: 's' as never, target: 'tar/get' });
  });

  it('flags2 only count with INIT_EXT', () => {
    const bytes = bytesOf('init');
    bytes.writeUInt32LE(0x33fffffb, 52);
    expect(decode(bytes).op).toMatchObject({ flags2: 0 });
  });
});
