// Every method, with every set of rights, by everybody: what the server lets through is what the table of rights says.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CREATE, DELETE, has, READ, UPDATE } from '../../../../src/server/sharing/rights.js';
import { type ShareWorld, shareWorld } from './share_world.js';

interface Case {
  readonly method: string;
  /** In the shared folder; '' = the folder itself. */
  readonly path: string;
  readonly needs: number;
  readonly headers?: (url: (path: string) => string) => Record<string, string>;
  readonly body?: string;
}

const PROPPATCH =
  '<d:propertyupdate xmlns:d="DAV:"><d:set><d:prop><x:y xmlns:x="urn:x">1</x:y></d:prop></d:set></d:propertyupdate>';
const LOCK =
  '<d:lockinfo xmlns:d="DAV:"><d:lockscope><d:shared/></d:lockscope><d:locktype><d:write/></d:locktype></d:lockinfo>';
const SYNC =
  '<d:sync-collection xmlns:d="DAV:"><d:sync-token/><d:sync-level>1</d:sync-level><d:prop/></d:sync-collection>';

/** In chunks: three requests, of which the last puts it in place. */
const UPLOAD = 'upload';

const CASES: readonly Case[] = [
  { method: 'GET', path: 'file', needs: READ },
  { method: 'HEAD', path: 'file', needs: READ },
  { method: 'PROPFIND', path: '', needs: READ },
  { method: 'PROPFIND', path: 'file', needs: READ },
  { method: 'REPORT', path: '', needs: READ, body: SYNC },
  { method: 'PUT', path: 'file', needs: UPDATE, body: 'new' },
  { method: 'PROPPATCH', path: 'file', needs: UPDATE, body: PROPPATCH },
  { method: 'LOCK', path: 'file', needs: UPDATE, body: LOCK },
  { method: 'LOCK', path: 'file', needs: UPDATE, headers: () => ({ 'X-User-Lock': '1' }) },
  { method: 'LOCK', path: 'sub', needs: UPDATE, headers: () => ({ 'X-User-Lock': '1' }) },
  { method: 'LOCK', path: '', needs: UPDATE, body: LOCK },
  { method: 'LOCK', path: 'null', needs: CREATE, body: LOCK },
  { method: UPLOAD, path: 'file', needs: UPDATE },
  { method: UPLOAD, path: 'new', needs: CREATE },
  { method: 'PUT', path: 'new', needs: CREATE, body: 'new' },
  { method: 'MKCOL', path: 'dir', needs: CREATE },
  { method: 'DELETE', path: 'file', needs: DELETE },
  { method: 'DELETE', path: 'sub', needs: DELETE },
  { method: 'MOVE', path: 'file', needs: UPDATE, headers: (url) => ({ Destination: url('renamed') }) },
  { method: 'MOVE', path: 'file', needs: DELETE | CREATE, headers: (url) => ({ Destination: url('sub/moved') }) },
  { method: 'MOVE', path: 'file', needs: DELETE, headers: (url) => ({ Destination: url('../taken') }) },
  { method: 'MOVE', path: '../own', needs: CREATE, headers: (url) => ({ Destination: url('put') }) },
  { method: 'MOVE', path: '../own', needs: UPDATE, headers: (url) => ({ Destination: url('file') }) },
  { method: 'COPY', path: 'file', needs: READ, headers: (url) => ({ Destination: url('../copied') }) },
  { method: 'COPY', path: 'file', needs: CREATE, headers: (url) => ({ Destination: url('copied') }) },
  { method: 'COPY', path: 'sub', needs: CREATE, headers: (url) => ({ Destination: url('copies') }) },
  { method: 'COPY', path: '../own', needs: UPDATE, headers: (url) => ({ Destination: url('file') }) },
  { method: 'COPY', path: '../owndir', needs: DELETE | CREATE, headers: (url) => ({ Destination: url('sub') }) },
];

const RIGHTS = [
  READ,
  READ | UPDATE,
  READ | CREATE,
  READ | DELETE,
  READ | UPDATE | CREATE,
  READ | UPDATE | CREATE | DELETE,
];

let world: ShareWorld;
let count = 0;

