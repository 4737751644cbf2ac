import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Opcode } from '../../../src/fs/wire/abi.js';
import {
  Fattr,
  Fopen,
  Init,
  O_APPEND,
  OPEN_KILL_SUIDGID,
  WRITE_CACHE,
  WRITE_KILL_SUIDGID,
} from '../../../src/fs/wire/flags.js';
import { ROOT_INO } from '../../../src/ids.js';
import { ALL, MemCache, type MemNode } from '../../support/mem_cache.js';
import { attrOf, entryOf, FakeKernel, readBody, setattrBody, text, u32, u64 } from './fake_kernel.js';

const O_RDWR = 2;
const O_TRUNC = 0o1000;
const O_EXCL = 0o200;
const O_CREAT = 0o100;

let cache: MemCache;
let dir: MemNode;
let file: MemNode;
let kernel: FakeKernel;
beforeEach(() => {
  cache = new MemCache(mkdtempSync(join(tmpdir(), 'fs-')));
  dir = cache.add(ROOT_INO, 'dir', 'dir');
  file = cache.add(ROOT_INO, 'f', 'file', 'content');
  kernel = new FakeKernel(cache);
});
afterEach(() => {
  kernel.session.end();
  cache.close();
});

// The body of every request that makes a name, with what it needs before the name.
const createBody = (name: string, flags = O_CREAT | O_RDWR, mode = 0o100640) =>
  Buffer.concat([u32(flags, mode, 0o022, 0), text(name)]);
const mknodBody = (name: string, mode: number) => Buffer.concat([u32(mode, 0, 0, 0), text(name)]);
const mkdirBody = (name: string, mode = 0o750) => Buffer.concat([u32(mode, 0), text(name)]);
const renameBody = (newParent: number, flags: number, name: string, newName: string) =>
  Buffer.concat([u64(newParent), u32(flags, 0), text(name, newName)]);
const getattr = async (ino: number) => attrOf((await kernel.call(Opcode.GETATTR, ino, Buffer.alloc(16))).body, 16);

describe('LOOKUP', () => {
  it('counts a reference and promises for long where changes are announced', async () => {
    const { error, body } = await kernel.lookup(ROOT_INO, 'f');
    expect(error).toBe(0);
    expect(entryOf(body)).toMatchObject({ ino: file.ino, entryTimeout_s: 3600, attr: { size: 7, mode: 0o100644 } });
    expect(kernel.inodes.lookups(file.ino)).toBe(1);
  });

  it('promises for a second elsewhere', async () => {
    cache.announcesChanges = false;
    expect(entryOf((await kernel.lookup(ROOT_INO, 'f')).body).entryTimeout_s).toBe(1);
  });

  it('a name that is not there is an entry without inode, and counts nothing', async () => {
    const { error, body } = await kernel.lookup(ROOT_INO, 'nothing');
    expect(error).toBe(0);
    expect(entryOf(body)).toMatchObject({ ino: 0, entryTimeout_s: 3600 });
    expect(kernel.inodes.size).toBe(0);
  });

  it.each(['.Trash', '.Trash-1000', '.hidden', 'autorun.inf', '.xdg-volume-info', '.directory', 'desktop.ini'])(
    'never waits for %s at the root',
    (name) => {
      cache.delay_ms = 60_000;
      const { unique } = kernel.post(Opcode.LOOKUP, ROOT_INO, text(name));
      expect(kernel.replyTo(unique)?.error).toBe(-2);
    },
  );

  it('answers a probe with what is there locally, and waits for the same name elsewhere', () => {
    const hidden = cache.add(ROOT_INO, '.hidden');
    cache.delay_ms = 60_000;
    const atRoot = kernel.post(Opcode.LOOKUP, ROOT_INO, text('.hidden')).unique;
    expect(entryOf(kernel.replyTo(atRoot)?.body ?? Buffer.alloc(128)).ino).toBe(hidden.ino);
    const below = kernel.post(Opcode.LOOKUP, dir.ino, text('.hidden')).unique;
    expect(kernel.replyTo(below)).toBeUndefined();
  });
});

