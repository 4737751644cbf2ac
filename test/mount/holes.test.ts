import { expect, it } from 'vitest';
import { errno, onServers } from '../support/world.js';

const MIB = 1 << 20;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const FALLOC_FL_COLLAPSE_RANGE = 8;
const FALLOC_FL_ZERO_RANGE = 16;

onServers(['cloudmount', 'apache'], {}, (world) => {
  it('a hole reads as zeros, here and on the server', async () => {
    const dir = await world.folder();
    const fd = await world.fs.open(`${dir}/sparse`, 'O_RDWR|O_CREAT');
    await world.fs.pwrite(fd, 'begin', 0);
    await world.fs.pwrite(fd, 'end', 3 * MIB);
    await world.fs.close(fd);
    const expected = Buffer.alloc(3 * MIB + 3);
    expected.write('begin', 0);
    expected.write('end', 3 * MIB);
    expect((await world.fs.readFile(`${dir}/sparse`)).equals(expected)).toBe(true);
    await world.drive.flush();
    expect((await world.server.dav.get(`${world.remote(dir)}/sparse`)).equals(expected)).toBe(true);
  });

  it('SEEK_HOLE and SEEK_DATA find what is there', async () => {
    const dir = await world.folder();
    const fd = await world.fs.open(`${dir}/sparse`, 'O_RDWR|O_CREAT');
    await world.fs.ftruncate(fd, 8 * MIB);
    await world.fs.pwrite(fd, Buffer.alloc(MIB, 1), 4 * MIB);
    await world.fs.fsync(fd);
    const data = await world.fs.lseek(fd, 0, 'SEEK_DATA');
    expect(data).toBeLessThanOrEqual(4 * MIB);
    const hole = await world.fs.lseek(fd, 4 * MIB, 'SEEK_HOLE');
    expect(hole).toBeGreaterThanOrEqual(5 * MIB);
    expect(hole).toBeLessThanOrEqual(8 * MIB);
    expect(await world.fs.lseek(fd, 4 * MIB + 5, 'SEEK_DATA')).toBe(4 * MIB + 5);
    await expect(world.fs.lseek(fd, 8 * MIB, 'SEEK_DATA')).rejects.toMatchObject(errno('ENXIO'));
    await expect(world.fs.lseek(fd, 9 * MIB, 'SEEK_HOLE')).rejects.toMatchObject(errno('ENXIO'));
    await world.fs.close(fd);
  });

  it('a file that is only on the server is all data to SEEK_HOLE: no tool may skip what was not fetched', async () => {
    const dir = await world.folder();
    await world.fs.fill(`${dir}/full`, 2 * MIB, { seed: 4 });
    await world.drive.flush();
    await world.drive.mustCli(['free', `${dir}/full`]);
    const fd = await world.fs.open(`${dir}/full`);
    expect(await world.fs.lseek(fd, 0, 'SEEK_DATA')).toBe(0);
    expect(await world.fs.lseek(fd, 0, 'SEEK_HOLE')).toBe(2 * MIB);
    await world.fs.close(fd);
    const expected = await world.fs.call<string>({ op: 'pattern_sha256', size: 2 * MIB, seed: 4 });
    await world.drive.must('cp', ['--sparse=always', `${dir}/full`, `${dir}/copy`]);
    expect((await world.fs.sha256(`${dir}/copy`)).sha256).toBe(expected);
  });

  it('fallocate lengthens a file with zeros, or keeps its size when told so', async () => {
    const dir = await world.folder();
    const fd = await world.fs.open(`${dir}/file`, 'O_RDWR|O_CREAT');
    await world.fs.pwrite(fd, 'abc', 0);
    await world.fs.fallocate(fd, 0, 0, MIB);
    expect((await world.fs.fstat(fd)).size).toBe(MIB);
    expect((await world.fs.pread(fd, 6, 0)).toString()).toBe('abc\0\0\0');
    await world.fs.fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 2 * MIB);
    expect((await world.fs.fstat(fd)).size).toBe(MIB);
    await world.fs.close(fd);
  });

  it('punching and zeroing a range leaves zeros there and nothing else changed', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, Buffer.alloc(MIB, 'x'));
    await world.drive.flush();
    const fd = await world.fs.open(`${dir}/file`, 'O_RDWR');
    await world.fs.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5000, 100_000);
    await world.fs.fallocate(fd, FALLOC_FL_ZERO_RANGE, 500_001, 999);
    await world.fs.close(fd);
    const expected = Buffer.alloc(MIB, 'x').fill(0, 5000, 105_000).fill(0, 500_001, 501_000);
    expect((await world.fs.readFile(`${dir}/file`)).equals(expected)).toBe(true);
    await world.drive.flush();
    expect((await world.server.dav.get(`${world.remote(dir)}/file`)).equals(expected)).toBe(true);
  });

  it('a mode that cannot be done is EOPNOTSUPP, a senseless range EINVAL', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, Buffer.alloc(MIB, 'x'));
    const fd = await world.fs.open(`${dir}/file`, 'O_RDWR');
    await expect(world.fs.fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 4096, 4096)).rejects.toMatchObject(
      errno('EOPNOTSUPP'),
    );
    await expect(world.fs.fallocate(fd, 0, 0, 0)).rejects.toMatchObject(errno('EINVAL'));
    await world.fs.close(fd);
    expect((await world.fs.readFile(`${dir}/file`)).equals(Buffer.alloc(MIB, 'x'))).toBe(true);
  });

  it('copy_file_range and sendfile copy exactly the bytes asked for', async () => {
    const dir = await world.folder();
    await world.fs.fill(`${dir}/from`, 300_000, { seed: 9 });
    const source = await world.fs.readFile(`${dir}/from`);
    const from = await world.fs.open(`${dir}/from`);
    const to = await world.fs.open(`${dir}/to`, 'O_RDWR|O_CREAT');
    let copied = 0;
    while (copied < 100_000) {
      copied += await world.fs.call<number>({
        op: 'copy_file_range',
        fd_in: from,
        fd_out: to,
        size: 100_000 - copied,
        offset_in: 1000 + copied,
        offset_out: copied,
      });
    }
    expect(await world.fs.call({ op: 'sendfile', fd_in: from, fd_out: to, size: 5000, offset: 200_000 })).toBe(5000);
    await world.fs.close(from);
    await world.fs.close(to);
    const expected = Buffer.from(source.subarray(1000, 101_000));
    source.copy(expected, 0, 200_000, 205_000);
    expect((await world.fs.readFile(`${dir}/to`)).equals(expected)).toBe(true);
  });
});
