import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fileAttr } from '../../../src/fs/attributes.js';
import { DirStream } from '../../../src/fs/dir_stream.js';
import { ReplyBuffer } from '../../../src/fs/wire/encode.js';
import type { Entry } from '../../../src/fs/wire/ops.js';
import { ROOT_INO } from '../../../src/ids.js';
import { MemCache, type MemNode } from '../../support/mem_cache.js';

const policy = { uid: 0, gid: 0, fileMode: 0o644, dirMode: 0o755, storedOwners: false };

interface Seen {
  readonly name: string;
  readonly ino: number;
  readonly offset: number;
  readonly type: number;
}

let cache: MemCache;
let dir: MemNode;
beforeEach(() => {
  cache = new MemCache(mkdtempSync(join(tmpdir(), 'dirs-')));
  dir = cache.add(ROOT_INO, 'dir', 'dir');
});
afterEach(() => cache.close());

/** One READDIR or READDIRPLUS, decoded. */
function page(offset: number, size: number, plus: boolean): Seen[] {
  const replies = new ReplyBuffer();
  const out = replies.dirents(size);
  const stream = new DirStream(cache, dir.ino);
  if (plus) {
    const entryOf = (node: Parameters<typeof fileAttr>[0]): Entry => ({
      attr: fileAttr(node, policy),
      entryTimeout_ms: 0,
      attrTimeout_ms: 0,
    });
    const counted = stream.readPlus(out, offset, size, entryOf);
    const seen = decodePage(out.copy(), 128);
    expect(counted).toEqual(seen.filter(({ name }) => name !== '.' && name !== '..').map(({ ino }) => ino));
    return seen;
  }
  stream.read(out, offset, size);
  return decodePage(out.copy(), 0);
}

function decodePage(bytes: Buffer, skip: number): Seen[] {
  const seen: Seen[] = [];
  for (let at = 0; at < bytes.length; ) {
    const d = at + skip;
    const length = bytes.readUInt32LE(d + 16);
    seen.push({
      ino: Number(bytes.readBigUInt64LE(d)),
      offset: Number(bytes.readBigUInt64LE(d + 8)),
      type: bytes.readUInt32LE(d + 20),
      name: bytes.toString('utf8', d + 24, d + 24 + length),
    });
    at = d + ((24 + length + 7) & ~7);
  }
  return seen;
}

/** A whole scan; `between` runs after each page. */
function scan(size: number, plus: boolean, between: (seen: Seen[]) => void = () => undefined): Seen[] {
  const all: Seen[] = [];
  for (;;) {
    const seen = page(all.at(-1)?.offset ?? 0, size, plus);
    if (seen.length === 0) return all;
    all.push(...seen);
    between(all);
  }
}

describe.each([false, true])('reading a directory (READDIRPLUS: %s)', (plus) => {
  it('begins with dot and dot-dot and their inodes', () => {
    expect(page(0, 4096, plus)).toEqual([
      { name: '.', ino: dir.ino, offset: 1, type: 4 },
      { name: '..', ino: 1, offset: 2, type: 4 },
    ]);
  });

  it('continues after dot, and after dot-dot', () => {
    cache.add(dir.ino, 'f');
    expect(page(1, 4096, plus).map(({ name }) => name)).toEqual(['..', 'f']);
    expect(page(2, 4096, plus).map(({ name }) => name)).toEqual(['f']);
  });

  it('yields every entry once, whatever the size of the pages', () => {
    for (let i = 0; i < 300; i++) cache.add(dir.ino, `${'n'.repeat(i % 200)}${i}`);
    for (const size of [512, 1000, 4096, 1 << 20]) {
      const names = scan(size, plus).map(({ name }) => name);
      expect(names.length).toBe(302);
      expect(new Set(names).size).toBe(302);
    }
  });

  it('loses and doubles nothing that stays while others come and go', () => {
    for (let i = 0; i < 200; i++) cache.add(dir.ino, `f${i}`);
    const removed = new Set<string>();
    let made = 0;
    const names = scan(1024, plus, (seen) => {
      const done = seen.at(-1)?.name ?? '';
      if (done.startsWith('f')) {
        cache.detach(dir.ino, done);
        removed.add(done);
      }
      if (made < 40) cache.add(dir.ino, `new${made++}`);
    }).map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (let i = 0; i < 200; i++) expect(names).toContain(`f${i}`);
    expect(removed.size).toBeGreaterThan(5);
  });

  it('goes back to where it was (seekdir)', () => {
    for (let i = 0; i < 50; i++) cache.add(dir.ino, `f${i}`);
    const all = scan(4096, plus);
    const middle = all[20];
    expect(page(middle?.offset ?? -1, 4096, plus)[0]).toEqual(all[21]);
  });
});
