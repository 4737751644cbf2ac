import { expect, it } from 'vitest';
import { errno, onServers } from '../support/world.js';

onServers(['cloudmount', 'apache'], {}, (world) => {
  it('flock excludes other processes until it is given back or its holder ends', async () => {
    const dir = await world.folder();
    const other = world.stage.fs();
    const mine = await world.fs.open(`${dir}/lock`, 'O_RDWR|O_CREAT');
    const theirs = await other.open(`${dir}/lock`, 'O_RDWR');
    await world.fs.call({ op: 'flock', fd: mine, how: 'LOCK_EX|LOCK_NB' });
    await expect(other.call({ op: 'flock', fd: theirs, how: 'LOCK_SH|LOCK_NB' })).rejects.toMatchObject(
      errno('EAGAIN'),
    );
    await world.fs.call({ op: 'flock', fd: mine, how: 'LOCK_SH' });
    await other.call({ op: 'flock', fd: theirs, how: 'LOCK_SH|LOCK_NB' });
    await expect(world.fs.call({ op: 'flock', fd: mine, how: 'LOCK_EX|LOCK_NB' })).rejects.toMatchObject(
      errno('EAGAIN'),
    );
    const waiting = world.fs.call({ op: 'flock', fd: mine, how: 'LOCK_EX' });
    await other.end(); // killed: its locks go with it
    await waiting;
    await world.fs.close(mine);
  });

  it('fcntl locks exclude by byte range', async () => {
    const dir = await world.folder();
    const other = world.stage.fs();
    const mine = await world.fs.open(`${dir}/lock`, 'O_RDWR|O_CREAT');
    const theirs = await other.open(`${dir}/lock`, 'O_RDWR');
    await world.fs.call({ op: 'setlk', fd: mine, kind: 'F_WRLCK', start: 0, length: 100 });
    await expect(other.call({ op: 'setlk', fd: theirs, kind: 'F_WRLCK', start: 50, length: 10 })).rejects.toMatchObject(
      errno('EAGAIN'),
    );
    await other.call({ op: 'setlk', fd: theirs, kind: 'F_WRLCK', start: 100, length: 10 });
    const found = await other.call<{ kind: string; pid: number; start: number; length: number }>({
      op: 'getlk',
      fd: theirs,
      kind: 'F_RDLCK',
      start: 0,
      length: 100,
    });
    expect(found).toMatchObject({ kind: 'F_WRLCK', pid: world.fs.pid, start: 0, length: 100 });
    const waiting = other.call({ op: 'setlk', fd: theirs, kind: 'F_WRLCK', start: 0, length: 100, wait: true });
    await world.fs.call({ op: 'setlk', fd: mine, kind: 'F_UNLCK', start: 0, length: 100 });
    await waiting;
    await world.fs.close(mine);
    await other.end();
  });
});