describe('making things', () => {
  it('CREATE makes, opens and counts', async () => {
    kernel.caller = { uid: 1000, gid: 100, pid: 9 };
    const { error, body } = await kernel.call(Opcode.CREATE, dir.ino, createBody('new'));
    expect(error).toBe(0);
    expect(entryOf(body).attr).toMatchObject({ mode: 0o100640, uid: 1000, gid: 100, size: 0 });
    const handle = Number(body.readBigUInt64LE(128));
    expect((await kernel.write(entryOf(body).ino, handle, 0, Buffer.from('x'))).error).toBe(0);
    expect(kernel.inodes.lookups(entryOf(body).attr.ino)).toBe(1);
  });

  it('CREATE of what somebody else made meanwhile: EEXIST with O_EXCL, else ESTALE so that the kernel looks again', async () => {
    expect((await kernel.call(Opcode.CREATE, ROOT_INO, createBody('f', O_CREAT | O_EXCL | O_RDWR))).error).toBe(-17);
    expect((await kernel.call(Opcode.CREATE, ROOT_INO, createBody('f'))).error).toBe(-116);
  });

  it('MKNOD makes regular files only', async () => {
    expect((await kernel.call(Opcode.MKNOD, dir.ino, mknodBody('reg', 0o100600))).error).toBe(0);
    for (const type of [0o010000, 0o020000, 0o060000, 0o140000]) {
      expect((await kernel.call(Opcode.MKNOD, dir.ino, mknodBody('other', type | 0o600))).error).toBe(-1);
    }
  });

  it('MKDIR, and set-group-id directories hand their group on', async () => {
    Object.assign(dir, { mode: 0o2775, gid: 555 });
    const made = await kernel.call(Opcode.MKDIR, dir.ino, mkdirBody('sub'));
    expect(entryOf(made.body).attr).toMatchObject({ mode: 0o042750, gid: 555 });
    const plain = await kernel.call(Opcode.MKNOD, dir.ino, mknodBody('reg', 0o100600));
    expect(entryOf(plain.body).attr).toMatchObject({ mode: 0o100600, gid: 555 });
  });

  it('owners are not stored where the server cannot hold them', async () => {
    cache.holds = { ...cache.holds, posix: false };
    kernel.caller = { uid: 1000, gid: 100, pid: 9 };
    const made = await kernel.call(Opcode.MKDIR, dir.ino, mkdirBody('sub'));
    expect(entryOf(made.body).attr).toMatchObject({ uid: 0, gid: 0 });
  });

  it('SYMLINK and READLINK', async () => {
    const made = await kernel.call(Opcode.SYMLINK, dir.ino, text('s', 'où/ça'));
    expect(entryOf(made.body).attr.mode).toBe(0o120777);
    expect((await kernel.call(Opcode.READLINK, entryOf(made.body).ino)).body.toString()).toBe('où/ça');
    expect((await kernel.call(Opcode.READLINK, file.ino)).error).toBe(-22);
  });

  it.each(['.Trash', '.Trash-1000'])('refuses to make %s at the root', async (name) => {
    expect((await kernel.call(Opcode.MKDIR, ROOT_INO, mkdirBody(name))).error).toBe(-1);
    expect((await kernel.call(Opcode.MKDIR, dir.ino, mkdirBody(name))).error).toBe(0);
  });

  it('asks for the right to create, of root too', async () => {
    dir.rights = { ...ALL, createFile: false, createDir: false };
    expect((await kernel.call(Opcode.CREATE, dir.ino, createBody('new'))).error).toBe(-13);
    expect((await kernel.call(Opcode.MKNOD, dir.ino, mknodBody('new', 0o100600))).error).toBe(-13);
    expect((await kernel.call(Opcode.SYMLINK, dir.ino, text('new', 't'))).error).toBe(-13);
    expect((await kernel.call(Opcode.MKDIR, dir.ino, mkdirBody('new'))).error).toBe(-13);
    expect(dir.children?.size).toBe(0);
  });
});

