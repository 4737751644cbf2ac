// One short method per operation: from the kernel's words to the cache's and back. Answers are given at once wherever
// the cache knows, and are promises only where it must wait. Failures are thrown; `session.ts` turns them into numbers.
// Nothing here touches the device, so that every operation can be tested unmounted.

import type { AttrChange, Caller, DriveCache, NewNode, NodeView, RenameMode } from '../cache/cache_api.js';
import type { Clock, Timestamp } from '../clock.js';
import { CloudError, isCloudError } from '../errors.js';
import type { HandleId, Ino, Name } from '../ids.js';
import { andThen, isPromise, type MaybePromise } from '../maybe_promise.js';
import { encodeName, NAME_MAX_BYTES } from '../names.js';
import { checkCreateDir, checkCreateFile, checkRead, checkRemove, checkRename, checkWrite } from './access_rules.js';
import { type AttributePolicy, fileAttr, modeOf } from './attributes.js';
import { DirStream } from './dir_stream.js';
import { Errno } from './errno.js';
import type { HandleTable } from './handle_table.js';
import type { InodeTable } from './inode_table.js';
import { findLocally, isDesktopProbe, refuseTrashFolder } from './local_names.js';
import type { Timeouts } from './timeouts.js';
import type { ReplyBuffer } from './wire/encode.js';
import {
  Fopen,
  O_ACCMODE,
  O_EXCL,
  O_RDONLY,
  O_TRUNC,
  O_WRONLY,
  PERMISSION_BITS,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  S_IFMT,
  S_IFREG,
  S_ISGID,
  S_ISUID,
  S_IXGRP,
  SEEK_DATA,
  SEEK_HOLE,
} from './wire/flags.js';
import {
  type AccessOp,
  type Answer,
  type BatchForgetOp,
  type CreateOp,
  type Entry,
  type FallocateOp,
  type FlushOp,
  type ForgetOp,
  type FsyncOp,
  type GetattrOp,
  type GetxattrOp,
  type ListxattrOp,
  type LookupOp,
  type LseekOp,
  type MkdirOp,
  type MknodOp,
  NO_ANSWER,
  OK,
  type OpenOp,
  type OpenReply,
  type ReaddirOp,
  type ReadOp,
  type ReleaseOp,
  type RemovexattrOp,
  type RenameOp,
  type RmdirOp,
  type SetattrOp,
  type SetxattrOp,
  type SymlinkOp,
  type TimeChange,
  type UnlinkOp,
  type WriteOp,
} from './wire/ops.js';
import { getxattr, listxattr, removexattr, setxattr } from './xattr.js';

const NO_ENTRY: Answer = { kind: 'error', errno: Errno.ENOENT };
export const NOT_OFFERED: Answer = { kind: 'error', errno: Errno.ENOSYS };
const NO_HANDLE = 0 as HandleId;
const OPEN_DIR: OpenReply = { handle: NO_HANDLE, flags: 0, backingId: 0 };
const OPEN_KEPT_DIR: OpenReply = { handle: NO_HANDLE, flags: Fopen.CACHE_DIR | Fopen.KEEP_CACHE, backingId: 0 };
const NOT_PERMITTED: Answer = { kind: 'error', errno: Errno.EPERM };
const STATFS_BLOCK_BYTES = 4096;

export interface FilesystemParts {
  readonly cache: DriveCache;
  readonly inodes: InodeTable;
  readonly handles: HandleTable;
  readonly timeouts: Timeouts;
  readonly policy: AttributePolicy;
  readonly clock: Clock;
  /** Where directory pages are built. */
  readonly replies: Pick<ReplyBuffer, 'dirents'>;
  /** The attributes of an inode changed in a way the kernel does not know of. */
  readonly attributesChanged: (ino: Ino) => void;
  /** Nor does it know that the bytes are others than it has. */
  readonly pagesChanged: (ino: Ino) => void;
}

export class Filesystem {
  readonly #cache: DriveCache;
  readonly #inodes: InodeTable;
  readonly #handles: HandleTable;
  readonly #timeouts: Timeouts;
  readonly #policy: AttributePolicy;
  readonly #clock: Clock;
  readonly #replies: Pick<ReplyBuffer, 'dirents'>;
  readonly #attributesChanged: (ino: Ino) => void;
  readonly #pagesChanged: (ino: Ino) => void;

