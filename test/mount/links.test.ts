import { expect, it } from 'vitest';
import { must } from '../support/processes.js';
import { errno, onServers } from '../support/world.js';

onServers(['cloudmount'], {}, (world) => {
  it('a symlink keeps its target exactly, is followed, and may dangle', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, 'through the link');
    for (const [name, target] of [
      ['relative', 'file'],
      ['absolute', `${dir}/file`],
      ['up', `../${world.remote(dir)}/file`],
    ] as const) {
      await world.fs.symlink(target, `${dir}/${name}`);
      expect(await world.fs.readlink(`${dir}/${name}`)).toBe(target);
      expect(await world.fs.readText(`${dir}/${name}`)).toBe('through the link');
    }
    await world.fs.symlink('nowhere at all/ü %20#?', `${dir}/dangling`);
    expect(await world.fs.readlink(`${dir}/dangling`)).toBe('nowhere at all/ü %20#?');
    await expect(world.fs.readFile(`${dir}/dangling`)).rejects.toMatchObject(errno('ENOENT'));
    const s = await world.fs.lstat(`${dir}/dangling`);
    expect(s.kind).toBe('symlink');
    expect(s.size).toBe(Buffer.byteLength('nowhere at all/ü %20#?'));
  });

  it('a loop of symlinks is ELOOP, an existing name EEXIST', async () => {
    const dir = await world.folder();
    await world.fs.symlink('b', `${dir}/a`);
    await world.fs.symlink('a', `${dir}/b`);
    await expect(world.fs.stat(`${dir}/a`)).rejects.toMatchObject(errno('ELOOP'));
    await expect(world.fs.symlink('x', `${dir}/a`)).rejects.toMatchObject(errno('EEXIST'));
    await expect(world.fs.readlink(dir)).rejects.toMatchObject(errno('EINVAL'));
  });

  it('a symlink lists no attributes, since Linux reads none of it: copies with attributes work', async () => {
    const dir = await world.folder();
    await world.fs.symlink('nowhere', `${dir}/link`);
    expect(await must('getfattr', ['-h', '-m', '-', `${dir}/link`])).toBe('');
    await must('rsync', ['-aX', `${dir}/link`, `${dir}/copy`]);
  });

  it('unlink and rename of a symlink touch the link, not what it names', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, 'kept');
    await world.fs.symlink('file', `${dir}/link`);
    await world.fs.rename(`${dir}/link`, `${dir}/moved`);
    expect(await world.fs.readlink(`${dir}/moved`)).toBe('file');
    await world.fs.unlink(`${dir}/moved`);
    expect(await world.fs.readText(`${dir}/file`)).toBe('kept');
  });
});

onServers(['apache', 'rclone'], {}, (world) => {
  it('a symlink on a server that cannot store one is EPERM', async () => {
    const dir = await world.folder();
    await expect(world.fs.symlink('x', `${dir}/link`)).rejects.toMatchObject(errno('EPERM'));
    expect(await world.fs.list(dir)).toEqual([]);
  });
});

onServers(['cloudmount', 'apache'], {}, (world) => {
  it('a hard link is EPERM', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, 'x');
    await expect(world.fs.link(`${dir}/file`, `${dir}/second`)).rejects.toMatchObject(errno('EPERM'));
    expect(await world.fs.list(dir)).toEqual(['file']);
  });

  it('mknod makes a regular file and refuses devices, pipes and sockets with EPERM', async () => {
    const dir = await world.folder();
    await world.fs.call({ op: 'mknod', path: `${dir}/regular`, kind: 'file' });
    expect((await world.fs.stat(`${dir}/regular`)).kind).toBe('file');
    for (const kind of ['char', 'block', 'fifo', 'socket']) {
      await expect(
        world.fs.call({ op: 'mknod', path: `${dir}/${kind}`, kind, major: 1, minor: 3 }),
      ).rejects.toMatchObject(errno('EPERM'));
    }
    expect(await world.fs.list(dir)).toEqual(['regular']);
  });
});