describe('taking away and renaming', () => {
  it('UNLINK and RMDIR', async () => {
    expect((await kernel.call(Opcode.UNLINK, ROOT_INO, text('dir'))).error).toBe(-21);
    expect((await kernel.call(Opcode.RMDIR, ROOT_INO, text('f'))).error).toBe(-20);
    cache.add(dir.ino, 'x');
    expect((await kernel.call(Opcode.RMDIR, ROOT_INO, text('dir'))).error).toBe(-39);
    expect((await kernel.call(Opcode.UNLINK, dir.ino, text('x'))).error).toBe(0);
    expect((await kernel.call(Opcode.RMDIR, ROOT_INO, text('dir'))).error).toBe(0);
    expect((await kernel.call(Opcode.UNLINK, ROOT_INO, text('nothing'))).error).toBe(-2);
  });

  it('asks for the right to delete, of root too; a lock of somebody else is EBUSY', async () => {
    file.rights = { ...ALL, remove: false };
    expect((await kernel.call(Opcode.UNLINK, ROOT_INO, text('f'))).error).toBe(-13);
    Object.assign(file, { rights: ALL, lock: 'other' });
    expect((await kernel.call(Opcode.UNLINK, ROOT_INO, text('f'))).error).toBe(-16);
    expect(cache.nodes.has(file.ino)).toBe(true);
  });

  it('a file that is open goes on after its name is gone', async () => {
    const { handle } = await kernel.open(file.ino, O_RDWR);
    await kernel.call(Opcode.UNLINK, ROOT_INO, text('f'));
    expect((await getattr(file.ino)).nlink).toBe(0);
    await kernel.write(file.ino, handle, 7, Buffer.from('!'));
    expect((await kernel.read(file.ino, handle, 0, 99)).body.toString()).toBe('content!');
    await kernel.release(file.ino, handle);
    expect((await kernel.call(Opcode.GETATTR, file.ino, Buffer.alloc(16))).error).toBe(-116);
  });

  it('RENAME over a name, NOREPLACE, EXCHANGE, and what is none of these', async () => {
    const other = cache.add(dir.ino, 'g', 'file', 'other');
    expect((await kernel.call(Opcode.RENAME2, ROOT_INO, renameBody(dir.ino, 1, 'f', 'g'))).error).toBe(-17);
    expect((await kernel.call(Opcode.RENAME2, ROOT_INO, renameBody(dir.ino, 2, 'f', 'none'))).error).toBe(-2);
    expect((await kernel.call(Opcode.RENAME2, ROOT_INO, renameBody(dir.ino, 2, 'f', 'g'))).error).toBe(0);
    expect([other.name, other.parent, file.name, file.parent]).toEqual(['f', ROOT_INO, 'g', dir.ino]);
    for (const flags of [3, 4, 8]) {
      expect((await kernel.call(Opcode.RENAME2, ROOT_INO, renameBody(dir.ino, flags, 'f', 'g'))).error).toBe(-22);
    }
    const body = Buffer.concat([u64(dir.ino), text('f', 'g')]);
    expect((await kernel.call(Opcode.RENAME, ROOT_INO, body)).error).toBe(0);
    expect(cache.nodes.has(file.ino)).toBe(false);
    expect([other.name, other.parent]).toEqual(['g', dir.ino]);
  });

  it('asks for the right to rename or move, of root too', async () => {
    file.rights = { ...ALL, rename: false };
    expect((await kernel.call(Opcode.RENAME2, ROOT_INO, renameBody(1, 0, 'f', 'h'))).error).toBe(-13);
    file.rights = { ...ALL, move: false };
    expect((await kernel.call(Opcode.RENAME2, ROOT_INO, renameBody(dir.ino, 0, 'f', 'h'))).error).toBe(-13);
    expect((await kernel.call(Opcode.RENAME2, ROOT_INO, renameBody(1, 0, 'f', 'h'))).error).toBe(0);
  });

  it('an exchange asks for the rights on both', async () => {
    const other = cache.add(dir.ino, 'g');
    other.rights = { ...ALL, move: false };
    expect((await kernel.call(Opcode.RENAME2, ROOT_INO, renameBody(dir.ino, 2, 'f', 'g'))).error).toBe(-13);
  });
});

