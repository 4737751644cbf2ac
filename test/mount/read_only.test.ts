import { expect, it } from 'vitest';
import { eventually } from '../support/processes.js';
import { errno, onServers } from '../support/world.js';

onServers(['cloudmount', 'apache'], {}, (world) => {
  it('a read-only mount reads everything and refuses every change with EROFS', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, 'content');
    await world.drive.flush();
    const drive = await world.stage.mount(world.server, { args: ['--read-only'] });
    const there = drive.path(world.remote(dir));
    expect(await world.fs.readText(`${there}/file`)).toBe('content');
    const refused = [
      { op: 'open', path: `${there}/file`, flags: 'O_WRONLY' },
      { op: 'open', path: `${there}/new`, flags: 'O_WRONLY|O_CREAT' },
      { op: 'truncate', path: `${there}/file`, size: 0 },
      { op: 'mkdir', path: `${there}/folder` },
      { op: 'unlink', path: `${there}/file` },
      { op: 'rename', old: `${there}/file`, new: `${there}/other` },
      { op: 'chmod', path: `${there}/file`, mode: 0o600 },
      { op: 'utimens', path: `${there}/file`, atime: 'now', mtime: 'now' },
      { op: 'setxattr', path: `${there}/file`, name: 'user.x', value: '' },
    ];
    for (const call of refused) await expect(world.fs.call(call)).rejects.toMatchObject(errno('EROFS'));
    await world.fs.writeFile(`${dir}/file`, 'changed elsewhere');
    await eventually('the change', async () => (await world.fs.readText(`${there}/file`)) === 'changed elsewhere');
    await drive.unmount();
  });
});
