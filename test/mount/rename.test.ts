import { expect, it } from 'vitest';
import { ALL_SERVERS, errno, onServers } from '../support/world.js';

const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;
const RENAME_WHITEOUT = 4;

onServers(ALL_SERVERS, {}, (world) => {
  it('moves a file within and between folders, here and on the server', async () => {
    const dir = await world.folder();
    await world.fs.mkdir(`${dir}/sub`);
    await world.fs.writeFile(`${dir}/a`, 'content');
    await world.drive.flush();
    await world.fs.rename(`${dir}/a`, `${dir}/b`);
    await world.fs.rename(`${dir}/b`, `${dir}/sub/c`);
    expect(await world.fs.list(dir)).toEqual(['sub']);
    expect(await world.fs.readText(`${dir}/sub/c`)).toBe('content');
    await world.drive.flush();
    expect(await world.server.dav.list(world.remote(dir))).toEqual(['sub']);
    expect(await world.server.dav.text(`${world.remote(dir)}/sub/c`)).toBe('content');
  });

  it('moves a whole folder with what is in it, also what is not uploaded yet', async () => {
    const dir = await world.folder();
    await world.fs.mkdir(`${dir}/from`);
    await world.fs.writeFile(`${dir}/from/old`, 'old');
    await world.drive.flush();
    await world.fs.writeFile(`${dir}/from/new`, 'new');
    await world.fs.rename(`${dir}/from`, `${dir}/to`);
    await world.fs.writeFile(`${dir}/to/newer`, 'newer');
    expect(await world.fs.list(`${dir}/to`)).toEqual(['new', 'newer', 'old']);
    await world.drive.flush();
    expect(await world.server.dav.list(world.remote(dir))).toEqual(['to']);
    expect(await world.server.dav.list(`${world.remote(dir)}/to`)).toEqual(['new', 'newer', 'old']);
    expect(await world.server.dav.text(`${world.remote(dir)}/to/old`)).toBe('old');
  });

  it('replaces a file; who holds the old one open keeps reading it', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/target`, 'the old one');
    await world.fs.writeFile(`${dir}/source`, 'the new one');
    const held = await world.fs.open(`${dir}/target`);
    await world.fs.rename(`${dir}/source`, `${dir}/target`);
    expect(await world.fs.readText(`${dir}/target`)).toBe('the new one');
    expect((await world.fs.pread(held, 100, 0)).toString()).toBe('the old one');
    await world.fs.close(held);
    expect(await world.fs.list(dir)).toEqual(['target']);
    await world.drive.flush();
    expect(await world.server.dav.list(world.remote(dir))).toEqual(['target']);
    expect(await world.server.dav.text(`${world.remote(dir)}/target`)).toBe('the new one');
  });

  it('an open file goes on being written under its new name', async () => {
    const dir = await world.folder();
    const fd = await world.fs.open(`${dir}/before`, 'O_WRONLY|O_CREAT');
    await world.fs.write(fd, 'one ');
    await world.fs.rename(`${dir}/before`, `${dir}/after`);
    await world.fs.write(fd, 'two');
    await world.fs.close(fd);
    expect(await world.fs.readText(`${dir}/after`)).toBe('one two');
    await world.drive.flush();
    expect(await world.server.dav.list(world.remote(dir))).toEqual(['after']);
    expect(await world.server.dav.text(`${world.remote(dir)}/after`)).toBe('one two');
  });

  it('RENAME_NOREPLACE refuses an existing target and changes nothing', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/a`, 'a');
    await world.fs.writeFile(`${dir}/b`, 'b');
    await expect(world.fs.renameat2(`${dir}/a`, `${dir}/b`, RENAME_NOREPLACE)).rejects.toMatchObject(errno('EEXIST'));
    expect(await world.fs.readText(`${dir}/b`)).toBe('b');
    await world.fs.renameat2(`${dir}/a`, `${dir}/c`, RENAME_NOREPLACE);
    expect(await world.fs.readText(`${dir}/c`)).toBe('a');
  });

  it('RENAME_EXCHANGE swaps two names, also of a file and a folder', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/a`, 'a');
    await world.fs.writeFile(`${dir}/b`, 'b');
    await world.drive.flush();
    await world.fs.renameat2(`${dir}/a`, `${dir}/b`, RENAME_EXCHANGE);
    expect([await world.fs.readText(`${dir}/a`), await world.fs.readText(`${dir}/b`)]).toEqual(['b', 'a']);
    await world.fs.mkdir(`${dir}/folder`);
    await world.fs.writeFile(`${dir}/folder/in`, 'inside');
    await world.fs.renameat2(`${dir}/a`, `${dir}/folder`, RENAME_EXCHANGE);
    expect(await world.fs.readText(`${dir}/folder`)).toBe('b');
    expect(await world.fs.readText(`${dir}/a/in`)).toBe('inside');
    await world.drive.flush();
    expect(await world.server.dav.text(`${world.remote(dir)}/folder`)).toBe('b');
    expect(await world.server.dav.text(`${world.remote(dir)}/a/in`)).toBe('inside');
    expect(await world.server.dav.text(`${world.remote(dir)}/b`)).toBe('a');
    expect(await world.server.dav.list(world.remote(dir))).toEqual(['a', 'b', 'folder']);
    await expect(world.fs.renameat2(`${dir}/a`, `${dir}/none`, RENAME_EXCHANGE)).rejects.toMatchObject(errno('ENOENT'));
  });

  it('RENAME_WHITEOUT is EINVAL', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/a`, 'a');
    await expect(world.fs.renameat2(`${dir}/a`, `${dir}/b`, RENAME_WHITEOUT)).rejects.toMatchObject(errno('EINVAL'));
  });

  it('a folder replaces an empty one and never one that is not empty', async () => {
    const dir = await world.folder();
    for (const name of ['from', 'empty', 'full']) await world.fs.mkdir(`${dir}/${name}`);
    await world.fs.writeFile(`${dir}/from/mine`, 'mine');
    await world.fs.writeFile(`${dir}/full/theirs`, 'theirs');
    await world.drive.flush();
    await expect(world.fs.rename(`${dir}/from`, `${dir}/full`)).rejects.toMatchObject(errno('ENOTEMPTY'));
    expect(await world.fs.readText(`${dir}/full/theirs`)).toBe('theirs');
    await world.fs.rename(`${dir}/from`, `${dir}/empty`);
    expect(await world.fs.list(dir)).toEqual(['empty', 'full']);
    await world.drive.flush();
    expect(await world.server.dav.text(`${world.remote(dir)}/empty/mine`)).toBe('mine');
    expect(await world.server.dav.text(`${world.remote(dir)}/full/theirs`)).toBe('theirs');
  });

  it('a folder into itself is EINVAL; a file over a folder EISDIR; a folder over a file ENOTDIR', async () => {
    const dir = await world.folder();
    await world.fs.mkdir(`${dir}/folder`);
    await world.fs.mkdir(`${dir}/folder/sub`);
    await world.fs.writeFile(`${dir}/file`, 'x');
    await expect(world.fs.rename(`${dir}/folder`, `${dir}/folder/inner`)).rejects.toMatchObject(errno('EINVAL'));
    await expect(world.fs.rename(`${dir}/folder`, `${dir}/folder/sub/inner`)).rejects.toMatchObject(errno('EINVAL'));
    await expect(world.fs.rename(`${dir}/file`, `${dir}/folder`)).rejects.toMatchObject(errno('EISDIR'));
    await expect(world.fs.rename(`${dir}/folder`, `${dir}/file`)).rejects.toMatchObject(errno('ENOTDIR'));
    await expect(world.fs.rename(`${dir}/none`, `${dir}/other`)).rejects.toMatchObject(errno('ENOENT'));
    await world.fs.rename(`${dir}/file`, `${dir}/file`);
    expect(await world.fs.readText(`${dir}/file`)).toBe('x');
  });

  it('a chain of renames arrives as its end', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/a`, 'A');
    await world.fs.writeFile(`${dir}/b`, 'B');
    await world.drive.flush();
    await world.fs.rename(`${dir}/a`, `${dir}/tmp`);
    await world.fs.rename(`${dir}/b`, `${dir}/a`);
    await world.fs.rename(`${dir}/tmp`, `${dir}/b`);
    await world.drive.flush();
    expect(await world.server.dav.text(`${world.remote(dir)}/a`)).toBe('B');
    expect(await world.server.dav.text(`${world.remote(dir)}/b`)).toBe('A');
    expect(await world.server.dav.list(world.remote(dir))).toEqual(['a', 'b']);
  });
});
