// curl, and what a person does with it: up, down, a part, resumed, refused before the body.

import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { must, run } from '../support/processes.js';
import { requireProgram, type ServerForClients, serverForClients } from './with_server.js';

let curl: string;
let at: ServerForClients;
let root: string;

beforeEach(async () => {
  curl = await requireProgram('curl', 'curl');
  at = await serverForClients();
  root = `${at.url}/dav/files/alice`;
});

afterEach(async () => {
  await at?.close();
});

function call(...args: readonly string[]): Promise<string> {
  return must(curl, ['-sS', '--fail-with-body', '-u', `${at.user}:${at.password}`, ...args]);
}

test('uploads, downloads, resumes', async () => {
  const content = randomBytes(5_000_000);
  const source = join(at.dir, 'source');
  const copy = join(at.dir, 'copy');
  await writeFile(source, content);
  await call('-T', source, `${root}/f.bin`);
  await call('-o', copy, `${root}/f.bin`);
  expect((await readFile(copy)).equals(content)).toBe(true);
  await writeFile(copy, content.subarray(0, 1_234_567));
  await call('-C', '-', '-o', copy, `${root}/f.bin`);
  expect((await readFile(copy)).equals(content)).toBe(true);
  expect(at.seen.at(-1)).toMatchObject({ method: 'GET', status: 206 });
});

test('uploads from a pipe, of unknown length', async () => {
  const done = await run(curl, ['-sS', '-u', `${at.user}:${at.password}`, '-T', '-', `${root}/piped`], {
    input: Buffer.alloc(3_000_000, 'pipe'),
  });
  expect(done.stderr).toBe('');
  expect((await at.dav.get('piped')).length).toBe(3_000_000);
});

test('a refused upload is refused before its body is sent', async () => {
  const big = join(at.dir, 'big');
  await writeFile(big, Buffer.alloc(30_000_000));
  const said = await run(curl, ['-sSv', '-u', `${at.user}:wrong password`, '-T', big, `${root}/big`]);
  expect(said.stderr).toContain('< HTTP/1.1 401');
  expect(said.stderr).not.toContain('100 Continue');
  const missing = await run(curl, ['-sSv', '-u', `${at.user}:${at.password}`, '-T', big, `${root}/no/such/dir/big`]);
  expect(missing.stderr).toContain('< HTTP/1.1 409');
  expect(missing.stderr).not.toContain('100 Continue');
});

test('a refused upload without Expect still gets its answer', async () => {
  const big = join(at.dir, 'big');
  await writeFile(big, Buffer.alloc(30_000_000));
  const args = ['-sS', '-u', `${at.user}:${at.password}`, '-H', 'Expect:', '-H', 'If-Match: "other"', '-T', big];
  await at.dav.put('big', 'before');
  const said = await run(curl, [...args, '-w', '%{http_code}', '-o', '/dev/null', `${root}/big`]);
  expect(said.stdout).toBe('412');
  expect(await at.dav.text('big')).toBe('before');
});

test('asks first what the server can do', async () => {
  for (const path of ['/', '/dav/files/alice/', '/remote.php/webdav/']) {
    const said = await must(curl, ['-sSi', '-X', 'OPTIONS', at.url + path]);
    expect(said).toMatch(/^HTTP\/1\.1 200/);
    expect(said).toMatch(/\r\nDAV: 1, 2, 3\r\n/);
  }
});
