import { expect, it } from 'vitest';
import { eventually } from '../support/processes.js';
import { onServers } from '../support/world.js';

onServers(['cloudmount'], {}, (world) => {
  it('mode, mtime in ns, exec bit, symlinks and user xattrs survive a remount with the cache and one without', async () => {
    const dir = await world.folder();
    const { fs, drive } = world;
    await fs.writeFile(`${dir}/script`, '#!/bin/sh\necho yes\n');
    await fs.chmod(`${dir}/script`, 0o751);
    await fs.utimens(`${dir}/script`, 'omit', 1_111_111_111_987_654_321n);
    await fs.setxattr(`${dir}/script`, 'user.comment', Buffer.from([0, 255, 10, 60, 38]));
    await fs.mkdir(`${dir}/private`);
    await fs.chmod(`${dir}/private`, 0o2710);
    await fs.setxattr(`${dir}/private`, 'user.tag', 'blue');
    await fs.symlink('script', `${dir}/link`);
    await fs.chown(`${dir}/script`, 4321, 8765);
    await fs.writeFile(`${dir}/name with ü & %20\n`, 'content');
    const look = async () => ({
      tree: await fs.tree(dir, true),
      owner: await fs.stat(`${dir}/script`).then(({ uid, gid }) => ({ uid, gid })),
      xattrs: [
        (await fs.getxattr(`${dir}/script`, 'user.comment')).toString('hex'),
        (await fs.getxattr(`${dir}/private`, 'user.tag')).toString(),
      ],
      ran: await drive.must('sh', ['-c', './link'], { cwd: dir }),
    });
    const before = await look();
    expect(before.ran).toBe('yes\n');
    expect(before.tree['private']?.[1]).toBe(0o2710);
    await drive.remount();
    expect(await look()).toEqual(before);
    await drive.flush();
    await drive.remount({ emptyCache: true });
    expect(await look()).toEqual(before);
  });

  it('inode numbers are stable across remounts', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/a`, 'a');
    await world.fs.mkdir(`${dir}/b`);
    await world.drive.flush();
    await world.server.dav.put(`${world.remote(dir)}/theirs`, 'x');
    await eventually('the file to appear', () => world.fs.exists(`${dir}/theirs`));
    const inos = async () =>
      Promise.all(['', '/a', '/b', '/theirs'].map(async (name) => (await world.fs.stat(dir + name)).ino));
    const before = await inos();
    await world.drive.remount();
    expect(await inos()).toEqual(before);
  });
});

onServers(['cloudmount', 'apache'], {}, (world) => {
  it('what was written but not uploaded at unmount is there after the remount and arrives', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/late`, 'just before unmount');
    await world.fs.mkdir(`${dir}/folder`);
    await world.fs.writeFile(`${dir}/folder/inner`, 'inner');
    await world.drive.remount();
    expect(await world.fs.readText(`${dir}/late`)).toBe('just before unmount');
    await world.drive.flush();
    expect(await world.server.dav.text(`${world.remote(dir)}/late`)).toBe('just before unmount');
    expect(await world.server.dav.text(`${world.remote(dir)}/folder/inner`)).toBe('inner');
  });

  it('content that was fetched stays through a remount', async () => {
    const dir = await world.folder();
    const hash = await world.fs.fill(`${dir}/file`, 500_000, { seed: 11 });
    await world.drive.flush();
    await world.drive.remount();
    expect((await world.fs.getxattr(`${dir}/file`, 'user.cloudmount.status')).toString()).toBe('cached');
    expect((await world.fs.sha256(`${dir}/file`)).sha256).toBe(hash);
  });

  it('a second cache, as on another computer, sees the same tree', async () => {
    const dir = await world.folder();
    await world.fs.call({ op: 'make_files', path: dir, count: 50, folder: 7, size: 100 });
    await world.fs.mkdir(`${dir}/empty`);
    const before = Object.entries(await world.fs.tree(dir)).map(([path, [kind, , size, hash]]) => [
      path,
      kind,
      size,
      hash,
    ]);
    await world.drive.flush();
    await world.drive.remount({ emptyCache: true });
    const after = Object.entries(await world.fs.tree(dir)).map(([path, [kind, , size, hash]]) => [
      path,
      kind,
      size,
      hash,
    ]);
    expect(after.sort()).toEqual(before.sort());
  });
});
