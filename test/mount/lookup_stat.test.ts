import { expect, it } from 'vitest';
import { ALL_SERVERS, errno, onServers } from '../support/world.js';

onServers(ALL_SERVERS, {}, (world) => {
  it('the root is a directory with inode number 1', async () => {
    const s = await world.fs.stat(world.drive.dir);
    expect(s).toMatchObject({ kind: 'dir', ino: 1 });
    expect(s.mode & 0o700).toBe(0o700);
  });

  it('a missing name is ENOENT, a name below a file ENOTDIR', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, 'x');
    await expect(world.fs.stat(`${dir}/nothing`)).rejects.toMatchObject(errno('ENOENT'));
    await expect(world.fs.stat(`${dir}/nothing`)).rejects.toMatchObject(errno('ENOENT'));
    await expect(world.fs.stat(`${dir}/file/below`)).rejects.toMatchObject(errno('ENOTDIR'));
    await expect(world.fs.list(`${dir}/file`)).rejects.toMatchObject(errno('ENOTDIR'));
  });

  it('a name that was missing is there once it is made, and gone once it is removed', async () => {
    const dir = await world.folder();
    expect(await world.fs.exists(`${dir}/late`)).toBe(false);
    await world.fs.writeFile(`${dir}/late`, 'here');
    expect(await world.fs.readText(`${dir}/late`)).toBe('here');
    await world.fs.unlink(`${dir}/late`);
    expect(await world.fs.exists(`${dir}/late`)).toBe(false);
  });

  it('stat tells size, blocks, kind and one link of a file', async () => {
    const dir = await world.folder();
    await world.fs.fill(`${dir}/file`, 100_000);
    const s = await world.fs.stat(`${dir}/file`);
    expect(s).toMatchObject({ kind: 'file', size: 100_000, nlink: 1 });
    expect(s.blocks).toBeGreaterThan(0);
  });

  it('fstat, stat and the listing agree on inode numbers', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/a`, 'a');
    await world.fs.mkdir(`${dir}/b`);
    const fd = await world.fs.open(`${dir}/a`);
    const byHandle = await world.fs.fstat(fd);
    await world.fs.close(fd);
    const list = await world.fs.open(dir, 'O_RDONLY|O_DIRECTORY');
    const entries = await world.fs.getdents(list);
    await world.fs.close(list);
    const inoOf = (name: string) => entries.find((entry) => entry.name === name)?.ino;
    expect(inoOf('a')).toBe(byHandle.ino);
    expect(inoOf('a')).toBe((await world.fs.stat(`${dir}/a`)).ino);
    expect(inoOf('b')).toBe((await world.fs.stat(`${dir}/b`)).ino);
    expect(inoOf('a')).not.toBe(inoOf('b'));
  });

  it('an inode keeps its number through a rename', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/old`, 'same');
    const before = await world.fs.stat(`${dir}/old`);
    await world.fs.rename(`${dir}/old`, `${dir}/new`);
    expect((await world.fs.stat(`${dir}/new`)).ino).toBe(before.ino);
  });

  it('`.` and `..` lead where they should', async () => {
    const dir = await world.folder();
    await world.fs.mkdir(`${dir}/sub`);
    const here = (await world.fs.stat(dir)).ino;
    expect((await world.fs.stat(`${dir}/.`)).ino).toBe(here);
    expect((await world.fs.stat(`${dir}/sub/..`)).ino).toBe(here);
  });

  it('names a file manager probes for are answered from the mirror, without anything made', async () => {
    for (const name of [
      '.Trash',
      '.Trash-0',
      '.hidden',
      'autorun.inf',
      '.xdg-volume-info',
      '.directory',
      'desktop.ini',
    ]) {
      expect(await world.fs.exists(world.drive.path(name))).toBe(false);
    }
  });
});
