// What people type to share, as they type it, with drives that show what comes of it.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { cli, mustCli, PROGRAM } from '../support/cli.js';
import { bits, groupOf, join, type Person, reads, share, shows } from '../support/people.js';
import { eventually, must } from '../support/processes.js';
import type { OwnServer } from '../support/servers.js';
import { useStage } from '../support/world.js';

const stage = useStage();
let server: OwnServer;
let alice: Person;
let ben: Person;

beforeAll(async () => {
  server = await stage().ownServer();
  await server.addUser('cara');
  alice = await join(stage(), server, 'alice');
  ben = await join(stage(), server, 'ben');
  await groupOf(server, 'crew', 'ben', 'cara');
}, 120_000);

async function folder(name: string): Promise<void> {
  await alice.fs.mkdir(alice.path(name));
  await alice.fs.writeFile(alice.path(name, 'note.txt'), 'first');
  await alice.drive.flush();
}

it('a local folder is copied to "My shares" with progress, sent, and shared from there', async () => {
  const local = joinPath(stage().folder('local'), 'Garden');
  mkdirSync(joinPath(local, 'deep'), { recursive: true });
  writeFileSync(joinPath(local, 'deep', 'rose.txt'), 'red');
  writeFileSync(joinPath(local, 'big.bin'), Buffer.alloc(8_000_000, 7));
  // On a terminal, which gets the progress.
  const said = await must(
    'script',
    [
      '-qec',
      `stty cols 100; '${process.execPath}' '${PROGRAM}' share '${local}' --with ben --role editor`,
      '/dev/null',
    ],
    { env: alice.drive.env },
  );
  expect(said).toMatch(/Copying Garden .*(KiB|MiB|B) of 7\.6 MiB/);
  expect(said).toContain(`Copied to ${alice.path('My shares', 'Garden')}.`);
  expect(said).toMatch(/Shared with ben as editor: share \d+\./);
  expect(await server.dav.text('My shares/Garden/deep/rose.txt')).toBe('red');
  await reads(ben, ben.path('Garden', 'deep', 'rose.txt'), 'red');
  await ben.fs.writeFile(ben.path('Garden', 'deep', 'rose.txt'), 'white');
  await reads(alice, alice.path('My shares', 'Garden', 'deep', 'rose.txt'), 'white');
  // Who gets it after others gets the same one; a second one of the name, or a changed one, does not touch the first.
  await alice.run('share', joinPath(local, 'deep'), '--with', 'cara');
  await alice.run('share', joinPath(local, 'deep'), '--with', 'ben', '--role', 'editor');
  expect((await alice.fs.list(alice.path('My shares'))).sort()).toEqual(['Garden', 'deep']);
  await reads(ben, ben.path('deep', 'rose.txt'), 'red');
  await ben.fs.writeFile(ben.path('deep', 'rose.txt'), 'yellow');
  await reads(alice, alice.path('My shares', 'deep', 'rose.txt'), 'yellow');
  await alice.run('share', joinPath(local, 'deep'), '--with', '@crew');
  expect((await alice.fs.list(alice.path('My shares'))).sort()).toEqual(['Garden', 'deep', 'deep (2)']);
  expect(await alice.dav.text('My shares/deep/rose.txt')).toBe('yellow');
});

it('nothing is copied for who is not there', async () => {
  const local = joinPath(stage().folder('local'), 'Secret');
  mkdirSync(local);
  for (const [recipient, words] of [
    ['nobody', 'There is no user nobody to share with; nothing was copied.'],
    ['@nobody', 'There is no group nobody to share with; nothing was copied.'],
  ] as const) {
    const answer = await alice.drive.cli(['share', local, '--with', recipient]);
    expect([answer.code, answer.stderr.includes(words)]).toEqual([1, true]);
  }
  expect(await alice.fs.exists(alice.path('My shares', 'Secret'))).toBe(false);
});

it('who asks to be asked accepts or declines by command, and what was noted to them is shown', async () => {
  await folder('Asked');
  await folder('Declined');
  await ben.run('share', 'ask-first', 'on');
  const asked = await share(alice, alice.path('Asked'), '--with', 'ben', '--role', 'editor', '--note', 'please look');
  const declined = await share(alice, alice.path('Declined'), '--with', '@crew');
  const waiting = await ben.run('shares');
  expect(waiting).toMatch(/\/Asked .*from alice .*editor .*waits for you +please look/);
  expect(waiting).toMatch(/\/Declined .*waits for you/);
  expect(await ben.fs.exists(ben.path('Asked'))).toBe(false);
  expect((await ben.dav.send('PROPFIND', 'Asked', { headers: { depth: '0' } })).status).toBe(404);
  expect(await ben.run('share', 'accept', asked)).toContain(`Share ${asked} accepted.`);
  await reads(ben, ben.path('Asked', 'note.txt'), 'first');
  expect(await bits(ben, ben.path('Asked', 'note.txt'))).toBe(6);
  await ben.run('share', 'accept', declined, '--decline');
  expect(await ben.run('shares')).not.toContain('waits for you');
  expect((await ben.drive.cli(['share', 'accept', declined])).code).toBe(1);
  await ben.run('share', 'ask-first', 'off');
  await folder('At once');
  await share(alice, alice.path('At once'), '--with', 'ben');
  await shows(ben, ben.path('At once'));
  expect(await ben.fs.exists(ben.path('Declined'))).toBe(false);
});

