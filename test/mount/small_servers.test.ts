// nginx (with dav-ext) and lighttpd: no versions in nginx's listings, none in some of lighttpd's answers, and each understands
// other If headers. The contract has the details; here a drive lives on them.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { eventually } from '../support/processes.js';
import { ForeignServer } from '../support/servers.js';
import { startNginx } from '../support/small_dav_servers.js';
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

it('on nginx a locked file takes the place of another and stays locked, whatever the two are called', async () => {
  const account = { user: 'alice', password: 'pass word' };
  const nginx = await startNginx(account);
  stage().defer(() => nginx.stop());
  const drive = await stage().mount({ url: nginx.url, login: { ...account, root: nginx.url } });
  const fs = stage().fs();
  await fs.mkdir(drive.path('in ä'));
  for (const [from, to] of [
    ['a b', 'c d'],
    ['50%', '100%25'],
    ['ü#?', 'ä&+;'],
    ['long ü.txt', 'long ü'],
  ] as const) {
    const [source, target] = [drive.path('in ä', from), drive.path('in ä', to)];
    await fs.writeFile(source, `of ${from}`);
    await fs.writeFile(target, 'to be replaced');
    await drive.flush();
    await drive.mustCli(['lock', source]);
    await fs.rename(source, target);
    await drive.flush('', 20);
    expect((await fs.getxattr(target, 'user.cloudmount.lock')).toString()).toBe('mine');
    await fs.writeFile(target, 'by the holder');
    await drive.flush();
    await drive.mustCli(['unlock', target]);
  }
  expect(JSON.parse(await drive.mustCli(['conflicts', '--json']))).toEqual([]);
  expect((await fs.list(drive.path('in ä'))).length).toBe(4);
  await drive.unmount();
});
