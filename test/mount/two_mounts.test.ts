import { expect, it } from 'vitest';
import type { Drive } from '../support/drive.js';
import { eventually } from '../support/processes.js';
import { onServers, type World } from '../support/world.js';

/** A second mount of the same account, made by the first test that asks. */
function secondMount(world: World): () => Promise<Drive> {
  let second: Promise<Drive> | undefined;
  return () => {
    second ??= world.stage.mount(world.server);
    return second;
  };
}

onServers(['cloudmount', 'apache'], {}, (world) => {
  const secondDrive = secondMount(world);

  it('every kind of change on one mount becomes visible on the other, without a remount', async () => {
    const dir = await world.folder();
    const second = await secondDrive();
    const there = second.path(world.remote(dir));
    const { fs } = world;
    await eventually('the folder', () => fs.exists(there));
    expect(await fs.list(there)).toEqual([]);
    await fs.writeFile(`${dir}/file`, 'one');
    await eventually('the new file', async () => (await fs.readText(`${there}/file`)) === 'one');
    await fs.writeFile(`${dir}/file`, 'two, longer');
    await eventually('its new content', async () => (await fs.readText(`${there}/file`)) === 'two, longer');
    await fs.mkdir(`${dir}/sub`);
    await fs.rename(`${dir}/file`, `${dir}/sub/moved`);
    await eventually('the move', async () => (await fs.readText(`${there}/sub/moved`)) === 'two, longer');
    await eventually('the old name gone', async () => !(await fs.exists(`${there}/file`)));
    await fs.unlink(`${dir}/sub/moved`);
    await fs.rmdir(`${dir}/sub`);
    await eventually('everything gone', async () => (await fs.list(there)).length === 0);
  });

  it('a change of the same size is noticed', async () => {
    const dir = await world.folder();
    const second = await secondDrive();
    const there = second.path(world.remote(dir));
    await world.fs.writeFile(`${dir}/file`, 'AAAA');
    await eventually('the file', async () => (await world.fs.readText(`${there}/file`)) === 'AAAA');
    await world.fs.writeFile(`${dir}/file`, 'BBBB');
    await eventually('its new content', async () => (await world.fs.readText(`${there}/file`)) === 'BBBB');
  });

  it('a process that looks at a name again and again sees it change under it', async () => {
    const dir = await world.folder();
    const second = await secondDrive();
    const there = second.path(world.remote(dir));
    await eventually('the folder', () => world.fs.exists(there));
    // Negative entries and attributes are in the kernel's cache before the change.
    for (let i = 0; i < 3; i++) expect(await world.fs.exists(`${there}/appears`)).toBe(false);
    await world.fs.writeFile(`${dir}/appears`, '12345');
    await eventually('the name', async () => (await world.fs.stat(`${there}/appears`)).size === 5);
    await world.fs.truncate(`${dir}/appears`, 2);
    await eventually('its size', async () => (await world.fs.stat(`${there}/appears`)).size === 2);
  });

  it('both edit different files of one folder and both have everything in the end', async () => {
    const dir = await world.folder();
    const second = await secondDrive();
    const there = second.path(world.remote(dir));
    const other = world.stage.fs();
    await eventually('the folder', () => other.exists(there));
    await Promise.all([
      world.fs.call({ op: 'make_files', path: dir, count: 40, prefix: 'mine', size: 50 }),
      other.call({ op: 'make_files', path: there, count: 40, prefix: 'theirs', size: 50 }),
    ]);
    await world.drive.flush();
    await second.flush();
    await eventually(
      'both lists to agree',
      async () => [await world.fs.list(dir), await other.list(there)],
      ([mine, theirs]) => mine?.length === 80 && theirs?.length === 80,
    );
    expect(await world.fs.tree(dir)).toEqual(await other.tree(there));
    await other.end();
  });
});

onServers(['cloudmount'], {}, (world) => {
  const secondDrive = secondMount(world);

  it('a changed mode and a new xattr reach the other mount', async () => {
    const dir = await world.folder();
    const second = await secondDrive();
    const there = second.path(world.remote(dir));
    await world.fs.writeFile(`${dir}/tool`, '#!/bin/sh\n');
    await eventually('the file', () => world.fs.exists(`${there}/tool`));
    await world.fs.chmod(`${dir}/tool`, 0o755);
    await eventually('the mode', async () => (await world.fs.stat(`${there}/tool`)).mode === 0o755);
    await world.fs.setxattr(`${dir}/tool`, 'user.note', 'hello');
    await eventually('the xattr', async () => (await world.fs.listxattr(`${there}/tool`)).includes('user.note'));
  });

  it('a change by a plain WebDAV client reaches both', async () => {
    const dir = await world.folder();
    const second = await secondDrive();
    const there = second.path(world.remote(dir));
    await world.drive.flush();
    await world.server.dav.put(`${world.remote(dir)}/direct`, 'from curl');
    for (const path of [dir, there]) {
      await eventually('the file', async () => (await world.fs.readText(`${path}/direct`)) === 'from curl');
    }
    await world.server.dav.remove(`${world.remote(dir)}/direct`);
    for (const path of [dir, there]) {
      await eventually('its end', async () => !(await world.fs.exists(`${path}/direct`)));
    }
  });
});
