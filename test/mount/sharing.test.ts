// Sharing as people live it: accounts, groups and real drives, each asked from a process of its own. What changes shows
// by push: the drives would ask by themselves only once a minute, which `eventually` does not wait for.

import { beforeAll, expect, it } from 'vitest';
import { bits, groupOf, join, type Person, reads, share, shows } from '../support/people.js';
import { eventually } from '../support/processes.js';
import type { OwnServer } from '../support/servers.js';
import { errno, useStage } from '../support/world.js';

const stage = useStage();
let server: OwnServer;
let alice: Person;
let ben: Person;
let cara: Person;

beforeAll(async () => {
  server = await stage().ownServer();
  alice = await join(stage(), server, 'alice');
  ben = await join(stage(), server, 'ben');
  cara = await join(stage(), server, 'cara');
  await groupOf(server, 'crew', 'ben', 'cara');
  await groupOf(server, 'board', 'cara');
}, 120_000);

/** A folder of alice's with one file, on the server. */
async function folder(name: string): Promise<void> {
  await alice.fs.mkdir(alice.path(name));
  await alice.fs.writeFile(alice.path(name, 'budget.txt'), 'first');
  await alice.drive.flush();
}

it('a folder shared with a group as organiser: the edits of each reach all; suspended it is gone, resumed it is back', async () => {
  await folder('Plans');
  const id = await share(
    alice,
    alice.path('Plans'),
    '--with',
    '@crew',
    '--role',
    'organiser',
    '--note',
    'for all of us',
  );
  for (const person of [ben, cara]) await reads(person, person.path('Plans', 'budget.txt'), 'first');
  await ben.fs.writeFile(ben.path('Plans', 'budget.txt'), 'by ben');
  await cara.fs.mkdir(cara.path('Plans', 'Drafts'));
  await cara.fs.writeFile(cara.path('Plans', 'Drafts', 'note.txt'), 'by cara');
  for (const person of [alice, ben, cara]) {
    await reads(person, person.path('Plans', 'budget.txt'), 'by ben');
    await reads(person, person.path('Plans', 'Drafts', 'note.txt'), 'by cara');
  }
  await alice.fs.rename(alice.path('Plans', 'Drafts', 'note.txt'), alice.path('Plans', 'minutes.txt'));
  await ben.fs.unlink(ben.path('Plans', 'budget.txt'));
  for (const person of [alice, ben, cara]) {
    await reads(person, person.path('Plans', 'minutes.txt'), 'by cara');
    await shows(person, person.path('Plans', 'budget.txt'), false);
  }
  await alice.run('share', 'suspend', id);
  for (const person of [ben, cara]) await shows(person, person.path('Plans'), false);
  expect(await alice.fs.readText(alice.path('Plans', 'minutes.txt'))).toBe('by cara');
  await alice.run('share', 'resume', id);
  for (const person of [ben, cara]) await reads(person, person.path('Plans', 'minutes.txt'), 'by cara');
  await alice.run('share', 'remove', id);
  for (const person of [ben, cara]) await shows(person, person.path('Plans'), false);
});