beforeAll(async () => {
  world = await shareWorld();
  await world.server.accounts.createGroup('crew');
  await world.server.accounts.addMember('crew', 'carl');
});
afterAll(() => world.close());

async function freshFolder(): Promise<string> {
  const name = `T${++count}`;
  await world.dav('anna', 'MKCOL', name);
  await world.dav('anna', 'MKCOL', `${name}/sub`);
  await world.dav('anna', 'PUT', `${name}/file`, { body: 'old' });
  return name;
}

/** `..` in a case means the root of the one who asks. */
function at(folder: string, path: string): string {
  return path.startsWith('../') ? path.slice(3) : path === '' ? folder : `${folder}/${path}`;
}

async function run(user: string, folder: string, { method, path, headers, body }: Case): Promise<number> {
  for (const name of ['taken', 'copied']) await world.dav(user, 'DELETE', name);
  await world.dav(user, 'PUT', 'own', { body: 'own' });
  await world.dav(user, 'MKCOL', 'owndir');
  const url = (name: string) => world.urlOf(user, at(folder, name));
  if (method === UPLOAD) return upload(user, url(path));
  const answer = await world.dav(user, method, at(folder, path), {
    headers: { ...(method === 'REPORT' || method === 'PROPFIND' ? { Depth: '0' } : {}), ...headers?.(url) },
    ...(body === undefined ? {} : { body }),
  });
  return answer.status;
}

/** The status of the first step that is refused, else of the last. */
async function upload(user: string, Destination: string): Promise<number> {
  const base = `/dav/uploads/${user}/table-${++count}`;
  const steps = [
    { method: 'MKCOL', path: base },
    { method: 'PUT', path: `${base}/1`, body: 'x' },
    { method: 'MOVE', path: `${base}/.file` },
  ];
  let status = 0;
  for (const { method, path, body } of steps) {
    ({ status } = await world.raw(user, method, path, {
      headers: { Destination },
      ...(body === undefined ? {} : { body }),
    }));
    if (status >= 300) break;
  }
  return status;
}

const isRefused = (status: number) => status === 403 || status === 404;

describe.each(RIGHTS)('rights %i', (rights) => {
  test('given to a user, to a group, and over two shares', async () => {
    const isPlain = rights !== (READ | CREATE) && rights !== (READ | UPDATE);
    for (const kind of isPlain ? (['user'] as const) : (['user', 'group', 'two'] as const)) {
      const user = kind === 'group' ? 'carl' : 'bert';
      for (const one of CASES) {
        const folder = await freshFolder();
        if (kind === 'two') {
          await world.share('anna', folder, { shareType: '0', shareWith: 'bert', permissions: '1' });
          await world.server.accounts.addMember('crew', 'bert');
          await world.share('anna', folder, { shareType: '1', shareWith: 'crew', permissions: String(rights) });
        } else if (kind === 'group') {
          await world.share('anna', folder, { shareType: '1', shareWith: 'crew', permissions: String(rights) });
        } else {
          await world.share('anna', folder, { shareType: '0', shareWith: 'bert', permissions: String(rights) });
        }
        const status = await run(user, folder, one);
        const label = `${kind} ${rights}: ${one.method} ${one.path} -> ${status}`;
        if (has(rights, one.needs)) expect(status, label).toBeLessThan(300);
        else expect(status, label).toBe(403);
        if (kind === 'two') await world.server.accounts.removeMember('crew', 'bert');
      }
    }
  }, 120_000);
});

test('the owner may everything, whatever is shared', async () => {
  for (const one of CASES) {
    const folder = await freshFolder();
    await world.share('anna', folder, { shareType: '0', shareWith: 'bert', permissions: '1' });
    expect(await run('anna', folder, one), `${one.method} ${one.path}`).toBeLessThan(300);
  }
});

