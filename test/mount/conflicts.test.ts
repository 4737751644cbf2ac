import { expect, it } from 'vitest';
import type { DavClient } from '../support/dav_client.js';
import { useStage } from '../support/world.js';

const stage = useStage();

/** A drive that is cut off from its server while both change. */
async function apart(kind: 'cloudmount' | 'apache', files: Readonly<Record<string, string>>) {
  const server = await stage().server(kind);
  const made = new Set<string>();
  for (const [path, content] of Object.entries(files)) {
    const parts = path.split('/');
    for (let i = 1; i < parts.length; i++) {
      const folder = parts.slice(0, i).join('/');
      if (!made.has(folder)) await server.dav.mkcol(folder);
      made.add(folder);
    }
    await server.dav.put(path, content);
  }
  const link = await stage().link(server);
  const drive = await stage().mount(link);
  const fs = stage().fs();
  await fs.tree(drive.dir); // fetches everything
  link.proxy.cut = true;
  const together = async () => {
    link.proxy.cut = false;
    await drive.flush();
  };
  return { server, drive, fs, together };
}

async function conflictNames(dav: DavClient, folder = ''): Promise<string[]> {
  return (await dav.list(folder)).filter((name) => name.includes(' (conflict '));
}

const CONFLICT_NAME = /^report \(conflict \S+@\S+ \d{4}-\d\d-\d\d \d{6}\)\.txt$/;

for (const kind of ['cloudmount', 'apache'] as const) {
  it(`on ${kind}: both edited: the server's version keeps the name, ours is kept beside it, and both are everywhere`, async () => {
    const { server, drive, fs, together } = await apart(kind, { 'report.txt': 'base' });
    await fs.writeFile(drive.path('report.txt'), 'mine');
    await server.dav.put('report.txt', 'theirs');
    await together();
    expect(await server.dav.text('report.txt')).toBe('theirs');
    const [name = ''] = await conflictNames(server.dav);
    expect(name).toMatch(CONFLICT_NAME);
    expect(await server.dav.text(name)).toBe('mine');
    expect(await fs.readText(drive.path('report.txt'))).toBe('theirs');
    expect(await fs.readText(drive.path(name))).toBe('mine');
    const listed = JSON.parse(await drive.mustCli(['conflicts', '--json'])) as unknown;
    expect(JSON.stringify(listed)).toContain(name);
    await drive.unmount();
  });

  it(`on ${kind}: both created the same name`, async () => {
    const { server, drive, fs, together } = await apart(kind, {});
    await fs.writeFile(drive.path('report.txt'), 'mine');
    await server.dav.put('report.txt', 'theirs');
    await together();
    expect(await server.dav.text('report.txt')).toBe('theirs');
    const [name = ''] = await conflictNames(server.dav);
    expect(await server.dav.text(name)).toBe('mine');
    await drive.unmount();
  });

  it(`on ${kind}: identical content is no conflict`, async () => {
    const { server, drive, fs, together } = await apart(kind, { 'report.txt': 'base' });
    await fs.writeFile(drive.path('report.txt'), 'the same in both places');
    await fs.writeFile(drive.path('new.txt'), 'also the same');
    await server.dav.put('report.txt', 'the same in both places');
    await server.dav.put('new.txt', 'also the same');
    await together();
    expect((await server.dav.list()).sort()).toEqual(['new.txt', 'report.txt']);
    expect(await fs.readText(drive.path('report.txt'))).toBe('the same in both places');
    await drive.unmount();
  });

  it(`on ${kind}: edit here, deleted there: the edit wins`, async () => {
    const { server, drive, fs, together } = await apart(kind, { 'report.txt': 'base' });
    await fs.writeFile(drive.path('report.txt'), 'mine');
    await server.dav.remove('report.txt');
    await together();
    expect(await server.dav.text('report.txt')).toBe('mine');
    expect(await server.dav.list()).toEqual(['report.txt']);
    await drive.unmount();
  });

  it(`on ${kind}: deleted here, edited there: the delete is dropped`, async () => {
    const { server, drive, fs, together } = await apart(kind, { 'report.txt': 'base' });
    await fs.unlink(drive.path('report.txt'));
    await server.dav.put('report.txt', 'theirs');
    await together();
    expect(await server.dav.text('report.txt')).toBe('theirs');
    expect(await fs.readText(drive.path('report.txt'))).toBe('theirs');
    await drive.unmount();
  });

  it(`on ${kind}: a folder deleted there with an edit inside here is made again for it`, async () => {
    const { server, drive, fs, together } = await apart(kind, {
      'folder/deep/report.txt': 'base',
      'folder/other': 'x',
    });
    await fs.writeFile(drive.path('folder', 'deep', 'report.txt'), 'mine');
    await server.dav.remove('folder');
    await together();
    expect(await server.dav.text('folder/deep/report.txt')).toBe('mine');
    expect(await fs.readText(drive.path('folder', 'deep', 'report.txt'))).toBe('mine');
    await drive.unmount();
  });

  it(`on ${kind}: a folder made here where another client made a file: nothing of either is lost`, async () => {
    const { server, drive, fs, together } = await apart(kind, {});
    await fs.mkdir(drive.path('name'));
    await fs.writeFile(drive.path('name', 'inner'), 'mine');
    await server.dav.put('name', 'theirs');
    await together();
    const contents = [...(await server.dav.files()).values()].map(String).sort();
    expect(contents).toEqual(['mine', 'theirs']);
    await drive.unmount();
  });
}

it('renamed here, edited there: the edit is at the new name', async () => {
  const { server, drive, fs, together } = await apart('cloudmount', { 'report.txt': 'base' });
  await fs.rename(drive.path('report.txt'), drive.path('renamed.txt'));
  await server.dav.put('report.txt', 'theirs');
  await together();
  const contents = [...(await server.dav.files()).values()].map(String);
  expect(contents).toContain('theirs');
  expect(contents).not.toContain('base');
  await drive.unmount();
});

it('resolve --keep mine, theirs and both do what they say', async () => {
  for (const keep of ['mine', 'theirs', 'both'] as const) {
    const { server, drive, fs, together } = await apart('cloudmount', { 'report.txt': 'base' });
    await fs.writeFile(drive.path('report.txt'), 'mine');
    await server.dav.put('report.txt', 'theirs');
    await together();
    const [name = ''] = await conflictNames(server.dav);
    await drive.mustCli(['resolve', drive.path(name), '--keep', keep]);
    await drive.flush();
    const files = [...(await server.dav.files()).entries()].map(([path, content]) => [path, String(content)]);
    if (keep === 'both') expect(files.map(([, content]) => content).sort()).toEqual(['mine', 'theirs']);
    else expect(files).toEqual([['report.txt', keep]]);
    expect(JSON.stringify(JSON.parse(await drive.mustCli(['conflicts', '--json'])))).not.toContain(name);
    await drive.unmount();
  }
});
