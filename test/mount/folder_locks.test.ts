// A lock that somebody takes on a folder covers all that is in it (RFC 4918 Depth: infinity), and the drives of others
// show so. Real drives, each asked from a process of its own; what changes shows by push.

import { beforeAll, expect, it } from 'vitest';
import type { LinkProxy } from '../support/link_proxy.js';
import { bits, join, type Person, reads, share, shows } from '../support/people.js';
import { eventually } from '../support/processes.js';
import type { OwnServer, TestServer } from '../support/servers.js';
import { errno, useStage } from '../support/world.js';

const stage = useStage();
let server: OwnServer;
let alice: Person;
let ben: Person;

const LOCK_BODY =
  '<?xml version="1.0"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype><D:owner>another program</D:owner></D:lockinfo>';

async function lockFolder(dav: TestServer['dav'], path: string, depth = 'infinity', timeout = 600): Promise<string> {
  const answer = await dav.send('LOCK', path, {
    headers: { timeout: `Second-${timeout}`, depth, 'content-type': 'application/xml' },
    body: LOCK_BODY,
  });
  expect(answer.status).toBe(200);
  return String(answer.headers['lock-token']);
}

async function unlock(dav: TestServer['dav'], path: string, token: string): Promise<void> {
  expect((await dav.send('UNLOCK', path, { headers: { 'lock-token': token } })).status).toBe(204);
}

const xattr = async (person: Person, path: string, name: string) =>
  String(await person.fs.getxattr(path, `user.cloudmount.${name}`));

async function hasBits(person: Person, path: string, wanted: number): Promise<void> {
  await eventually(`${path} to have mode ${wanted} for ${person.name}`, async () => {
    return (await bits(person, path)) === wanted;
  });
}

beforeAll(async () => {
  server = await stage().ownServer();
  alice = await join(stage(), server, 'alice');
  ben = await join(stage(), server, 'ben');
}, 120_000);

/** A folder of alice's, with a file and a folder with a file in it, that ben may change. */
async function shared(name: string): Promise<void> {
  await alice.fs.mkdir(alice.path(name));
  await alice.fs.mkdir(alice.path(name, 'in'));
  await alice.fs.writeFile(alice.path(name, 'top.txt'), 'top');
  await alice.fs.writeFile(alice.path(name, 'in', 'deep.txt'), 'deep');
  await alice.drive.flush();
  await share(alice, alice.path(name), '--with', 'ben', '--role', 'organiser');
  await reads(ben, ben.path(name, 'in', 'deep.txt'), 'deep');
  await reads(ben, ben.path(name, 'top.txt'), 'top');
}

