import { expect, it } from 'vitest';
import { must } from '../support/processes.js';
import { errno, onServers } from '../support/world.js';

const XATTR_CREATE = 1;
const XATTR_REPLACE = 2;

onServers(['cloudmount'], {}, (world) => {
  it('user attributes hold any bytes, are listed, replaced and removed', async () => {
    const dir = await world.folder();
    const path = `${dir}/file`;
    await world.fs.writeFile(path, 'x');
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    await world.fs.setxattr(path, 'user.binary', bytes);
    await world.fs.setxattr(path, 'user.empty', '');
    await world.fs.setxattr(path, 'user.ünïcode name', 'value');
    expect((await world.fs.getxattr(path, 'user.binary')).equals(bytes)).toBe(true);
    expect(await world.fs.getxattr(path, 'user.empty')).toHaveLength(0);
    expect((await world.fs.getxattr(path, 'user.ünïcode name')).toString()).toBe('value');
    expect(await world.fs.listxattr(path)).toEqual(
      expect.arrayContaining(['user.binary', 'user.empty', 'user.ünïcode name']),
    );
    await world.fs.setxattr(path, 'user.binary', 'shorter');
    expect((await world.fs.getxattr(path, 'user.binary')).toString()).toBe('shorter');
    await world.fs.removexattr(path, 'user.binary');
    await expect(world.fs.getxattr(path, 'user.binary')).rejects.toMatchObject(errno('ENODATA'));
    await expect(world.fs.removexattr(path, 'user.binary')).rejects.toMatchObject(errno('ENODATA'));
  });

  it('XATTR_CREATE and XATTR_REPLACE do what they say', async () => {
    const dir = await world.folder();
    await expect(world.fs.setxattr(dir, 'user.a', '1', XATTR_REPLACE)).rejects.toMatchObject(errno('ENODATA'));
    await world.fs.setxattr(dir, 'user.a', '1', XATTR_CREATE);
    await expect(world.fs.setxattr(dir, 'user.a', '2', XATTR_CREATE)).rejects.toMatchObject(errno('EEXIST'));
    await world.fs.setxattr(dir, 'user.a', '3', XATTR_REPLACE);
    expect((await world.fs.getxattr(dir, 'user.a')).toString()).toBe('3');
  });

  it('limits: a small buffer is ERANGE, a name of over 255 bytes ERANGE, a value of over 64 KiB E2BIG', async () => {
    const dir = await world.folder();
    await world.fs.setxattr(dir, 'user.long', 'x'.repeat(1000));
    expect(await world.fs.call({ op: 'getxattr_small', path: dir, name: 'user.long', size: 0 })).toBe(1000);
    await expect(
      world.fs.call({ op: 'getxattr_small', path: dir, name: 'user.long', size: 999 }),
    ).rejects.toMatchObject(errno('ERANGE'));
    await world.fs.setxattr(dir, 'user.large', Buffer.alloc(65_536, 7));
    expect((await world.fs.getxattr(dir, 'user.large')).equals(Buffer.alloc(65_536, 7))).toBe(true);
    await expect(world.fs.setxattr(dir, 'user.larger', Buffer.alloc(65_537))).rejects.toMatchObject(errno('E2BIG'));
    await expect(world.fs.setxattr(dir, `user.${'n'.repeat(251)}`, 'x')).rejects.toMatchObject(errno('ERANGE'));
  });

  it('namespaces we do not keep are EOPNOTSUPP', async () => {
    const dir = await world.folder();
    await expect(world.fs.setxattr(dir, 'trusted.x', '1')).rejects.toMatchObject(errno('EOPNOTSUPP'));
  });

  it('setting an attribute moves ctime, not mtime', async () => {
    const dir = await world.folder();
    const before = await world.fs.stat(dir);
    await world.fs.setxattr(dir, 'user.a', '1');
    const after = await world.fs.stat(dir);
    expect(after.mtime_ns).toBe(before.mtime_ns);
    expect(after.ctime_ns).toBeGreaterThan(before.ctime_ns);
  });
});

onServers(['cloudmount', 'apache'], {}, (world) => {
  it('user.cloudmount.status follows a file from dirty to cached to cloud', async () => {
    const dir = await world.folder();
    const status = async (path: string) => (await world.fs.getxattr(path, 'user.cloudmount.status')).toString();
    const fd = await world.fs.open(`${dir}/file`, 'O_WRONLY|O_CREAT');
    await world.fs.write(fd, 'content');
    expect(await status(`${dir}/file`)).toBe('dirty');
    await world.fs.close(fd);
    expect(['dirty', 'uploading']).toContain(await status(`${dir}/file`));
    await world.drive.flush();
    expect(await status(`${dir}/file`)).toBe('cached');
    await world.drive.mustCli(['free', `${dir}/file`]);
    expect(await status(`${dir}/file`)).toBe('cloud');
    expect(await world.fs.readText(`${dir}/file`)).toBe('content');
    expect(await status(`${dir}/file`)).toBe('cached');
  });

  it('user.cloudmount.etag is the version on the server', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, 'content');
    await world.drive.flush();
    const etag = (await world.fs.getxattr(`${dir}/file`, 'user.cloudmount.etag')).toString();
    // Apache calls the ETag of a file weak for the first second.
    expect(etag).toBe((await world.server.dav.etag(`${world.remote(dir)}/file`)).replace(/^W\//, ''));
  });

  it('user.cloudmount.pin is writable, inherited below, and removable', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, 'content');
    await world.drive.flush();
    await world.fs.setxattr(dir, 'user.cloudmount.pin', '1');
    expect((await world.fs.getxattr(dir, 'user.cloudmount.pin')).toString()).toBe('1');
    expect((await world.fs.getxattr(`${dir}/file`, 'user.cloudmount.pin')).toString()).toBe('inherited');
    await world.fs.removexattr(dir, 'user.cloudmount.pin');
    await expect(world.fs.getxattr(`${dir}/file`, 'user.cloudmount.pin')).rejects.toMatchObject(errno('ENODATA'));
  });

  it('what the drive says of a file is not changed by hand, and does not keep a copy with its attributes from working', async () => {
    const dir = await world.folder();
    const file = `${dir}/file`;
    await world.fs.writeFile(file, 'x');
    await world.drive.flush();
    const etag = (await world.fs.getxattr(file, 'user.cloudmount.etag')).toString();
    await world.fs.setxattr(file, 'user.cloudmount.etag', 'another');
    expect((await world.fs.getxattr(file, 'user.cloudmount.etag')).toString()).toBe(etag);
    await must('rsync', ['-aX', file, `${file}.copy`]);
    for (const name of ['no such thing']) {
      const answer = await world.fs.ask({
        op: 'setxattr',
        path: dir,
        name: `user.cloudmount.${name}`,
        value: Buffer.from('x').toString('base64'),
      });
      expect('errno' in answer && ['EPERM', 'EACCES', 'EINVAL', 'EOPNOTSUPP'].includes(answer.errno)).toBe(true);
    }
  });
});
