import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import type { RemotePath } from '../../../src/ids.js';
import { propElement } from '../../../src/remote/dav.js';
import { cloudmount } from '../../../src/remote/dialects/cloudmount.js';
import { entryOf } from '../../../src/remote/entry.js';
import { LockRoots } from '../../../src/remote/lock_roots.js';
import type { RemoteEntry, UploadSource } from '../../../src/remote/remote.js';
import { hrefResolver } from '../../../src/remote/wire/href.js';
import { MultistatusReader, propertyOf } from '../../../src/remote/wire/multistatus.js';
import { CM, ROOT_XMLNS, type XmlName } from '../../../src/remote/wire/ns.js';
import { ACCOUNT, keptSession, type Rig, rig } from './with_server.js';

let net: Rig;
beforeAll(async () => {
  net = await rig();
});
afterEach(() => {
  vi.useRealTimers();
});
afterAll(() => net.close());

const BOB = { user: 'bob', password: 'another good password' };
const login = ({ user, password }: typeof BOB) => ({ authorization: `Basic ${btoa(`${user}:${password}`)}` });
const AUTH = login(ACCOUNT);
const BASE = '/dav/files/alice/';

/** The whole tree as `properties` tell it, and of what `cm:brief` was told. */
async function tree(properties: readonly XmlName[], headers: Record<string, string> = {}, who = ACCOUNT) {
  const base = `/dav/files/${who.user}/`;
  const answer = await fetch(net.server.url + base, {
    method: 'PROPFIND',
    headers: { ...login(who), depth: 'infinity', ...headers },
    body: `<d:propfind${ROOT_XMLNS}>${propElement(properties)}</d:propfind>`,
  });
  const reader = new MultistatusReader();
  const all = [...reader.write(new Uint8Array(await answer.arrayBuffer())), ...reader.end().responses];
  const resolve = hrefResolver(base);
  const roots = new LockRoots((href) => resolve(href)?.path ?? null);
  const entries = new Map<string, RemoteEntry>();
  const brief: string[] = [];
  for (const response of all) {
    const { path, slash } = resolve(response.hrefs[0] ?? '') ?? { path: '' as RemotePath, slash: false };
    const self = { user: who.user, lockOwner: 'me' };
    entries.set(path, entryOf(response, path, slash, cloudmount, self, roots));
    if (response.brief !== undefined || propertyOf(response, CM, 'brief') !== null) brief.push(path);
  }
  return { entries, brief: brief.sort() };
}

it('what is told in brief is what is told at length, and what is unusual is told at length', async () => {
  // What remains of a lock is told in seconds from now: it must be the same now for every answer.
  vi.useFakeTimers({ toFake: ['Date'] });
  const remote = net.honest;
  const bytes: UploadSource = {
    size_bytes: 5,
    async *open() {
      yield Buffer.from('hello');
    },
  };
  const put = (path: string, mode: number) =>
    remote.put(path as RemotePath, bytes, { kind: 'if_absent' }, { mode, mtime: { s: 7, ns: 8 } }, keptSession());
  const mkdir = (path: string) => remote.mkdir(path as RemotePath, { mode: 0o700, uid: 5, gid: 6 });
  for (const dir of ['dir', 'locked', 'shared', 'shared/below']) await mkdir(dir);
  await put('plain', 0o640);
  await put('dir/run', 0o755);
  await put('tagged', 0o600);
  await put('locked/in', 0o600);
  await put('held', 0o600);
  await put('shared/in', 0o600);
  await remote.symlink('link' as RemotePath, 'plain', { kind: 'if_absent' });
  await remote.setMeta('tagged' as RemotePath, { xattrs: new Map([['user.a', Buffer.from('b')]]) });
  await remote.lock('held' as RemotePath);
  const lock = await fetch(`${net.server.url}${BASE}locked/`, {
    method: 'LOCK',
    headers: { ...AUTH, depth: 'infinity' },
    body: '<d:lockinfo xmlns:d="DAV:"><d:lockscope><d:exclusive/></d:lockscope><d:locktype><d:write/></d:locktype></d:lockinfo>',
  });
  await net.server.accounts.create({ name: BOB.user, password: BOB.password });
  const share = await fetch(`${net.server.url}/ocs/v2.php/apps/files_sharing/api/v1/shares`, {
    method: 'POST',
    headers: { ...AUTH, 'ocs-apirequest': 'true', 'content-type': 'application/x-www-form-urlencoded' },
    body: 'path=/shared&shareType=0&shareWith=bob&permissions=1',
  });
  expect([lock.status, share.status]).toEqual([200, 200]);

  const minimal = { prefer: 'return=minimal' };
  const atLength = cloudmount.properties.filter(({ local }) => local !== 'brief');
  const long = await tree(atLength, minimal);
  const short = await tree(cloudmount.properties, minimal);
  expect(short.entries).toEqual(long.entries);
  expect(long.brief).toEqual([]);
  expect(short.brief).toEqual(['', 'dir', 'dir/run', 'plain', 'shared/below', 'shared/in']);
  expect(long.entries.size).toBe(12);
  const shared = await tree(cloudmount.properties, minimal, BOB);
  expect(shared.entries).toEqual((await tree(atLength, minimal, BOB)).entries);
  expect(shared.brief).toEqual(['', 'shared', 'shared/below', 'shared/in']);
  expect(shared.entries.get('shared/in')).toMatchObject({ shared: 'in', rights: { read: true, write: false } });
  // Who does not ask for as little as possible is told everything it asks for.
  expect(await tree(cloudmount.properties)).toEqual(short);
  const whole = await fetch(`${net.server.url}${BASE}plain`, {
    method: 'PROPFIND',
    headers: { ...AUTH, depth: '0' },
    body: `<d:propfind${ROOT_XMLNS}>${propElement(cloudmount.properties)}</d:propfind>`,
  });
  expect(await whole.text()).toMatch(/<cm:brief>f .*<\/cm:brief>.*<cm:mode>0640<\/cm:mode>/);
});

it.each(['1e300', '99999999999999999', '-1', 'soon', ''])(
  'a lock since %j is one of which nobody knows since when',
  (since) => {
    const reader = new MultistatusReader();
    const [response] = reader.write(
      Buffer.from(
        `<d:multistatus${ROOT_XMLNS}><d:response><d:href>${BASE}a</d:href><d:propstat><d:prop><d:resourcetype/>` +
          `<nc:lock>1</nc:lock><nc:lock-owner>bob</nc:lock-owner><nc:lock-time>${since}</nc:lock-time>` +
          `<nc:lock-timeout>${since}</nc:lock-timeout></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>`,
      ),
    );
    if (response === undefined) throw new Error('no response');
    const self = { user: 'alice', lockOwner: 'me' };
    const entry = entryOf(response, 'a' as RemotePath, false, cloudmount, self, new LockRoots(() => null));
    expect(entry.lock).toMatchObject({ owner: 'bob', sinceEpoch_s: null, expiresEpoch_s: null });
  },
);
