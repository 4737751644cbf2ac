import { chmod, stat } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { mountAt } from '../support/mounts.js';
import { must } from '../support/processes.js';
import { errno, useStage } from '../support/world.js';

/** `nobody`: fusermount3 wants a user with a name. */
const NOBODY = { uid: 65_534, gid: 65_534 };
const stage = useStage();

/** Where udev runs /dev/fuse is open to everyone; a bare machine may have 0600. */
async function openFuseDevice(): Promise<void> {
  const mode = (await stat('/dev/fuse')).mode & 0o777;
  if (mode === 0o666) return;
  await chmod('/dev/fuse', 0o666);
  stage().defer(() => chmod('/dev/fuse', mode));
}

it('a user without privileges mounts, works and unmounts', async () => {
  await openFuseDevice();
  const server = await stage().ownServer();
  const drive = await stage().mount(server, { user: NOBODY });
  const fs = stage().fs({ user: NOBODY });
  await fs.mkdir(drive.path('folder'));
  const hash = await fs.fill(drive.path('folder', 'file'), 3_000_000, { seed: 31 });
  expect((await fs.sha256(drive.path('folder', 'file'))).sha256).toBe(hash);
  expect(await fs.stat(drive.path('folder'))).toMatchObject(NOBODY);
  await fs.rename(drive.path('folder', 'file'), drive.path('moved'));
  await fs.chmod(drive.path('moved'), 0o640);
  expect((await fs.stat(drive.path('moved'))).mode).toBe(0o640);
  await drive.flush();
  expect((await server.dav.get('moved')).length).toBe(3_000_000);
  await drive.mustCli(['free', drive.path('moved')]);
  expect((await fs.sha256(drive.path('moved'))).sha256).toBe(hash);
  await drive.unmount();
});

it('everything belongs to the user who mounted: a foreign chown is EPERM, one to oneself works', async () => {
  await openFuseDevice();
  const server = await stage().ownServer();
  await server.dav.put('theirs', 'made by another client');
  const drive = await stage().mount(server, { user: NOBODY });
  const fs = stage().fs({ user: NOBODY });
  expect(await fs.stat(drive.path('theirs'))).toMatchObject(NOBODY);
  await fs.chown(drive.path('theirs'), NOBODY.uid, NOBODY.gid);
  await expect(fs.chown(drive.path('theirs'), 1, 1)).rejects.toMatchObject(errno('EPERM'));
  await drive.unmount();
});

it('nobody else may enter such a drive, not even root', async () => {
  await openFuseDevice();
  const server = await stage().ownServer();
  const drive = await stage().mount(server, { user: NOBODY });
  const root = stage().fs();
  await expect(root.list(drive.dir)).rejects.toMatchObject(errno('EACCES'));
  await drive.unmount();
});

it('kill -9 of an unprivileged daemon leaves no dead mount', async () => {
  await openFuseDevice();
  const server = await stage().ownServer();
  const drive = await stage().mount(server, { user: NOBODY });
  const fs = stage().fs({ user: NOBODY });
  await fs.writeFile(drive.path('file'), 'synced', { sync: true });
  await drive.kill9();
  await drive.mount();
  expect(await fs.readText(drive.path('file'))).toBe('synced');
  await drive.unmount();
});

it('so does one whose files are still open elsewhere, and keeps nobody waiting', async () => {
  await openFuseDevice();
  // Mounted on every machine with systemd: what lets the owner of a mount end it.
  const control = '/sys/fs/fuse/connections';
  if (mountAt(control) === undefined) {
    await must('mount', ['-t', 'fusectl', 'fusectl', control]);
    stage().defer(async () => void (await must('umount', [control])));
  }
  const server = await stage().ownServer();
  const drive = await stage().mount(server, { user: NOBODY });
  const fs = stage().fs({ user: NOBODY });
  await fs.writeFile(drive.path('file'), 'synced', { sync: true });
  const fd = await fs.open(drive.path('file'), 'O_RDWR');
  await stage().fs().call({ op: 'hold_descriptors', pid: drive.daemonPid });
  await drive.kill9();
  const answer = await fs.ask({ op: 'fsync', fd });
  expect('errno' in answer && answer.errno).toBe('ENOTCONN');
  await fs.ask({ op: 'close', fd });
  await drive.mount();
  expect(await fs.readText(drive.path('file'))).toBe('synced');
  await drive.unmount();
});

it('without access to /dev/fuse the message says what is missing', async () => {
  const server = await stage().ownServer();
  const mode = (await stat('/dev/fuse')).mode & 0o777;
  await chmod('/dev/fuse', 0o600);
  stage().defer(() => chmod('/dev/fuse', mode));
  const drive = stage().drive(server, { user: NOBODY });
  await expect(drive.mount()).rejects.toThrow(/\/dev\/fuse/);
  await chmod('/dev/fuse', mode);
  expect(drive.mounted).toBe(false);
});

it('the modes of a root mount hold for other users too', async () => {
  const server = await stage().ownServer();
  const drive = await stage().mount(server, { args: ['--allow-other'] });
  await must('chmod', ['755', drive.base]);
  const root = stage().fs();
  await root.chmod(drive.dir, 0o755);
  await root.writeFile(drive.path('public'), 'for all');
  await root.writeFile(drive.path('private'), 'for root');
  await root.chmod(drive.path('private'), 0o600);
  const other = stage().fs({ user: NOBODY });
  expect(await other.readText(drive.path('public'))).toBe('for all');
  await expect(other.readFile(drive.path('private'))).rejects.toMatchObject(errno('EACCES'));
  await expect(other.writeFile(drive.path('public'), 'x')).rejects.toMatchObject(errno('EACCES'));
  await expect(other.writeFile(drive.path('new'), 'x')).rejects.toMatchObject(errno('EACCES'));
  await expect(other.unlink(drive.path('public'))).rejects.toMatchObject(errno('EACCES'));
  await root.mkdir(drive.path('sticky'));
  await root.chmod(drive.path('sticky'), 0o1777);
  await root.writeFile(drive.path('sticky', 'of-root'), 'x');
  await other.writeFile(drive.path('sticky', 'of-nobody'), 'y');
  expect(await root.stat(drive.path('sticky', 'of-nobody'))).toMatchObject(NOBODY);
  await expect(other.unlink(drive.path('sticky', 'of-root'))).rejects.toMatchObject(errno('EPERM'));
  await other.unlink(drive.path('sticky', 'of-nobody'));
  await drive.unmount();
});
