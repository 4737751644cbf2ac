import { expect, it } from 'vitest';
import { ALL_SERVERS, errno, onServers } from '../support/world.js';

onServers(ALL_SERVERS, {}, (world) => {
  it('O_EXCL makes a file only where there is none', async () => {
    const dir = await world.folder();
    const fd = await world.fs.open(`${dir}/file`, 'O_WRONLY|O_CREAT|O_EXCL');
    await world.fs.close(fd);
    await expect(world.fs.open(`${dir}/file`, 'O_WRONLY|O_CREAT|O_EXCL')).rejects.toMatchObject(errno('EEXIST'));
    await expect(world.fs.open(dir, 'O_WRONLY|O_CREAT|O_EXCL')).rejects.toMatchObject(errno('EEXIST'));
  });

  it('of many processes that create one name with O_EXCL exactly one succeeds', async () => {
    const dir = await world.folder();
    const others = [world.stage.fs(), world.stage.fs(), world.stage.fs()];
    for (let round = 0; round < 10; round++) {
      const answers = await Promise.all(
        [world.fs, ...others].map((fs) =>
          fs.ask({ op: 'open', path: `${dir}/race${round}`, flags: 'O_WRONLY|O_CREAT|O_EXCL' }),
        ),
      );
      expect(answers.filter((answer) => 'ok' in answer)).toHaveLength(1);
      for (const answer of answers) if ('errno' in answer) expect(answer.errno).toBe('EEXIST');
    }
    for (const other of others) await other.end();
  });

  it('mkdir of an existing name is EEXIST, below a missing one ENOENT, below a file ENOTDIR', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, '');
    await expect(world.fs.mkdir(dir)).rejects.toMatchObject(errno('EEXIST'));
    await expect(world.fs.mkdir(`${dir}/file`)).rejects.toMatchObject(errno('EEXIST'));
    await expect(world.fs.mkdir(`${dir}/none/sub`)).rejects.toMatchObject(errno('ENOENT'));
    await expect(world.fs.mkdir(`${dir}/file/sub`)).rejects.toMatchObject(errno('ENOTDIR'));
    await expect(world.fs.open(`${dir}/none/file`, 'O_CREAT|O_WRONLY')).rejects.toMatchObject(errno('ENOENT'));
  });

  it('a file created read-only can be written through the descriptor that created it', async () => {
    const dir = await world.folder();
    const fd = await world.fs.open(`${dir}/locked`, 'O_WRONLY|O_CREAT|O_EXCL', 0o444);
    await world.fs.write(fd, 'as git does with its objects');
    await world.fs.close(fd);
    expect(await world.fs.readText(`${dir}/locked`)).toBe('as git does with its objects');
  });
});