it('a folder that somebody locks is read-only for others with all that is in it, says who, and is free again', async () => {
  await shared('Plans');
  const [folder, top, inner, deep] = [
    ben.path('Plans'),
    ben.path('Plans', 'top.txt'),
    ben.path('Plans', 'in'),
    ben.path('Plans', 'in', 'deep.txt'),
  ];
  for (const path of [folder, inner]) expect(await bits(ben, path)).toBe(7);
  for (const path of [top, deep]) expect(await bits(ben, path)).toBe(6);
  const token = await lockFolder(alice.dav, 'Plans');
  await hasBits(ben, deep, 4);
  expect(await Promise.all([folder, inner, top].map((path) => bits(ben, path)))).toEqual([5, 5, 4]);
  for (const path of [folder, inner, top, deep]) {
    expect([await xattr(ben, path, 'lock'), await xattr(ben, path, 'lock.owner')]).toEqual(['other', 'alice']);
    expect(Date.parse(await xattr(ben, path, 'lock.since'))).toBeGreaterThan(Date.now() - 120_000);
  }
  // The process is root, whom modes do not bind.
  const refused = errno('EACCES');
  await expect(ben.fs.open(deep, 'O_WRONLY')).rejects.toMatchObject(refused);
  await expect(ben.fs.truncate(top, 0)).rejects.toMatchObject(refused);
  await expect(ben.fs.writeFile(ben.path('Plans', 'in', 'new'), '')).rejects.toMatchObject(refused);
  await expect(ben.fs.mkdir(ben.path('Plans', 'new'))).rejects.toMatchObject(refused);
  await ben.fs.writeFile(ben.path('mine.txt'), 'mine');
  await expect(ben.fs.rename(ben.path('mine.txt'), ben.path('Plans', 'mine.txt'))).rejects.toMatchObject(refused);
  for (const change of [
    ben.fs.unlink(deep),
    ben.fs.rename(deep, ben.path('Plans', 'in', 'other')),
    ben.fs.rename(deep, ben.path('out')),
    ben.fs.rename(inner, ben.path('out')),
  ]) {
    await expect(change).rejects.toMatchObject({ errno: expect.stringMatching(/^(EACCES|EBUSY)$/) as string });
  }
  expect(await ben.fs.readText(deep)).toBe('deep');
  const held = JSON.parse(await ben.run('locks', '--json')) as { path: string; lock: { owner: string } }[];
  expect(held.map(({ path, lock }) => [path, lock.owner])).toEqual([['Plans', 'alice']]);
  const said = await ben.drive.cli(['lock', deep]);
  expect([said.code, said.stderr.includes('alice')]).toEqual([7, true]);
  for (const args of [[], ['--break']]) {
    const freed = await ben.drive.cli(['unlock', ...args, deep]);
    expect([freed.code, freed.stderr]).toEqual([
      1,
      expect.stringMatching(/locked by alice with the folder "Plans": unlock that/) as string,
    ]);
  }
  // What comes into it is covered at once, and what its holder changes shows.
  await alice.fs.writeFile(alice.path('Plans', 'in', 'later.txt'), 'later');
  await reads(ben, ben.path('Plans', 'in', 'later.txt'), 'later');
  expect(await bits(ben, ben.path('Plans', 'in', 'later.txt'))).toBe(4);
  await unlock(alice.dav, 'Plans', token);
  await hasBits(ben, deep, 6);
  expect(await Promise.all([folder, inner, top].map((path) => bits(ben, path)))).toEqual([7, 7, 6]);
  await hasBits(ben, ben.path('Plans', 'in', 'later.txt'), 6);
  await expect(ben.fs.getxattr(deep, 'user.cloudmount.lock')).rejects.toMatchObject(errno('ENODATA'));
  await ben.fs.writeFile(deep, 'by ben');
  await reads(alice, alice.path('Plans', 'in', 'deep.txt'), 'by ben');
});

it('the drive of who locked a folder with another program goes on changing, adding and moving in it, and in and out', async () => {
  await shared('Held');
  const token = await lockFolder(alice.dav, 'Held');
  await eventually('the lock to be known', async () => {
    return (await alice.fs.listxattr(alice.path('Held', 'top.txt'))).includes('user.cloudmount.lock');
  });
  expect(await xattr(alice, alice.path('Held', 'top.txt'), 'lock')).toBe('mine');
  await alice.fs.writeFile(alice.path('Held', 'top.txt'), 'changed');
  await alice.fs.writeFile(alice.path('Held', 'new.txt'), 'new');
  await alice.fs.mkdir(alice.path('Held', 'folder'));
  await alice.fs.rename(alice.path('Held', 'in', 'deep.txt'), alice.path('Held', 'folder', 'moved.txt'));
  await alice.fs.writeFile(alice.path('outside.txt'), 'came in');
  await alice.drive.flush();
  await alice.fs.rename(alice.path('outside.txt'), alice.path('Held', 'inside.txt'));
  await alice.fs.rename(alice.path('Held', 'new.txt'), alice.path('went out.txt'));
  await alice.fs.rmdir(alice.path('Held', 'in'));
  await alice.drive.flush();
  await reads(ben, ben.path('Held', 'top.txt'), 'changed');
  await reads(ben, ben.path('Held', 'folder', 'moved.txt'), 'deep');
  await reads(ben, ben.path('Held', 'inside.txt'), 'came in');
  await shows(ben, ben.path('Held', 'new.txt'), false);
  await shows(ben, ben.path('Held', 'in'), false);
  expect(await alice.dav.text('went out.txt')).toBe('new');
  expect(await bits(ben, ben.path('Held', 'inside.txt'))).toBe(4);
  await unlock(alice.dav, 'Held', token);
  await hasBits(ben, ben.path('Held', 'inside.txt'), 6);
});

