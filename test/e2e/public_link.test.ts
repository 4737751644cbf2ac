// Public links as their visitors have them: in a browser, without an account. The links are made with the command line, and
// what visitors put in is seen in the drive of the one who made the link.

import { readFile } from 'node:fs/promises';
import type { BrowserContext, Page } from 'playwright-core';
import { beforeAll, expect, it } from 'vitest';
import { openBrowser, visit } from '../support/browser.js';
import { join, type Person, reads } from '../support/people.js';
import type { OwnServer } from '../support/servers.js';
import { useStage } from '../support/world.js';

const stage = useStage();
const NASTY = `<img src=x onerror=alert(1)> & 100%?#".txt`;
let server: OwnServer;
let alice: Person;
let browser: BrowserContext;

beforeAll(async () => {
  server = await stage().ownServer();
  alice = await join(stage(), server, 'alice');
  browser = await openBrowser(stage());
}, 120_000);

async function folder(name: string): Promise<void> {
  await alice.fs.mkdir(alice.path(name));
  await alice.fs.mkdir(alice.path(name, 'inside'));
  await alice.fs.writeFile(alice.path(name, 'letter.txt'), 'dear visitor');
  await alice.fs.writeFile(alice.path(name, NASTY), 'harmless');
  await alice.fs.writeFile(alice.path(name, 'inside', 'deep.txt'), 'deep');
  await alice.drive.flush();
}

async function link(path: string, args: readonly string[] = [], input = ''): Promise<string> {
  const said = await alice.drive.mustCli(['share', 'link', alice.path(path), ...args], { input });
  return said.trim();
}

/** The page's names, as they read. */
const names = (page: Page) => page.locator('ul:not(#done) > li').allTextContents();

async function choose(page: Page, ...files: readonly (readonly [name: string, text: string])[]): Promise<void> {
  await page
    .locator('input[type=file]')
    .setInputFiles(files.map(([name, text]) => ({ name, mimeType: 'text/plain', buffer: Buffer.from(text) })));
  await page.getByRole('button', { name: 'Upload' }).click();
}

async function download(page: Page, name: string): Promise<{ readonly name: string; readonly text: string }> {
  const [loaded] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('link', { name, exact: true }).click(),
  ]);
  return { name: loaded.suggestedFilename(), text: await readFile(await loaded.path(), 'utf8') };
}

it('a link with a password asks for it, then shows what is there; files are downloaded, folders opened', async () => {
  await folder('Album');
  const url = await link(
    'Album',
    ['--password-stdin', '--label', 'Our <b>album', '--note', 'Enjoy & <i>tell'],
    'open sesame\n',
  );
  const { page, complaints } = await visit(browser, url);
  expect(await page.textContent('body')).not.toContain('letter');
  await page.getByLabel('Password').fill('wrong');
  await page.getByRole('button', { name: 'Open' }).click();
  expect(await page.getByRole('alert').textContent()).toBe('This is not the password.');
  await page.getByLabel('Password').fill('open sesame');
  await page.getByRole('button', { name: 'Open' }).click();
  await page.getByRole('heading', { name: 'Our <b>album' }).waitFor();
  expect(await page.textContent('p')).toBe('Enjoy & <i>tell');
  expect(await names(page)).toEqual(expect.arrayContaining(['inside/', 'letter.txt', NASTY]));
  expect(await download(page, 'letter.txt')).toEqual({ name: 'letter.txt', text: 'dear visitor' });
  expect((await download(page, NASTY)).text).toBe('harmless');
  await page.getByRole('link', { name: 'inside/' }).click();
  expect((await download(page, 'deep.txt')).text).toBe('deep');
  await page.getByRole('link', { name: '..' }).click();
  expect(await names(page)).toContain('letter.txt');
  expect(await page.locator('form').count()).toBe(0);
  expect(complaints).toEqual([]);
  // Another browser has not given the password, and a script cannot read that this one has.
  expect(await page.evaluate('document.cookie')).toBe('');
  expect((await fetch(`${url}/letter.txt`)).status).toBe(401);
});