describe('SETATTR', () => {
  it('truncates, sets modes and times', async () => {
    await kernel.call(Opcode.SETATTR, file.ino, setattrBody({ valid: Fattr.SIZE, size: 3 }));
    expect((await getattr(file.ino)).size).toBe(3);
    await kernel.call(Opcode.SETATTR, file.ino, setattrBody({ valid: Fattr.MODE, mode: 0o100600 }));
    expect((await getattr(file.ino)).mode).toBe(0o100600);
    const times = setattrBody({ valid: Fattr.MTIME, mtime_s: -7, mtime_ns: 5 });
    await kernel.call(Opcode.SETATTR, file.ino, times);
    expect(await getattr(file.ino)).toMatchObject({ mtime_s: -7, mtime_ns: 5 });
    const before = Math.floor(Date.now() / 1000);
    await kernel.call(Opcode.SETATTR, file.ino, setattrBody({ valid: Fattr.MTIME | Fattr.MTIME_NOW, mtime_s: 1 }));
    expect((await getattr(file.ino)).mtime_s).toBeGreaterThanOrEqual(before);
  });

  it('needs the right to write, except through a descriptor that was opened for it', async () => {
    const { handle } = await kernel.open(file.ino, O_RDWR);
    const reader = await kernel.open(file.ino);
    file.rights = { ...ALL, write: false };
    const truncate = (through: object) =>
      kernel.call(Opcode.SETATTR, file.ino, setattrBody({ valid: Fattr.SIZE, ...through }));
    expect((await truncate({})).error).toBe(-13);
    expect((await truncate({ valid: Fattr.SIZE | Fattr.FH, handle: reader.handle })).error).toBe(-13);
    expect((await kernel.call(Opcode.SETATTR, file.ino, setattrBody({ valid: Fattr.MODE, mode: 0o777 }))).error).toBe(
      -13,
    );
    expect((await truncate({ valid: Fattr.SIZE | Fattr.FH, handle })).error).toBe(0);
    expect((await getattr(file.ino)).size).toBe(0);
  });

  it('chown is stored on a privileged mount, and kills suid and sgid', async () => {
    file.mode = 0o6755;
    const chown = setattrBody({ valid: Fattr.UID | Fattr.GID | Fattr.KILL_SUIDGID, uid: 12, gid: 34 });
    expect((await kernel.call(Opcode.SETATTR, file.ino, chown)).error).toBe(0);
    expect(await getattr(file.ino)).toMatchObject({ uid: 12, gid: 34, mode: 0o100755 });
  });

  it('chown to the owner that is shown is nothing, to another EPERM, where owners are not stored', async () => {
    kernel.session.end();
    kernel = new FakeKernel(cache, { policy: { uid: 1000, gid: 100, storedOwners: false } });
    const chown = (uid: number) => kernel.call(Opcode.SETATTR, file.ino, setattrBody({ valid: Fattr.UID, uid }));
    expect((await chown(1000)).error).toBe(0);
    expect((await chown(0)).error).toBe(-1);
    expect(file.uid).toBeNull();
  });

  it('a truncation by a caller without CAP_FSETID kills suid, and sgid only where the group may execute', async () => {
    const truncate = () =>
      kernel.call(Opcode.SETATTR, file.ino, setattrBody({ valid: Fattr.SIZE | Fattr.KILL_SUIDGID, size: 1 }));
    file.mode = 0o6755;
    await truncate();
    expect(file.mode).toBe(0o755);
    file.mode = 0o6744;
    await truncate();
    expect(file.mode).toBe(0o2744);
  });
});

describe('HANDLE_KILLPRIV_V2 on writing', () => {
  it('a WRITE that asks for it kills suid before the data, and the kernel is told', async () => {
    file.mode = 0o4755;
    const { handle } = await kernel.open(file.ino, O_RDWR);
    await kernel.write(file.ino, handle, 0, Buffer.from('x'));
    expect(file.mode).toBe(0o4755);
    await kernel.write(file.ino, handle, 0, Buffer.from('x'), WRITE_KILL_SUIDGID);
    expect(file.mode).toBe(0o755);
    expect(kernel.attributesChanged).toEqual([file.ino]);
  });

  it('so does fallocate by anybody but root: the kernel does not ask for it there', async () => {
    const { handle } = await kernel.open(file.ino, O_RDWR);
    const allocate = Buffer.concat([u64(handle), u64(0), u64(10), u32(0, 0)]);
    file.mode = 0o4755;
    await kernel.call(Opcode.FALLOCATE, file.ino, allocate);
    expect(file.mode).toBe(0o4755);
    kernel.caller = { ...kernel.caller, uid: 1000 };
    await kernel.call(Opcode.FALLOCATE, file.ino, allocate);
    expect(file.mode).toBe(0o755);
    expect(kernel.attributesChanged).toEqual([file.ino]);
  });

  it('so does O_TRUNC', async () => {
    file.mode = 0o4755;
    await kernel.call(Opcode.OPEN, file.ino, u32(O_RDWR | O_TRUNC, OPEN_KILL_SUIDGID));
    expect(file.mode).toBe(0o755);
  });
});

