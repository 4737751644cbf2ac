// Two people, each with a WebDAV client of their own (rclone, and Nextcloud's sync client), in one shared folder.

import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { DavClient } from '../support/dav_client.js';
import { must, run } from '../support/processes.js';
import { requireProgram, type ServerForClients, serverForClients } from './with_server.js';

const PASSWORD = 'battery staple horse';

let rclone: string;
let nextcloudcmd: string;
let at: ServerForClients;
let obscured: string;
let bob: DavClient;

beforeEach(async () => {
  rclone = await requireProgram('rclone', 'rclone');
  nextcloudcmd = await requireProgram('nextcloudcmd', 'nextcloud-desktop-cmd');
  at = await serverForClients();
  await at.server.accounts.create({ name: 'bob', password: PASSWORD, displayName: 'Bob' });
  bob = new DavClient({ root: `${at.url}/dav/files/bob/`, user: 'bob', password: PASSWORD });
  obscured = (await must(rclone, ['obscure', at.password])).trim();
});

afterEach(async () => {
  await bob?.close();
  await at?.close();
});

/** rclone as alice. */
function alice(...args: readonly string[]): Promise<string> {
  return must(rclone, [...args, '--retries', '1'], {
    env: {
      RCLONE_CONFIG: '/dev/null',
      RCLONE_CONFIG_CLOUD_TYPE: 'webdav',
      RCLONE_CONFIG_CLOUD_URL: `${at.url}/remote.php/dav/files/alice/`,
      RCLONE_CONFIG_CLOUD_VENDOR: 'nextcloud',
      RCLONE_CONFIG_CLOUD_USER: at.user,
      RCLONE_CONFIG_CLOUD_PASS: obscured,
    },
  });
}

/** Nextcloud's client as bob, once. */
async function syncBob(folder: string): Promise<string> {
  const done = await run(nextcloudcmd, ['--non-interactive', '-u', 'bob', '-p', PASSWORD, folder, at.url], {
    env: { ...process.env, HOME: at.dir, QT_QPA_PLATFORM: 'offscreen' } as Record<string, string>,
    timeout_ms: 60_000,
  });
  return done.stdout + done.stderr;
}

async function ocs(method: string, path: string, params: Record<string, string>): Promise<{ readonly id: string }> {
  const answer = await fetch(`${at.url}/ocs/v2.php/apps/files_sharing/api/v1/${path}?format=json`, {
    method,
    headers: {
      authorization: `Basic ${Buffer.from(`${at.user}:${at.password}`).toString('base64')}`,
      'ocs-apirequest': 'true',
    },
    body: new URLSearchParams(params),
  });
  expect(answer.status).toBe(200);
  return ((await answer.json()) as { ocs: { data: { id: string } } }).ocs.data;
}

test('a folder shared as Organiser: edits of each reach all; suspended it is gone', async () => {
  const local = join(at.dir, 'bob');
  const up = join(at.dir, 'alice');
  await mkdir(local);
  await mkdir(up);
  await writeFile(join(up, 'plan.txt'), 'by alice');
  await alice('copy', up, 'cloud:Plans');
  const { id } = await ocs('POST', 'shares', { path: '/Plans', shareType: '0', shareWith: 'bob', permissions: '15' });

  // A folder of which everything goes away makes this client ask first.
  await bob.put('own.txt', 'own');
  await syncBob(local);
  expect(await readFile(join(local, 'Plans', 'plan.txt'), 'utf8')).toBe('by alice');
  await writeFile(join(local, 'Plans', 'plan.txt'), 'by alice and bob');
  await writeFile(join(local, 'Plans', 'new.txt'), 'by bob');
  await syncBob(local);
  expect(await alice('cat', 'cloud:Plans/plan.txt')).toBe('by alice and bob');
  expect(await alice('cat', 'cloud:Plans/new.txt')).toBe('by bob');

  await ocs('PUT', `shares/${id}`, { suspended: 'true' });
  expect(await bob.list()).toEqual(['own.txt']);
  await syncBob(local);
  expect((await readdir(local)).filter((name) => !name.startsWith('.'))).toEqual(['own.txt']);
  expect(await alice('cat', 'cloud:Plans/new.txt')).toBe('by bob');
  await ocs('PUT', `shares/${id}`, { suspended: 'false' });
  await syncBob(local);
  expect(await readFile(join(local, 'Plans', 'new.txt'), 'utf8')).toBe('by bob');
});

test('a Viewer cannot write, an Uploader adds and does not overwrite', async () => {
  const up = join(at.dir, 'alice');
  await mkdir(up);
  await writeFile(join(up, 'a.txt'), 'one');
  await alice('copy', up, 'cloud:Docs');
  const { id } = await ocs('POST', 'shares', { path: '/Docs', shareType: '0', shareWith: 'bob', permissions: '1' });
  const local = join(at.dir, 'bob');
  await mkdir(local);
  await syncBob(local);
  await writeFile(join(local, 'Docs', 'mine.txt'), 'bob');
  await syncBob(local);
  expect((await alice('lsf', 'cloud:Docs')).trim()).toBe('a.txt');
  expect((await bob.send('PUT', 'Docs/a.txt', { body: 'x' })).status).toBe(403);

  await ocs('PUT', `shares/${id}`, { permissions: '5' });
  expect((await bob.send('PUT', 'Docs/added.txt', { body: 'bob' })).status).toBe(201);
  expect((await bob.send('PUT', 'Docs/added.txt', { body: 'again' })).status).toBe(403);
  expect((await bob.send('PUT', 'Docs/a.txt', { body: 'x' })).status).toBe(403);
  expect((await bob.send('DELETE', 'Docs/a.txt')).status).toBe(403);
  expect(await alice('cat', 'cloud:Docs/a.txt')).toBe('one');
});
