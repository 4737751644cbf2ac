import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Name } from '../../../../src/ids.js';
import { type DavServer, startDavServer } from './dav_server.js';

let server: DavServer;
let n = 0;
let d: string;
beforeAll(async () => {
  server = await startDavServer({ limits: { copyEntries: 50 } });
});
afterAll(() => server.close());
beforeEach(async () => {
  d = `d${++n}`;
  await server.ask('MKCOL', d);
  await server.ask('MKCOL', `${d}/sub`);
  await server.ask('PUT', `${d}/f`, { body: 'f', headers: { 'X-OC-Mtime': '5.000000007' } });
  await server.ask('PUT', `${d}/big`, { body: Buffer.alloc(100_000, 1) });
  await server.ask('PUT', `${d}/sub/g`, { body: 'g' });
});

const transfer = (method: string, from: string, to: string, headers: Record<string, string> = {}) =>
  server.ask(method, `${d}/${from}`, { headers: { Destination: `/dav/files/anna/${d}/${to}`, ...headers } });
const text = async (path: string) => {
  const { status, text: body } = await server.ask('GET', `${d}/${path}`);
  return status === 200 ? body : status;
};
const id = async (path: string) => (await server.ask('HEAD', `${d}/${path}`)).headers['oc-fileid'];
const sizeOfTree = async () => {
  const root = await server.rootOf('anna');
  return (await server.metadata.read((tx) => tx.usage(root))).used_bytes;
};

describe('MOVE', () => {
  test('201 to a new name with the identity kept, 204 over another file', async () => {
    const before = await id('f');
    const etag = (await server.ask('HEAD', `${d}/f`)).headers.etag;
    expect((await transfer('MOVE', 'f', 'new')).status).toBe(201);
    expect([await text('f'), await text('new'), await id('new')]).toEqual([404, 'f', before]);
    expect((await server.ask('HEAD', `${d}/new`)).headers.etag).toBe(etag);
    expect((await transfer('MOVE', 'new', 'sub/g')).status).toBe(204);
    expect([await text('sub/g'), await id('sub/g')]).toEqual(['f', before]);
  });

  test('a collection with all below, also over another collection', async () => {
    expect((await transfer('MOVE', 'sub', 'moved')).status).toBe(201);
    expect([await text('sub/g'), await text('moved/g')]).toEqual([404, 'g']);
    await server.ask('MKCOL', `${d}/target`);
    await server.ask('PUT', `${d}/target/old`, { body: 'old' });
    expect((await transfer('MOVE', 'moved', 'target', { Overwrite: 'F' })).status).toBe(412);
    expect(await text('target/old')).toBe('old');
    expect((await transfer('MOVE', 'moved/', 'target/')).status).toBe(204);
    expect([await text('target/g'), await text('target/old')]).toEqual(['g', 404]);
  });

  test('there is never a moment with both names or with neither', async () => {
    let stop = false;
    const seen = new Set<string>();
    const watch = async () => {
      while (!stop) {
        const listing = await server.ask('PROPFIND', d, { headers: { Depth: '1' } });
        const names = [...listing.text.matchAll(/<d:href>[^<]*\/(one|two)<\/d:href>/g)].map(([, name]) => name);
        seen.add(names.join('+'));
      }
    };
    await transfer('MOVE', 'f', 'one');
    const watching = Promise.all([watch(), watch()]);
    for (let i = 0; i < 30; i++) await transfer('MOVE', i % 2 === 0 ? 'one' : 'two', i % 2 === 0 ? 'two' : 'one');
    stop = true;
    await watching;
    for (const state of seen) expect(['one', 'two']).toContain(state);
  });

  test('Depth must be infinity', async () => {
    expect((await transfer('MOVE', 'f', 'x', { Depth: '0' })).status).toBe(400);
    expect((await transfer('MOVE', 'f', 'x', { Depth: 'infinity' })).status).toBe(201);
  });
});

