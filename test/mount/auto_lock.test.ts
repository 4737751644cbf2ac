// Locks that nobody takes by hand, as one person's drive takes them and another's sees them.

import { beforeAll, expect, it } from 'vitest';
import { bits, join, type Person, reads, share } from '../support/people.js';
import { eventually } from '../support/processes.js';
import type { OwnServer } from '../support/servers.js';
import { errno, useStage } from '../support/world.js';

const stage = useStage();
let server: OwnServer;
let alice: Person;
let ben: Person;

beforeAll(async () => {
  server = await stage().ownServer();
  alice = await join(stage(), server, 'alice');
  ben = await join(stage(), server, 'ben', { args: ['--auto-lock'] });
  await alice.fs.mkdir(alice.path('Office'));
  await alice.fs.writeFile(alice.path('Office', 'report.odt'), 'first');
  await alice.drive.flush();
  await share(alice, alice.path('Office'), '--with', 'ben', '--role', 'organiser');
  await reads(ben, ben.path('Office', 'report.odt'), 'first');
}, 120_000);

interface Held {
  readonly path: string;
  readonly lock: { readonly mine: boolean; readonly owner: string; readonly auto?: boolean };
}

async function locks(person: Person): Promise<Held[]> {
  return JSON.parse(await person.run('locks', '--json')) as Held[];
}

async function isLocked(wanted: boolean): Promise<void> {
  await eventually(`alice to see ${wanted ? 'a' : 'no'} lock`, async () => {
    return (await bits(alice, alice.path('Office', 'report.odt'))) === (wanted ? 4 : 6);
  });
}

it('a document that LibreOffice has open is locked on the server, also over a restart, until it is closed and sent', async () => {
  const lockFile = ben.path('Office', '.~lock.report.odt#');
  await ben.fs.writeFile(lockFile, ',ben,desk,22.11.2026 10:00,file:///home/ben/.config/libreoffice/4;');
  await isLocked(true);
  expect(await locks(ben)).toMatchObject([{ path: 'Office/report.odt', lock: { mine: true, auto: true } }]);
  expect(await locks(alice)).toMatchObject([{ path: 'Office/report.odt', lock: { mine: false, owner: 'ben' } }]);
  await expect(alice.fs.open(alice.path('Office', 'report.odt'), 'O_WRONLY')).rejects.toMatchObject(errno('EACCES'));
  await ben.drive.remount();
  expect(await locks(ben)).toMatchObject([{ lock: { mine: true, auto: true } }]);
  // As LibreOffice saves: a new file in the place of the old one.
  await ben.fs.writeFile(ben.path('Office', 'lu1234.tmp'), 'by ben');
  await ben.fs.rename(ben.path('Office', 'lu1234.tmp'), ben.path('Office', 'report.odt'));
  await reads(alice, alice.path('Office', 'report.odt'), 'by ben');
  await isLocked(true);
  await ben.fs.unlink(lockFile);
  await isLocked(false);
  expect(await locks(alice)).toEqual([]);
  expect((await server.dav.send('PROPFIND', 'Office', { headers: { depth: '1' } })).body.toString()).not.toContain(
    'lock.',
  );
});

it('so is one that Word has open, which takes two letters off a longer name, and one of Excel, which does not', async () => {
  const cases = [
    ['Yearly report.docx', '~$arly report.docx'],
    ['Letters.docx', '~$etters.docx'],
    ['Yearly budget.xlsx', '~$Yearly budget.xlsx'],
  ] as const;
  for (const [document, lockName] of cases) {
    const seen = alice.path('Office', document);
    await ben.fs.writeFile(ben.path('Office', document), 'first');
    await reads(alice, seen, 'first');
    await ben.fs.writeFile(ben.path('Office', lockName), '\u0003ben');
    await eventually('alice to see a lock', async () => (await bits(alice, seen)) === 4);
    expect((await alice.fs.getxattr(seen, 'user.cloudmount.lock.owner')).toString()).toBe('ben');
    await ben.fs.unlink(ben.path('Office', lockName));
    await eventually('alice to see no lock', async () => (await bits(alice, seen)) === 6);
  }
  // One lock file for two documents: it is the one that is open.
  await ben.fs.writeFile(ben.path('Office', 'Pearly report.docx'), 'first');
  const lockFile = ben.path('Office', '~$arly report.docx');
  await reads(alice, alice.path('Office', 'Pearly report.docx'), 'first');
  const fd = await ben.fs.open(ben.path('Office', 'Pearly report.docx'), 'O_RDONLY');
  await ben.fs.writeFile(lockFile, '\u0003ben');
  await eventually('alice to see a lock', async () => {
    return (await bits(alice, alice.path('Office', 'Pearly report.docx'))) === 4;
  });
  expect(await bits(alice, alice.path('Office', 'Yearly report.docx'))).toBe(6);
  await ben.fs.close(fd);
  await ben.fs.unlink(lockFile);
  await eventually('all to be free', async () => (await locks(alice)).length === 0);
});

it('a file that is open for writing is locked, and free when it is closed and sent', async () => {
  const fd = await ben.fs.open(ben.path('Office', 'report.odt'), 'O_WRONLY|O_APPEND');
  await isLocked(true);
  await ben.fs.write(fd, ' and more');
  await ben.fs.close(fd);
  await isLocked(false);
  await reads(alice, alice.path('Office', 'report.odt'), 'by ben and more');
});

it('of two who open at the same time one is told whose file it is', async () => {
  await server.dav.send('LOCK', 'Office/report.odt', { headers: { 'x-user-lock': '1', timeout: 'Second-600' } });
  await expect(ben.fs.open(ben.path('Office', 'report.odt'), 'O_WRONLY')).rejects.toMatchObject(errno('EACCES'));
  await server.dav.send('UNLOCK', 'Office/report.odt', { headers: { 'x-user-lock': '1' } });
  await isLocked(false);
});

it('a lock taken by hand stays when the document is closed; the owner of the file may break it, which is noted', async () => {
  const file = ben.path('Office', 'report.odt');
  await eventually('ben to know that it is free', async () => (await bits(ben, file)) === 6);
  const fd = await ben.fs.open(file, 'O_WRONLY|O_APPEND');
  await ben.run('lock', file);
  await ben.fs.close(fd);
  await new Promise((resolve) => setTimeout(resolve, 4_000));
  expect(await locks(ben)).toMatchObject([{ lock: { mine: true, auto: false } }]);
  const refused = await alice.drive.cli(['unlock', alice.path('Office', 'report.odt')]);
  expect(refused.stderr).toContain('locked by ben');
  await alice.run('unlock', '--break', alice.path('Office', 'report.odt'));
  await isLocked(false);
  await eventually('ben to see that it is free', async () => (await locks(ben)).length === 0);
  expect(await alice.run('log', alice.path('Office', 'report.odt'))).toContain('alice: unlocked');
});