describe('OPEN, READ, WRITE', () => {
  it('needs rights, of root too', async () => {
    file.rights = { ...ALL, write: false };
    expect((await kernel.open(file.ino, O_RDWR)).error).toBe(-13);
    expect((await kernel.open(file.ino, 1)).error).toBe(-13);
    expect((await kernel.open(file.ino, O_TRUNC)).error).toBe(-13);
    expect((await kernel.open(file.ino)).error).toBe(0);
    file.rights = { ...ALL, read: false };
    expect((await kernel.open(file.ino)).error).toBe(-13);
    expect((await kernel.open(file.ino, 1)).error).toBe(0);
    Object.assign(file, { rights: ALL, lock: 'other' });
    expect((await kernel.open(file.ino, O_RDWR)).error).toBe(-13);
    expect((await kernel.open(file.ino)).error).toBe(0);
  });

  it('O_TRUNC empties', async () => {
    await kernel.open(file.ino, O_RDWR | O_TRUNC);
    expect((await getattr(file.ino)).size).toBe(0);
  });

  it('reads what is there and no more than asked', async () => {
    const { handle } = await kernel.open(file.ino);
    expect((await kernel.read(file.ino, handle, 3, 100)).body.toString()).toBe('tent');
    expect((await kernel.read(file.ino, handle, 99, 100)).body.length).toBe(0);
    kernel.handles.file(handle as never).file.read = () => Buffer.alloc(5000);
    expect((await kernel.read(file.ino, handle, 0, 100)).body.length).toBe(100);
  });

  it('appends behind what is there, wherever the kernel believes the end to be', async () => {
    const { handle } = await kernel.open(file.ino, O_RDWR | O_APPEND);
    const size = (await kernel.read(file.ino, handle, 0, 1000)).body.length;
    await kernel.write(file.ino, handle, size, Buffer.from('one'), 0, O_APPEND);
    expect(kernel.pagesChanged).toEqual([]);
    await kernel.write(file.ino, handle, 1, Buffer.from('two'), 0, O_APPEND);
    expect((await kernel.read(file.ino, handle, size, 100)).body.toString()).toBe('onetwo');
    expect(kernel.pagesChanged).toEqual([file.ino]);
    // A dirty page of a mapping goes where it says.
    await kernel.write(file.ino, handle, size, Buffer.from('ONE'), WRITE_CACHE, O_APPEND);
    expect((await kernel.read(file.ino, handle, size, 100)).body.toString()).toBe('ONEtwo');
  });

  it('reads and writes 1 MiB in one request', async () => {
    const data = Buffer.alloc(1 << 20, 'abcdefg');
    const { handle } = await kernel.open(file.ino, O_RDWR);
    const written = await kernel.write(file.ino, handle, 0, data);
    expect(written.body.readUInt32LE(0)).toBe(1 << 20);
    expect((await kernel.read(file.ino, handle, 0, 1 << 20)).body.equals(data)).toBe(true);
  });

  it('keeps pages across opens after local writes; drops them when the server brings another version', async () => {
    const writer = await kernel.open(file.ino, O_RDWR);
    await kernel.write(file.ino, writer.handle, 0, Buffer.from('x'));
    await kernel.release(file.ino, writer.handle);
    const again = await kernel.open(file.ino);
    expect(again.flags).toBe(Fopen.KEEP_CACHE | Fopen.NOFLUSH);
    cache.replaceContent(file.ino, 'from the server');
    expect((await kernel.open(file.ino)).flags).toBe(Fopen.DIRECT_IO | Fopen.NOFLUSH);
    await kernel.release(file.ino, again.handle);
    expect((await kernel.open(file.ino)).flags).toBe(Fopen.NOFLUSH);
  });

  it('an unknown handle is ESTALE', async () => {
    expect((await kernel.read(file.ino, 77, 0, 1)).error).toBe(-116);
    expect((await kernel.write(file.ino, 77, 0, Buffer.from('x'))).error).toBe(-116);
  });

  it('FLUSH, FSYNC, FALLOCATE, LSEEK', async () => {
    const { handle } = await kernel.open(file.ino, O_RDWR);
    expect((await kernel.call(Opcode.FLUSH, file.ino, Buffer.concat([u64(handle), Buffer.alloc(16)]))).error).toBe(0);
    expect((await kernel.call(Opcode.FSYNC, file.ino, Buffer.concat([u64(handle), u32(1, 0)]))).error).toBe(0);
    const allocate = Buffer.concat([u64(handle, 0, 1 << 20), u32(0, 0)]);
    expect((await kernel.call(Opcode.FALLOCATE, file.ino, allocate)).error).toBe(0);
    expect((await getattr(file.ino)).size).toBe(1 << 20);
    const seek = (offset: number, whence: number) =>
      kernel.call(Opcode.LSEEK, file.ino, Buffer.concat([u64(handle, offset), u32(whence, 0)]));
    expect((await seek(0, 3)).body.readBigUInt64LE(0)).toBe(0n);
    expect((await seek(1 << 21, 3)).error).toBe(-6);
    expect((await seek(0, 0)).error).toBe(-22);
  });
});

