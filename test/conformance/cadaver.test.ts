// cadaver, the command-line WebDAV client built on neon (as davfs2 and litmus are), in one scripted session.

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { run } from '../support/processes.js';
import { requireProgram, type ServerForClients, serverForClients } from './with_server.js';

let cadaver: string;
let at: ServerForClients;
let home: string;

beforeEach(async () => {
  cadaver = await requireProgram('cadaver', 'cadaver');
  at = await serverForClients();
  home = join(at.dir, 'home');
  await mkdir(home);
  await writeFile(join(home, '.netrc'), `machine 127.0.0.1\nlogin ${at.user}\npassword "${at.password}"\n`, {
    mode: 0o600,
  });
});

afterEach(async () => {
  await at?.close();
});

async function session(path: string, commands: readonly string[]): Promise<string> {
  const done = await run(cadaver, [at.url + path], {
    cwd: home,
    env: { HOME: home, LC_ALL: 'C.UTF-8' },
    input: [...commands, 'quit', ''].join('\n'),
    timeout_ms: 30_000,
  });
  return done.stdout + done.stderr;
}

test('a session of everyday commands', async () => {
  await writeFile(join(home, 'f.txt'), 'by cadaver');
  const said = await session('/dav/files/alice/', [
    'mkcol things',
    'cd things',
    'put f.txt',
    'ls',
    'copy f.txt g.txt',
    'move g.txt h.txt',
    'get h.txt back.txt',
    'propset f.txt color blue',
    'propget f.txt color',
    'delete f.txt',
    'ls',
  ]);
  expect(said).not.toMatch(/failed|error/i);
  expect(said).toMatch(/f\.txt\s+10\s/);
  expect(said).toContain('blue');
  expect(await readFile(join(home, 'back.txt'), 'utf8')).toBe('by cadaver');
  expect(await at.dav.list('things')).toEqual(['h.txt']);
});

test('locks: taken, seen, honoured, given back', async () => {
  await at.dav.put('shared.txt', 'before');
  const said = await session('/remote.php/webdav/', ['lock shared.txt', 'discover shared.txt', 'showlocks']);
  expect(said).toMatch(/Locking `shared\.txt': succeeded/);
  expect(said).toMatch(/Scope: exclusive {2}Type: write/);
  // The session ended without unlocking: others stay out.
  expect((await at.dav.send('PUT', 'shared.txt', { body: 'overwritten' })).status).toBe(423);
  const token = /urn:uuid:[0-9a-f-]+/.exec(said)?.[0] ?? '';
  expect((await at.dav.send('UNLOCK', 'shared.txt', { headers: { 'lock-token': `<${token}>` } })).status).toBe(204);
  expect(await at.dav.text('shared.txt')).toBe('before');
  const again = await session('/remote.php/webdav/', ['lock shared.txt', 'unlock shared.txt']);
  expect(again).toMatch(/Unlocking `shared\.txt': succeeded/);
  await at.dav.put('shared.txt', 'after');
});

test('walks down from the root', async () => {
  await at.dav.put('found.txt', 'x');
  const said = await session('/', ['ls', 'cd dav', 'ls', 'cd files', 'ls', 'cd alice', 'ls']);
  expect(said).not.toMatch(/failed/);
  expect(said).toMatch(/Coll:\s+dav\s/);
  expect(said).toMatch(/Coll:\s+alice\s/);
  expect(said).toMatch(/found\.txt\s+1\s/);
});