it('the log tells who did what with whom and with which program', async () => {
  await folder('Told');
  const id = await share(alice, alice.path('Told'), '--with', 'ben', '--role', 'editor');
  const url = (
    await alice.run('share', 'link', alice.path('Told'), '--label', 'for the press', '--role', 'edit')
  ).trim();
  await alice.run('share', 'remove', id);
  expect((await fetch(`${url}/note.txt`)).status).toBe(200);
  const told = await alice.run('log', alice.path('Told'));
  expect(told).toMatch(/alice: shared Told \(with ben\) {2}\[cloudmount\//);
  expect(told).toMatch(/alice: withdrew the share of Told \(with ben\) {2}\[cloudmount\//);
  expect(told).toMatch(/alice: shared Told \(public link "for the press"\)/);
  const used = await eventually('the use of the link', async () => {
    const file = await alice.run('log', alice.path('Told', 'note.txt'));
    return file.includes('read') ? file : null;
  });
  expect(used).toMatch(/The public link "for the press": read Told\/note\.txt/);
  expect(await alice.run('log')).toContain('shared Told (with ben)');
  expect(await alice.run('log', alice.drive.dir)).toBe(await alice.run('log'));
  await alice.fs.rename(alice.path('Told', 'note.txt'), alice.path('Told', 'renamed.txt'));
  const moved = await eventually('what was moved', async () => {
    const file = await alice.run('log', alice.path('Told', 'renamed.txt'));
    return file.includes('moved') ? file : null;
  });
  expect(moved).toMatch(/alice: moved Told\/renamed\.txt \(from Told\/note\.txt\) {2}\[cloudmount\//);
  const newest = await alice.drive.cli(['log', '--limit', '1', alice.path('Told', 'renamed.txt')]);
  expect(newest.stdout.trim().split('\n')).toEqual([expect.stringContaining('moved Told/renamed.txt')]);
  expect(newest.stderr).toContain('to see more: --limit 5');
  expect((await alice.drive.cli(['log', '--limit', 'many'])).code).toBe(2);
  const shown = await alice.run('shares', alice.path('Told'));
  expect(shown).toMatch(/\/s\/\S+ +edit .*for the press/);
});

it('all of a link is changed by command', async () => {
  await folder('Link');
  const made = await alice.run('share', 'link', alice.path('Link'), '--json');
  const { id, url } = JSON.parse(made) as { readonly id: string; readonly url: string };
  const status = async () => (await fetch(`${url}/note.txt`)).status;
  expect(await status()).toBe(200);
  await alice.drive.mustCli(['share', 'edit', id, '--password-stdin'], { input: 'open sesame\n' });
  expect(await status()).toBe(401);
  const shown = () => alice.run('shares', alice.path('Link'));
  expect(await shown()).toMatch(/ view +- +password +- /);
  await alice.run('share', 'edit', id, '--max-downloads', '2', '--expires', '2099-12-31');
  expect(await shown()).toMatch(/ view +2099-12-31 +password, 0 of 2 downloads +- /);
  await alice.run('share', 'edit', id, '--remove-password', '--label', 'twice', '--expires', 'never');
  expect([await status(), await status(), await status()]).toEqual([200, 200, 403]);
  expect(await shown()).toMatch(/ view +- +2 of 2 downloads +- +twice$/m);
  await alice.run('share', 'edit', id, '--max-downloads', '0');
  expect(await status()).toBe(200);
  await alice.run('share', 'edit', id, '--hide-download');
  expect(await status()).toBe(403);
  expect(await shown()).toMatch(/ view +- +for looking at only +- /);
  await alice.run('share', 'edit', id, '--no-hide-download', '--role', 'drop');
  expect(await status()).toBe(404);
  expect(await alice.run('shares')).toMatch(/\/Link .* drop .* twice/);
  expect((await alice.drive.cli(['share', 'edit', id])).code).toBe(2);
});

it('what a share does not have is refused, not said to be changed', async () => {
  await folder('Kinds');
  const path = alice.path('Kinds');
  const given = await share(alice, path, '--with', 'ben');
  const made = await alice.run('share', 'link', path, '--json');
  const { id: link } = JSON.parse(made) as { readonly id: string };
  for (const [args, said] of [
    [['share', 'edit', given, '--max-downloads', '3'], /is no link: only links have/],
    [['share', 'edit', given, '--remove-password'], /is no link/],
    [['share', 'edit', given, '--hide-download'], /is no link/],
    [['share', 'edit', given, '--role', 'edit'], /is no link; its roles are viewer, /],
    [['share', 'edit', link, '--role', 'collaborator'], /is a link; its roles are view, /],
    [['share', 'edit', link, '--max-downloads', 'x'], /--max-downloads: a whole number is required, 0 or more/],
    [['share', 'link', path, '--max-downloads', '0'], /--max-downloads: a whole number is required, 1 or more/],
  ] as const) {
    const { code, stderr } = await alice.drive.cli(args);
    expect([args, code]).toEqual([args, 2]);
    expect(stderr).toMatch(said);
  }
  await alice.run('share', 'edit', given, '--role', 'editor', '--note', 'changed');
  expect(await alice.run('shares', path)).toMatch(/ ben +editor .* changed$/m);
});

it('the role of a file is told by its name, though a file has no room for all of its rights', async () => {
  await folder('Roles');
  const file = alice.path('Roles', 'note.txt');
  await share(alice, file, '--with', 'ben', '--role', 'collaborator');
  await alice.run('share', 'link', file, '--role', 'edit');
  const shown = await alice.run('shares', file);
  expect(shown).toMatch(/ ben +collaborator /);
  expect(shown).toMatch(/\/s\/\S+ +edit /);
  const { given } = JSON.parse(await alice.run('shares', file, '--json')) as { given: { role: string }[] };
  expect(given.map(({ role }) => role)).toContain('collaborator');
  // To whom it was given, too: it is none that they give.
  await shows(ben, ben.path('note.txt'));
  expect(await ben.run('shares', ben.path('note.txt'))).toMatch(/\/note\.txt +from alice +collaborator /);
});

it('what was handed on and grants nothing any more is shown as that', async () => {
  await folder('Onward');
  const id = await share(alice, alice.path('Onward'), '--with', 'ben', '--role', 'collaborator');
  await shows(ben, ben.path('Onward'));
  await ben.run('share', 'link', ben.path('Onward'));
  expect(await ben.run('shares')).toMatch(/\/Onward .* view +- +- +-/);
  await alice.run('share', 'edit', id, '--role', 'viewer');
  expect(await ben.run('shares')).toMatch(/\/Onward .* view +- +- +no effect/);
  expect(await alice.run('shares', alice.path('Onward'))).toMatch(/\/s\/\S+ .*no effect/);
});

it('who may not break a lock is told who may', async () => {
  await folder('Locked');
  await share(alice, alice.path('Locked'), '--with', 'ben', '--role', 'editor');
  await reads(ben, ben.path('Locked', 'note.txt'), 'first');
  await alice.run('lock', alice.path('Locked', 'note.txt'));
  const broken = await eventually('the lock', async () => {
    const { code, stderr } = await ben.drive.cli(['unlock', '--break', ben.path('Locked', 'note.txt')]);
    return code === 0 ? null : { code, stderr };
  });
  expect(broken).toEqual({
    code: 7,
    stderr: expect.stringMatching(
      /only the owner of the file and administrators .* may break the lock of alice/,
    ) as string,
  });
  await alice.run('unlock', alice.path('Locked', 'note.txt'));
});

it('typing completes the names of users and groups', async () => {
  const complete = async (...words: readonly string[]) =>
    (await alice.run('--get-yargs-completions', 'cloudmount', ...words)).split('\n').filter(Boolean);
  const path = alice.path('Told');
  expect(await complete('share', path, '--with', 'b')).toEqual(['ben']);
  expect(await complete('share', path, '--with', 'car')).toEqual(['cara']);
  expect(await complete('share', path, '--with', '@cr')).toEqual(['@crew']);
  expect(await complete('share', path, '--with', 'nobody')).toEqual([]);
  expect(await complete('share', path, '--with', '')).toEqual([]);
  expect(await complete('share', '')).toEqual(expect.arrayContaining(['link', 'suspend', 'resume', 'ask-first']));
  // As bash asks: it splits at the `@`.
  const bash = [
    `cloudmount() { '${process.execPath}' '${PROGRAM}' "$@"; }`,
    'source <(cloudmount completion bash)',
    `ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _cloudmount; echo "\${COMPREPLY[*]}"; }`,
    'ask cloudmount share x --with be',
    'ask cloudmount share x --with @ cre',
  ].join('\n');
  expect(await must('bash', ['-c', bash], { env: alice.drive.env })).toBe('ben\ncrew\n');
});

it('the only administrator is not removed', async () => {
  const data = stage().folder('admins');
  const user = (...args: string[]) =>
    cli(['user', ...args, '--data', data, '--password-stdin'], { input: 'a long password\n' });
  expect((await user('add', 'root', '--admin')).code).toBe(0);
  const refused = await cli(['user', 'remove', 'root', '--data', data, '--yes']);
  expect([refused.code, refused.stderr.includes('only administrator')]).toEqual([1, true]);
  const locked = await cli(['user', 'disable', 'root', '--data', data]);
  expect([locked.code, locked.stderr.includes('only administrator')]).toEqual([1, true]);
  expect((await user('add', 'anna', '--admin')).code).toBe(0);
  // Who is locked out administers nothing.
  expect((await cli(['user', 'disable', 'anna', '--data', data])).code).toBe(0);
  expect((await cli(['user', 'remove', 'root', '--data', data, '--yes'])).code).toBe(1);
  expect((await cli(['user', 'enable', 'anna', '--data', data])).code).toBe(0);
  expect((await cli(['user', 'remove', 'root', '--data', data, '--yes'])).code).toBe(0);
});

it('a user who is disabled is locked out at once and loses nothing: enabled, their drive and links go on', async () => {
  const emma = await join(stage(), server, 'emma');
  await emma.fs.mkdir(emma.path('Hers'));
  await emma.fs.writeFile(emma.path('Hers', 'note.txt'), 'first');
  await emma.drive.flush();
  const link = (await emma.run('share', 'link', emma.path('Hers'))).trim();
  await emma.run('share', emma.path('Hers'), '--with', 'alice');
  await reads(alice, alice.path('Hers', 'note.txt'), 'first');
  const opens = async () => (await fetch(`${link}/note.txt`)).status;
  const connection = async () => {
    const { cache } = JSON.parse(await emma.run('status', emma.drive.dir, '--json')) as {
      readonly cache: { readonly connection: string };
    };
    return cache.connection;
  };
  expect(await opens()).toBe(200);

  expect(await mustCli(['user', 'disable', 'Emma', '--data', server.data])).toBe('User emma disabled.\n');
  expect(await mustCli(['user', 'list', '--data', server.data])).toMatch(/^emma .* disabled /m);
  expect((await emma.dav.send('GET', 'Hers/note.txt')).status).toBe(401);
  expect(await opens()).toBe(404);
  await eventually('her drive to know', async () => (await connection()) === 'unauthorized');
  await emma.fs.writeFile(emma.path('Hers', 'note.txt'), 'second');
  await reads(alice, alice.path('Hers', 'note.txt'), 'first');

  expect(await mustCli(['user', 'enable', 'emma', '--data', server.data])).toBe('User emma enabled.\n');
  expect(await opens()).toBe(200);
  await eventually('her drive to go on', async () => (await connection()) === 'online', Boolean, 60_000);
  await reads(alice, alice.path('Hers', 'note.txt'), 'second');
});

it('the files of a removed user go to who is named, by command, and what they shared goes on', async () => {
  const dora = await join(stage(), server, 'dora');
  await dora.fs.mkdir(dora.path('Estate'));
  await dora.fs.writeFile(dora.path('Estate', 'will.txt'), 'all to alice');
  await dora.drive.flush();
  await share(dora, dora.path('Estate'), '--with', 'ben', '--role', 'editor');
  await reads(ben, ben.path('Estate', 'will.txt'), 'all to alice');
  await dora.drive.unmount();
  const remove = ['user', 'remove', 'dora', '--data', server.data];
  const both = await cli([...remove, '--hand-over-to', 'alice', '--delete-files', '--yes']);
  expect([both.code, both.stderr.includes('either handed over or deleted')]).toEqual([2, true]);
  expect(await mustCli([...remove, '--hand-over-to', 'alice'])).toContain(
    'User dora removed; their files are in “Files of dora” of alice.',
  );
  await reads(alice, alice.path('Files of dora', 'Estate', 'will.txt'), 'all to alice');
  await ben.fs.writeFile(ben.path('Estate', 'will.txt'), 'and some to ben');
  await reads(alice, alice.path('Files of dora', 'Estate', 'will.txt'), 'and some to ben');
  expect(await alice.run('shares')).toMatch(/\/Files of dora\/Estate +ben +editor/);
  expect(await mustCli(['user', 'list', '--data', server.data])).not.toContain('dora');
});