it('a link to add to takes files in and overwrites none', async () => {
  await folder('Guestbook');
  const { page, complaints } = await visit(browser, await link('Guestbook', ['--role', 'upload']));
  const big = 'x'.repeat(3_000_000);
  await choose(page, ['greeting.txt', 'hello'], ['50% off? #1 <b>.txt', 'bargain'], ['big.bin', big]);
  await page.getByRole('link', { name: 'greeting.txt' }).waitFor();
  expect(await names(page)).toEqual(expect.arrayContaining(['50% off? #1 <b>.txt', 'big.bin']));
  await reads(alice, alice.path('Guestbook', 'greeting.txt'), 'hello');
  await reads(alice, alice.path('Guestbook', '50% off? #1 <b>.txt'), 'bargain');
  await reads(alice, alice.path('Guestbook', 'big.bin'), big);
  await choose(page, ['letter.txt', 'mine now']);
  await page.getByText('letter.txt: not taken; is there a file of this name already?').waitFor();
  expect(await server.dav.text('Guestbook/letter.txt')).toBe('dear visitor');
  await page.getByRole('link', { name: 'inside/' }).click();
  await choose(page, ['reply.txt', 'deep, too']);
  await page.getByRole('link', { name: 'reply.txt' }).waitFor();
  await reads(alice, alice.path('Guestbook', 'inside', 'reply.txt'), 'deep, too');
  expect(complaints).toEqual([]);
  expect(await alice.run('log', alice.path('Guestbook', 'greeting.txt'))).toContain('A public link: created');
});

it('a link to drop files shows nothing of what is there, and keeps what has the same name', async () => {
  await folder('Letterbox');
  const url = await link('Letterbox', ['--role', 'drop', '--password-stdin'], 'open sesame\n');
  const { page, complaints } = await visit(browser, url);
  await page.getByLabel('Password').fill('open sesame');
  await page.getByRole('button', { name: 'Open' }).click();
  await choose(page, ['letter.txt', 'another letter']);
  await page.getByText('letter.txt: uploaded').waitFor();
  await reads(alice, alice.path('Letterbox', 'letter (2).txt'), 'another letter');
  expect(await server.dav.text('Letterbox/letter.txt')).toBe('dear visitor');
  await page.reload();
  expect(await page.locator('li').count()).toBe(0);
  expect(await page.content()).not.toMatch(/deep|inside|harmless/);
  expect((await page.goto(`${url}/letter.txt`))?.status()).toBe(404);
  expect((await page.goto(`${url}/inside`))?.status()).toBe(404);
  expect(complaints).toEqual([]);
});

it('what is for looking at only is named and not given out', async () => {
  await folder('Exhibition');
  const url = await link('Exhibition', ['--hide-download']);
  const { page, complaints } = await visit(browser, url);
  expect(await names(page)).toContain('letter.txt');
  expect(await page.getByRole('link', { name: 'letter.txt' }).count()).toBe(0);
  // Nor is the refusal saved under the file's name.
  expect((await page.goto(`${url}/letter.txt`))?.status()).toBe(403);
  expect(await page.textContent('body')).toContain('This link does not let files be downloaded');
  const one = await visit(browser, await link('Exhibition/letter.txt', ['--hide-download']));
  expect(await one.page.textContent('body')).toContain('Not for downloading.');
  expect([...complaints, ...one.complaints]).toEqual([]);
});

it('a file’s link downloads as often as it may; an ended link says so', async () => {
  await folder('Once');
  const url = await link('Once/letter.txt', ['--max-downloads', '1']);
  const { page, complaints } = await visit(browser, url);
  expect(await download(page, 'Download')).toEqual({ name: 'letter.txt', text: 'dear visitor' });
  // Another visitor: the first one's browser has the file, and only asks whether it is still the same.
  const other = await visit(await openBrowser(stage()), url);
  await other.page.getByRole('link', { name: 'Download' }).click();
  await other.page.getByText('has been used as often as it may be').waitFor();
  const [share] = JSON.parse(await alice.run('shares', alice.path('Once', 'letter.txt'), '--json')).given as [
    { readonly id: string },
  ];
  await alice.run('share', 'suspend', share.id);
  expect((await page.goto(url))?.status()).toBe(404);
  expect(await page.textContent('body')).toContain('There is no such link, or it has ended.');
  expect([...complaints, ...other.complaints]).toEqual([]);
});