it('a viewer cannot write, whoever asks; the modes say so, and follow the role', async () => {
  await folder('Shown');
  const id = await share(alice, alice.path('Shown'), '--with', 'ben', '--role', 'viewer');
  const file = ben.path('Shown', 'budget.txt');
  await reads(ben, file, 'first');
  expect([await bits(ben, ben.path('Shown')), await bits(ben, file)]).toEqual([5, 4]);
  // The process is root, whom modes do not bind.
  await expect(ben.fs.open(file, 'O_WRONLY')).rejects.toMatchObject(errno('EACCES'));
  await expect(ben.fs.truncate(file, 0)).rejects.toMatchObject(errno('EACCES'));
  await expect(ben.fs.writeFile(ben.path('Shown', 'new'), '')).rejects.toMatchObject(errno('EACCES'));
  await expect(ben.fs.mkdir(ben.path('Shown', 'new'))).rejects.toMatchObject(errno('EACCES'));
  await expect(ben.fs.unlink(file)).rejects.toMatchObject(errno('EACCES'));
  await expect(ben.fs.rename(file, ben.path('Shown', 'other'))).rejects.toMatchObject(errno('EACCES'));
  await expect(ben.fs.rename(file, ben.path('mine'))).rejects.toMatchObject(errno('EACCES'));
  await expect(ben.fs.chmod(file, 0o666)).rejects.toMatchObject(errno('EACCES'));
  await alice.run('share', 'edit', id, '--role', 'organiser');
  await eventually('the modes to follow', async () => {
    return (await bits(ben, ben.path('Shown'))) === 7 && (await bits(ben, file)) === 6;
  });
  await ben.fs.writeFile(file, 'by ben');
  await reads(alice, alice.path('Shown', 'budget.txt'), 'by ben');
  await alice.run('share', 'edit', id, '--role', 'viewer');
  await eventually('the modes to follow', async () => (await bits(ben, file)) === 4);
  await expect(ben.fs.open(file, 'O_WRONLY')).rejects.toMatchObject(errno('EACCES'));
  const shown = await ben.drive.must('getfattr', ['-d', '-m', 'user.cloudmount', 'Shown/budget.txt']);
  expect(shown).toContain('user.cloudmount.rights="G"');
  expect(shown).toContain('user.cloudmount.shared="in"');
});

it('an uploader can add, and not overwrite, rename or remove, what they added too', async () => {
  await folder('Inbox');
  await share(alice, alice.path('Inbox'), '--with', 'ben', '--role', 'uploader');
  await reads(ben, ben.path('Inbox', 'budget.txt'), 'first');
  await expect(ben.fs.open(ben.path('Inbox', 'budget.txt'), 'O_WRONLY')).rejects.toMatchObject(errno('EACCES'));
  await expect(ben.fs.unlink(ben.path('Inbox', 'budget.txt'))).rejects.toMatchObject(errno('EACCES'));
  const added = ben.path('Inbox', 'letter.txt');
  await ben.fs.writeFile(added, 'dear alice');
  await ben.drive.flush();
  await reads(alice, alice.path('Inbox', 'letter.txt'), 'dear alice');
  await eventually('the added file to be final', async () => (await bits(ben, added)) === 4);
  await expect(ben.fs.open(added, 'O_WRONLY')).rejects.toMatchObject(errno('EACCES'));
  await expect(ben.fs.unlink(added)).rejects.toMatchObject(errno('EACCES'));
  expect((await ben.dav.send('PUT', 'Inbox/letter.txt', { body: 'other' })).status).toBe(403);
  // One that stays open long past the time after which open files are sent is sent once, whole.
  const fd = await ben.fs.open(ben.path('Inbox', 'long.txt'), 'O_WRONLY|O_CREAT');
  await ben.fs.write(fd, 'begun, ');
  await new Promise((resolve) => setTimeout(resolve, 10_000));
  await ben.fs.write(fd, 'ended');
  await ben.fs.close(fd);
  await reads(alice, alice.path('Inbox', 'long.txt'), 'begun, ended');
});

it('a lock is seen by others with its owner, refuses their writes, and ends', async () => {
  await folder('Office');
  await share(alice, alice.path('Office'), '--with', 'ben', '--role', 'editor');
  const file = ben.path('Office', 'budget.txt');
  await reads(ben, file, 'first');
  await alice.run('lock', alice.path('Office', 'budget.txt'));
  await eventually('the lock to show', async () => (await bits(ben, file)) === 4);
  expect((await ben.fs.getxattr(file, 'user.cloudmount.lock')).toString()).toBe('other');
  expect((await ben.fs.getxattr(file, 'user.cloudmount.lock.owner')).toString()).toBe('alice');
  expect((await ben.fs.getxattr(file, 'user.cloudmount.lock.since')).toString()).toMatch(/^20\d\d-\d\d-\d\dT/);
  await expect(ben.fs.open(file, 'O_WRONLY')).rejects.toMatchObject(errno('EACCES'));
  const refused = await ben.drive.cli(['lock', file]);
  expect(refused.code).not.toBe(0);
  expect(refused.stderr).toContain('locked by alice since');
  await alice.fs.writeFile(alice.path('Office', 'budget.txt'), 'by the one who holds it');
  await reads(ben, file, 'by the one who holds it');
  await alice.run('unlock', alice.path('Office', 'budget.txt'));
  await eventually('the lock to be gone', async () => (await bits(ben, file)) === 6);
  await ben.fs.writeFile(file, 'by ben');
  await reads(alice, alice.path('Office', 'budget.txt'), 'by ben');
});

