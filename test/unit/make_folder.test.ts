import { mkdir, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeFolder } from '../../src/make_folder.js';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cloudmount-folder-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

describe('a folder that a user named', () => {
  it('is made with what is missing above it, each with the mode', async () => {
    await makeFolder(join(dir, 'a/b/c'), 0o700);
    for (const path of ['a', 'a/b', 'a/b/c']) {
      expect((await stat(join(dir, path))).mode & 0o7777).toBe(0o700);
    }
  });

  it('stays as it is if it is there, by whatever name', async () => {
    await mkdir(join(dir, 'there'), { mode: 0o750 });
    await symlink('there', join(dir, 'link'));
    await makeFolder(join(dir, 'there'), 0o700);
    await makeFolder(join(dir, 'link'), 0o700);
    await makeFolder('/');
    expect((await stat(join(dir, 'there'))).mode & 0o7777).toBe(0o750);
  });

  it('is refused where a file is in the way', async () => {
    await writeFile(join(dir, 'file'), '');
    await expect(makeFolder(join(dir, 'file'))).rejects.toMatchObject({ code: 'EEXIST' });
    await expect(makeFolder(join(dir, 'file/below'))).rejects.toMatchObject({ code: 'ENOTDIR' });
  });

  it('is refused at once where the kernel finds no name, whatever folders are made', async () => {
    await expect(makeFolder('/proc/nowhere/below')).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