  constructor(parts: FilesystemParts) {
    this.#cache = parts.cache;
    this.#inodes = parts.inodes;
    this.#handles = parts.handles;
    this.#timeouts = parts.timeouts;
    this.#policy = parts.policy;
    this.#clock = parts.clock;
    this.#replies = parts.replies;
    this.#attributesChanged = parts.attributesChanged;
    this.#pagesChanged = parts.pagesChanged;
  }

  // ---- names ----------------------------------------------------------------------------------------------------------

  lookup(parent: Ino, op: LookupOp, caller: Caller): MaybePromise<Answer> {
    const found = this.#cache.lookup(parent, op.name, caller);
    if (!isPromise(found)) return this.#lookedUp(parent, found);
    if (!isDesktopProbe(parent, op.name)) return found.then((node) => this.#lookedUp(parent, node));
    found.catch(() => undefined); // goes on in the background; what it finds is there the next time
    const known = findLocally(this.#cache, parent, op.name);
    return known === null ? NO_ENTRY : this.#lookedUp(parent, known);
  }

  #lookedUp(parent: Ino, node: NodeView | null): Answer {
    this.#inodes.named(parent);
    if (node === null) return { kind: 'negative', timeout_ms: this.#timeouts.negative_ms };
    return { kind: 'entry', entry: this.#entry(node) };
  }

  /** The entry of a node, counted as one lookup. */
  #entry(node: NodeView): Entry {
    this.#inodes.remember(node.ino);
    return this.#uncounted(node);
  }

  #uncounted(node: NodeView): Entry {
    return {
      attr: fileAttr(node, this.#policy),
      entryTimeout_ms: this.#timeouts.known_ms,
      attrTimeout_ms: this.#attrTimeout_ms(node.ino),
    };
  }

  #attrTimeout_ms(ino: Ino): number {
    return this.#handles.isWrittenByKernel(ino) ? 0 : this.#timeouts.known_ms;
  }

  forget(ino: Ino, op: ForgetOp): Answer {
    this.#forget(ino, op.nlookup);
    return NO_ANSWER;
  }

  batchForget(op: BatchForgetOp): Answer {
    for (const { ino, nlookup } of op.forgets) this.#forget(ino, nlookup);
    return NO_ANSWER;
  }

  #forget(ino: Ino, nlookup: number): void {
    if (this.#inodes.forget(ino, nlookup)) this.#handles.forget(ino);
  }

  /** The kernel did not take this answer: what it would have released is released here. */
  undeliver(answer: Answer): void {
    if (answer.kind === 'entry' || answer.kind === 'create') this.#forget(answer.entry.attr.ino, 1);
    if (answer.kind === 'open' || answer.kind === 'create') this.#handles.release(answer.open.handle);
    if (answer.kind === 'dirents') for (const ino of answer.counted) this.#forget(ino, 1);
  }

  readlink(ino: Ino): Answer {
    const { symlinkTarget, name } = this.#cache.node(ino);
    if (symlinkTarget === null) throw new CloudError('invalid', `readlink "${name}": it is no symbolic link`);
    return { kind: 'data', data: encodeName(symlinkTarget) };
  }

  symlink(parent: Ino, op: SymlinkOp, caller: Caller): MaybePromise<Answer> {
    const dir = this.#cache.node(parent);
    checkCreateFile(dir);
    const node = this.#newNode(dir, 0o777, 'file', caller);
    return andThen(this.#cache.symlink(parent, op.name, op.target, node, caller), (made) =>
      this.#lookedUp(parent, made),
    );
  }

  mknod(parent: Ino, op: MknodOp, caller: Caller): MaybePromise<Answer> {
    const type = op.mode & S_IFMT;
    if (type !== S_IFREG && type !== 0) {
      throw new CloudError(
        'not_permitted',
        `mknod "${op.name}": the drive holds files, directories and symbolic links only`,
      );
    }
    return andThen(this.#makeFile(parent, op.name, op.mode, caller), (made) => this.#lookedUp(parent, made));
  }

  mkdir(parent: Ino, op: MkdirOp, caller: Caller): MaybePromise<Answer> {
    refuseTrashFolder(parent, op.name);
    const dir = this.#cache.node(parent);
    checkCreateDir(dir);
    const node = this.#newNode(dir, op.mode, 'dir', caller);
    return andThen(this.#cache.mkdir(parent, op.name, node, caller), (made) => this.#lookedUp(parent, made));
  }

  #makeFile(parent: Ino, name: Name, mode: number, caller: Caller): MaybePromise<NodeView> {
    const dir = this.#cache.node(parent);
    checkCreateFile(dir);
    return this.#cache.create(parent, name, this.#newNode(dir, mode, 'file', caller), caller);
  }

  /** Owner and mode of a new node; in a set-group-id directory the group is inherited, and by directories the bit too. */
  #newNode(dir: NodeView, mode: number, kind: 'file' | 'dir', caller: Caller): NewNode {
    const bits = mode & PERMISSION_BITS;
    if (!this.#policy.storedOwners || !this.#cache.holds.posix) return { mode: bits, uid: null, gid: null };
    const inherits = (modeOf(dir, this.#policy) & S_ISGID) !== 0;
    return {
      mode: inherits && kind === 'dir' ? bits | S_ISGID : bits,
      uid: caller.uid,
      gid: inherits ? (dir.gid ?? this.#policy.gid) : caller.gid,
    };
  }

  unlink(parent: Ino, op: UnlinkOp, caller: Caller): MaybePromise<Answer> {
    return andThen(this.#existing(parent, op.name, caller), (node) => {
      checkRemove(node);
      return andThen(this.#cache.unlink(parent, op.name, caller), () => OK);
    });
  }

  rmdir(parent: Ino, op: RmdirOp, caller: Caller): MaybePromise<Answer> {
    return andThen(this.#existing(parent, op.name, caller), (node) => {
      checkRemove(node);
      return andThen(this.#cache.rmdir(parent, op.name, caller), () => OK);
    });
  }

  rename(parent: Ino, op: RenameOp, caller: Caller): MaybePromise<Answer> {
    const mode = renameMode(op.flags);
    return andThen(this.#existing(parent, op.name, caller), ({ ino }) =>
      andThen(this.#cache.lookup(op.newParent, op.newName, caller), (there) => {
        const node = this.#cache.node(ino);
        if (mode === 'noreplace' && there !== null) {
          throw new CloudError('exists', `rename "${op.name}": "${op.newName}" exists`);
        }
        if (mode === 'exchange' && there === null) {
          throw new CloudError('not_found', `exchange "${op.name}": there is no "${op.newName}"`);
        }
        const target = this.#cache.node(op.newParent);
        checkRename(node, target, mode === 'exchange' ? null : there);
        if (mode === 'exchange' && there !== null) checkRename(there, this.#cache.node(parent), null);
        const renamed = this.#cache.rename(parent, op.name, op.newParent, op.newName, mode, caller);
        return andThen(renamed, () => OK);
      }),
    );
  }

  #existing(parent: Ino, name: Name, caller: Caller): MaybePromise<NodeView> {
    return andThen(this.#cache.lookup(parent, name, caller), (node) => {
      if (node === null) throw new CloudError('not_found', `there is no "${name}"`);
      return node;
    });
  }

  /** Hard links are nothing a server of files has. */
  link(): Answer {
    return NOT_PERMITTED;
  }

  // ---- attributes -----------------------------------------------------------------------------------------------------

  getattr(ino: Ino, _op: GetattrOp): Answer {
    return this.#attr(this.#cache.node(ino));
  }

  #attr(node: NodeView): Answer {
    return { kind: 'attr', attr: fileAttr(node, this.#policy), timeout_ms: this.#attrTimeout_ms(node.ino) };
  }

  setattr(ino: Ino, op: SetattrOp, caller: Caller): MaybePromise<Answer> {
    const node = this.#cache.node(ino);
    const change = this.#change(node, op);
    if (change === null) return this.#attr(node);
    // ftruncate(2) needs no right of its own: the descriptor was opened for writing when the right was there.
    const throughHandle = op.size !== null && op.handle !== null && this.#handles.file(op.handle).writable;
    const onlyAtime = op.atime !== null && Object.keys(change).length === 1;
    if (!throughHandle && !onlyAtime) checkWrite(node);
    const before = node.dataVersion;
    return andThen(this.#cache.setattr(ino, change, caller), (changed) => {
      if (op.size !== null) this.#handles.pagesFollow(ino, before, changed.dataVersion);
      return this.#attr(changed);
    });
  }

  /** What is really to be changed; null if nothing is. */
  #change(node: NodeView, op: SetattrOp): AttrChange | null {
    const change: { -readonly [K in keyof AttrChange]: AttrChange[K] } = {};
    const now = this.#clock.timestamp();
    if (op.size !== null) change.size_bytes = op.size;
    if (op.atime !== null) change.atime = timestampOf(op.atime, now);
    if (op.mtime !== null) change.mtime = timestampOf(op.mtime, now);
    if (op.ctime !== null) change.ctime = op.ctime;
    const shown = fileAttr(node, this.#policy);
    if (op.uid !== null && op.uid !== shown.uid) change.uid = this.#foreignOwner(node, op.uid);
    if (op.gid !== null && op.gid !== shown.gid) change.gid = this.#foreignOwner(node, op.gid);
    if (op.mode !== null) change.mode = op.mode & PERMISSION_BITS;
    else if (op.killSuidgid || op.uid !== null || op.gid !== null) {
      const killed = withoutSuidgid(node);
      if (killed !== null) change.mode = killed;
    }
    return Object.keys(change).length === 0 ? null : change;
  }

  /** chown(2) to what is shown already is no change; to another it needs a privileged mount and a server that stores it. */
  #foreignOwner(node: NodeView, id: number): number {
    if (this.#policy.storedOwners && this.#cache.holds.posix) return id;
    throw new CloudError(
      'not_permitted',
      `chown "${node.name}" to ${id}: this mount shows every file as the mounting user's`,
    );
  }

  /** Kills suid and sgid for a caller without CAP_FSETID, where the kernel left it to us (HANDLE_KILLPRIV_V2). */
  #killSuidgid(ino: Ino, wanted: boolean, caller: Caller): MaybePromise<unknown> {
    const mode = wanted ? withoutSuidgid(this.#cache.node(ino)) : null;
    if (mode === null) return undefined;
    return andThen(this.#cache.setattr(ino, { mode }, caller), () => this.#attributesChanged(ino));
  }

  access(ino: Ino, op: AccessOp, caller: Caller): Answer {
    const attr = fileAttr(this.#cache.node(ino), this.#policy);
    const shift = caller.uid === attr.uid ? 6 : caller.gid === attr.gid ? 3 : 0;
    const granted = caller.uid === 0 ? 7 : (attr.mode >> shift) & 7;
    return (op.mask & ~granted) === 0 ? OK : { kind: 'error', errno: Errno.EACCES };
  }

  statfs(caller: Caller): MaybePromise<Answer> {
    return andThen(this.#cache.space(caller), ({ total_bytes, free_bytes, files }) => {
      const freeBlocks = Math.floor(Math.min(free_bytes, total_bytes) / STATFS_BLOCK_BYTES);
      return {
        kind: 'statfs',
        statfs: {
          blocks: Math.floor(total_bytes / STATFS_BLOCK_BYTES),
          freeBlocks,
          // The number of files is not limited; programs that check free inodes must find some.
          files: files + freeBlocks,
          freeFiles: freeBlocks,
          blockSize_bytes: STATFS_BLOCK_BYTES,
          nameMax_bytes: NAME_MAX_BYTES,
        },
      };
    });
  }

  getxattr(ino: Ino, op: GetxattrOp, caller: Caller): MaybePromise<Answer> {
    return getxattr(this.#cache, ino, op, caller);
  }

  listxattr(ino: Ino, op: ListxattrOp, caller: Caller): MaybePromise<Answer> {
    return listxattr(this.#cache, ino, op, caller);
  }

  setxattr(ino: Ino, op: SetxattrOp, caller: Caller): MaybePromise<Answer> {
    return setxattr(this.#cache, ino, op, caller);
  }

  removexattr(ino: Ino, op: RemovexattrOp, caller: Caller): MaybePromise<Answer> {
    return removexattr(this.#cache, ino, op, caller);
  }

  // ---- files ----------------------------------------------------------------------------------------------------------

  create(parent: Ino, op: CreateOp, caller: Caller): MaybePromise<Answer> {
    const made = attempt(
      () => this.#makeFile(parent, op.name, op.mode, caller),
      (error) => {
        if (!isCloudError(error, 'exists') || op.flags & O_EXCL) throw error;
        // Somebody else made it since the kernel last looked. ESTALE makes the kernel look again and then open it,
        // with the check of its permissions that was not made for a file that was to be new.
        throw new CloudError('stale', `create "${op.name}": it exists by now`, { cause: error });
      },
    );
    return andThen(made, (node) => {
      const ino = node.ino;
      return andThen(this.#open(ino, op.flags & ~O_TRUNC, caller), (open) => {
        try {
          this.#inodes.named(parent);
          return { kind: 'create', entry: this.#entry(this.#cache.node(ino)), open };
        } catch (error) {
          this.#handles.release(open.handle);
          throw error;
        }
      });
    });
  }

  open(ino: Ino, op: OpenOp, caller: Caller): MaybePromise<Answer> {
    const kills = op.killSuidgid && (op.flags & O_TRUNC) !== 0;
    if (kills) checkWrite(this.#cache.node(ino));
    return andThen(this.#killSuidgid(ino, kills, caller), () =>
      andThen(this.#open(ino, op.flags, caller), (open) => {
        // What the kernel writes into a mapping moves no attribute it keeps: from here on it has to ask.
        if (this.#handles.isWrittenByKernel(ino)) this.#attributesChanged(ino);
        return { kind: 'open', open };
      }),
    );
  }

  #open(ino: Ino, flags: number, caller: Caller): MaybePromise<OpenReply> {
    const node = this.#cache.node(ino);
    const read = (flags & O_ACCMODE) !== O_WRONLY;
    const write = (flags & O_ACCMODE) !== O_RDONLY;
    const truncate = (flags & O_TRUNC) !== 0;
    if (read) checkRead(node);
    if (write || truncate) checkWrite(node);
    return andThen(this.#cache.open(ino, { read, write, truncate }, caller), (file) => {
      const { dataVersion, mode } = this.#cache.node(ino);
      // A write by the kernel itself would not take suid and sgid away.
      const mayPassThrough = ((mode ?? 0) & (S_ISUID | S_ISGID)) === 0;
      const open = this.#handles.openFile({ file, writable: write, dataVersion, mayPassThrough });
      // Where an earlier open (whose RELEASE may be on its way) has settled for that already, they go now.
      const late = !mayPassThrough && write && caller.uid !== 0 && this.#handles.isWrittenByKernel(ino);
      return late ? this.#orRelease(open, () => this.#killSuidgid(ino, true, caller)) : open;
    });
  }

  /** `open` once `more` is done; released again if that fails. */
  #orRelease(open: OpenReply, more: () => MaybePromise<unknown>): MaybePromise<OpenReply> {
    const done = attempt(more, (error) => {
      this.#handles.release(open.handle);
      throw error;
    });
    return andThen(done, () => open);
  }

  read(op: ReadOp, caller: Caller): MaybePromise<Answer> {
    const { file } = this.#handles.file(op.handle);
    return andThen(file.read(op.offset, op.size, caller), (data) => ({
      kind: 'data',
      data: data.length > op.size ? data.subarray(0, op.size) : data,
    }));
  }

  write(op: WriteOp, caller: Caller): MaybePromise<Answer> {
    const { file, ino } = this.#handles.file(op.handle);
    const write = () =>
      andThen(file.write(op.append ? 'end' : op.offset, op.data, caller), () => {
        // Another version has come that the kernel has not heard of yet: it has put the bytes elsewhere in its pages.
        if (op.append && this.#cache.node(ino).size_bytes !== op.offset + op.data.length) this.#pagesChanged(ino);
      });
    return andThen(this.#killSuidgid(ino, op.killSuidgid, caller), () =>
      this.#changing(ino, write, { kind: 'written', size: op.data.length }),
    );
  }

  fallocate(op: FallocateOp, caller: Caller): MaybePromise<Answer> {
    const { file, ino } = this.#handles.file(op.handle);
    // The kernel leaves it to us here, and does not say whether the caller has CAP_FSETID.
    return andThen(this.#killSuidgid(ino, caller.uid !== 0, caller), () =>
      this.#changing(ino, () => file.fallocate(op.mode, op.offset, op.length, caller), OK),
    );
  }

  /** `change` alters bytes through the kernel, which keeps its own pages right. */
  #changing(ino: Ino, change: () => MaybePromise<void>, answer: Answer): MaybePromise<Answer> {
    const before = this.#cache.node(ino).dataVersion;
    return andThen(change(), () => {
      this.#handles.pagesFollow(ino, before, this.#cache.node(ino).dataVersion);
      return answer;
    });
  }

  flush(op: FlushOp, caller: Caller): MaybePromise<Answer> {
    return andThen(this.#handles.file(op.handle).file.flush(caller), () => OK);
  }

  fsync(op: FsyncOp, caller: Caller): MaybePromise<Answer> {
    return andThen(this.#handles.file(op.handle).file.fsync(caller), () => OK);
  }

  release(op: ReleaseOp): Answer {
    this.#handles.release(op.handle);
    return OK;
  }

  lseek(op: LseekOp, caller: Caller): MaybePromise<Answer> {
    if (op.whence !== SEEK_DATA && op.whence !== SEEK_HOLE) {
      throw new CloudError('invalid', `lseek: SEEK_DATA or SEEK_HOLE is required, found ${op.whence}`);
    }
    const { file } = this.#handles.file(op.handle);
    const found = file.seek(op.offset, op.whence === SEEK_DATA ? 'data' : 'hole', caller);
    return andThen(found, (offset) => ({ kind: 'offset', offset }));
  }

  // ---- directories ----------------------------------------------------------------------------------------------------

  /** Where the kernel may keep listings it is told, once for all directories, that it need not ask here: half of the requests
   * of a walk were to open and close directories. */
  opendir(ino: Ino, isOptional: boolean): Answer {
    const node = this.#cache.node(ino);
    if (node.kind !== 'dir') throw new CloudError('not_dir', `opendir "${node.name}": it is no directory`);
    if (!this.#timeouts.keepListings) return { kind: 'open', open: OPEN_DIR };
    return isOptional ? NOT_OFFERED : { kind: 'open', open: OPEN_KEPT_DIR };
  }

  readdir(ino: Ino, op: ReaddirOp, caller: Caller): MaybePromise<Answer> {
    const listed = op.offset === 0 ? this.#cache.ensureListed(ino, caller) : undefined;
    if (!isPromise(listed)) return this.#dirents(ino, op, false);
    // Between a promise's value and its answer others use the reply buffer: the page is copied out of it.
    return listed.then(() => this.#dirents(ino, op, true));
  }

  #dirents(ino: Ino, op: ReaddirOp, copied: boolean): Answer {
    this.#inodes.named(ino);
    const stream = new DirStream(this.#cache, ino);
    const out = this.#replies.dirents(op.size);
    let counted: readonly Ino[] = [];
    if (op.plus) {
      counted = stream.readPlus(out, op.offset, op.size, (node) => this.#uncounted(node));
      for (const ino of counted) this.#inodes.remember(ino);
    } else stream.read(out, op.offset, op.size);
    return { kind: 'dirents', length: out.length, counted, page: copied ? out.copy() : null };
  }

  fsyncdir(ino: Ino): MaybePromise<Answer> {
    return andThen(this.#cache.fsyncDir(ino), () => OK);
  }
}

function renameMode(flags: number): RenameMode {
  switch (flags) {
    case 0:
      return 'replace';
    case RENAME_NOREPLACE:
      return 'noreplace';
    case RENAME_EXCHANGE:
      return 'exchange';
    default:
      throw new CloudError('invalid', `rename: flags are 0, RENAME_NOREPLACE or RENAME_EXCHANGE, found ${flags}`);
  }
}

function timestampOf(change: TimeChange, now: Timestamp): Timestamp {
  return change === 'now' ? now : change;
}

/** The stored mode without suid, and without sgid where the group may execute; null if there is nothing to take away. */
function withoutSuidgid(node: NodeView): number | null {
  if (node.mode === null || node.kind !== 'file') return null;
  let killed = node.mode & ~S_ISUID;
  if (killed & S_IXGRP) killed &= ~S_ISGID;
  return killed === node.mode ? null : killed;
}

/** `action`, with `recover` for what it throws now or rejects with later. */
function attempt<T>(action: () => MaybePromise<T>, recover: (error: unknown) => MaybePromise<T>): MaybePromise<T> {
  try {
    const value = action();
    return isPromise(value) ? value.catch(recover) : value;
  } catch (error) {
    return recover(error);
  }
}