it('an edit that waits for a lock, made before the lock was known, succeeds after the unlock', async () => {
  await folder('Waiting');
  await share(alice, alice.path('Waiting'), '--with', 'ben', '--role', 'editor');
  const file = ben.path('Waiting', 'budget.txt');
  await reads(ben, file, 'first');
  const fd = await ben.fs.open(file, 'O_WRONLY|O_TRUNC');
  await ben.fs.write(fd, 'by ');
  await alice.run('lock', alice.path('Waiting', 'budget.txt'));
  await eventually('the lock to show', async () => (await bits(ben, file)) === 4);
  await ben.fs.write(fd, 'ben');
  await ben.fs.close(fd);
  await eventually('the upload to meet the lock', async () => {
    const answer = await ben.fs.ask({ op: 'getxattr', path: file, name: 'user.cloudmount.error' });
    return 'ok' in answer;
  });
  expect(await server.dav.text('Waiting/budget.txt')).toBe('first');
  expect(await ben.fs.readText(file)).toBe('by ben');
  await alice.run('unlock', alice.path('Waiting', 'budget.txt'));
  await reads(alice, alice.path('Waiting', 'budget.txt'), 'by ben');
  expect(await ben.run('conflicts', ben.drive.dir)).toContain('No conflicts');
});

it('an open handle that loses the right fails its next write and close; what was written is kept as a copy', async () => {
  await folder('Lost');
  const id = await share(alice, alice.path('Lost'), '--with', 'ben', '--role', 'editor');
  const file = ben.path('Lost', 'budget.txt');
  await reads(ben, file, 'first');
  const fd = await ben.fs.open(file, 'O_WRONLY|O_TRUNC');
  await ben.fs.write(fd, 'by ben');
  await alice.run('share', 'edit', id, '--role', 'viewer');
  await eventually('the right to be gone', async () => (await bits(ben, file)) === 4);
  await expect(ben.fs.write(fd, ' and more')).rejects.toMatchObject(errno('EACCES'));
  await expect(ben.fs.close(fd)).rejects.toMatchObject(errno('EACCES'));
  const copy = await eventually('the copy', async () => {
    return (await ben.fs.list(ben.drive.dir)).find((name) => name.startsWith('budget (conflict'));
  });
  await ben.drive.flush();
  expect(await ben.dav.text(String(copy))).toBe('by ben');
  expect(await ben.fs.readText(file)).toBe('first');
  expect(await server.dav.text('Lost/budget.txt')).toBe('first');
  const conflicts = await ben.run('conflicts', ben.drive.dir);
  expect(conflicts).toContain('Lost/budget.txt');
  await ben.run('resolve', ben.path(String(copy)), '--keep', 'both');
});

it('a share that ends while an edit is not sent: the edit stays in the drive as the user’s own', async () => {
  await folder('Ended');
  let proxy: { cut: boolean } | undefined;
  const dora = await join(stage(), server, 'dora', {
    link: async (login) => {
      const linked = await stage().link({ ...server, url: server.url, port: server.port, login } as OwnServer);
      proxy = linked.proxy;
      return linked;
    },
  });
  const id = await share(alice, alice.path('Ended'), '--with', 'dora', '--role', 'organiser');
  const file = dora.path('Ended', 'budget.txt');
  await reads(dora, file, 'first');
  if (proxy === undefined) throw new Error('the link was not made');
  proxy.cut = true;
  await dora.fs.writeFile(file, 'by dora, on a train');
  await alice.run('share', 'remove', id);
  proxy.cut = false;
  await eventually('the edit to be dora’s own', async () => {
    const answer = await dora.dav.send('GET', 'Ended/budget.txt');
    return answer.status === 200 && answer.body.toString() === 'by dora, on a train';
  });
  expect(await dora.fs.readText(file)).toBe('by dora, on a train');
  expect(await server.dav.text('Ended/budget.txt')).toBe('first');
  await dora.drive.unmount();
});

