import { expect, it } from 'vitest';
import { ALL_SERVERS, errno, onServers } from '../support/world.js';

onServers(ALL_SERVERS, {}, (world) => {
  it('O_TRUNC empties a file at once and on the server', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, 'content');
    await world.drive.flush();
    const fd = await world.fs.open(`${dir}/file`, 'O_WRONLY|O_TRUNC');
    expect((await world.fs.stat(`${dir}/file`)).size).toBe(0);
    await world.fs.close(fd);
    await world.drive.flush();
    expect(await world.server.dav.get(`${world.remote(dir)}/file`)).toHaveLength(0);
  });

  it('O_TRUNC moves the time of a file that is empty already, as make wants of its stamps', async () => {
    const dir = await world.folder();
    const old = 1_000_000_000_000_000_000n;
    await world.fs.writeFile(`${dir}/stamp`, '');
    for (const sent of [false, true]) {
      if (sent) await world.drive.flush();
      await world.fs.utimens(`${dir}/stamp`, 'omit', old);
      await world.fs.writeFile(`${dir}/stamp`, '');
      expect((await world.fs.stat(`${dir}/stamp`)).mtime_ns).toBeGreaterThan(old);
    }
  });

  it('truncate shortens and lengthens, and what is added is zero', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, 'abcdefgh');
    await world.drive.flush();
    await world.fs.truncate(`${dir}/file`, 3);
    expect(await world.fs.readText(`${dir}/file`)).toBe('abc');
    await world.fs.truncate(`${dir}/file`, 6);
    expect(await world.fs.readText(`${dir}/file`)).toBe('abc\0\0\0');
    const fd = await world.fs.open(`${dir}/file`, 'O_RDWR');
    await world.fs.ftruncate(fd, 4);
    await world.fs.pwrite(fd, 'x', 7);
    await world.fs.close(fd);
    expect(await world.fs.readText(`${dir}/file`)).toBe('abc\0\0\0\0x');
    await world.drive.flush();
    expect(await world.server.dav.text(`${world.remote(dir)}/file`)).toBe('abc\0\0\0\0x');
  });

  it('shortening a file that is only on the server keeps its beginning', async () => {
    const dir = await world.folder();
    await world.fs.fill(`${dir}/file`, 200_000, { seed: 3 });
    const whole = await world.fs.readFile(`${dir}/file`);
    await world.drive.flush();
    await world.drive.mustCli(['free', `${dir}/file`]);
    await world.fs.truncate(`${dir}/file`, 70_001);
    expect((await world.fs.readFile(`${dir}/file`)).equals(whole.subarray(0, 70_001))).toBe(true);
    await world.drive.flush();
    expect((await world.server.dav.get(`${world.remote(dir)}/file`)).equals(whole.subarray(0, 70_001))).toBe(true);
  });

  it('truncating to a huge size answers at once and costs no disk', async () => {
    const dir = await world.folder();
    const fd = await world.fs.open(`${dir}/huge`, 'O_RDWR|O_CREAT');
    await world.fs.ftruncate(fd, 2 ** 40);
    expect((await world.fs.fstat(fd)).size).toBe(2 ** 40);
    expect((await world.fs.pread(fd, 4, 2 ** 39)).equals(Buffer.alloc(4))).toBe(true);
    await world.fs.ftruncate(fd, 0);
    await world.fs.close(fd);
    await world.fs.unlink(`${dir}/huge`);
  });

  it('a negative size is EINVAL, a directory EISDIR', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, 'x');
    await expect(world.fs.truncate(`${dir}/file`, -1)).rejects.toMatchObject(errno('EINVAL'));
    await expect(world.fs.truncate(dir, 0)).rejects.toMatchObject(errno('EISDIR'));
  });
});
