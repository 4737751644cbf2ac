// What every BlobStore must do, whatever is behind it. Run by `blob_store.test.ts` on each implementation.

import { createHash, randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { BlobStore } from '../../src/server/storage/blobs/blob_store.js';

export interface OpenBlobStore {
  readonly store: BlobStore;
  /** Closes and opens again, as after a restart. */
  reopen(): Promise<BlobStore>;
  /** Names of temporary things lying about. */
  leftovers(): Promise<readonly string[]>;
  close(): Promise<void>;
}

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

async function* pieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

export function blobStoreSuite(title: string, open: () => Promise<OpenBlobStore>): void {
  describe(title, () => {
    let opened: OpenBlobStore;
    let store: BlobStore;
    beforeEach(async () => {
      opened = await open();
      store = opened.store;
    });
    afterEach(() => opened.close());

    const read = async (hash: string, start: number, end: number): Promise<Buffer> => {
      const blob = await store.open(hash);
      try {
        const chunks: Buffer[] = [];
        for await (const chunk of blob.stream(start, end)) chunks.push(chunk);
        return Buffer.concat(chunks);
      } finally {
        await blob.close();
      }
    };
    const listed = async () => {
      const out: string[] = [];
      for await (const { sha256: hash } of store.list()) out.push(hash);
      return out.sort();
    };

    test.each([0, 1, 65_536, 3_000_001])('%i bytes come back as they were, by their hash', async (size) => {
      const bytes = randomBytes(size);
      const pin = await store.put(pieces(bytes, 40_000));
      pin.release();
      expect(pin).toMatchObject({ sha256: sha256(bytes), size_bytes: size });
      expect((await read(pin.sha256, 0, size)).equals(bytes)).toBe(true);
      expect(await store.has(pin.sha256)).toBe(true);
      expect(await opened.leftovers()).toEqual([]);
    });

    test('any range can be read', async () => {
      const bytes = randomBytes(1_000_000);
      const { sha256: hash } = await store.put(pieces(bytes, 100_000));
      for (const [start, end] of [
        [0, 1],
        [999_999, 1_000_000],
        [262_143, 262_145],
        [5, 900_000],
        [7, 7],
      ] as const) {
        expect((await read(hash, start, end)).equals(bytes.subarray(start, end))).toBe(true);
        const blob = await store.open(hash);
        const taken: Buffer[] = [];
        await blob.send(start, end, async (chunk) => {
          // Slower than the disk: what is taken must not be overwritten meanwhile.
          await new Promise((resolve) => setImmediate(resolve));
          taken.push(Buffer.from(chunk));
        });
        await blob.close();
        expect(Buffer.concat(taken).equals(bytes.subarray(start, end))).toBe(true);
      }
    });

    test('a taker that fails ends the sending', async () => {
      const { sha256: hash } = await store.put(pieces(randomBytes(2_000_000), 100_000));
      const blob = await store.open(hash);
      const failing = blob.send(0, 2_000_000, () => Promise.reject(new Error('gone')));
      await expect(failing).rejects.toThrow('gone');
      await blob.close();
    });

    test('many senders at once each get their own bytes', async () => {
      const contents = Array.from({ length: 12 }, (_, i) => Buffer.alloc(700_000, i));
      await Promise.all(
        contents.map(async (bytes) => {
          const { sha256: hash } = await store.put(pieces(bytes, 100_000));
          const blob = await store.open(hash);
          await blob.send(0, bytes.length, async (chunk) => {
            await new Promise((resolve) => setImmediate(resolve));
            expect(chunk.every((byte) => byte === bytes[0])).toBe(true);
          });
          await blob.close();
        }),
      );
    });

    test('a source that breaks off leaves nothing', async () => {
      async function* broken(): AsyncGenerator<Buffer> {
        yield randomBytes(2_000_000);
        throw Object.assign(new Error('gone'), { code: 'ECONNRESET' });
      }
      await expect(store.put(broken())).rejects.toMatchObject({ name: 'CloudError' });
      expect(await listed()).toEqual([]);
      expect(await opened.leftovers()).toEqual([]);
    });

    test('a full disk is told as no_space and leaves nothing', async () => {
      const tap = () => {
        throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
      };
      await expect(store.put(pieces(randomBytes(100), 100), { tap })).rejects.toMatchObject({ code: 'no_space' });
      expect(await listed()).toEqual([]);
      expect(await opened.leftovers()).toEqual([]);
    });

    test('an aborted upload leaves nothing', async () => {
      const abort = new AbortController();
      async function* slow(): AsyncGenerator<Buffer> {
        yield randomBytes(1000);
        abort.abort();
        yield randomBytes(1000);
      }
      await expect(store.put(slow(), { signal: abort.signal })).rejects.toMatchObject({ code: 'interrupted' });
      expect(await opened.leftovers()).toEqual([]);
    });

    test('the tap sees every byte once', async () => {
      const bytes = randomBytes(300_000);
      const seen: Buffer[] = [];
      await store.put(pieces(bytes, 7000), { tap: (chunk) => seen.push(chunk) });
      expect(Buffer.concat(seen).equals(bytes)).toBe(true);
    });

    test('the same bytes from many at once are stored once', async () => {
      const bytes = randomBytes(200_000);
      const pins = await Promise.all(Array.from({ length: 8 }, () => store.put(pieces(bytes, 50_000))));
      for (const pin of pins) pin.release();
      expect(await listed()).toEqual([sha256(bytes)]);
      expect(await opened.leftovers()).toEqual([]);
    });

    test('a finished file can be handed over', async () => {
      const bytes = randomBytes(10_000);
      const path = store.temporaryPath();
      await writeFile(path, bytes);
      const pin = await store.adopt(path, { sha256: sha256(bytes), size_bytes: bytes.length });
      pin.release();
      expect((await read(pin.sha256, 0, bytes.length)).equals(bytes)).toBe(true);
      expect(await opened.leftovers()).toEqual([]);
    });

    test('what is not there is not_found; a name that is no hash is refused', async () => {
      const none = '0'.repeat(64);
      await expect(store.open(none)).rejects.toMatchObject({ code: 'not_found' });
      expect(await store.has(none)).toBe(false);
      expect(await store.delete(none)).toBe(true);
      await expect(store.open('../../etc/passwd')).rejects.toMatchObject({ code: 'invalid' });
    });

    test('a pinned blob cannot be deleted, a released one can', async () => {
      const one = await store.put(pieces(Buffer.from('same'), 10));
      const two = await store.put(pieces(Buffer.from('same'), 10));
      one.release();
      one.release();
      expect(await store.delete(one.sha256)).toBe(false);
      two.release();
      expect(await store.delete(one.sha256)).toBe(true);
      expect(await store.has(one.sha256)).toBe(false);
    });

    test('a blob stored after the judgement is not deleted', async () => {
      const pin = await store.put(pieces(Buffer.from('fresh'), 10));
      pin.release();
      expect(await store.delete(pin.sha256, Date.now() - 60_000)).toBe(false);
      expect(await store.delete(pin.sha256, Date.now() + 60_000)).toBe(true);
    });

    test('storing while deleting always ends with the bytes in place', async () => {
      const bytes = Buffer.from('contended');
      const hash = sha256(bytes);
      for (let i = 0; i < 50; i++) {
        const old = await store.put(pieces(bytes, 100));
        old.release();
        const [pin] = await Promise.all([store.put(pieces(bytes, 100)), store.delete(hash), store.delete(hash)]);
        expect(await store.has(hash)).toBe(true);
        pin.release();
      }
    });

    test('a restart keeps what is stored and clears what was being written', async () => {
      const pin = await store.put(pieces(Buffer.from('kept'), 10));
      await writeFile(store.temporaryPath(), 'half an upload');
      expect(await opened.leftovers()).toHaveLength(1);
      store = await opened.reopen();
      expect(await opened.leftovers()).toEqual([]);
      expect((await read(pin.sha256, 0, 4)).toString()).toBe('kept');
    });

    test('says how much still fits', async () => {
      expect(await store.free()).toBeGreaterThan(0);
    });
  });
}
