// What every `Remote` promises (src/remote/remote.ts), as one suite. Run on the fake and on real servers; what a server
// cannot do is asserted to be refused cleanly.

import { createHash } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { isCloudError } from '../../src/errors.js';
import { isWithin, type RemotePath, ROOT_PATH } from '../../src/ids.js';
import { decodeName } from '../../src/names.js';
import {
  ANY_LOCK,
  type Precondition,
  type PutResult,
  type Remote,
  type RemoteCapabilities,
  type RemoteEntry,
  type UploadSession,
  type UploadSource,
} from '../../src/remote/remote.js';

export interface OpenHarness {
  readonly remote: Remote;
  /** The same account through a second, independent remote. */
  readonly second: Remote;
  /** Another client, which asks for no permission: writes by itself. */
  write(path: string, content: string): Promise<void>;
  /** Content as another client sees it, null when nothing is there. */
  content(path: string): Promise<string | null>;
  remove(path: string): Promise<void>;
  close(): Promise<void>;
}

export interface Harness {
  readonly name: string;
  readonly capabilities: RemoteCapabilities;
  /** Names the server's file system or protocol cannot hold are left out. */
  readonly anyBytesInNames: boolean;
  open(): Promise<OpenHarness>;
}

export const ABSENT: Precondition = { kind: 'if_absent' };

export function path(text: string): RemotePath {
  return text as RemotePath;
}

export function bytesSource(content: string | Buffer, chunk_bytes = 64 * 1024): UploadSource {
  const bytes = Buffer.from(content);
  return {
    size_bytes: bytes.length,
    sha256: async () => createHash('sha256').update(bytes).digest('hex'),
    async *open(start, end) {
      for (let at = start; at < end; at += chunk_bytes) yield bytes.subarray(at, Math.min(at + chunk_bytes, end));
    },
  };
}

export function session(state: string | null = null): UploadSession & { saved: (string | null)[]; sent: number } {
  return {
    state,
    saved: [],
    sent: 0,
    save(value) {
      this.saved.push(value);
    },
    progress(sent_bytes) {
      this.sent = sent_bytes;
    },
    committing: async () => undefined,
  };
}

export async function put(
  remote: Remote,
  to: string,
  content: string | Buffer,
  precondition: Precondition = ABSENT,
): Promise<PutResult> {
  return await remote.put(path(to), bytesSource(content), precondition, {}, session());
}

export async function readAll(remote: Remote, from: string): Promise<Buffer> {
  const { size_bytes, etag } = await remote.stat(path(from));
  return await readPart(remote, from, 0, size_bytes, etag);
}

export async function readPart(
  remote: Remote,
  from: string,
  start: number,
  end: number,
  etag: string | null,
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let at = start;
  await remote.read(path(from), { start, end }, etag, (chunk, offset) => {
    expect(offset).toBe(at);
    at += chunk.length;
    chunks.push(Buffer.from(chunk));
  });
  return Buffer.concat(chunks);
}

export async function listAll(remote: Remote, from: string): Promise<RemoteEntry[]> {
  const entries: RemoteEntry[] = [];
  for await (const batch of remote.list(path(from))) entries.push(...batch);
  return entries;
}

/** Code of the CloudError the call rejects with. */
export async function codeOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
  } catch (error) {
    if (isCloudError(error)) return error.code;
    throw error;
  }
  return 'no error';
}

/** What is replaced by a MOVE, what is moved, or both are locked by us. As the cache says it: the token of what is moved, and
 * also those of what else is in the way. `other` sees what became of it. */
export async function movesOverLocked(
  { remote, other }: { readonly remote: Remote; readonly other: Remote },
  from: string,
  to: string,
  which: 'what is moved' | 'what is replaced' | 'both',
): Promise<void> {
  await put(remote, from, 'ours');
  await put(remote, to, 'replaced');
  const lockToken = which === 'what is replaced' ? null : (await remote.lock(path(from))).token;
  const over = which === 'what is moved' ? null : (await remote.lock(path(to))).token;
  const etag = (await remote.stat(path(to))).etag ?? '';
  const held = {
    ...(lockToken === null ? {} : { lockToken }),
    ...(over === null ? {} : { alsoTokens: [over], overToken: over }),
  };
  await remote.move(path(from), path(to), { overwrite: { etag }, sourceEtag: null }, held);
  expect((await readAll(other, to)).toString()).toBe('ours');
  expect(await codeOf(other.stat(path(from)))).toBe('not_found');
}

async function eventually(probe: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (await probe()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`waited in vain for ${what}`);
}

