import { describe, expect, it } from 'vitest';
import { ReplyBuffer } from '../../../../src/fs/wire/encode.js';
import type { Answer, Entry, FileAttr } from '../../../../src/fs/wire/ops.js';
import type { HandleId, Ino } from '../../../../src/ids.js';

const attr: FileAttr = {
  ino: 0x1_0000_0002 as Ino,
  size_bytes: 0x2_0000_0003,
  atime: { s: -5, ns: 7 },
  mtime: { s: 1_222_222_222, ns: 333_444_555 },
  ctime: { s: 3, ns: 999_999_999 },
  mode: 0o100644,
  nlink: 1,
  uid: 1000,
  gid: 100,
};
const entry: Entry = { attr, entryTimeout_ms: 1500, attrTimeout_ms: 3_600_000 };

function encode(answer: Exclude<Answer, { kind: 'none' }>, unique = 14): string {
  const replies = new ReplyBuffer();
  const { length, data } = replies.encode(unique, answer);
  const head = replies.bytes.toString('hex', 0, length);
  return data === null ? head : head + Buffer.from(data).toString('hex');
}

/** struct fuse_attr of `attr`, field by field as linux/fuse.h lists them. */
const attrHex = [
  '0200000001000000', // u64 ino
  '0300000002000000', // u64 size
  le64(Math.ceil(0x2_0000_0003 / 512)), // u64 blocks of 512 bytes
  'fbffffffffffffff', // s64 atime
  le64(1_222_222_222), // s64 mtime
  '0300000000000000', // s64 ctime
  '07000000', // u32 atimensec
  le32(333_444_555),
  'ffc99a3b', // 999,999,999
  'a4810000', // mode 0100644
  '01000000', // nlink
  'e8030000', // uid
  '64000000', // gid
  '00000000', // rdev
  '00100000', // blksize 4096
  '00000000', // flags
].join('');
function le32(value: number): string {
  const b = Buffer.alloc(4);
  b.writeUInt32LE(value);
  return b.toString('hex');
}
function le64(value: number): string {
  const b = Buffer.alloc(8);
  b.writeBigUInt64LE(BigInt(value));
  return b.toString('hex');
}
/** struct fuse_entry_out of `entry`. */
const entryHex = `0200000001000000${'00'.repeat(8)}0100000000000000100e0000000000000065cd1d00000000${attrHex}`;

describe('replies', () => {
  it('success without a body, and a 64-bit unique', () => {
    expect(encode({ kind: 'ok' }, 0x12_3456_789a)).toBe('10000000000000009a78563412000000');
  });

  it('errors are negative', () => {
    expect(encode({ kind: 'error', errno: 2 })).toBe('10000000feffffff0e00000000000000');
  });

  it('attributes', () => {
    expect(encode({ kind: 'attr', attr, timeout_ms: 1500 })).toBe(
      `78000000000000000e00000000000000${le64(1)}${le32(500_000_000)}00000000${attrHex}`,
    );
  });

  it('entries', () => {
    expect(encode({ kind: 'entry', entry })).toBe(`90000000000000000e00000000000000${entryHex}`);
  });

  it('negative entries: no inode, but a timeout', () => {
    expect(encode({ kind: 'negative', timeout_ms: 2250 })).toBe(
      `90000000000000000e00000000000000${'00'.repeat(16)}${le64(2)}${'00'.repeat(8)}${le32(250_000_000)}${'00'.repeat(92)}`,
    );
  });

  it('open and create', () => {
    const open = { handle: 7 as HandleId, flags: 1 << 7, backingId: 3 };
    const openHex = '07000000000000008000000003000000';
    expect(encode({ kind: 'open', open })).toBe(`20000000000000000e00000000000000${openHex}`);
    expect(encode({ kind: 'create', entry, open })).toBe(`a0000000000000000e00000000000000${entryHex}${openHex}`);
  });

  it('sizes and offsets', () => {
    expect(encode({ kind: 'written', size: 5 })).toBe('18000000000000000e000000000000000500000000000000');
    expect(encode({ kind: 'xattr_size', size: 65536 })).toBe('18000000000000000e000000000000000000010000000000');
    expect(encode({ kind: 'offset', offset: 2 ** 40 })).toBe('18000000000000000e000000000000000000000000010000');
  });

  it('statfs', () => {
    const statfs = { blocks: 10, freeBlocks: 4, files: 99, freeFiles: 50, blockSize_bytes: 4096, nameMax_bytes: 255 };
    expect(encode({ kind: 'statfs', statfs })).toBe(
      `60000000000000000e00000000000000${[10, 4, 4, 99, 50].map(le64).join('')}${[4096, 255, 4096].map(le32).join('')}${'00'.repeat(28)}`,
    );
  });

  it('init', () => {
    const init = {
      minor: 45,
      maxReadahead_bytes: 131072,
      flags: 0x40000001,
      flags2: 0x20,
      maxBackground: 128,
      congestionThreshold: 96,
      maxWrite_bytes: 1 << 20,
      timeGranularity_ns: 1,
      maxPages: 256,
      maxStackDepth: 1,
    };
    const fields = [7, 45, 131072, 0x40000001, (96 << 16) | 128, 1 << 20, 1, 256, 0x20, 1].map(le32).join('');
    expect(encode({ kind: 'init', init }, 2)).toBe(`50000000000000000200000000000000${fields}${'00'.repeat(24)}`);
  });

  it('small data is copied behind the header, large data is left to a gathering write', () => {
    const replies = new ReplyBuffer();
    const small = replies.encode(1, { kind: 'data', data: Buffer.from('abc') });
    expect(small).toEqual({ length: 19, data: null });
    expect(replies.bytes.toString('latin1', 16, 19)).toBe('abc');
    const large = Buffer.alloc(1 << 20);
    const reply = replies.encode(1, { kind: 'data', data: large });
    expect(reply.length).toBe(16);
    expect(reply.data).toBe(large);
    expect(replies.bytes.readUInt32LE(0)).toBe(16 + (1 << 20));
  });
});

