// nginx (with dav-ext) and lighttpd: no versions in nginx's listings, none in some of lighttpd's answers, and each understands
// other If headers. The contract has the details; here a drive lives on them.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { eventually } from '../support/processes.js';
import { ForeignServer } from '../support/servers.js';
import { startLighttpd, startNginx } from '../support/small_dav_servers.js';
import { onServers, useStage } from '../support/world.js';

onServers(['nginx', 'lighttpd'], {}, (world) => {
  it('a file edited in place, then replaced by a rename, is one new version each time and no conflict', async () => {
    const dir = await world.folder();
    const path = `${dir}/notes of today.txt`;
    await world.drive.flush();
    await world.server.dav.put(world.remote(path), 'from elsewhere\n');
    await eventually('the file to show', () => world.fs.exists(path));
    const fd = await world.fs.open(path, 'O_WRONLY|O_APPEND');
    await world.fs.write(fd, 'a line\n');
    await world.fs.close(fd);
    await world.drive.flush();
    expect(await world.server.dav.text(world.remote(path))).toBe('from elsewhere\na line\n');
    await world.fs.writeFile(`${path}.new`, 'all of it anew\n');
    await world.drive.flush();
    await world.fs.rename(`${path}.new`, path);
    await world.drive.flush();
    expect(await world.server.dav.list(world.remote(dir))).toEqual(['notes of today.txt']);
    expect(await world.server.dav.text(world.remote(path))).toBe('all of it anew\n');
  });

  it('a folder with names that need escapes is moved with what is in it', async () => {
    const dir = await world.folder();
    await world.fs.mkdir(`${dir}/old & ärgerlich`);
    await world.fs.writeFile(`${dir}/old & ärgerlich/50% #1?.txt`, 'kept');
    await world.drive.flush();
    await world.fs.rename(`${dir}/old & ärgerlich`, `${dir}/new [name]`);
    await world.drive.flush();
    expect(await world.server.dav.text(`${world.remote(dir)}/new [name]/50% #1?.txt`)).toBe('kept');
    await world.fs.unlink(`${dir}/new [name]/50% #1?.txt`);
    await world.fs.rmdir(`${dir}/new [name]`);
    await world.drive.flush();
    expect(await world.server.dav.list(world.remote(dir))).toEqual([]);
  });
});

const stage = useStage();

it('nginx does not list names that begin with a dot: those made here stay, and go when they are removed there', async () => {
  const server = await stage().server('nginx');
  const drive = await stage().mount(server, { dirCacheTime_s: 1 });
  const fs = stage().fs();
  await fs.mkdir(drive.path('Project'));
  await fs.writeFile(drive.path('Project', '.env'), 'hidden');
  await fs.writeFile(drive.path('Project', 'shown'), '1');
  await drive.flush();
  const names = async () => (await fs.list(drive.path('Project'))).sort();
  await server.dav.put('Project/other', '2');
  await eventually('the next listing', names, (found) => found.includes('other'));
  await sleep(1500);
  expect(await names()).toEqual(['.env', 'other', 'shown']);
  expect(await fs.readText(drive.path('Project', '.env'))).toBe('hidden');
  await server.dav.remove('Project/.env');
  await eventually('the removal', names, (found) => !found.includes('.env'));
});

it('lighttpd names no version of a file of a kind it does not know: it is read all the same', async () => {
  const server = await ForeignServer.open('lighttpd', stage().folder('s'));
  stage().defer(() => server.stop());
  const content = Buffer.alloc(3_000_000, 'lines of a log without an ending\n');
  mkdirSync(join(server.root, 'logs'));
  writeFileSync(join(server.root, 'logs', 'large'), content);
  const drive = await stage().mount(server);
  expect((await stage().fs().readFile(drive.path('logs', 'large'))).equals(content)).toBe(true);
});

it.each([
  ['nginx', startNginx],
  ['lighttpd', startLighttpd],
] as const)('on %s a name that is locked stays so, whatever takes its place', async (_, start) => {
  const account = { user: 'alice', password: 'pass word' };
  const server = await start(account);
  stage().defer(() => server.stop());
  const drive = await stage().mount({ url: server.url, login: { ...account, root: server.url } });
  const fs = stage().fs();
  await fs.mkdir(drive.path('in ä'));
  const isMine = async (path: string) => {
    const lock = async () => await fs.getxattr(path, 'user.cloudmount.lock').then(String, () => 'none');
    await eventually('the lock of what was moved', lock, (found) => found === 'mine');
  };
  for (const [from, to, locked] of [
    ['a b', 'c d', 'what is moved'],
    ['50%', '100%25', 'what is replaced'],
    ['ü#?', 'ä&+;', 'both'],
    ['long ü.txt', 'long ü', 'both'],
    ['1 > 2', '3 > 2', 'what is moved'],
    ['1 > 2', '4 > 2', 'both'],
    ['5 > 4', '5 > 3', 'both'],
  ] as const) {
    const [source, target] = [drive.path('in ä', from), drive.path('in ä', to)];
    await fs.writeFile(source, `of ${from}`);
    await fs.writeFile(target, 'to be replaced');
    await drive.flush();
    if (locked !== 'what is replaced') await drive.mustCli(['lock', source]);
    if (locked !== 'what is moved') await drive.mustCli(['lock', target]);
    await fs.rename(source, target);
    await drive.flush('', 20);
    await isMine(target);
    await fs.writeFile(target, 'by the holder');
    await drive.flush('', 20);
    await drive.mustCli(['unlock', target]);
  }
  const [old, kept] = [drive.path('in ä', 'c d'), drive.path('in ä', 'kept')];
  await drive.mustCli(['lock', old]);
  await fs.rename(old, kept);
  await drive.flush('', 20);
  await isMine(kept);
  await fs.rename(drive.path('in ä'), drive.path('moved ä'));
  await drive.flush('', 20);
  await isMine(drive.path('moved ä', 'kept'));
  await fs.writeFile(drive.path('moved ä', 'kept'), 'by the holder');
  await drive.flush('', 20);
  expect(JSON.parse(await drive.mustCli(['conflicts', '--json']))).toEqual([]);
  expect((await fs.list(drive.path('moved ä'))).length).toBe(7);
  await drive.unmount();
});