it('a lock on a folder above what is shared covers it for who sees only that', async () => {
  await alice.fs.mkdir(alice.path('All'));
  await alice.fs.mkdir(alice.path('All', 'Part'));
  await alice.fs.writeFile(alice.path('All', 'Part', 'text'), 'text');
  await alice.drive.flush();
  await share(alice, alice.path('All', 'Part'), '--with', 'ben', '--role', 'organiser');
  await reads(ben, ben.path('Part', 'text'), 'text');
  const token = await lockFolder(alice.dav, 'All');
  await hasBits(ben, ben.path('Part', 'text'), 4);
  expect(await bits(ben, ben.path('Part'))).toBe(5);
  await unlock(alice.dav, 'All', token);
  await hasBits(ben, ben.path('Part', 'text'), 6);
});

it('a lock on the folder alone (depth 0) leaves its files writable; nothing is added, removed or renamed in it', async () => {
  await shared('Names');
  const token = await lockFolder(alice.dav, 'Names', '0');
  await hasBits(ben, ben.path('Names'), 5);
  expect(await bits(ben, ben.path('Names', 'top.txt'))).toBe(6);
  await ben.fs.writeFile(ben.path('Names', 'top.txt'), 'by ben');
  await ben.fs.writeFile(ben.path('Names', 'in', 'new.txt'), 'new');
  await ben.drive.flush();
  await expect(ben.fs.writeFile(ben.path('Names', 'new'), '')).rejects.toMatchObject(errno('EACCES'));
  await expect(ben.fs.unlink(ben.path('Names', 'top.txt'))).rejects.toMatchObject(errno('EACCES'));
  await unlock(alice.dav, 'Names', token);
  await hasBits(ben, ben.path('Names'), 7);
});

it('a folder in which others have locked something is not moved: nothing of it would be sent until they unlock', async () => {
  await shared('Busy');
  await alice.run('lock', alice.path('Busy', 'in', 'deep.txt'));
  await hasBits(ben, ben.path('Busy', 'in', 'deep.txt'), 4);
  await expect(ben.fs.rename(ben.path('Busy', 'in'), ben.path('Busy', 'out'))).rejects.toMatchObject(errno('EACCES'));
  await ben.fs.writeFile(ben.path('Busy', 'in', 'beside.txt'), 'beside');
  await reads(alice, alice.path('Busy', 'in', 'beside.txt'), 'beside');
  // The entry of the share is ben's own, wherever it stands.
  await ben.fs.rename(ben.path('Busy'), ben.path('Of alice'));
  await ben.drive.flush();
  await reads(ben, ben.path('Of alice', 'top.txt'), 'top');
  await ben.fs.rename(ben.path('Of alice'), ben.path('Busy'));
  await alice.run('unlock', alice.path('Busy', 'in', 'deep.txt'));
  await hasBits(ben, ben.path('Busy', 'in', 'deep.txt'), 6);
  await ben.fs.rename(ben.path('Busy', 'in'), ben.path('Busy', 'out'));
  await reads(alice, alice.path('Busy', 'out', 'beside.txt'), 'beside');
});

