import { expect, it } from 'vitest';
import type { DirEntry, FsProcess } from '../support/fs_process.js';
import { ALL_SERVERS, errno, onServers } from '../support/world.js';

/** The whole directory by getdents64, a few entries a call; `between` runs after each call. */
async function scan(
  fs: FsProcess,
  dir: string,
  size: number,
  between: (seen: readonly DirEntry[]) => Promise<void> = async () => {},
): Promise<string[]> {
  const fd = await fs.open(dir, 'O_RDONLY|O_DIRECTORY');
  const all: DirEntry[] = [];
  for (;;) {
    const entries = await fs.getdents(fd, size);
    if (entries.length === 0) break;
    all.push(...entries);
    await between(all);
  }
  await fs.close(fd);
  return all.map((entry) => entry.name).filter((name) => name !== '.' && name !== '..');
}

onServers(ALL_SERVERS, {}, (world) => {
  it('an empty directory lists nothing but itself and its parent', async () => {
    const dir = await world.folder();
    const fd = await world.fs.open(dir, 'O_RDONLY|O_DIRECTORY');
    const names = (await world.fs.getdents(fd)).map((entry) => entry.name);
    await world.fs.close(fd);
    expect(names.filter((name) => name !== '.' && name !== '..')).toEqual([]);
    expect(await world.fs.list(dir)).toEqual([]);
  });

  it('entries carry their type', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, '');
    await world.fs.mkdir(`${dir}/dir`);
    const fd = await world.fs.open(dir, 'O_RDONLY|O_DIRECTORY');
    const entries = await world.fs.getdents(fd);
    await world.fs.close(fd);
    const types = Object.fromEntries(entries.map((entry) => [entry.name, entry.type]));
    expect(types['file']).toBe(8); // DT_REG
    expect(types['dir']).toBe(4); // DT_DIR
  });

  it('a scan while names come and go neither loses nor doubles an entry that was there throughout', async () => {
    const dir = await world.folder();
    await world.fs.call({ op: 'make_files', path: dir, count: 600, prefix: 'stay' });
    await world.fs.call({ op: 'make_files', path: dir, count: 300, prefix: 'go' });
    const other = world.stage.fs();
    let step = 0;
    const names = await scan(world.fs, dir, 2048, async () => {
      if (step < 300) {
        await other.unlink(`${dir}/go${String(step).padStart(6, '0')}`);
        await other.writeFile(`${dir}/come${step}`, '');
        await other.rename(`${dir}/come${step}`, `${dir}/came${step}`);
      }
      step += 1;
    });
    await other.end();
    expect(step).toBeGreaterThan(5);
    const stayed = names.filter((name) => name.startsWith('stay'));
    expect(stayed).toHaveLength(600);
    expect(new Set(names).size).toBe(names.length);
  });

  it('a scan that removes each entry it sees empties the directory', async () => {
    const dir = await world.folder();
    await world.fs.call({ op: 'make_files', path: dir, count: 400 });
    await world.drive.must('sh', ['-c', 'rm -r -- "$0"', dir]);
    expect(await world.fs.exists(dir)).toBe(false);
  });

  it('telldir and seekdir: the offset of an entry leads back to the one after it', async () => {
    const dir = await world.folder();
    await world.fs.call({ op: 'make_files', path: dir, count: 200 });
    const fd = await world.fs.open(dir, 'O_RDONLY|O_DIRECTORY');
    const all: DirEntry[] = [];
    for (;;) {
      const entries = await world.fs.getdents(fd, 1024);
      if (entries.length === 0) break;
      all.push(...entries);
    }
    for (const index of [0, 1, 57, 150, all.length - 2]) {
      await world.fs.seekDir(fd, all[index]?.offset ?? '0');
      const next = await world.fs.getdents(fd, 1024);
      expect(next[0]?.name).toBe(all[index + 1]?.name);
    }
    await world.fs.seekDir(fd, all.at(-1)?.offset ?? '0');
    expect(await world.fs.getdents(fd, 1024)).toEqual([]);
    await world.fs.seekDir(fd, '0');
    const again: string[] = [];
    for (;;) {
      const entries = await world.fs.getdents(fd, 4096);
      if (entries.length === 0) break;
      again.push(...entries.map((entry) => entry.name));
    }
    await world.fs.close(fd);
    expect(again.sort()).toEqual(all.map((entry) => entry.name).sort());
  });

  it('a directory that was removed while open lists nothing more', async () => {
    const dir = await world.folder();
    const fd = await world.fs.open(dir, 'O_RDONLY|O_DIRECTORY');
    await world.fs.rmdir(dir);
    const answer = await world.fs.ask({ op: 'getdents', fd, size: 4096 });
    await world.fs.close(fd);
    if ('errno' in answer) expect(answer.errno).toBe('ENOENT');
    else expect((answer.ok as DirEntry[]).filter(({ name }) => name !== '.' && name !== '..')).toEqual([]);
    await expect(world.fs.list(dir)).rejects.toMatchObject(errno('ENOENT'));
  });
});