describe('directories', () => {
  const opendir = async (ino: number) =>
    Number((await kernel.call(Opcode.OPENDIR, ino, u32(0, 0))).body.readBigUInt64LE(0));

  it('READDIRPLUS counts a lookup per entry that fits, none for dot and dot-dot', async () => {
    for (let i = 100; i < 200; i++) cache.add(dir.ino, `file-${i}`);
    const handle = await opendir(dir.ino);
    const { body } = await kernel.call(Opcode.READDIRPLUS, dir.ino, readBody(handle, 0, 4096));
    expect(body.length).toBeLessThanOrEqual(4096);
    const shown = body.length / (128 + 24 + 8) - 2;
    expect(kernel.inodes.size).toBe(shown);
    expect(kernel.inodes.has(ROOT_INO)).toBe(true);
    expect(kernel.inodes.lookups(dir.ino)).toBe(0);
  });

  it('READDIR counts none', async () => {
    const handle = await opendir(ROOT_INO);
    expect((await kernel.call(Opcode.READDIR, ROOT_INO, readBody(handle, 0, 4096))).error).toBe(0);
    expect(kernel.inodes.size).toBe(0);
  });

  it('two listings that wait at the same time do not get into each other', async () => {
    for (let i = 0; i < 20; i++) cache.add(dir.ino, `in-dir-${i}`);
    const handles = [await opendir(ROOT_INO), await opendir(dir.ino)];
    cache.delay_ms = 3;
    const [root, below] = await Promise.all([
      kernel.call(Opcode.READDIR, ROOT_INO, readBody(handles[0] ?? 0, 0, 4096)),
      kernel.call(Opcode.READDIR, dir.ino, readBody(handles[1] ?? 0, 0, 4096)),
    ]);
    expect(root.body.includes('in-dir-')).toBe(false);
    expect(root.body.includes('dir')).toBe(true);
    expect(below.body.includes('in-dir-19')).toBe(true);
  });

  it('keeps listings only where changes are announced', async () => {
    const flags = async () => (await kernel.call(Opcode.OPENDIR, dir.ino, u32(0, 0))).body.readUInt32LE(8);
    expect(await flags()).toBe(Fopen.CACHE_DIR | Fopen.KEEP_CACHE);
    cache.announcesChanges = false;
    expect(await flags()).toBe(0);
  });

  it('a kernel that can do without is told that it need not ask for directories, where it may keep listings', async () => {
    await kernel.call(Opcode.INIT, 0, u32(7, 45, 0, Init.NO_OPENDIR_SUPPORT));
    expect((await kernel.call(Opcode.OPENDIR, dir.ino, u32(0, 0))).error).toBe(-38);
    expect((await kernel.call(Opcode.OPENDIR, file.ino, u32(0, 0))).error).toBe(-20);
    cache.add(dir.ino, 'member');
    expect((await kernel.call(Opcode.READDIR, dir.ino, readBody(0, 0, 4096))).body.includes('member')).toBe(true);
    cache.announcesChanges = false;
    expect((await kernel.call(Opcode.OPENDIR, dir.ino, u32(0, 0))).error).toBe(0);
  });

  it('OPENDIR of a file is ENOTDIR; FSYNCDIR and RELEASEDIR work', async () => {
    expect((await kernel.call(Opcode.OPENDIR, file.ino, u32(0, 0))).error).toBe(-20);
    const handle = await opendir(dir.ino);
    expect((await kernel.call(Opcode.FSYNCDIR, dir.ino, Buffer.alloc(16))).error).toBe(0);
    expect((await kernel.call(Opcode.RELEASEDIR, dir.ino, Buffer.concat([u64(handle), Buffer.alloc(16)]))).error).toBe(
      0,
    );
    expect(kernel.handles.size).toBe(0);
  });
});

