import { expect, it } from 'vitest';
import { onServers } from '../support/world.js';

onServers(['cloudmount', 'apache'], {}, (world) => {
  it('O_APPEND of two processes: every line once, none torn', async () => {
    const dir = await world.folder();
    const other = world.stage.fs();
    await Promise.all([
      world.fs.call({ op: 'append_lines', path: `${dir}/log`, count: 1000, tag: 'first' }),
      other.call({ op: 'append_lines', path: `${dir}/log`, count: 1000, tag: 'other' }),
    ]);
    await other.end();
    const lines = (await world.fs.readText(`${dir}/log`)).trimEnd().split('\n');
    const expected = ['first', 'other'].flatMap((tag) =>
      Array.from({ length: 1000 }, (_, i) => `${tag} ${String(i).padStart(6, '0')}`),
    );
    expect(lines.sort()).toEqual(expected.sort());
  });

  it('appending to a file that is only on the server keeps what was there', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/log`, 'old\n');
    await world.drive.flush();
    await world.drive.mustCli(['free', `${dir}/log`]);
    await world.drive.must('sh', ['-c', 'echo new >> "$0"', `${dir}/log`]);
    expect(await world.fs.readText(`${dir}/log`)).toBe('old\nnew\n');
    await world.drive.flush();
    expect(await world.server.dav.text(`${world.remote(dir)}/log`)).toBe('old\nnew\n');
  });

  it('O_APPEND writes at the end whatever the position is', async () => {
    const dir = await world.folder();
    const fd = await world.fs.open(`${dir}/log`, 'O_RDWR|O_CREAT|O_APPEND');
    await world.fs.write(fd, 'abc');
    await world.fs.lseek(fd, 0);
    await world.fs.write(fd, 'def');
    expect((await world.fs.pread(fd, 10, 0)).toString()).toBe('abcdef');
    await world.fs.close(fd);
  });
});
