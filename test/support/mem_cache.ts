// A `DriveCache` without network and database, good enough to run the whole kernel side for real: names and attributes
// in memory, content in files of a folder (so that passthrough, holes and fallocate are real). Tests reach in to change
// things "on the server", to make calls wait, and to set rights and locks.

import {
  type BigIntStats,
  closeSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import type {
  AttrChange,
  Caller,
  DriveCache,
  Invalidation,
  NewNode,
  NodeView,
  OpenFile,
  OpenMode,
  RenameMode,
  Seek,
  SpaceInfo,
  XattrMode,
} from '../../src/cache/cache_api.js';
import { systemClock, type Timestamp } from '../../src/clock.js';
import { CloudError } from '../../src/errors.js';
import { type Ino, type Name, ROOT_INO } from '../../src/ids.js';
import { fallocate, seekDataHole } from '../../src/libc.js';
import type { MaybePromise } from '../../src/maybe_promise.js';
import type { NodeKind, Rights } from '../../src/remote/remote.js';

export const ALL: Rights = {
  read: true,
  write: true,
  createFile: true,
  createDir: true,
  remove: true,
  rename: true,
  move: true,
  share: true,
};

export class MemNode implements NodeView {
  readonly ino: Ino;
  readonly kind: NodeKind;
  parent: Ino | null;
  name: Name;
  mtime: Timestamp = systemClock.timestamp();
  ctime: Timestamp = this.mtime;
  atime: Timestamp = this.mtime;
  mode: number | null = null;
  uid: number | null = null;
  gid: number | null = null;
  rights: Rights = ALL;
  lock: 'none' | 'mine' | 'other' = 'none';
  symlinkTarget: string | null = null;
  dataVersion = 1;
  opens = 0;
  fd: number | null = null;
  writtenByKernel = false;
  contentMtimeNs = 0n;
  readonly children: Map<Name, MemNode> | null;
  readonly xattrs = new Map<string, Buffer>();
  /** Reads wait until this resolves (or their signal aborts). */
  gate: Promise<void> | null = null;

  constructor(ino: Ino, kind: NodeKind, parent: Ino | null, name: Name) {
    this.ino = ino;
    this.kind = kind;
    this.parent = parent;
    this.name = name;
    this.children = kind === 'dir' ? new Map() : null;
  }

  /** While the kernel writes the content file itself, that file is what knows. */
  noticeKernelWrites(): void {
    if (this.fd === null || !this.writtenByKernel) return;
    const { mtimeNs }: BigIntStats = fstatSync(this.fd, { bigint: true });
    if (mtimeNs === this.contentMtimeNs) return;
    this.contentMtimeNs = mtimeNs;
    this.mtime = { s: Number(mtimeNs / 1_000_000_000n), ns: Number(mtimeNs % 1_000_000_000n) };
    this.dataVersion += 1;
  }

  get size_bytes(): number {
    if (this.kind === 'symlink') return Buffer.byteLength(this.symlinkTarget ?? '');
    return this.fd === null ? 0 : fstatSync(this.fd).size;
  }

  get nlink(): number {
    if (this.parent === null && this.ino !== ROOT_INO) return 0;
    if (this.children === null) return 1;
    return 2 + [...this.children.values()].filter((child) => child.kind === 'dir').length;
  }
}

export class MemCache implements DriveCache {
  readOnly = false;
  announcesChanges = true;
  holds = { posix: true, symlinks: true, xattrs: true };
  passthrough = true;
  /** Of the kernel, as far as it was told. */
  requests = 0;
  /** Every call that may wait does so, for so long. */
  delay_ms = 0;
  space_: SpaceInfo = { total_bytes: 1 << 30, free_bytes: 1 << 29, files: 10 };
  readonly nodes = new Map<Ino, MemNode>();
  readonly #folder: string;
  readonly #listeners: ((event: Invalidation) => void)[] = [];
  readonly #listings = new Map<Ino, MemNode[]>();
  #next = 2;

  constructor(folder: string) {
    this.#folder = folder;
    this.nodes.set(ROOT_INO, new MemNode(ROOT_INO, 'dir', null, '' as Name));
  }

  // ---- what a test does "on the server" -------------------------------------------------------------------------------

  add(parent: Ino, name: string, kind: NodeKind = 'file', content: string | Buffer = ''): MemNode {
    const node = new MemNode(this.#next++ as Ino, kind, parent, name as Name);
    if (kind === 'file') {
      node.fd = openSync(join(this.#folder, `${node.ino}`), 'w+');
      if (content.length > 0) writeSync(node.fd, Buffer.from(content), 0, Buffer.byteLength(content), 0);
    }
    if (kind === 'symlink') node.symlinkTarget = content.toString();
    this.nodes.set(node.ino, node);
    this.#dir(parent).children?.set(node.name, node);
    return node;
  }

  /** Another version of a file appears: a new content file, as a real cache would make it. */
  replaceContent(ino: Ino, content: string): void {
    const node = this.#get(ino);
    if (node.fd === null) throw new Error('no file');
    ftruncateSync(node.fd, 0);
    writeSync(node.fd, Buffer.from(content), 0, Buffer.byteLength(content), 0);
    node.dataVersion += 1;
    node.mtime = systemClock.timestamp();
    this.emit({ kind: 'inode', ino, data: true });
  }

  emit(event: Invalidation): void {
    for (const listener of this.#listeners) listener(event);
  }

  detach(parent: Ino, name: string): MemNode {
    const dir = this.#dir(parent);
    const node = dir.children?.get(name as Name);
    if (node === undefined) throw new CloudError('not_found', `no ${name}`);
    dir.children?.delete(node.name);
    dir.mtime = systemClock.timestamp();
    node.parent = null;
    this.#drop(node);
    return node;
  }

  close(): void {
    for (const node of this.nodes.values()) if (node.fd !== null) closeSync(node.fd);
    this.nodes.clear();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  // ---- DriveCache -----------------------------------------------------------------------------------------------------

  #get(ino: Ino): MemNode {
    const node = this.nodes.get(ino);
    if (node === undefined) throw new CloudError('stale', `no inode ${ino}`);
    return node;
  }

  #dir(ino: Ino): MemNode {
    const node = this.#get(ino);
    if (node.children === null) throw new CloudError('not_dir', `${node.name} is no directory`);
    return node;
  }

  #drop(node: MemNode): void {
    if (node.parent !== null || node.opens > 0) return;
    if (node.fd !== null) closeSync(node.fd);
    node.fd = null;
    this.nodes.delete(node.ino);
  }

  /** `action` now, or after the delay unless the caller gives up. */
  #later<T>(caller: Caller, action: () => T): MaybePromise<T> {
    return this.delay_ms === 0 ? action() : waitFor(systemClock.sleep(this.delay_ms), caller.signal).then(action);
  }

  node(ino: Ino): NodeView {
    const node = this.#get(ino);
    node.noticeKernelWrites();
    return node;
  }

  lookup(parent: Ino, name: Name, caller: Caller): MaybePromise<NodeView | null> {
    return this.#later(caller, () => this.#dir(parent).children?.get(name) ?? null);
  }

  ensureListed(dir: Ino, caller: Caller): MaybePromise<void> {
    return this.#later(caller, () => void this.#dir(dir));
  }

  listDir(dir: Ino, after: Ino | 0, limit: number): readonly NodeView[] {
    const { children } = this.#dir(dir);
    let listing = this.#listings.get(dir);
    if (listing === undefined || after === 0 || listing.length !== children?.size) {
      listing = [...(children?.values() ?? [])].sort((a, b) => a.ino - b.ino);
      this.#listings.set(dir, listing);
    }
    let low = 0;
    for (let high = listing.length; low < high; ) {
      const middle = (low + high) >> 1;
      if ((listing[middle]?.ino ?? 0) > after) high = middle;
      else low = middle + 1;
    }
    return listing.slice(low, low + limit);
  }

  setattr(ino: Ino, change: AttrChange, caller: Caller): MaybePromise<NodeView> {
    return this.#later(caller, () => {
      const node = this.#get(ino);
      if (change.size_bytes !== undefined) {
        if (node.fd === null) throw new CloudError('is_dir', 'truncate');
        ftruncateSync(node.fd, change.size_bytes);
        node.dataVersion += 1;
        node.mtime = systemClock.timestamp();
      }
      if (change.mode !== undefined) node.mode = change.mode;
      if (change.uid !== undefined) node.uid = change.uid;
      if (change.gid !== undefined) node.gid = change.gid;
      if (change.mtime !== undefined) node.mtime = change.mtime;
      if (change.atime !== undefined) node.atime = change.atime;
      node.ctime = systemClock.timestamp();
      return node;
    });
  }

  create(parent: Ino, name: Name, node: NewNode, caller: Caller): MaybePromise<NodeView> {
    return this.#later(caller, () => this.#make(parent, name, 'file', '', node));
  }

  mkdir(parent: Ino, name: Name, node: NewNode, caller: Caller): MaybePromise<NodeView> {
    return this.#later(caller, () => this.#make(parent, name, 'dir', '', node));
  }

  symlink(parent: Ino, name: Name, target: string, node: NewNode, caller: Caller): MaybePromise<NodeView> {
    return this.#later(caller, () => this.#make(parent, name, 'symlink', target, node));
  }

  #make(parent: Ino, name: Name, kind: NodeKind, content: string, { mode, uid, gid }: NewNode): MemNode {
    const dir = this.#dir(parent);
    if (dir.children?.has(name)) throw new CloudError('exists', `${name} exists`);
    const node = this.add(parent, name, kind, content);
    dir.mtime = systemClock.timestamp();
    return Object.assign(node, { mode, uid, gid });
  }

  unlink(parent: Ino, name: Name, caller: Caller): MaybePromise<void> {
    return this.#later(caller, () => {
      if (this.#dir(parent).children?.get(name)?.kind === 'dir')
        throw new CloudError('is_dir', `${name} is a directory`);
      this.detach(parent, name);
    });
  }

  rmdir(parent: Ino, name: Name, caller: Caller): MaybePromise<void> {
    return this.#later(caller, () => {
      const node = this.#dir(parent).children?.get(name);
      if (node !== undefined && node.kind !== 'dir') throw new CloudError('not_dir', `${name} is no directory`);
      if (node !== undefined && node.children?.size !== 0) throw new CloudError('not_empty', `${name} is not empty`);
      this.detach(parent, name);
    });
  }

  rename(parent: Ino, name: Name, newParent: Ino, newName: Name, mode: RenameMode, caller: Caller): MaybePromise<void> {
    return this.#later(caller, () => {
      const from = this.#dir(parent);
      const to = this.#dir(newParent);
      const node = from.children?.get(name);
      if (node === undefined) throw new CloudError('not_found', `no ${name}`);
      const there = to.children?.get(newName);
      if (there !== undefined && mode === 'noreplace') throw new CloudError('exists', `${newName} exists`);
      if (there !== undefined && mode === 'replace') {
        if (there.children !== null && there.children.size > 0)
          throw new CloudError('not_empty', `${newName} is not empty`);
        this.detach(newParent, newName);
      }
      from.children?.delete(name);
      if (there !== undefined && mode === 'exchange') {
        Object.assign(there, { parent, name });
        from.children?.set(name, there);
      }
      Object.assign(node, { parent: newParent, name: newName, ctime: systemClock.timestamp() });
      to.children?.set(newName, node);
      from.mtime = systemClock.timestamp();
      to.mtime = from.mtime;
    });
  }

  open(ino: Ino, mode: OpenMode, caller: Caller): MaybePromise<OpenFile> {
    return this.#later(caller, () => {
      const node = this.#get(ino);
      if (node.fd === null) throw new CloudError(node.kind === 'dir' ? 'is_dir' : 'symlink_loop', `open ${node.name}`);
      if (mode.truncate) {
        ftruncateSync(node.fd, 0);
        node.dataVersion += 1;
        node.mtime = systemClock.timestamp();
      }
      node.opens += 1;
      return new MemFile(this, node, mode.write, () => this.#drop(node));
    });
  }

  fsyncDir(): void {}

  space(caller: Caller): MaybePromise<SpaceInfo> {
    return this.#later(caller, () => this.space_);
  }

  getXattr(ino: Ino, name: string): Buffer {
    const value = this.#get(ino).xattrs.get(name);
    if (value === undefined) throw new CloudError('no_attribute', `no ${name}`);
    return value;
  }

  setXattr(ino: Ino, name: string, value: Buffer, mode: XattrMode): void {
    const { xattrs } = this.#get(ino);
    if (mode === 'create' && xattrs.has(name)) throw new CloudError('exists', `${name} exists`);
    if (mode === 'replace' && !xattrs.has(name)) throw new CloudError('no_attribute', `no ${name}`);
    xattrs.set(name, Buffer.from(value));
  }

  listXattr(ino: Ino): readonly string[] {
    return [...this.#get(ino).xattrs.keys()];
  }

  removeXattr(ino: Ino, name: string): void {
    if (!this.#get(ino).xattrs.delete(name)) throw new CloudError('no_attribute', `no ${name}`);
  }

  served(): void {
    this.requests += 1;
  }

  onInvalidate(listener: (event: Invalidation) => void): void {
    this.#listeners.push(listener);
  }
}

class MemFile implements OpenFile {
  readonly ino: Ino;
  readonly #cache: MemCache;
  readonly #node: MemNode;
  readonly #released: () => void;
  readonly #writes: boolean;
  flushes = 0;

  constructor(cache: MemCache, node: MemNode, writes: boolean, released: () => void) {
    this.#cache = cache;
    this.#node = node;
    this.ino = node.ino;
    this.#writes = writes;
    this.#released = released;
  }

  get #fd(): number {
    if (this.#node.fd === null) throw new CloudError('io', 'the file is closed');
    return this.#node.fd;
  }

  read(offset: number, size: number, caller: Caller): MaybePromise<Buffer> {
    const now = () => {
      const into = Buffer.allocUnsafe(size);
      return into.subarray(0, readSync(this.#fd, into, 0, size, offset));
    };
    if (this.#node.gate !== null) return waitFor(this.#node.gate, caller.signal).then(now);
    if (this.#cache.delay_ms === 0) return now();
    return waitFor(systemClock.sleep(this.#cache.delay_ms), caller.signal).then(now);
  }

  write(where: number | 'end', data: Buffer, caller: Caller): MaybePromise<void> {
    const now = () => {
      const offset = where === 'end' ? this.#node.size_bytes : where;
      for (let at = 0; at < data.length; ) at += writeSync(this.#fd, data, at, data.length - at, offset + at);
      this.#node.dataVersion += 1;
      this.#node.mtime = systemClock.timestamp();
      this.#node.ctime = this.#node.mtime;
    };
    if (this.#cache.delay_ms === 0) return now();
    return waitFor(systemClock.sleep(this.#cache.delay_ms), caller.signal).then(now);
  }

  flush(): void {
    this.flushes += 1;
    this.#node.noticeKernelWrites();
  }

  fsync(): void {
    fsyncSync(this.#fd);
  }

  fallocate(mode: number, offset: number, length: number): void {
    fallocate(this.#fd, mode, offset, length);
    this.#node.dataVersion += 1;
  }

  seek(offset: number, whence: Seek): number {
    const found = seekDataHole(this.#fd, offset, whence);
    if (found === null) throw new CloudError('past_end', `seek ${whence} from ${offset}`);
    return found;
  }

  passthroughFd(): number | null {
    if (!this.#cache.passthrough) return null;
    if (this.#writes && !this.#node.writtenByKernel) {
      this.#node.writtenByKernel = true;
      this.#node.contentMtimeNs = fstatSync(this.#fd, { bigint: true }).mtimeNs;
    }
    return this.#fd;
  }

  release(): void {
    this.#node.noticeKernelWrites();
    this.#node.opens -= 1;
    if (this.#node.opens === 0) this.#node.writtenByKernel = false;
    this.#released();
  }
}

/** `work`, or `interrupted` as soon as `signal` aborts. */
function waitFor(work: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(new CloudError('interrupted', 'interrupted', { cause: signal.reason }));
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject);
  });
}