describe('directory entries', () => {
  it('are padded to eight bytes', () => {
    const replies = new ReplyBuffer();
    const page = replies.dirents(4096);
    expect(page.add(5, 7, 'abc', 8)).toBe(true);
    expect(page.add(6, 8, 'é', 4)).toBe(true);
    expect(encodeDirents(replies, page.length)).toBe(
      `${le64(5)}${le64(7)}${le32(3)}${le32(8)}6162630000000000` +
        `${le64(6)}${le64(8)}${le32(2)}${le32(4)}c3a9000000000000`,
    );
  });

  it('carry the exact bytes of names that are no UTF-8', () => {
    const replies = new ReplyBuffer();
    const page = replies.dirents(4096);
    page.add(5, 7, '\udcff\udc80', 8);
    expect(encodeDirents(replies, page.length).slice(48)).toBe('ff80000000000000');
  });

  it('carry attributes with READDIRPLUS, and none for dot', () => {
    const replies = new ReplyBuffer();
    const page = replies.dirents(4096);
    expect(page.addPlus(null, 1, 1, '.', 4)).toBe(true);
    expect(page.addPlus(entry, attr.ino, 9, 'name', 8)).toBe(true);
    expect(encodeDirents(replies, page.length)).toBe(
      `${'00'.repeat(128)}${le64(1)}${le64(1)}${le32(1)}${le32(4)}2e00000000000000` +
        `${entryHex}${le64(attr.ino)}${le64(9)}${le32(4)}${le32(8)}6e616d6500000000`,
    );
  });

  it('never exceed the page, and fill it to the last byte', () => {
    for (const name of ['a', 'ab345678', '€€€', 'x'.repeat(255), '\udc80'.repeat(255)]) {
      const bytes = name.startsWith('\udc80') ? 255 : Buffer.byteLength(name);
      const record = (24 + bytes + 7) & ~7;
      const exact = new ReplyBuffer().dirents(record);
      expect(exact.add(1, 1, name, 8)).toBe(true);
      expect(exact.length).toBe(record);
      const short = new ReplyBuffer().dirents(record - 1);
      expect(short.add(1, 1, name, 8)).toBe(false);
      expect(short.length).toBe(0);
      const plus = new ReplyBuffer().dirents(128 + record);
      expect(plus.addPlus(entry, 1, 1, name, 8)).toBe(true);
      const shortPlus = new ReplyBuffer().dirents(128 + record - 1);
      expect(shortPlus.addPlus(entry, 1, 1, name, 8)).toBe(false);
      expect(shortPlus.length).toBe(0);
    }
  });

  it('a copied page survives another reply in the same buffer', () => {
    const replies = new ReplyBuffer();
    const writer = replies.dirents(4096);
    writer.add(5, 7, 'abc', 8);
    const page = writer.copy();
    replies.encode(1, { kind: 'attr', attr, timeout_ms: 0 });
    const { length } = replies.encode(2, { kind: 'dirents', length: page.length, counted: [], page });
    expect(replies.bytes.toString('hex', 16, length)).toBe(page.toString('hex'));
  });
});

function encodeDirents(replies: ReplyBuffer, length: number): string {
  const encoded = replies.encode(1, { kind: 'dirents', length, counted: [], page: null });
  expect(encoded.length).toBe(16 + length);
  return replies.bytes.toString('hex', 16, encoded.length);
}
