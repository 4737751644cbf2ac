import { expect, it } from 'vitest';
import { eventually } from '../support/processes.js';
import { ALL_SERVERS, errno, onServers } from '../support/world.js';

onServers(ALL_SERVERS, {}, (world) => {
  it('reads any range of a file, also across its end', async () => {
    const dir = await world.folder();
    await world.fs.fill(`${dir}/file`, 300_000, { seed: 7 });
    const whole = await world.fs.readFile(`${dir}/file`);
    const fd = await world.fs.open(`${dir}/file`);
    for (const [offset, size] of [
      [0, 1],
      [0, 4096],
      [1, 4095],
      [65_535, 3],
      [131_071, 131_074],
      [299_999, 10],
      [250_000, 100_000],
    ] as const) {
      expect((await world.fs.pread(fd, size, offset)).equals(whole.subarray(offset, offset + size))).toBe(true);
    }
    expect(await world.fs.pread(fd, 10, 300_000)).toHaveLength(0);
    expect(await world.fs.pread(fd, 10, 10_000_000)).toHaveLength(0);
    await world.fs.close(fd);
  });

  it('a file put on the server by someone else is read byte by byte as it is there', async () => {
    const dir = await world.folder();
    await world.drive.flush();
    const content = Buffer.from(Array.from({ length: 200_000 }, (_, i) => (i * 31 + (i >> 8)) & 255));
    await world.server.dav.put(`${world.remote(dir)}/theirs`, content);
    await eventually('the file to appear', () => world.fs.exists(`${dir}/theirs`));
    const fd = await world.fs.open(`${dir}/theirs`);
    expect((await world.fs.pread(fd, 5000, 123_456)).equals(content.subarray(123_456, 128_456))).toBe(true);
    await world.fs.close(fd);
    expect((await world.fs.readFile(`${dir}/theirs`)).equals(content)).toBe(true);
  });

  it('asks for half a megabyte at a time of a file that is read from end to end', async () => {
    const { stdout } = await world.drive.run('sh', [
      '-c',
      'cat "/sys/class/bdi/$(mountpoint -d "$0")/read_ahead_kb"',
      world.drive.dir,
    ]);
    expect(stdout.trim()).toBe('512');
  });

  it('an empty file reads as nothing', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/empty`, '');
    expect(await world.fs.readFile(`${dir}/empty`)).toHaveLength(0);
  });

  it('a descriptor does what it was opened for and nothing else', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, 'content');
    const reader = await world.fs.open(`${dir}/file`, 'O_RDONLY');
    const writer = await world.fs.open(`${dir}/file`, 'O_WRONLY');
    await expect(world.fs.write(reader, 'x')).rejects.toMatchObject(errno('EBADF'));
    await expect(world.fs.read(writer, 1)).rejects.toMatchObject(errno('EBADF'));
    await world.fs.close(reader);
    await world.fs.close(writer);
    await expect(world.fs.open(dir, 'O_RDWR')).rejects.toMatchObject(errno('EISDIR'));
    await expect(world.fs.open(`${dir}/file`, 'O_RDONLY|O_DIRECTORY')).rejects.toMatchObject(errno('ENOTDIR'));
  });

  it('reading moves the position of the description, also through a duplicate', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, 'abcdefgh');
    const fd = await world.fs.open(`${dir}/file`);
    const twin = await world.fs.call<number>({ op: 'dup', fd });
    expect((await world.fs.read(fd, 3)).toString()).toBe('abc');
    expect((await world.fs.read(twin, 3)).toString()).toBe('def');
    expect(await world.fs.lseek(fd, -1, 'SEEK_END')).toBe(7);
    expect((await world.fs.read(fd, 9)).toString()).toBe('h');
    await world.fs.close(fd);
    await world.fs.close(twin);
  });
});
