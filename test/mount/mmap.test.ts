import { expect, it } from 'vitest';
import { eventually } from '../support/processes.js';
import { onServers } from '../support/world.js';

onServers(['cloudmount', 'apache'], {}, (world) => {
  it('a shared writable mapping: stores are read by others after msync and arrive on the server', async () => {
    const dir = await world.folder();
    await world.fs.fill(`${dir}/file`, 200_000, { seed: 1 });
    const expected = await world.fs.readFile(`${dir}/file`);
    const fd = await world.fs.open(`${dir}/file`, 'O_RDWR');
    const map = await world.fs.call<number>({ op: 'mmap', fd, length: 200_000 });
    const patch = Buffer.from('written through memory');
    await world.fs.call({ op: 'mmap_write', map, offset: 100_000, data: patch.toString('base64') });
    patch.copy(expected, 100_000);
    await world.fs.call({ op: 'msync', map });
    const other = world.stage.fs();
    expect((await other.readFile(`${dir}/file`)).equals(expected)).toBe(true);
    await other.end();
    await world.fs.call({ op: 'munmap', map });
    await world.fs.close(fd);
    await world.drive.flush();
    expect((await world.server.dav.get(`${world.remote(dir)}/file`)).equals(expected)).toBe(true);
  });

  it('stores made after the descriptor was closed are not lost', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, Buffer.alloc(8192, 'a'));
    await world.drive.flush();
    const fd = await world.fs.open(`${dir}/file`, 'O_RDWR');
    const map = await world.fs.call<number>({ op: 'mmap', fd, length: 8192 });
    await world.fs.close(fd);
    await world.fs.call({ op: 'mmap_write', map, offset: 5000, data: Buffer.from('LATE').toString('base64') });
    await world.fs.call({ op: 'munmap', map });
    const expected = Buffer.alloc(8192, 'a');
    expected.write('LATE', 5000);
    expect((await world.fs.readFile(`${dir}/file`)).equals(expected)).toBe(true);
    await world.drive.flush();
    expect((await world.server.dav.get(`${world.remote(dir)}/file`)).equals(expected)).toBe(true);
  });

  it.each(['closed', 'open'] as const)(
    'nor are those to a file that was read through the kernel by then, its reader %s',
    async (reader) => {
      const dir = await world.folder();
      await world.fs.writeFile(`${dir}/file`, Buffer.alloc(8192, 'a'));
      await world.drive.flush();
      const read = await world.fs.open(`${dir}/file`, 'O_RDONLY');
      const fd = await world.fs.open(`${dir}/file`, 'O_RDWR');
      const map = await world.fs.call<number>({ op: 'mmap_bare', fd, length: 8192 });
      await world.fs.close(fd);
      if (reader === 'closed') await world.fs.close(read);
      const expected = Buffer.alloc(8192, 'a');
      for (const [at, text] of [
        [5000, 'LATE'],
        [5002, 'LATER'],
      ] as const) {
        await world.fs.call({ op: 'mmap_write', map, offset: at, data: Buffer.from(text).toString('base64') });
        expected.write(text, at);
        await eventually('the server to have it', async () =>
          (await world.server.dav.get(`${world.remote(dir)}/file`)).equals(expected),
        );
      }
      await world.fs.call({ op: 'munmap', map });
      if (reader === 'open') await world.fs.close(read);
      expect((await world.fs.readFile(`${dir}/file`)).equals(expected)).toBe(true);
    },
  );

  it('a mapping reads what is only on the server', async () => {
    const dir = await world.folder();
    await world.fs.fill(`${dir}/file`, 3_000_000, { seed: 2 });
    const expected = await world.fs.readFile(`${dir}/file`);
    await world.drive.flush();
    await world.drive.mustCli(['free', `${dir}/file`]);
    const fd = await world.fs.open(`${dir}/file`, 'O_RDONLY');
    const map = await world.fs.call<number>({ op: 'mmap', fd, length: 3_000_000, prot: 'PROT_READ' });
    const read = Buffer.from(
      await world.fs.call<string>({ op: 'mmap_read', map, offset: 2_000_000, size: 50_000 }),
      'base64',
    );
    expect(read.equals(expected.subarray(2_000_000, 2_050_000))).toBe(true);
    await world.fs.call({ op: 'munmap', map });
    await world.fs.close(fd);
  });

  it('a private mapping changes nothing', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, 'original');
    const fd = await world.fs.open(`${dir}/file`, 'O_RDONLY');
    const map = await world.fs.call<number>({ op: 'mmap', fd, length: 8, share: 'MAP_PRIVATE' });
    await world.fs.call({ op: 'mmap_write', map, offset: 0, data: Buffer.from('XX').toString('base64') });
    await world.fs.call({ op: 'munmap', map });
    await world.fs.close(fd);
    expect(await world.fs.readText(`${dir}/file`)).toBe('original');
  });

  it('a mapping in one process sees the write of another', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, Buffer.alloc(4096, 'a'));
    const fd = await world.fs.open(`${dir}/file`, 'O_RDWR');
    const map = await world.fs.call<number>({ op: 'mmap', fd, length: 4096 });
    const other = world.stage.fs();
    const theirs = await other.open(`${dir}/file`, 'O_RDWR');
    await other.pwrite(theirs, 'BBBB', 100);
    await other.end();
    const seen = Buffer.from(await world.fs.call<string>({ op: 'mmap_read', map, offset: 98, size: 8 }), 'base64');
    expect(seen.toString()).toBe('aaBBBBaa');
    await world.fs.call({ op: 'munmap', map });
    await world.fs.close(fd);
  });
});
