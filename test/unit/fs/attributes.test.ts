import { describe, expect, it } from 'vitest';
import {
  checkCreateDir,
  checkCreateFile,
  checkRead,
  checkRemove,
  checkRename,
  checkWrite,
} from '../../../src/fs/access_rules.js';
import { type AttributePolicy, direntType, fileAttr, modeOf } from '../../../src/fs/attributes.js';
import type { Ino, Name } from '../../../src/ids.js';
import type { NodeKind, Rights } from '../../../src/remote/remote.js';
import { ALL, MemNode } from '../../support/mem_cache.js';

const policy: AttributePolicy = { uid: 1000, gid: 100, fileMode: 0o644, dirMode: 0o755, storedOwners: true };

function node(kind: NodeKind, rights: Partial<Rights> = {}, more: Partial<MemNode> = {}): MemNode {
  const made = new MemNode(5 as Ino, kind, 1 as Ino, 'n' as Name);
  return Object.assign(made, { rights: { ...ALL, ...rights } }, more);
}
const octal = (n: MemNode, p = policy) => modeOf(n, p).toString(8);

describe('rights and locks as modes', () => {
  it('may write: 0644, may not: 0444', () => {
    expect(octal(node('file'))).toBe('100644');
    expect(octal(node('file', { write: false }))).toBe('100444');
  });

  it('a directory where nothing may be created: 0555; where files or directories may: 0755', () => {
    expect(octal(node('dir'))).toBe('40755');
    expect(octal(node('dir', { createFile: false }))).toBe('40755');
    expect(octal(node('dir', { createDir: false }))).toBe('40755');
    expect(octal(node('dir', { createFile: false, createDir: false }))).toBe('40555');
  });

  it('locked by somebody else: 0444, by me: full', () => {
    expect(octal(node('file', {}, { lock: 'other' }))).toBe('100444');
    expect(octal(node('file', {}, { lock: 'mine' }))).toBe('100644');
    expect(octal(node('dir', {}, { lock: 'other' }))).toBe('40555');
    expect(octal(node('dir', {}, { lock: 'mine' }))).toBe('40755');
  });

  it('may not read: no read bits', () => {
    expect(octal(node('file', { read: false }))).toBe('100200');
  });

  it('stored bits are shown, masked by the rights', () => {
    expect(octal(node('file', {}, { mode: 0o4755 }))).toBe('104755');
    expect(octal(node('file', { write: false }, { mode: 0o4777 }))).toBe('104555');
    expect(octal(node('dir', {}, { mode: 0o1777 }))).toBe('41777');
  });

  it('symbolic links are 0777 always', () => {
    expect(octal(node('symlink', { write: false }, { mode: 0o600 }))).toBe('120777');
  });
});

describe('owners', () => {
  it('are the stored ones on a privileged mount, else the mounting user', () => {
    const stored = node('file', {}, { uid: 7, gid: 8 });
    expect(fileAttr(stored, policy)).toMatchObject({ uid: 7, gid: 8 });
    expect(fileAttr(stored, { ...policy, storedOwners: false })).toMatchObject({ uid: 1000, gid: 100 });
    expect(fileAttr(node('file'), policy)).toMatchObject({ uid: 1000, gid: 100 });
  });
});

it('entry types', () => {
  expect([node('dir'), node('file'), node('symlink')].map(direntType)).toEqual([4, 8, 10]);
});

describe('what a process that ignores modes meets', () => {
  const refused = expect.objectContaining({ code: 'no_access' });

  it('open', () => {
    expect(() => checkRead(node('file', { read: false }))).toThrow(refused);
    expect(() => checkWrite(node('file', { write: false }))).toThrow(refused);
    expect(() => checkWrite(node('file', {}, { lock: 'other' }))).toThrow(refused);
    checkRead(node('file', { write: false }));
    checkWrite(node('file', {}, { lock: 'mine' }));
  });

  it('create and mkdir', () => {
    expect(() => checkCreateFile(node('dir', { createFile: false }))).toThrow(refused);
    expect(() => checkCreateDir(node('dir', { createDir: false }))).toThrow(refused);
    checkCreateFile(node('dir', { createDir: false }));
    checkCreateDir(node('dir', { createFile: false }));
    expect(() => checkCreateFile(node('dir', {}, { lock: 'other' }))).toThrow(refused);
    expect(() => checkCreateDir(node('dir', {}, { lock: 'other' }))).toThrow(refused);
    checkCreateFile(node('dir', {}, { lock: 'mine' }));
  });

  it('unlink and rmdir', () => {
    expect(() => checkRemove(node('file', { remove: false }))).toThrow(refused);
    expect(() => checkRemove(node('file', {}, { lock: 'other' }))).toThrow(expect.objectContaining({ code: 'locked' }));
    checkRemove(node('dir', { write: false }));
  });

  it('rename within a directory needs N, into another V and the right to create there', () => {
    const here = Object.assign(node('dir'), { ino: 1 });
    const there = Object.assign(node('dir'), { ino: 9 });
    const closed = Object.assign(node('dir', { createFile: false, createDir: false }), { ino: 9 });
    expect(() => checkRename(node('file', { rename: false }), here, null)).toThrow(refused);
    checkRename(node('file', { rename: false }), there, null);
    expect(() => checkRename(node('file', { move: false }), there, null)).toThrow(refused);
    checkRename(node('file', { move: false }), here, null);
    expect(() => checkRename(node('file'), closed, null)).toThrow(refused);
    expect(() => checkRename(node('dir'), closed, null)).toThrow(refused);
  });

  it('rename over a file is a write to that file, over a directory its removal', () => {
    const here = Object.assign(node('dir'), { ino: 1 });
    const target = (kind: NodeKind, rights: Partial<Rights>) => Object.assign(node(kind, rights), { ino: 77 });
    checkRename(node('file'), here, target('file', { remove: false }));
    expect(() => checkRename(node('file'), here, target('file', { write: false }))).toThrow(refused);
    expect(() => checkRename(node('dir'), here, target('dir', { remove: false }))).toThrow(refused);
    // Of the old name it is the removal, too, unless it may have been made for this.
    checkRename(node('file', { remove: false }), here, target('file', {}));
    const closed = Object.assign(node('dir', { createFile: false }), { ino: 1 });
    expect(() => checkRename(node('file', { remove: false }), closed, target('file', {}))).toThrow(refused);
    checkRename(node('file', { remove: false }), closed, null);
  });
});