it('a folder made offline is not put into one of its name that somebody shares meanwhile', async () => {
  await folder('Photos');
  let proxy: { cut: boolean } | undefined;
  const emil = await join(stage(), server, 'emil', {
    link: async (login) => {
      const linked = await stage().link({ ...server, url: server.url, port: server.port, login } as OwnServer);
      proxy = linked.proxy;
      return linked;
    },
  });
  if (proxy === undefined) throw new Error('the link was not made');
  // What is in a folder that was never listed cannot be known without the server.
  await emil.fs.list(emil.path());
  proxy.cut = true;
  await emil.fs.mkdir(emil.path('Photos'));
  await emil.fs.writeFile(emil.path('Photos', 'private.txt'), 'for nobody else');
  await share(alice, alice.path('Photos'), '--with', 'emil', '--role', 'organiser');
  proxy.cut = false;
  await reads(emil, emil.path('Photos', 'budget.txt'), 'first');
  await emil.drive.flush();
  expect(await server.dav.list('Photos')).toEqual(['budget.txt']);
  const aside = (await emil.fs.list(emil.path())).find((name) => name.startsWith('Photos (conflict ')) ?? '';
  expect(await emil.fs.readText(emil.path(aside, 'private.txt'))).toBe('for nobody else');
  expect((await emil.dav.send('GET', `${aside}/private.txt`)).status).toBe(200);
  await emil.drive.unmount();
});

it('a folder shared by itself and within another shows at one place, with all rights there, whichever share ends', async () => {
  await alice.fs.mkdir(alice.path('Outer'));
  await alice.fs.mkdir(alice.path('Outer', 'Inner'));
  await alice.fs.writeFile(alice.path('Outer', 'Inner', 'plan.txt'), 'first');
  await alice.drive.flush();
  const outer = await share(alice, alice.path('Outer'), '--with', 'cara', '--role', 'viewer');
  const inner = await share(alice, alice.path('Outer', 'Inner'), '--with', 'cara', '--role', 'editor');
  const places = [cara.path('Outer', 'Inner', 'plan.txt'), cara.path('Inner', 'plan.txt')];
  /** The one place where it is. */
  const place = async (): Promise<string> => {
    const found = await Promise.all(places.map((path) => cara.fs.exists(path)));
    const [path] = places.filter((_path, at) => found[at]);
    if (path === undefined || found.every(Boolean)) throw new Error(`it is at ${found.filter(Boolean).length} places`);
    return path;
  };
  const shown = (wanted: number) =>
    eventually(
      `one place with ${wanted}`,
      async () => ((await bits(cara, await place())) === wanted ? place() : ''),
      (path) => path !== '',
    );
  let count = 0;
  /** Each of the two edits it, wherever it is by now. */
  const edited = async () => {
    count += 1;
    await eventually('cara to write', async () => {
      await cara.fs.writeFile(await place(), `by cara ${count}`);
      return true;
    });
    await reads(alice, alice.path('Outer', 'Inner', 'plan.txt'), `by cara ${count}`);
    await alice.fs.writeFile(alice.path('Outer', 'Inner', 'plan.txt'), `by alice ${count}`);
    await eventually('cara to read', async () => (await cara.fs.readText(await place())) === `by alice ${count}`);
  };
  await shown(6);
  await edited();
  await cara.drive.remount();
  await edited();
  await alice.run('share', 'suspend', outer);
  await shows(cara, cara.path('Outer'), false);
  expect(await shown(6)).toBe(places[1]);
  await edited();
  await alice.run('share', 'resume', outer);
  await shows(cara, cara.path('Outer'));
  await shown(6);
  await edited();
  await alice.run('share', 'suspend', inner);
  expect(await shown(4)).toBe(places[0]);
  await expect(cara.fs.open(places[0] ?? '', 'O_WRONLY')).rejects.toMatchObject(errno('EACCES'));
  expect(await cara.fs.readText(places[0] ?? '')).toBe(`by alice ${count}`);
  await alice.run('share', 'resume', inner);
  await shown(6);
  await edited();
  expect(await cara.run('conflicts', cara.drive.dir)).toContain('No conflicts');
  expect(await cara.run('check', cara.drive.dir)).toContain('no problem found');
});