export function remoteContract(harness: Harness): void {
  const can = harness.capabilities;

  describe(`Remote on ${harness.name}`, () => {
    let open: OpenHarness;
    let remote: Remote;
    let counter = 0;
    /** A folder of its own for each test. */
    let dir = '';

    beforeAll(async () => {
      open = await harness.open();
      remote = open.remote;
      await remote.connect();
      await open.second.connect();
    });

    afterAll(async () => {
      await open.close();
    });

    beforeEach(async () => {
      dir = `t${++counter}`;
      await remote.mkdir(path(dir), {});
    });

    it('knows what the server can do', async () => {
      expect(remote.capabilities).toEqual(can);
      expect(await remote.connect()).toEqual(can);
      expect(remote.displayUrl).toMatch(/^[a-z]+:\/\//);
      await remote.ping();
    });

    describe('stat and list', () => {
      it('describe the root', async () => {
        const root = await remote.stat(ROOT_PATH);
        expect(root).toMatchObject({ path: '', kind: 'dir' });
        const [first] = await listAll(remote, '');
        expect(first).toMatchObject({ path: '', kind: 'dir' });
      });

      it('say that nothing is there', async () => {
        expect(await codeOf(remote.stat(path(`${dir}/none`)))).toBe('not_found');
        expect(await codeOf(listAll(remote, `${dir}/none`))).toBe('not_found');
      });

      it('list the collection first, then its members and nothing deeper', async () => {
        await put(remote, `${dir}/file`, 'abc');
        await remote.mkdir(path(`${dir}/sub`), {});
        await put(remote, `${dir}/sub/deep`, 'x');
        const [self, ...members] = await listAll(remote, dir);
        expect(self).toMatchObject({ path: dir, kind: 'dir' });
        expect(members.map((entry) => [entry.path, entry.kind, entry.size_bytes]).sort()).toEqual([
          [`${dir}/file`, 'file', 3],
          [`${dir}/sub`, 'dir', 0],
        ]);
      });

      it('list an empty collection as itself alone', async () => {
        expect(await listAll(remote, dir)).toHaveLength(1);
      });

      it('agree about an entry', async () => {
        await put(remote, `${dir}/file`, 'abc');
        const listed = (await listAll(remote, dir)).find((entry) => entry.kind === 'file');
        expect(listed).toEqual(await remote.stat(path(`${dir}/file`)));
      });

      it('say a file cannot be listed', async () => {
        await put(remote, `${dir}/file`, 'abc');
        expect(['not_dir', 'not_found']).toContain(await codeOf(listAll(remote, `${dir}/file`)));
      });

      it('keep any name', async () => {
        const names = [
          'a b',
          '100%',
          '%41',
          'a#b',
          'a?b',
          'a&b',
          "'",
          '"quoted"',
          'back\\slash',
          'semi;colon',
          'a+b',
          '~',
          'ä',
          'a\u0308',
          '🎉',
          '...',
          '-x',
          'new\nline',
          'tab\t',
          'x'.repeat(255),
        ];
        const all = harness.anyBytesInNames
          ? [...names, decodeName(Buffer.from([0x66, 0xff, 0xfe])), '\u0001']
          : names.slice(0, -3).concat('x'.repeat(200));
        for (const name of all) await put(remote, `${dir}/${name}`, name);
        const found = (await listAll(remote, dir)).slice(1).map((entry) => entry.path.slice(dir.length + 1));
        const listed = can.hidesDotNames === true ? all.filter((name) => !name.startsWith('.')) : all;
        expect(found.sort()).toEqual([...listed].sort());
        for (const name of all) expect((await remote.stat(path(`${dir}/${name}`))).path).toBe(`${dir}/${name}`);
      });
    });

    describe('put', () => {
      it('creates, with the version it says', async () => {
        const result = await put(remote, `${dir}/file`, 'hello');
        const entry = await remote.stat(path(`${dir}/file`));
        expect(entry).toMatchObject({ kind: 'file', size_bytes: 5, etag: result.etag, fileid: result.fileid });
        expect(result.etag).not.toBeNull();
        expect((await readAll(remote, `${dir}/file`)).toString()).toBe('hello');
      });

      it('refuses to create over anything', async () => {
        await open.write(`${dir}/file`, 'theirs');
        await remote.mkdir(path(`${dir}/sub`), {});
        expect(await codeOf(put(remote, `${dir}/file`, 'our content'))).toBe('precondition');
        expect(await codeOf(put(remote, `${dir}/file`, 'ours!!'))).toBe('precondition');
        expect(await codeOf(put(remote, `${dir}/sub`, 'ours'))).toBe('precondition');
        expect(await open.content(`${dir}/file`)).toBe('theirs');
        expect((await remote.stat(path(`${dir}/sub`))).kind).toBe('dir');
      });

      it('replaces exactly the version it is based on', async () => {
        const first = await put(remote, `${dir}/file`, 'one');
        const second = await put(remote, `${dir}/file`, 'second', { kind: 'if_match', etag: first.etag ?? '' });
        expect(second.etag).not.toBe(first.etag);
        expect(await open.content(`${dir}/file`)).toBe('second');
        if (can.fileIds) expect(second.fileid).toBe(first.fileid);
        expect(await codeOf(put(remote, `${dir}/file`, '333', { kind: 'if_match', etag: first.etag ?? '' }))).toBe(
          'precondition',
        );
        expect(await open.content(`${dir}/file`)).toBe('second');
      });

      it('refuses when another client was faster, even by one byte of the same size', async () => {
        const first = await put(remote, `${dir}/file`, 'aaaa');
        await open.write(`${dir}/file`, 'bbbb');
        expect(await codeOf(put(remote, `${dir}/file`, 'cccc', { kind: 'if_match', etag: first.etag ?? '' }))).toBe(
          'precondition',
        );
        expect(await open.content(`${dir}/file`)).toBe('bbbb');
      });

      it('refuses when the file is gone', async () => {
        const first = await put(remote, `${dir}/file`, 'aaaa');
        await open.remove(`${dir}/file`);
        expect(await codeOf(put(remote, `${dir}/file`, 'cccc', { kind: 'if_match', etag: first.etag ?? '' }))).toBe(
          'precondition',
        );
        expect(await open.content(`${dir}/file`)).toBeNull();
      });

      it('lets exactly one win of those that change the same version at once', async () => {
        for (const round of [1, 2, 3]) {
          const base = await put(remote, `${dir}/file${round}`, 'base');
          const match: Precondition = { kind: 'if_match', etag: base.etag ?? '' };
          const contents = ['one', 'two', 'three', 'four', 'five', 'six'];
          const codes = await Promise.all(
            contents.map((content, i) =>
              codeOf(put(i % 2 === 0 ? remote : open.second, `${dir}/file${round}`, content, match)),
            ),
          );
          const winners = contents.filter((_, i) => codes[i] === 'no error');
          expect([codes, winners.length]).toEqual([codes, 1]);
          expect(await open.content(`${dir}/file${round}`)).toBe(winners[0]);
        }
      });

      it('lets exactly one win of those that create the same name at once', async () => {
        for (const round of [1, 2, 3]) {
          const contents = ['one', 'two', 'three', 'four', 'five', 'six'];
          const codes = await Promise.all(
            contents.map((content, i) =>
              codeOf(put(i % 2 === 0 ? remote : open.second, `${dir}/file${round}`, content)),
            ),
          );
          const winners = contents.filter((_, i) => codes[i] === 'no error');
          expect([codes, winners.length]).toEqual([codes, 1]);
          expect(await open.content(`${dir}/file${round}`)).toBe(winners[0]);
        }
      });

      it('finds that what it sends is there already', async () => {
        await open.write(`${dir}/file`, 'same');
        const result = await put(remote, `${dir}/file`, 'same');
        expect(result.etag).toBe((await remote.stat(path(`${dir}/file`))).etag);
      });

      it('overwrites without a precondition', async () => {
        await open.write(`${dir}/file`, 'theirs');
        await put(remote, `${dir}/file`, 'ours', { kind: 'none' });
        expect(await open.content(`${dir}/file`)).toBe('ours');
      });

      it('needs the parent', async () => {
        expect(await codeOf(put(remote, `${dir}/none/file`, 'x'))).toBe('not_found');
      });

      it('takes nothing and much', async () => {
        await put(remote, `${dir}/empty`, '');
        expect((await remote.stat(path(`${dir}/empty`))).size_bytes).toBe(0);
        expect(await readAll(remote, `${dir}/empty`)).toHaveLength(0);
        const big = Buffer.alloc(3_000_001, 'cloudmount');
        const progress = session();
        await remote.put(path(`${dir}/big`), bytesSource(big), ABSENT, {}, progress);
        expect(progress.sent).toBe(big.length);
        expect((await readAll(remote, `${dir}/big`)).equals(big)).toBe(true);
      });

      it('leaves nothing when the local source fails or is short', async () => {
        const broken: UploadSource = {
          size_bytes: 100_000,
          async *open() {
            yield Buffer.alloc(50_000);
            throw new Error('disk failure');
          },
        };
        const short: UploadSource = {
          size_bytes: 100_000,
          async *open() {
            yield Buffer.alloc(50_000);
          },
        };
        expect(await codeOf(remote.put(path(`${dir}/a`), short, ABSENT, {}, session()))).toBe('io');
        await expect(remote.put(path(`${dir}/b`), broken, ABSENT, {}, session())).rejects.toThrow();
        const old = await put(remote, `${dir}/c`, 'old');
        const match: Precondition = { kind: 'if_match', etag: old.etag ?? '' };
        expect(await codeOf(remote.put(path(`${dir}/c`), short, match, {}, session()))).toBe('io');
        expect(await open.content(`${dir}/c`)).toBe('old');
        expect((await listAll(remote, dir)).map((entry) => entry.path)).toEqual([dir, `${dir}/c`]);
      });

      it('is interrupted by its signal', async () => {
        const abort = new AbortController();
        const source: UploadSource = {
          size_bytes: 1_000_000,
          async *open() {
            yield Buffer.alloc(100_000);
            abort.abort();
            await new Promise((resolve) => setTimeout(resolve, 20));
            yield Buffer.alloc(900_000);
          },
        };
        const call = remote.put(path(`${dir}/file`), source, ABSENT, {}, session(), { signal: abort.signal });
        expect(await codeOf(call)).toBe('interrupted');
        expect(await codeOf(remote.stat(path(`${dir}/file`), { signal: abort.signal }))).toBe('interrupted');
      });

      it('stores the time of change where the server can', async () => {
        const mtime = { s: 1_234_567_890, ns: can.posix ? 123_456_789 : 0 };
        await remote.put(path(`${dir}/file`), bytesSource('x'), ABSENT, { mtime, mode: 0o640 }, session());
        const entry = await remote.stat(path(`${dir}/file`));
        if (can.setMtime) expect(entry.mtime).toEqual(mtime);
        else expect(entry.mtime.s).toBeGreaterThan(1_500_000_000);
        expect(entry.posix.mode).toBe(can.posix ? 0o640 : undefined);
      });
    });

    describe('read', () => {
      it('gives the bytes of the range', async () => {
        const content = Buffer.from(Array.from({ length: 200_000 }, (_, i) => i % 251));
        const { etag } = await put(remote, `${dir}/file`, content);
        for (const [start, end] of [
          [0, 1],
          [199_999, 200_000],
          [65_536, 131_072],
          [0, 200_000],
          [7, 7],
        ] as const) {
          expect((await readPart(remote, `${dir}/file`, start, end, etag)).equals(content.subarray(start, end))).toBe(
            true,
          );
        }
      });

      it('gives nothing of another version', async () => {
        const { etag } = await put(remote, `${dir}/file`, 'version one');
        await open.write(`${dir}/file`, 'version two');
        let called = 0;
        const read = remote.read(path(`${dir}/file`), { start: 0, end: 5 }, etag, () => {
          called += 1;
        });
        expect(await codeOf(read)).toBe('stale');
        expect(called).toBe(0);
      });

      it('says that the file is gone', async () => {
        const { etag } = await put(remote, `${dir}/file`, 'content');
        await open.remove(`${dir}/file`);
        const read = remote.read(path(`${dir}/file`), { start: 0, end: 5 }, etag, () => undefined);
        expect(['not_found', 'stale']).toContain(await codeOf(read));
      });

      it('passes on what the sink throws', async () => {
        const { etag } = await put(remote, `${dir}/file`, 'content');
        const read = remote.read(path(`${dir}/file`), { start: 0, end: 5 }, etag, () => {
          throw new Error('no room here');
        });
        await expect(read).rejects.toThrow('no room here');
      });

      it('waits for the sink', async () => {
        const content = Buffer.alloc(500_000, 'z');
        const { etag } = await put(remote, `${dir}/file`, content);
        let inside = 0;
        let most = 0;
        await remote.read(path(`${dir}/file`), { start: 0, end: content.length }, etag, async () => {
          most = Math.max(most, ++inside);
          await new Promise((resolve) => setImmediate(resolve));
          inside -= 1;
        });
        expect(most).toBe(1);
      });
    });

    describe('mkdir', () => {
      it('makes a collection with the version and id it says', async () => {
        const result = await remote.mkdir(path(`${dir}/sub`), {});
        expect(await remote.stat(path(`${dir}/sub`))).toMatchObject({
          kind: 'dir',
          etag: result.etag,
          fileid: result.fileid,
        });
        expect(result.etag === null).toBe(!can.collectionEtags);
      });

      it('refuses a name that is taken, or without a parent', async () => {
        await put(remote, `${dir}/file`, 'x');
        expect(await codeOf(remote.mkdir(path(dir), {}))).toBe('exists');
        expect(await codeOf(remote.mkdir(path(`${dir}/file`), {}))).toBe('exists');
        expect(await codeOf(remote.mkdir(path(`${dir}/none/sub`), {}))).toBe('not_found');
        expect(await open.content(`${dir}/file`)).toBe('x');
      });
    });

    describe('move', () => {
      const keep = { overwrite: null, sourceEtag: null };

      it('renames files and whole folders', async () => {
        await put(remote, `${dir}/a`, 'content');
        await remote.mkdir(path(`${dir}/sub`), {});
        await remote.move(path(`${dir}/a`), path(`${dir}/sub/b c`), keep);
        await remote.move(path(`${dir}/sub`), path(`${dir}/other`), keep);
        expect(await open.content(`${dir}/other/b c`)).toBe('content');
        expect((await listAll(remote, dir)).map((entry) => entry.path)).toEqual([dir, `${dir}/other`]);
      });

      it('keeps the identity', async () => {
        const { fileid } = await put(remote, `${dir}/a`, 'content');
        await remote.move(path(`${dir}/a`), path(`${dir}/b`), keep);
        expect((await remote.stat(path(`${dir}/b`))).fileid).toBe(fileid);
      });

      it('never lands on something unasked', async () => {
        await put(remote, `${dir}/a`, 'ours');
        await put(remote, `${dir}/b`, 'theirs');
        await remote.mkdir(path(`${dir}/full`), {});
        await put(remote, `${dir}/full/inside`, 'precious');
        await remote.mkdir(path(`${dir}/empty`), {});
        expect(await codeOf(remote.move(path(`${dir}/a`), path(`${dir}/b`), keep))).toBe('exists');
        expect(await codeOf(remote.move(path(`${dir}/a`), path(`${dir}/full`), keep))).toBe('exists');
        expect(await codeOf(remote.move(path(`${dir}/empty`), path(`${dir}/full`), keep))).toBe('exists');
        expect([await open.content(`${dir}/a`), await open.content(`${dir}/b`)]).toEqual(['ours', 'theirs']);
        expect(await open.content(`${dir}/full/inside`)).toBe('precious');
      });

      it('replaces exactly the version that was named', async () => {
        await put(remote, `${dir}/a`, 'new');
        const old = await put(remote, `${dir}/b`, 'old');
        const overwrite = { etag: old.etag ?? '' };
        await open.write(`${dir}/b`, 'changed');
        expect(await codeOf(remote.move(path(`${dir}/a`), path(`${dir}/b`), { overwrite, sourceEtag: null }))).toBe(
          'precondition',
        );
        expect([await open.content(`${dir}/a`), await open.content(`${dir}/b`)]).toEqual(['new', 'changed']);
        const now = { etag: (await remote.stat(path(`${dir}/b`))).etag ?? '' };
        await remote.move(path(`${dir}/a`), path(`${dir}/b`), { overwrite: now, sourceEtag: null });
        expect([await open.content(`${dir}/a`), await open.content(`${dir}/b`)]).toEqual([null, 'new']);
      });

      it('insists on the version of the source', async () => {
        const { etag } = await put(remote, `${dir}/a`, 'first');
        await open.write(`${dir}/a`, 'second');
        expect(
          await codeOf(remote.move(path(`${dir}/a`), path(`${dir}/b`), { overwrite: null, sourceEtag: etag })),
        ).toBe('precondition');
        expect(await open.content(`${dir}/a`)).toBe('second');
        const now = (await remote.stat(path(`${dir}/a`))).etag;
        await remote.move(path(`${dir}/a`), path(`${dir}/b`), { overwrite: null, sourceEtag: now });
        expect(await open.content(`${dir}/b`)).toBe('second');
      });

      it('insists on the kind of the source where nothing else tells what a name stands for', async () => {
        if (remote.capabilities.dialect !== 'generic') return;
        await put(remote, `${dir}/a`, 'x');
        await remote.mkdir(path(`${dir}/sub`), {});
        const asFolder = remote.move(path(`${dir}/a`), path(`${dir}/b`), { ...keep, sourceKind: 'dir' });
        expect(await codeOf(asFolder)).toBe('precondition');
        const asFile = remote.move(path(`${dir}/sub`), path(`${dir}/b`), { ...keep, sourceKind: 'file' });
        expect(await codeOf(asFile)).toBe('precondition');
        expect(await open.content(`${dir}/a`)).toBe('x');
      });

      it('insists on the identity of the source where the server can be told', async () => {
        if (remote.capabilities.dialect !== 'cloudmount') return;
        const { fileid } = await put(remote, `${dir}/a`, 'meant');
        await remote.move(path(`${dir}/a`), path(`${dir}/b`), { ...keep, sourceId: fileid });
        await put(remote, `${dir}/a`, 'another');
        const moved = (to: string) =>
          codeOf(remote.move(path(`${dir}/a`), path(`${dir}/${to}`), { ...keep, sourceId: fileid }));
        expect(await moved('c')).toBe('precondition');
        expect(await moved('b')).toBe('precondition');
        expect([await open.content(`${dir}/a`), await open.content(`${dir}/b`)]).toEqual(['another', 'meant']);
      });

      it('needs a source, a parent, and a target outside the source', async () => {
        await put(remote, `${dir}/a`, 'x');
        await remote.mkdir(path(`${dir}/sub`), {});
        expect(await codeOf(remote.move(path(`${dir}/none`), path(`${dir}/b`), keep))).toBe('not_found');
        expect(await codeOf(remote.move(path(`${dir}/a`), path(`${dir}/none/b`), keep))).toBe('not_found');
        expect(await codeOf(remote.move(path(`${dir}/sub`), path(`${dir}/sub/x`), keep))).toBe('invalid');
        expect(await open.content(`${dir}/a`)).toBe('x');
      });
    });

    describe('remove', () => {
      it('removes no file whose version is not said', async () => {
        // A folder was meant, or a file of which the server had said no version yet: by now somebody has put this here.
        await open.write(`${dir}/theirs`, 'theirs');
        expect(await codeOf(remote.remove(path(`${dir}/theirs`), null))).toBe('precondition');
        expect(await open.content(`${dir}/theirs`)).toBe('theirs');
      });

      it('takes exactly the version that was named', async () => {
        const { etag } = await put(remote, `${dir}/file`, 'one');
        await open.write(`${dir}/file`, 'two');
        expect(await codeOf(remote.remove(path(`${dir}/file`), etag))).toBe('precondition');
        expect(await open.content(`${dir}/file`)).toBe('two');
        await remote.remove(path(`${dir}/file`), (await remote.stat(path(`${dir}/file`))).etag);
        expect(await open.content(`${dir}/file`)).toBeNull();
        expect(await codeOf(remote.remove(path(`${dir}/file`), etag))).toBe('not_found');
      });

      it('takes an empty folder, not a full one', async () => {
        await remote.mkdir(path(`${dir}/sub`), {});
        await put(remote, `${dir}/sub/file`, 'precious');
        expect(await codeOf(remote.remove(path(`${dir}/sub`), null))).toBe('not_empty');
        expect(await open.content(`${dir}/sub/file`)).toBe('precious');
        await open.remove(`${dir}/sub/file`);
        await remote.remove(path(`${dir}/sub`), null);
        expect(await codeOf(remote.stat(path(`${dir}/sub`)))).toBe('not_found');
      });

      if (can.collectionEtags) {
        it('takes a folder only if nothing below it has changed', async () => {
          await remote.mkdir(path(`${dir}/sub`), {});
          await remote.mkdir(path(`${dir}/sub/deep`), {});
          await put(remote, `${dir}/sub/deep/file`, 'one');
          const { etag } = await remote.stat(path(`${dir}/sub`));
          await open.write(`${dir}/sub/deep/file`, 'two');
          expect(await codeOf(remote.remove(path(`${dir}/sub`), etag))).toBe('precondition');
          expect(await open.content(`${dir}/sub/deep/file`)).toBe('two');
          await remote.remove(path(`${dir}/sub`), (await remote.stat(path(`${dir}/sub`))).etag);
          expect(await codeOf(remote.stat(path(`${dir}/sub`)))).toBe('not_found');
        });
      }
    });

    describe('attributes', () => {
      const mtime = { s: 1_000_000_000, ns: can.posix ? 987_654_321 : 0 };

      it(can.setMtime ? 'sets the time of change' : 'refuses to set the time of change', async () => {
        const { etag } = await put(remote, `${dir}/file`, 'x');
        const code = await codeOf(remote.setMeta(path(`${dir}/file`), { mtime }));
        expect(code).toBe(can.setMtime ? 'no error' : 'unsupported');
        const entry = await remote.stat(path(`${dir}/file`));
        if (can.setMtime) expect(entry.mtime).toEqual(mtime);
        expect(entry.etag).toBe(etag);
      });

      it(can.posix ? 'sets mode and owner' : 'refuses to set mode and owner', async () => {
        await put(remote, `${dir}/file`, 'x');
        const patch = { mode: 0o4755, uid: 12_345, gid: 54_321 };
        for (const target of [`${dir}/file`, dir]) {
          expect(await codeOf(remote.setMeta(path(target), patch))).toBe(can.posix ? 'no error' : 'unsupported');
          expect((await remote.stat(path(target))).posix).toMatchObject(can.posix ? patch : {});
        }
      });

      it(can.xattrs ? 'stores extended attributes' : 'refuses extended attributes', async () => {
        await put(remote, `${dir}/file`, 'x');
        const xattrs = new Map([
          ['user.color', Buffer.from('blue')],
          ['user.7 ä/"<&', Buffer.from([0, 1, 255])],
          ['user.empty', Buffer.alloc(0)],
        ]);
        const code = await codeOf(remote.setMeta(path(`${dir}/file`), { xattrs }));
        expect(code).toBe(can.xattrs ? 'no error' : 'unsupported');
        if (!can.xattrs) return;
        expect((await remote.stat(path(`${dir}/file`))).xattrs).toEqual(xattrs);
        await remote.setMeta(path(`${dir}/file`), {
          xattrs: new Map([
            ['user.color', null],
            ['user.empty', Buffer.from('no')],
          ]),
        });
        const now = (await remote.stat(path(`${dir}/file`))).xattrs;
        expect([...now.keys()].sort()).toEqual(['user.7 ä/"<&', 'user.empty']);
        expect(now.get('user.empty')?.toString()).toBe('no');
      });

      it(can.symlinks ? 'keeps symbolic links' : 'refuses symbolic links', async () => {
        const target = '../elsewhere/ä b%41';
        const code = await codeOf(remote.symlink(path(`${dir}/link`), target, ABSENT));
        expect(code).toBe(can.symlinks ? 'no error' : 'unsupported');
        if (!can.symlinks) return;
        expect(await remote.stat(path(`${dir}/link`))).toMatchObject({ kind: 'symlink', symlinkTarget: target });
        expect(await codeOf(remote.symlink(path(`${dir}/link`), 'other', ABSENT))).toBe('precondition');
        const { etag } = await remote.stat(path(`${dir}/link`));
        await put(remote, `${dir}/link`, 'a file now', { kind: 'if_match', etag: etag ?? '' });
        expect(await remote.stat(path(`${dir}/link`))).toMatchObject({
          kind: 'file',
          symlinkTarget: null,
          size_bytes: 10,
        });
      });
    });

    if (can.locks) {
      describe('locks', () => {
        it('keep others from writing, not us', async () => {
          const first = await put(remote, `${dir}/file`, 'one');
          const match: Precondition = { kind: 'if_match', etag: first.etag ?? '' };
          const lock = await remote.lock(path(`${dir}/file`), { timeout_s: 600 });
          expect(lock).toMatchObject({ mine: true, token: expect.any(String) });
          const token = lock.token ?? '';
          expect(await codeOf(open.second.put(path(`${dir}/file`), bytesSource('theirs'), match, {}, session()))).toBe(
            'locked',
          );
          expect(await codeOf(open.second.remove(path(`${dir}/file`), first.etag))).toBe('locked');
          expect(await codeOf(open.second.lock(path(`${dir}/file`)))).toBe('locked');
          expect(await open.content(`${dir}/file`)).toBe('one');
          await remote.put(path(`${dir}/file`), bytesSource('ours'), match, {}, session(), { lockToken: token });
          expect(await open.content(`${dir}/file`)).toBe('ours');
          expect(await remote.refreshLock(path(`${dir}/file`), token)).toMatchObject({ mine: true, token });
          await remote.unlock(path(`${dir}/file`), token);
          const now = (await remote.stat(path(`${dir}/file`))).etag ?? '';
          await open.second.put(
            path(`${dir}/file`),
            bytesSource('free again'),
            { kind: 'if_match', etag: now },
            {},
            session(),
          );
          expect(await open.content(`${dir}/file`)).toBe('free again');
        });

        it('are broken by who has the right to', async () => {
          await put(remote, `${dir}/file`, 'one');
          await remote.lock(path(`${dir}/file`), { timeout_s: 600 });
          const isShown = (await open.second.stat(path(`${dir}/file`))).lock !== null;
          const broken = await codeOf(open.second.unlock(path(`${dir}/file`), ANY_LOCK));
          expect(broken).toBe(isShown ? 'no error' : 'not_found'); // Go tells nobody of locks
          if (!isShown) return;
          const { etag, lock } = await remote.stat(path(`${dir}/file`));
          expect(lock).toBe(null);
          await put(open.second, `${dir}/file`, 'theirs', { kind: 'if_match', etag: etag ?? '' });
          expect(await open.content(`${dir}/file`)).toBe('theirs');
        });

        it('stop no move when they are gone on the server', async () => {
          for (const [name, over] of [
            ['alone', false],
            ['over', true],
          ] as const) {
            const [from, to] = [`${dir}/${name}`, `${dir}/${name} moved`];
            await put(remote, from, 'ours');
            const overwrite = over ? { etag: (await put(remote, to, 'replaced')).etag ?? '' } : null;
            const lockToken = (await remote.lock(path(from))).token ?? '';
            await remote.unlock(path(from), lockToken);
            await remote.move(path(from), path(to), { overwrite, sourceEtag: null }, { lockToken });
            expect(await open.content(to)).toBe('ours');
            expect(await codeOf(remote.stat(path(from)))).toBe('not_found');
          }
        });

        it('of ours in a folder stop no move of that', async () => {
          await remote.mkdir(path(`${dir}/folder`), {});
          await put(remote, `${dir}/folder/file`, 'ours');
          const { token } = await remote.lock(path(`${dir}/folder/file`));
          const rule = { overwrite: null, sourceEtag: null };
          await remote.move(path(`${dir}/folder`), path(`${dir}/moved`), rule, { alsoTokens: [token ?? ''] });
          expect(await open.content(`${dir}/moved/file`)).toBe('ours');
        });

        it('do not make a file of a free name', async () => {
          expect(await codeOf(remote.lock(path(`${dir}/none`)))).toBe('not_found');
          expect(await codeOf(remote.stat(path(`${dir}/none`)))).toBe('not_found');
        });
      });
    }

    it('tells the quota in numbers or not at all', async () => {
      const quota = await remote.quota();
      if (quota === null) return expect(can.dialect).toBe('generic');
      expect(quota.used_bytes).toBeGreaterThanOrEqual(0);
      return expect(quota.available_bytes === null || quota.available_bytes >= 0).toBe(true);
    });

    if (!can.changeFeed) {
      it('says that it has no change feed', async () => {
        expect(await codeOf(remote.changes(null))).toBe('unsupported');
      });
    } else {
      describe('changes', () => {
        /** Applies pages to a mirror until there is no more. */
        async function follow(
          mirror: Map<string, RemoteEntry>,
          cursor: string | null,
        ): Promise<{ cursor: string; full: boolean; changes: number }> {
          let at = cursor;
          let full = false;
          let changes = 0;
          const named = new Set<string>();
          for (;;) {
            const page = await remote.changes(at);
            full = page.full;
            changes += page.changes.length;
            for (const change of page.changes) {
              const at = change.kind === 'gone' ? change.path : change.entry.path;
              const known = mirror.get(at);
              const same = change.kind === 'present' && known?.fileid === change.entry.fileid;
              // What goes, or makes place for something else, takes everything below with it.
              if (!same) for (const one of [...mirror.keys()]) if (isWithin(path(one), at)) mirror.delete(one);
              if (change.kind === 'present') {
                mirror.set(change.entry.path, change.entry);
                named.add(change.entry.path);
              }
            }
            at = page.next;
            if (!page.more) break;
          }
          if (full) for (const known of [...mirror.keys()]) if (!named.has(known)) mirror.delete(known);
          return { cursor: at, full, changes };
        }

        async function truth(): Promise<Map<string, RemoteEntry>> {
          const all = new Map<string, RemoteEntry>();
          const walk = async (folder: string): Promise<void> => {
            for (const entry of await listAll(remote, folder)) {
              const isSelf = entry.path === folder;
              all.set(entry.path, entry);
              if (entry.kind === 'dir' && !isSelf) await walk(entry.path);
            }
          };
          await walk('');
          return all;
        }

        // A feed is about members: the root itself may be named or not (RFC 6578 section 3.5).
        const sorted = (mirror: Map<string, RemoteEntry>) =>
          [...mirror.entries()].filter(([at]) => at !== '').sort(([a], [b]) => (a < b ? -1 : 1));

        it('mirror the whole tree, then every change', async () => {
          const mirror = new Map<string, RemoteEntry>();
          await remote.mkdir(path(`${dir}/a`), {});
          await put(remote, `${dir}/a/one`, '1');
          const first = await follow(mirror, null);
          expect(first.full).toBe(true);
          expect(sorted(mirror)).toEqual(sorted(await truth()));
          const quiet = await follow(mirror, first.cursor);
          expect(quiet).toMatchObject({ full: false, changes: 0 });

          const { etag } = await remote.stat(path(`${dir}/a/one`));
          await put(remote, `${dir}/a/one`, '11', { kind: 'if_match', etag: etag ?? '' });
          await put(remote, `${dir}/a/two`, '2');
          await remote.mkdir(path(`${dir}/b`), {});
          await put(remote, `${dir}/b/three`, '3');
          await remote.move(path(`${dir}/b`), path(`${dir}/a/c`), { overwrite: null, sourceEtag: null });
          await open.remove(`${dir}/a/two`);
          if (can.posix) await remote.setMeta(path(`${dir}/a/one`), { mode: 0o600 });
          const second = await follow(mirror, quiet.cursor);
          expect(second.full).toBe(false);
          expect(sorted(mirror)).toEqual(sorted(await truth()));

          await open.remove(`${dir}/a/c/three`);
          await put(remote, `${dir}/a/two`, 'again');
          await remote.move(path(`${dir}/a`), path(`${dir}/z`), { overwrite: null, sourceEtag: null });
          await remote.move(path(`${dir}/z/one`), path(`${dir}/a`), { overwrite: null, sourceEtag: null });
          await follow(mirror, second.cursor);
          expect(sorted(mirror)).toEqual(sorted(await truth()));
        });

        it('begin again after a cursor nobody knows', async () => {
          const mirror = new Map<string, RemoteEntry>();
          const { full } = await follow(mirror, '{"token":"urn:nobody:knows:this"}');
          expect(full).toBe(true);
          expect(sorted(mirror)).toEqual(sorted(await truth()));
        });

        it('name parents before children in a full listing', async () => {
          await remote.mkdir(path(`${dir}/p`), {});
          await remote.mkdir(path(`${dir}/p/q`), {});
          await put(remote, `${dir}/p/q/r`, 'x');
          const seen = new Set<string>();
          let cursor: string | null = null;
          for (;;) {
            const page = await remote.changes(cursor);
            for (const change of page.changes) {
              if (change.kind === 'gone') continue;
              const { path: at } = change.entry;
              const parent = at.includes('/') ? at.slice(0, at.lastIndexOf('/')) : '';
              if (parent !== '') expect(seen.has(parent), `${at} after ${parent}`).toBe(true);
              seen.add(at);
            }
            cursor = page.next;
            if (!page.more) break;
          }
          expect(seen.has(`${dir}/p/q/r`)).toBe(true);
        });
      });
    }

    if (can.push) {
      it('is told about changes of others', async () => {
        const stop = new AbortController();
        const events = { changes: 0, connected: [] as boolean[] };
        remote.watch(
          { onChange: () => void events.changes++, onConnection: (connected) => void events.connected.push(connected) },
          stop.signal,
        );
        try {
          await eventually(() => events.connected.includes(true), 'the push channel');
          await new Promise((resolve) => setTimeout(resolve, 50));
          const before = events.changes;
          await open.write(`${dir}/file`, 'news');
          await eventually(() => events.changes > before, 'a notification');
        } finally {
          stop.abort();
        }
      });
    }
  });
}
