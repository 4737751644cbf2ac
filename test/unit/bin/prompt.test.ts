import { execFileSync } from 'node:child_process';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { secretFromFile } from '../../../bin/cli/prompt.js';

describe('--password-file', () => {
  let dir = '';
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'cm-pwd-'));
  });
  afterEach(() => rm(dir, { recursive: true }));

  it.each([
    ['s3cret', 's3cret', ''],
    ['pässwort', 'pässwort\r\n', 'user: anna\n'],
    ['first', 'first\n', 'x'.repeat(200_000)],
  ])('%s: its first line', async (password, line, rest) => {
    const path = join(dir, 'password');
    await writeFile(path, line + rest);
    expect(await secretFromFile(path)).toBe(password);
  });

  it('is refused without a first line, or when it is not there', async () => {
    const path = join(dir, 'password');
    await expect(secretFromFile(path)).rejects.toMatchObject({ code: 'not_found' });
    await writeFile(path, '\nsecond');
    await expect(secretFromFile(path)).rejects.toMatchObject({ code: 'invalid' });
  });

  it('that others can read is used with a warning', async () => {
    const path = join(dir, 'password');
    await writeFile(path, 's3cret\n', { mode: 0o600 });
    const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    try {
      expect(await secretFromFile(path)).toBe('s3cret');
      expect(said).not.toHaveBeenCalled();
      await chmod(path, 0o644);
      expect(await secretFromFile(path)).toBe('s3cret');
      expect(said.mock.calls.join()).toContain(`others can read the password file ${path} (mode 644)`);
    } finally {
      said.mockRestore();
    }
  });

  it('that never ends is not read for ever', async () => {
    await expect(secretFromFile('/dev/zero')).rejects.toMatchObject({ code: 'too_large' });
  });

  it('a pipe (`<(pass show cloud)`) is asked for one line only', async () => {
    const path = join(dir, 'pipe');
    execFileSync('mkfifo', [path]);
    const [password] = await Promise.all([secretFromFile(path), writeFile(path, 'from a pipe\n')]);
    expect(password).toBe('from a pipe');
  });
});
