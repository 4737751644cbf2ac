import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { ALL_SERVERS, errno, onServers } from '../support/world.js';

onServers(ALL_SERVERS, {}, (world) => {
  it('a file that was removed while open is read and written through the handle, and never comes back', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, 'content');
    await world.drive.flush();
    const fd = await world.fs.open(`${dir}/file`, 'O_RDWR');
    await world.fs.unlink(`${dir}/file`);
    expect(await world.fs.exists(`${dir}/file`)).toBe(false);
    expect((await world.fs.fstat(fd)).nlink).toBe(0);
    await world.fs.pwrite(fd, 'C', 0);
    await world.fs.pwrite(fd, ' and more', 7);
    expect((await world.fs.pread(fd, 100, 0)).toString()).toBe('Content and more');
    await world.fs.fsync(fd);
    await world.fs.close(fd);
    await world.drive.flush();
    expect(await world.fs.list(dir)).toEqual([]);
    expect(await world.server.dav.list(world.remote(dir))).toEqual([]);
  });

  it('a file that is only on the server, opened and then removed, is still read to its end', async () => {
    const dir = await world.folder();
    const hash = await world.fs.fill(`${dir}/big`, 3_000_000, { seed: 5 });
    await world.drive.flush();
    await world.drive.mustCli(['free', `${dir}/big`]);
    const fd = await world.fs.open(`${dir}/big`);
    const first = await world.fs.pread(fd, 10, 0);
    expect(first).toHaveLength(10);
    await world.fs.unlink(`${dir}/big`);
    const digest = createHash('sha256');
    for (let at = 0; at < 3_000_000; at += 500_000) digest.update(await world.fs.pread(fd, 500_000, at));
    await world.fs.close(fd);
    expect(digest.digest('hex')).toBe(hash);
  });

  it('the name can be used for another file while the old one is still open', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/name`, 'old');
    const fd = await world.fs.open(`${dir}/name`);
    await world.fs.unlink(`${dir}/name`);
    await world.fs.writeFile(`${dir}/name`, 'new');
    expect((await world.fs.pread(fd, 10, 0)).toString()).toBe('old');
    expect(await world.fs.readText(`${dir}/name`)).toBe('new');
    await world.fs.close(fd);
    await world.drive.flush();
    expect(await world.server.dav.text(`${world.remote(dir)}/name`)).toBe('new');
  });

  it('a temporary file that is made, used and removed never reaches the server', async () => {
    const dir = await world.folder();
    await world.drive.flush();
    for (let i = 0; i < 20; i++) {
      await world.fs.writeFile(`${dir}/tmp${i}`, 'short-lived');
      await world.fs.unlink(`${dir}/tmp${i}`);
    }
    await world.drive.flush();
    expect(await world.server.dav.list(world.remote(dir))).toEqual([]);
    await expect(world.fs.unlink(`${dir}/tmp0`)).rejects.toMatchObject(errno('ENOENT'));
    await expect(world.fs.unlink(dir)).rejects.toMatchObject(errno('EISDIR'));
  });
});
