import { expect, it } from 'vitest';
import { ALL_SERVERS, errno, onServers } from '../support/world.js';

onServers(ALL_SERVERS, {}, (world) => {
  it('removes an empty folder, here and on the server', async () => {
    const dir = await world.folder();
    await world.fs.mkdir(`${dir}/sub`);
    await world.drive.flush();
    await world.fs.rmdir(`${dir}/sub`);
    expect(await world.fs.exists(`${dir}/sub`)).toBe(false);
    await world.drive.flush();
    expect(await world.server.dav.list(world.remote(dir))).toEqual([]);
  });

  it('refuses a folder that is not empty with ENOTEMPTY, a file with ENOTDIR, a missing one with ENOENT', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, '');
    await expect(world.fs.rmdir(dir)).rejects.toMatchObject(errno('ENOTEMPTY'));
    await expect(world.fs.rmdir(`${dir}/file`)).rejects.toMatchObject(errno('ENOTDIR'));
    await expect(world.fs.rmdir(`${dir}/none`)).rejects.toMatchObject(errno('ENOENT'));
  });

  it('a whole tree goes, and its name can be used again at once', async () => {
    const dir = await world.folder();
    await world.fs.call({ op: 'make_files', path: `${dir}`, count: 60, folder: 10, size: 10 });
    await world.drive.flush();
    await world.drive.must('rm', ['-r', dir]);
    await world.fs.writeFile(dir, 'a file now');
    await world.drive.flush();
    expect(await world.server.dav.text(world.remote(dir))).toBe('a file now');
  });
});