test('strangers, nobody, and people whose share has ended see nothing', async () => {
  for (const one of CASES) {
    if (one.path.startsWith('../') || one.method === UPLOAD) continue;
    const folder = await freshFolder();
    const { id } = await world.share('anna', folder, { shareType: '0', shareWith: 'bert', permissions: '31' });
    await world.ocs('anna', 'PUT', `shares/${id}`, { suspended: 'true' });
    const own = await world.dav('bert', one.method, at(folder, one.path), {
      ...(one.body === undefined ? {} : { body: one.body }),
      ...(one.headers === undefined ? {} : { headers: one.headers((p) => world.urlOf('bert', at(folder, p))) }),
    });
    // Where nothing is, nothing can be put into it either; what bert may put in its place is bert's own.
    if (one.method !== 'LOCK' || one.path !== '')
      expect([404, 409], `${one.method} ${one.path} suspended`).toContain(own.status);
    const foreign = await world.raw('dora', one.method, `/dav/files/anna/${at(folder, one.path)}`, {
      ...(one.body === undefined ? {} : { body: one.body }),
      ...(one.headers === undefined ? {} : { headers: one.headers((p) => world.urlOf('anna', at(folder, p))) }),
    });
    expect(isRefused(foreign.status), `${one.method} ${one.path} stranger ${foreign.status}`).toBe(true);
    const nobody = await world.raw(null, one.method, `/dav/files/anna/${at(folder, one.path)}`, {});
    expect(nobody.status, `${one.method} ${one.path} anonymous`).toBe(401);
  }
});

test('chunks are put together nowhere by strangers, nor where a share has ended meanwhile', async () => {
  const folder = await freshFolder();
  for (const name of ['file', 'new']) {
    expect(isRefused(await upload('dora', world.urlOf('anna', `${folder}/${name}`)))).toBe(true);
    const { id } = await world.share('anna', folder, { shareType: '0', shareWith: 'bert', permissions: '31' });
    const base = `/dav/uploads/bert/late-${name}`;
    const headers = { Destination: world.urlOf('bert', `${folder}/${name}`) };
    expect((await world.raw('bert', 'MKCOL', base, { headers })).status).toBe(201);
    expect((await world.raw('bert', 'PUT', `${base}/1`, { headers, body: 'late' })).status).toBe(201);
    await world.ocs('anna', 'DELETE', `shares/${id}`);
    expect([404, 409]).toContain((await world.raw('bert', 'MOVE', `${base}/.file`, { headers })).status);
    // Somebody else's chunks are nobody's.
    expect(isRefused((await world.raw('carl', 'MOVE', `${base}/.file`, { headers })).status)).toBe(true);
  }
  expect((await world.dav('anna', 'GET', `${folder}/file`)).text).toBe('old');
  expect(await world.list('anna', folder)).toEqual(['file', 'sub/']);
});

/** Who may not read is told of nothing, and puts files in at the top, where a taken name gets a number. */
const BLIND_MAY = new Set(['PUT new', 'PUT file']);

test.each([READ, READ | CREATE, READ | UPDATE | CREATE | DELETE, CREATE])('a link with rights %i', async (rights) => {
  for (const one of CASES) {
    const { method, path, needs, headers, body } = one;
    const to = headers?.((name) => name)['Destination'];
    if (path.startsWith('../') || to?.startsWith('../') === true || method === UPLOAD) continue;
    const folder = await freshFolder();
    const { token } = await world.share('anna', folder, { shareType: '3', permissions: String(rights) });
    const base = `/public.php/dav/files/${token}`;
    const ask = {
      headers: {
        ...(method === 'REPORT' || method === 'PROPFIND' ? { Depth: '0' } : {}),
        ...headers?.((name) => `${world.url}${base}/${name}`),
      },
      ...(body === undefined ? {} : { body }),
    };
    const { status } = await world.raw(null, method, `${base}/${path}`, ask);
    const label = `${rights}: ${method} ${path} -> ${status}`;
    const isOwnAddress = method === 'PROPFIND' && path === '';
    const may = has(rights, READ) ? has(rights, needs) : BLIND_MAY.has(`${method} ${path}`) || isOwnAddress;
    if (may) expect(status, label).toBeLessThan(300);
    else expect(isRefused(status), label).toBe(true);
    if (rights === CREATE) expect((await world.dav('anna', 'GET', `${folder}/file`)).text).toBe('old');
    // The same with another token, and where the token is no name of a tree.
    const other = `${token?.startsWith('x') === true ? 'y' : 'x'}${token?.slice(1)}`;
    expect((await world.raw(null, method, `/public.php/dav/files/${other}/${path}`, ask)).status).not.toBeLessThan(400);
  }
});