it('an edit made offline in a folder that somebody locked meanwhile waits and arrives after the unlock', async () => {
  await shared('Away');
  let proxy: LinkProxy | null = null;
  const far = await join(stage(), server, 'cara', {
    link: async (login) => {
      const linked = await stage().link({ ...server, url: server.url, port: server.port, login } as OwnServer);
      proxy = linked.proxy;
      return linked;
    },
  });
  const cut = (off: boolean) => {
    if (proxy !== null) proxy.cut = off;
  };
  await share(alice, alice.path('Away'), '--with', 'cara', '--role', 'organiser');
  await reads(far, far.path('Away', 'top.txt'), 'top');
  cut(true);
  await far.fs.writeFile(far.path('Away', 'top.txt'), 'edited offline');
  await far.fs.writeFile(far.path('Away', 'made offline'), 'new');
  const token = await lockFolder(alice.dav, 'Away');
  cut(false);
  await hasBits(far, far.path('Away', 'top.txt'), 4);
  await eventually('the reason to be shown', async () => {
    return (await far.fs.listxattr(far.path('Away', 'made offline'))).includes('user.cloudmount.error');
  });
  expect(await far.fs.readText(far.path('Away', 'top.txt'))).toBe('edited offline');
  expect(await alice.dav.text('Away/top.txt')).toBe('top');
  // What the server does not have yet is still one's own.
  await far.fs.writeFile(far.path('Away', 'made offline'), 'and changed');
  await unlock(alice.dav, 'Away', token);
  await far.drive.flush();
  expect(await alice.dav.text('Away/top.txt')).toBe('edited offline');
  expect(await alice.dav.text('Away/made offline')).toBe('and changed');
});

it('on another server the lock of a folder shows with the next listing, and so does its end', async () => {
  const apache = await stage().server('apache');
  await apache.dav.mkcol('Plans');
  await apache.dav.mkcol('Plans/in');
  await apache.dav.put('Plans/in/deep.txt', 'deep');
  const drive = await stage().mount(apache);
  const fs = stage().fs();
  const mode = async (...names: string[]) => ((await fs.stat(drive.path(...names))).mode >> 6) & 7;
  const listed = async (wanted: number) => {
    await eventually(`mode ${wanted}`, async () => {
      await fs.list(drive.path('Plans', 'in'));
      return (await mode('Plans', 'in', 'deep.txt')) === wanted;
    });
  };
  await listed(6);
  const token = await lockFolder(apache.dav, 'Plans');
  await listed(4);
  await eventually('the folders to be closed', async () => {
    return (await mode('Plans')) === 5 && (await mode('Plans', 'in')) === 5;
  });
  await expect(fs.open(drive.path('Plans', 'in', 'deep.txt'), 'O_WRONLY')).rejects.toMatchObject(errno('EACCES'));
  await unlock(apache.dav, 'Plans', token);
  await listed(6);
  // Broken by who named a file in it, the lock of all the others would be gone, too.
  await lockFolder(apache.dav, 'Plans');
  await listed(4);
  const freed = await drive.cli(['unlock', '--break', drive.path('Plans', 'in', 'deep.txt')]);
  // It does not say on which folder it was taken.
  expect([freed.code, freed.stderr]).toEqual([1, expect.stringContaining('with the folder "Plans') as string]);
  expect((await apache.dav.send('PUT', 'Plans/in/deep.txt', { body: 'not yet' })).status).toBe(423);
  await drive.mustCli(['unlock', '--break', drive.path('Plans')]);
  await listed(6);
  expect(await mode('Plans')).toBe(7);
  await drive.unmount();
});

it('unlock --break asks the server about a lock that does not show yet', async () => {
  const apache = await stage().server('apache');
  await apache.dav.mkcol('Plans');
  await apache.dav.mkcol('Plans/in');
  await apache.dav.put('Plans/in/deep.txt', 'deep');
  const drive = await stage().mount(apache, { dirCacheTime_s: 600 });
  const fs = stage().fs();
  const deep = drive.path('Plans', 'in', 'deep.txt');
  await fs.stat(deep);
  await lockFolder(apache.dav, 'Plans');
  for (const below of [deep, drive.path('Plans', 'in')]) {
    const freed = await drive.cli(['unlock', '--break', below]);
    expect([freed.code, freed.stderr]).toEqual([1, expect.stringContaining('has locked the folder "Plans"') as string]);
  }
  expect((await apache.dav.send('PUT', 'Plans/in/deep.txt', { body: 'not yet' })).status).toBe(423);
  expect(((await fs.stat(deep)).mode >> 6) & 7).toBe(6);
  expect(await drive.mustCli(['unlock', '--break', drive.path('Plans')])).toContain('unlocked');
  await apache.dav.put('Plans/in/deep.txt', 'free');
  await drive.unmount();
});