test('what is deeper than may be is renamed, brought up and deleted, and not made deeper', async () => {
  const x = (n: number) => Array.from({ length: n }, () => 'x').join('/');
  const rootId = await server.rootOf('anna');
  await server.ask('MKCOL', `${d}/x`);
  // As a program without the limit did it.
  await server.metadata.write(async (tx) => {
    const top = (await tx.resolve(rootId, [d, 'x'] as Name[])).node ?? expect.fail();
    const { writer } = server.database;
    const own = new Set(['id', 'parent_id', 'tree_seq', 'changed_seq', 'path_seq']);
    const columns = (writer.pragma('table_info(nodes)') as { readonly name: string }[]).map(({ name }) => name);
    const values = columns.map((name) => (own.has(name) ? `:${name}` : name));
    const add = writer.prepare(`INSERT INTO nodes (${columns}) SELECT ${values} FROM nodes WHERE id = :parent_id`);
    for (let parent_id: number = top.id, id = 1_000_000; id < 1_002_099; parent_id = id++) {
      add.run({ id, parent_id, tree_seq: id, changed_seq: id, path_seq: id });
    }
    writer.prepare('UPDATE store SET seq = 2000000').run();
  });
  expect((await server.ask('MKCOL', `${d}/${x(2099)}/y`)).status).toBe(400);
  expect((await transfer('MOVE', x(2060), `${x(2059)}/y`)).status).toBe(201);
  expect((await transfer('MOVE', `${x(2059)}/y`, 'sub/up')).status).toBe(201);
  expect((await transfer('MOVE', 'sub', `${x(2040)}/down`)).status).toBe(400);
  expect((await transfer('MOVE', 'x', 'sub/x')).status).toBe(400);
  expect((await transfer('MOVE', 'x', 'renamed')).status).toBe(201);
  expect((await server.ask('DELETE', `${d}/renamed`)).status).toBe(204);
  expect(await text('sub/g')).toBe('g');
  expect(
    (await server.ask('PROPFIND', `${d}/sub/up`, { headers: { Depth: 'infinity' } })).text.split('<d:response>'),
  ).toHaveLength(42);
});

describe('COPY', () => {
  test('a file: a new identity, the same content and time; both live on their own', async () => {
    expect((await transfer('COPY', 'f', 'copy')).status).toBe(201);
    expect(await id('copy')).not.toBe(await id('f'));
    const find = await server.ask('PROPFIND', `${d}/copy`, {
      headers: { Depth: '0' },
      body: '<d:propfind xmlns:d="DAV:" xmlns:c="urn:cloudmount"><d:prop><c:mtime/></d:prop></d:propfind>',
    });
    expect(find.text).toContain('5.000000007');
    await server.ask('PUT', `${d}/f`, { body: 'changed' });
    await server.ask('DELETE', `${d}/f`);
    expect(await text('copy')).toBe('f');
    await transfer('COPY', 'big', 'big2');
    await server.ask('DELETE', `${d}/big`);
    expect((await server.ask('GET', `${d}/big2`)).bytes.equals(Buffer.alloc(100_000, 1))).toBe(true);
  });

  test('over a file keeps the identity of what it replaces', async () => {
    const before = await id('sub/g');
    expect((await transfer('COPY', 'big', 'sub/g')).status).toBe(204);
    expect(await id('sub/g')).toBe(before);
    expect((await server.ask('GET', `${d}/sub/g`)).bytes).toHaveLength(100_000);
    expect((await transfer('COPY', 'f', 'sub/g', { Overwrite: 'F' })).status).toBe(412);
  });

  test('a collection: deep, or with Depth 0 alone', async () => {
    const before = await sizeOfTree();
    expect((await transfer('COPY', 'sub', 'deep')).status).toBe(201);
    expect(await text('deep/g')).toBe('g');
    expect((await transfer('COPY', 'sub', 'flat', { Depth: '0' })).status).toBe(201);
    expect(await text('flat/g')).toBe(404);
    expect((await transfer('COPY', 'sub', 'x', { Depth: '1' })).status).toBe(400);
    expect(await sizeOfTree()).toBe(before + 1);
    expect((await transfer('COPY', 'flat', 'deep')).status).toBe(204);
    expect(await text('deep/g')).toBe(404);
    expect(await sizeOfTree()).toBe(before);
  });
});