describe('extended attributes', () => {
  const get = (name: string, size = 0) =>
    kernel.call(Opcode.GETXATTR, file.ino, Buffer.concat([u32(size, 0), text(name)]));
  const set = (name: string, value: Buffer, flags = 0) =>
    kernel.call(Opcode.SETXATTR, file.ino, Buffer.concat([u32(value.length, flags), text(name), value]));
  const list = (size: number) => kernel.call(Opcode.LISTXATTR, file.ino, u32(size, 0));

  it('user.* round-trips, with size probing and ERANGE', async () => {
    expect((await set('user.k', Buffer.from('v\0w'))).error).toBe(0);
    expect((await get('user.k')).body.readUInt32LE(0)).toBe(3);
    expect((await get('user.k', 3)).body.toString()).toBe('v\0w');
    expect((await get('user.k', 2)).error).toBe(-34);
    expect((await get('user.other')).error).toBe(-61);
    expect((await list(0)).body.readUInt32LE(0)).toBe(7);
    expect((await list(7)).body.toString()).toBe('user.k\0');
    expect((await list(6)).error).toBe(-34);
    expect((await kernel.call(Opcode.REMOVEXATTR, file.ino, text('user.k'))).error).toBe(0);
    expect((await kernel.call(Opcode.REMOVEXATTR, file.ino, text('user.k'))).error).toBe(-61);
  });

  it('an empty list and an empty value', async () => {
    expect((await list(0)).body.readUInt32LE(0)).toBe(0);
    expect((await list(100)).body.length).toBe(0);
    await set('user.empty', Buffer.alloc(0));
    expect((await get('user.empty', 10)).body.length).toBe(0);
  });

  it('CREATE, REPLACE, and what is neither', async () => {
    expect((await set('user.k', Buffer.from('1'), 2)).error).toBe(-61);
    expect((await set('user.k', Buffer.from('1'), 1)).error).toBe(0);
    expect((await set('user.k', Buffer.from('2'), 1)).error).toBe(-17);
    expect((await set('user.k', Buffer.from('3'), 2)).error).toBe(0);
    expect((await set('user.k', Buffer.from('4'), 3)).error).toBe(-22);
  });

  it('64 KiB and no more', async () => {
    expect((await set('user.big', Buffer.alloc(65536))).error).toBe(0);
    expect((await set('user.big', Buffer.alloc(65537))).error).toBe(-7);
    for (let i = 0; i < 300; i++) file.xattrs.set(`user.${i}${'n'.repeat(240)}`, Buffer.alloc(1));
    expect((await list(0)).error).toBe(-7);
  });

  it.each(['security.capability', 'security.selinux', 'system.posix_acl_access', 'trusted.x', 'user.', 'x'])(
    '%s is not supported',
    async (name) => {
      expect((await get(name)).error).toBe(-95);
      expect((await set(name, Buffer.from('1'))).error).toBe(-95);
      expect((await kernel.call(Opcode.REMOVEXATTR, file.ino, text(name))).error).toBe(-95);
    },
  );
});

describe('STATFS and ACCESS', () => {
  it('shows the space of the server in blocks of 4 KiB', async () => {
    const { body } = await kernel.call(Opcode.STATFS, ROOT_INO);
    expect([body.readBigUInt64LE(0), body.readBigUInt64LE(8), body.readUInt32LE(40)]).toEqual([262144n, 131072n, 4096]);
    expect(body.readUInt32LE(44)).toBe(255);
  });

  it('never shows more free than there is', async () => {
    cache.space_ = { total_bytes: 4096, free_bytes: 8192, files: 1 };
    const { body } = await kernel.call(Opcode.STATFS, ROOT_INO);
    expect([body.readBigUInt64LE(0), body.readBigUInt64LE(8)]).toEqual([1n, 1n]);
  });

  it('ACCESS follows the modes', async () => {
    Object.assign(file, { mode: 0o640, uid: 7, gid: 8 });
    const access = async (uid: number, gid: number, mask: number) => {
      kernel.caller = { uid, gid, pid: 1 };
      return (await kernel.call(Opcode.ACCESS, file.ino, u32(mask, 0))).error;
    };
    expect(await access(7, 0, 6)).toBe(0);
    expect(await access(9, 8, 4)).toBe(0);
    expect(await access(9, 8, 2)).toBe(-13);
    expect(await access(9, 9, 4)).toBe(-13);
    expect(await access(0, 0, 7)).toBe(0);
  });
});
