import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Guard } from '../../../src/fs/guard.js';
import { hasSysAdmin, mountedType, prepareMountPoint, probeMount, unescapeMountinfo } from '../../../src/fs/mount.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mount-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('the mount point', () => {
  it('is a directory; its real path is what counts', async () => {
    mkdirSync(join(folder, 'real', 'point'), { recursive: true });
    symlinkSync(join(folder, 'real'), join(folder, 'link'));
    expect(await prepareMountPoint(join(folder, 'link', 'point'))).toBe(join(folder, 'real', 'point'));
  });

  it('says what is in the way', async () => {
    writeFileSync(join(folder, 'file'), '');
    await expect(prepareMountPoint(join(folder, 'none'))).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringContaining('mkdir -p'),
    });
    await expect(prepareMountPoint(join(folder, 'no', 'parent'))).rejects.toMatchObject({ code: 'not_found' });
    await expect(prepareMountPoint(join(folder, 'file'))).rejects.toMatchObject({ code: 'not_dir' });
    await expect(prepareMountPoint('/proc')).rejects.toMatchObject({
      code: 'busy',
      message: expect.stringContaining('(proc) is mounted there already'),
    });
  });
});

describe('what is mounted', () => {
  it('is read from the table of the kernel', async () => {
    expect(mountedType('/proc')).toBe('proc');
    expect(mountedType(folder)).toBeNull();
    expect(await probeMount(folder)).toBe('none');
    expect(await probeMount('/proc')).toBe('alive');
  });

  it('with its octal escapes undone', () => {
    expect(unescapeMountinfo('/a\\040b\\011c\\134d')).toBe('/a b\tc\\d');
    expect(unescapeMountinfo('/é\\040x')).toBe('/é x');
    expect(unescapeMountinfo('/plain')).toBe('/plain');
  });

  it('privilege is read from the effective capabilities', () => {
    expect(typeof hasSysAdmin()).toBe('boolean');
    if (process.getuid?.() !== 0) expect(hasSysAdmin()).toBe(false);
  });
});

describe('the guard', () => {
  /** Ends only when the shell that guards `mountPoint` has ended. */
  function goneOf(mountPoint: string): Promise<void> {
    const watch = spawn('sh', [
      '-c',
      'while ps -eo args | grep -F "cloudmount-guard $1 " | grep -qv grep; do sleep 0.05; done',
      'w',
      mountPoint,
    ]);
    return new Promise((resolve) => watch.on('close', () => resolve()));
  }

  it('goes away when it is dismissed', async () => {
    const guard = new Guard(folder, false);
    guard.dismiss();
    await goneOf(folder);
  });
});