describe.each(['MOVE', 'COPY'])('%s', (method) => {
  test.each([
    ['onto itself', 'f', 'f', 403],
    ['a collection onto itself', 'sub', 'sub/', 403],
    ['into itself', 'sub', 'sub/in', 409],
    ['over what it is in', 'sub/g', 'sub', 409],
    ['where no collection is', 'f', 'none/x', 409],
    ['from nothing', 'none', 'x', 404],
    ['to a name too long', 'f', 'x'.repeat(256), 400],
    ['to a traversal', 'f', '%2e%2e/x', 400],
  ])('%s is refused and changes nothing', async (_, from, to, status) => {
    const before = await sizeOfTree();
    expect((await transfer(method, from, to)).status).toBe(status);
    expect([await text('f'), await text('sub/g'), await sizeOfTree()]).toEqual(['f', 'g', before]);
  });

  test('the destination is judged by its path, whatever host it names', async () => {
    const headers = { Destination: `https://cloud.example.org:8443/dav/files/anna/${d}/abs%20olute` };
    expect((await transfer(method, 'f', '', headers)).status).toBe(201);
    expect(await text('abs%20olute')).toBe('f');
    expect((await transfer(method, 'big', '', { Destination: '/elsewhere/x' })).status).toBe(502);
    expect((await transfer(method, 'big', '', { Destination: '/dav/files/anna/' })).status).toBe(403);
    expect((await server.ask(method, `${d}/big`)).status).toBe(400);
  });

  test('the root stays where it is', async () => {
    expect((await server.ask(method, '', { headers: { Destination: `/dav/files/anna/${d}/x` } })).status).toBe(403);
  });
});

test('a COPY has an end: copies of copies would double with each', async () => {
  await server.ask('MKCOL', `${d}/many`);
  for (let i = 0; i < 50; i++) await server.ask('PUT', `${d}/many/${i}`, { body: '' });
  expect((await transfer('COPY', 'many', 'copy')).status).toBe(201);
  expect((await transfer('MOVE', 'copy', 'many/copy')).status).toBe(201);
  const refused = await transfer('COPY', 'many', 'sub');
  expect([refused.status, await text('sub/g')]).toEqual([403, 'g']);
  expect(refused.text).toContain('at most 50');
  expect((await transfer('COPY', 'many', 'flat', { Depth: '0' })).status).toBe(201);
});

/** Collections `a` in one another below `d`, made at once; the lowest one is so many levels below the root. */
async function chain(depth: number): Promise<void> {
  const { writer } = server.database;
  const insert = writer.prepare(
    `INSERT INTO nodes (id, parent_id, root_id, name, kind, size, tree_seq, changed_seq, path_seq, mtime_s, mtime_ns, mtime_set,
       created_ms) VALUES (?, ?, ?, 'a', 1, 0, ?, ?, ?, 0, 0, 0, 0)`,
  );
  const rootId = await server.rootOf('anna');
  let parent = writer.prepare<[string], number>('SELECT id FROM nodes WHERE name = ?').pluck().get(d) ?? 0;
  let seq = writer.prepare<[], number>('SELECT seq FROM store').pluck().get() ?? 0;
  writer.transaction(() => {
    for (let level = 2; level <= depth; level++) {
      seq += 1;
      insert.run(seq, parent, rootId, seq, seq, seq);
      parent = seq;
    }
    writer.prepare('UPDATE store SET seq = ?').run(seq);
  })();
}

test('folders are in one another no deeper than every part of the server can follow', async () => {
  await chain(2046);
  const lowest = `a${'/a'.repeat(2044)}`;
  expect((await server.ask('MKCOL', `${d}/${lowest}/last`)).status).toBe(201);
  expect((await server.ask('PUT', `${d}/${lowest}/last/f`, { body: 'x' })).status).toBe(201);
  expect((await server.ask('MKCOL', `${d}/${lowest}/last/dir`)).status).toBe(201);
  expect((await server.ask('PUT', `${d}/${lowest}/last/dir/f`, { body: 'x' })).status).toBe(400);
  expect((await server.ask('MKCOL', `${d}/${lowest}/last/dir/more`)).status).toBe(400);
  for (const method of ['MOVE', 'COPY']) {
    expect((await transfer(method, 'sub', `${lowest}/last/sub`)).status, method).toBe(400);
    expect(await text('sub/g')).toBe('g');
    expect((await transfer(method, 'sub', `${lowest}/${method}`)).status, method).toBe(201);
    if (method === 'MOVE') expect((await transfer(method, `${lowest}/MOVE`, 'sub')).status).toBe(201);
  }
  const body =
    '<d:sync-collection xmlns:d="DAV:"><d:sync-token/><d:sync-level>infinite</d:sync-level><d:prop/></d:sync-collection>';
  expect((await server.ask('REPORT', '', { body })).status).toBe(207);
  expect((await server.ask('DELETE', `${d}/a`)).status).toBe(204);
});
