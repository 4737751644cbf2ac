// Listings of servers that tell or name something in a way that cannot be, or leave out what a file needs.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRemote, type WebdavRemote } from '../../../src/remote/connect.js';
import { codeOf, listAll, path, put, readAll } from '../../contract/remote_contract.js';
import { type PlainServer, startPlainServer } from '../../support/plain_server.js';

let server: PlainServer;
let remote: WebdavRemote;
let warnings: { readonly fields: object; readonly message: string }[] = [];

beforeEach(async () => {
  server = await startPlainServer();
  warnings = [];
  const log = { info: () => undefined, warn: (fields: object, message: string) => warnings.push({ fields, message }) };
  remote = createRemote({ url: server.url, auth: { kind: 'none' }, timeout_ms: 2000, log });
  await remote.connect();
});

afterEach(async () => {
  await remote.close();
  await server.close();
});

const named = async (folder: string) =>
  (await listAll(remote, folder)).filter((entry) => entry.leftOut !== true).map((entry) => entry.path as string);

describe.each([
  ['a negative size', { length: (one: string, all: Buffer) => (one === 'f/bad' ? '-1' : String(all.length)) }],
  [
    'no size at all',
    { length: (one: string, all: Buffer) => (one === 'f/bad' ? null : String(all.length)), hidesLength: true },
  ],
  ['an encoded slash', { href: (one: string) => (one === 'f/bad' ? '/f/b%2Fad' : null) }],
  ['another folder', { href: (one: string) => (one === 'f/bad' ? '/g/bad' : null) }],
  ['an address outside', { href: (one: string) => (one === 'f/bad' ? 'ftp://x/f/bad' : null) }],
])('%s', (_, odd) => {
  it('of one entry hides no other, is said once, and does not let the folder be removed as empty', async () => {
    server.write('f', null);
    for (const name of ['a', 'bad', 'z']) server.write(`f/${name}`, name);
    server.odd = odd;
    expect(await named('f')).toEqual(['f', 'f/a', 'f/z']);
    await listAll(remote, 'f');
    expect(warnings).toEqual([expect.objectContaining({ message: expect.stringContaining('left out') })]);
    expect(JSON.stringify(warnings)).toMatch(/b(%2F)?ad/);
    server.remove('f/a');
    server.remove('f/z');
    expect(await codeOf(remote.remove(path('f'), null))).toBe('not_empty');
    expect(server.text('f/bad')).toBe('bad');
  });
});

it.each(['what now?', 'C# & more', '100% sure', '?#%'])(
  '"%s" is understood as a server writes it that escapes too little',
  async (name) => {
    server.write(name, 'text');
    server.odd = { href: (one) => (one === '' ? null : `/${one}`) };
    expect(await named('')).toEqual(['', name]);
    expect((await readAll(remote, name)).toString()).toBe('text');
  },
);

describe('a server that tells no sizes in listings', () => {
  beforeEach(() => {
    server.odd = { length: () => null };
    server.write('f', null);
    for (let i = 0; i < 40; i++) server.write(`f/${i}`, 'x'.repeat(i));
  });

  it('is asked for each', async () => {
    const sizes = (await listAll(remote, 'f')).filter(({ kind }) => kind === 'file').map((one) => one.size_bytes);
    expect(sizes).toEqual(Array.from({ length: 40 }, (_, i) => i));
    expect((await readAll(remote, 'f/7')).toString()).toBe('x'.repeat(7));
    expect((await remote.stat(path('f/9'))).size_bytes).toBe(9);
  });

  it('and not for one file either: that file is an error, not empty', async () => {
    server.odd = { length: () => null, hidesLength: true };
    expect(await codeOf(remote.stat(path('f/9')))).toBe('protocol');
  });

  it('is sent new files all the same', async () => {
    await put(remote, 'f/new', 'new');
    expect(server.text('f/new')).toBe('new');
    expect((await remote.stat(path('f/new'))).size_bytes).toBe(3);
  });
});

describe('a server that minds no case', () => {
  it('answers with another spelling of a folder than it was asked for', async () => {
    server.odd = { fold: (one) => one.toLowerCase(), answersAsKept: true };
    server.write('Photos', null);
    server.write('Photos/2024', null);
    server.write('Photos/2024/a.jpg', 'a');
    expect(await named('photos/2024')).toEqual(['photos/2024', 'photos/2024/a.jpg']);
    expect((await remote.stat(path('photos/2024/A.jpg'))).path).toBe('photos/2024/A.jpg');
  });
});
