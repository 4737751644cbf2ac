// A server in memory and the `Remote` that talks to it. `FakeServer` is the tree with its versions, file ids, change
// log, locks, rights and quota; its methods act as "another client". `FakeRemote` is one client of it (several may share
// one server), with switches for everything that goes wrong: offline, failing calls, latency, hooks around every call.
//
//   const server = new FakeServer();               server.write('a/b.txt', 'by somebody else');
//   const remote = new FakeRemote(server);         remote.failNext('put', 'network', { when: 'after' });
//   remote.before('put', () => server.write('a/b.txt', 'a change just before ours'));

import { createHash } from 'node:crypto';
import type { Timestamp } from '../../src/clock.js';
import { CloudError, type ErrorCode } from '../../src/errors.js';
import { isWithin, joinPath, type Name, type RemotePath, ROOT_PATH, splitPath } from '../../src/ids.js';
import {
  ALL_RIGHTS,
  ANY_LOCK,
  type CallOptions,
  type ChangePage,
  type LockInfo,
  type MetaPatch,
  type MoveRule,
  type NodeKind,
  type PosixMeta,
  type Precondition,
  type PutResult,
  type Quota,
  type ReadSink,
  type Remote,
  type RemoteCapabilities,
  type RemoteChange,
  type RemoteEntry,
  type RemoteEvents,
  type Rights,
  type UploadSession,
  type UploadSource,
} from '../../src/remote/remote.js';
import { collect } from '../../src/remote/upload_body.js';
import { FULL } from './capabilities.js';
import { trace } from './trace.js';

export type FakeOp =
  | 'connect'
  | 'stat'
  | 'list'
  | 'read'
  | 'put'
  | 'mkdir'
  | 'symlink'
  | 'move'
  | 'remove'
  | 'setMeta'
  | 'lock'
  | 'refreshLock'
  | 'unlock'
  | 'quota'
  | 'changes'
  | 'ping';

/** Bytes of a file; a huge one can be computed instead of held. */
export interface FakeContent {
  readonly size_bytes: number;
  slice(start: number, end: number): Buffer;
}

interface FakeLock {
  readonly token: string;
  readonly owner: string;
  readonly since_s: number;
  expires_s: number | null;
}

interface FakeNode {
  kind: NodeKind;
  fileid: string;
  name: Name;
  parent: FakeNode | null;
  readonly children: Map<Name, FakeNode>;
  content: FakeContent;
  etag: string;
  /** Number of the last change of this node or anything below it. */
  seq: number;
  mtime: Timestamp;
  posix: PosixMeta;
  xattrs: Map<string, Buffer>;
  symlinkTarget: string | null;
  rights: Rights;
  shared: RemoteEntry['shared'];
  lock: FakeLock | null;
}

function bytesContent(bytes: Buffer): FakeContent {
  return { size_bytes: bytes.length, slice: (start, end) => bytes.subarray(start, end) };
}

const NOTHING = bytesContent(Buffer.alloc(0));

/** The tree every client sees. All changes go through it and are logged. Methods throw CloudError. */
export class FakeServer {
  readonly #root: FakeNode;
  readonly #gone: { seq: number; past: RemotePath; parent: FakeNode; name: Name }[] = [];
  readonly #listeners = new Set<() => void>();
  readonly #uploads = new Map<string, Buffer[]>();
  #epoch = 1;
  #seq = 1;
  #ids = 1;
  /** Bytes all files together may have; null = no limit. */
  quota_bytes: number | null = null;
  /** Wall clock of the server, milliseconds. */
  now_ms: () => number = Date.now;

  constructor() {
    this.#root = this.#newNode('dir', '' as Name, null);
  }

  // --- what another client does

  /** Creates or replaces a file; missing parents are made. */
  write(path: string, content: string | Buffer | FakeContent, meta: PosixMeta = {}): RemoteEntry {
    const { parent, name } = this.#parentOf(path, 'make');
    return this.#entry(this.#store(parent, name, toContent(content), meta));
  }

  mkdir(path: string): RemoteEntry {
    const { parent, name } = this.#parentOf(path, 'make');
    const node = parent.children.get(name) ?? this.#add(parent, name, 'dir');
    return this.#entry(node);
  }

  symlink(path: string, target: string): RemoteEntry {
    const { parent, name } = this.#parentOf(path, 'make');
    return this.#entry(this.#storeLink(parent, name, target));
  }

  remove(path: string): void {
    this.#detach(this.#get(path), true);
  }

  /** Replaces what is at `to`. */
  move(from: string, to: string): void {
    const node = this.#get(from);
    const { parent, name } = this.#parentOf(to, 'make');
    this.#attachMoved(node, parent, name);
  }

  read(path: string): Buffer {
    const node = this.#get(path);
    return node.content.slice(0, node.content.size_bytes);
  }

  text(path: string): string {
    return this.read(path).toString('utf8');
  }

  /** Null when there is nothing. */
  entry(path: string): RemoteEntry | null {
    const node = this.#find(path);
    return node === null ? null : this.#entry(node);
  }

  /** Every path, parents before children, without the root. */
  paths(): string[] {
    return [...this.#walk(this.#root)].map((node) => this.#path(node)).filter((path) => path !== '');
  }

  setRights(path: string, rights: Partial<Rights>): void {
    const node = this.#get(path);
    node.rights = { ...node.rights, ...rights };
    this.#touch(node);
  }

  setShared(path: string, shared: RemoteEntry['shared']): void {
    const node = this.#get(path);
    node.shared = shared;
    this.#touch(node);
  }

  setMeta(path: string, patch: MetaPatch): void {
    this.#patch(this.#get(path), patch);
  }

  /** Locks as `owner` (any name but the client's own). */
  lock(path: string, owner = 'somebody else', timeout_s: number | null = null): string {
    return this.takeLock(path, owner, timeout_s).token;
  }

  unlock(path: string): void {
    const node = this.#get(path);
    node.lock = null;
    this.#touch(node);
  }

  /** The server forgets its change log: every cursor becomes unknown, file ids and versions stay. */
  forgetCursors(): void {
    this.#epoch += 1;
    this.#gone.length = 0;
  }

  get used_bytes(): number {
    let used = 0;
    for (const node of this.#walk(this.#root)) if (node.kind === 'file') used += node.content.size_bytes;
    return used;
  }

  // --- what FakeRemote needs

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  statAs(path: string, user: string): RemoteEntry {
    return this.#entry(this.#get(path), user);
  }

  membersAs(path: string, user: string): RemoteEntry[] {
    const node = this.#get(path);
    if (node.kind !== 'dir') throw new CloudError('not_dir', `listing ${path}: a directory is required`);
    return [node, ...node.children.values()].map((one) => this.#entry(one, user));
  }

  content(path: string): { content: FakeContent; entry: RemoteEntry } {
    const node = this.#get(path);
    if (node.kind === 'dir') throw new CloudError('is_dir', `reading ${path}: a file is required, found a directory`);
    if (!node.rights.read) throw new CloudError('no_access', `reading ${path}: no right to read`);
    return { content: node.content, entry: this.#entry(node) };
  }

  /** All that PUT checks; throws what it would answer. */
  checkPut(path: string, precondition: Precondition, size_bytes: number, access: Access): void {
    const { parent, name } = this.#parentOf(path, 'need');
    const node = parent.children.get(name);
    if (node === undefined) {
      if (precondition.kind === 'if_match') throw mismatch(path, precondition.etag, null);
      if (!parent.rights.createFile) throw noAccess('creating', path);
      this.#needUnlocked(parent, access);
    } else {
      if (node.kind === 'dir') {
        if (precondition.kind !== 'none') throw mismatch(path, 'a file or nothing', 'a directory');
        throw new CloudError('is_dir', `uploading ${path}: a directory is there`);
      }
      if (precondition.kind === 'if_absent') throw mismatch(path, 'nothing', node.etag);
      if (precondition.kind === 'if_match' && precondition.etag !== node.etag) {
        throw mismatch(path, precondition.etag, node.etag);
      }
      if (!node.rights.write) throw noAccess('writing', path);
      this.#needUnlocked(node, access);
    }
    const used = this.used_bytes - (node?.content.size_bytes ?? 0);
    if (this.quota_bytes !== null && used + size_bytes > this.quota_bytes) {
      throw new CloudError('quota', `uploading ${path}: ${size_bytes} bytes do not fit into the quota`, {
        status: 507,
      });
    }
  }

  commitPut(path: string, content: FakeContent, meta: PosixMeta): PutResult {
    const { parent, name } = this.#parentOf(path, 'need');
    const created = !parent.children.has(name);
    const node = this.#store(parent, name, content, meta);
    return { etag: node.etag, fileid: node.fileid, created };
  }

  commitSymlink(path: string, target: string): PutResult {
    const { parent, name } = this.#parentOf(path, 'need');
    const created = !parent.children.has(name);
    const node = this.#storeLink(parent, name, target);
    return { etag: node.etag, fileid: node.fileid, created };
  }

  makeDir(path: string, meta: PosixMeta, access: Access): PutResult {
    const { parent, name } = this.#parentOf(path, 'need');
    if (parent.children.has(name)) throw new CloudError('exists', `making ${path}: the name is taken`);
    if (!parent.rights.createDir) throw noAccess('making', path);
    this.#needUnlocked(parent, access);
    const node = this.#add(parent, name, 'dir', meta);
    return { etag: node.etag, fileid: node.fileid, created: true };
  }

  moveAs(
    from: string,
    to: string,
    rule: { overwrite: { etag: string } | null; sourceEtag: string | null },
    access: Access,
  ): void {
    const node = this.#get(from);
    if (isWithin(to as RemotePath, from as RemotePath)) {
      throw new CloudError('invalid', `moving ${from} to ${to}: the target is the source or inside it`);
    }
    const { parent, name } = this.#parentOf(to, 'need');
    const target = parent.children.get(name);
    if (rule.sourceEtag !== null && rule.sourceEtag !== node.etag) throw mismatch(from, rule.sourceEtag, node.etag);
    if (rule.overwrite === null && target !== undefined) {
      throw new CloudError('exists', `moving ${from} to ${to}: the target exists`);
    }
    if (rule.overwrite !== null && (target?.etag !== rule.overwrite.etag || target.kind === 'dir')) {
      throw mismatch(to, rule.overwrite.etag, target?.etag ?? null);
    }
    const sameParent = node.parent === parent;
    if (sameParent ? !node.rights.rename : !node.rights.move) throw noAccess('moving', from);
    if (
      target === undefined &&
      !sameParent &&
      !(node.kind === 'dir' ? parent.rights.createDir : parent.rights.createFile)
    ) {
      throw noAccess('creating', to);
    }
    if (target !== undefined && !target.rights.remove) throw noAccess('replacing', to);
    this.#needUnlocked(node, access);
    if (target !== undefined) this.#needUnlocked(target, access);
    this.#attachMoved(node, parent, name);
  }

  removeAs(path: string, etag: string | null, access: Access): void {
    const node = this.#get(path);
    if (etag !== null && etag !== node.etag) throw mismatch(path, etag, node.etag);
    if (etag === null && node.kind !== 'dir') throw mismatch(path, 'some', node.etag);
    if (etag === null && node.children.size > 0) {
      throw new CloudError('not_empty', `removing ${path}: the directory must be empty`, { path });
    }
    if (!node.rights.remove || node.parent === null) throw noAccess('removing', path);
    for (const one of this.#walk(node)) this.#needUnlocked(one, access);
    this.#detach(node, true);
  }

  setMetaAs(path: string, patch: MetaPatch, access: Access): void {
    const node = this.#get(path);
    if (node.kind === 'file' && !node.rights.write) throw noAccess('changing attributes of', path);
    this.#needUnlocked(node, access);
    this.#patch(node, patch);
  }

  takeLock(path: string, owner: string, timeout_s: number | null): FakeLock {
    const node = this.#get(path);
    const held = this.#lockOf(node);
    if (held !== null) throw lockedBy(path, held);
    const now_s = this.now_ms() / 1000;
    node.lock = {
      token: `urn:fake:lock:${++this.#ids}`,
      owner,
      since_s: now_s,
      expires_s: timeout_s === null ? null : now_s + timeout_s,
    };
    this.#touch(node);
    return node.lock;
  }

  changeLock(path: string, token: string, what: 'refresh' | 'free'): FakeLock {
    const node = this.#get(path);
    const held = this.#lockOf(node);
    const isNamed = held?.token === token || (what === 'free' && token === ANY_LOCK);
    if (held === null || !isNamed) {
      throw new CloudError('precondition', `the lock ${token} on ${path} is required, found ${held?.token ?? 'none'}`);
    }
    if (what === 'free') node.lock = null;
    else if (held.expires_s !== null) held.expires_s = this.now_ms() / 1000 + 600;
    this.#touch(node);
    return held;
  }

  /** Chunks of an unfinished upload, by the id the client chose. */
  upload(id: string): Buffer[] {
    const chunks = this.#uploads.get(id) ?? [];
    this.#uploads.set(id, chunks);
    return chunks;
  }

  dropUpload(id: string): void {
    this.#uploads.delete(id);
  }

  changesAs(cursor: string | null, limit: number, user: string): ChangePage {
    const known = parseCursor(cursor);
    if (known === null) return this.#page({ seq: 0, listedFrom: this.#seq }, limit, user);
    if (known.epoch === this.#epoch) return this.#page(known, limit, user);
    return { ...this.#page({ seq: 0, listedFrom: this.#seq }, limit, user), anew: true };
  }

  /** In the order of the last change, as our server tells it; of what is gone, in a full listing, only since it began. */
  #page({ seq, listedFrom }: Omit<FakeCursor, 'epoch'>, limit: number, user: string): ChangePage {
    const goneSince = Math.max(seq, listedFrom ?? 0);
    type Step = { seq: number; path: RemotePath; node: FakeNode | null };
    const steps: Step[] = [];
    for (const node of this.#walk(this.#root))
      if (node.seq > seq && node !== this.#root) steps.push({ seq: node.seq, path: this.#path(node), node });
    for (const { seq: at, past, parent, name } of this.#gone) {
      if (at <= goneSince) continue;
      // Told where its collection is by now; if that is gone too, where it was.
      let top = parent;
      while (top.parent !== null) top = top.parent;
      const attached = top === this.#root;
      if (attached && parent.children.has(name)) continue;
      steps.push({ seq: at, path: attached ? joinPath(this.#path(parent), name) : past, node: null });
    }
    steps.sort((a, b) => a.seq - b.seq);
    // A page never ends in the middle of one change.
    let count = Math.min(limit, steps.length);
    while (count < steps.length && steps[count]?.seq === steps[count - 1]?.seq) count += 1;
    const page = steps.slice(0, count);
    const upTo = page.at(-1)?.seq ?? this.#seq;
    const nodes = new Set<FakeNode>();
    for (const step of page)
      for (let node = step.node; node !== null && node !== this.#root && node.seq > seq; node = node.parent)
        nodes.add(node);
    const present = [...nodes].sort((a, b) => (orderKey(this.#path(a)) < orderKey(this.#path(b)) ? -1 : 1));
    const more = count < steps.length;
    const next: FakeCursor = { epoch: this.#epoch, seq: upTo, listedFrom: more ? listedFrom : null };
    return {
      changes: [
        ...present.map((node): RemoteChange => ({ kind: 'present', entry: this.#entry(node, user) })),
        ...page.filter((step) => step.node === null).map((step): RemoteChange => ({ kind: 'gone', path: step.path })),
      ],
      next: JSON.stringify(next),
      more,
      full: listedFrom !== null,
    };
  }

  // --- the tree

  #newNode(kind: NodeKind, name: Name, parent: FakeNode | null): FakeNode {
    const now = this.now_ms();
    return {
      kind,
      fileid: String(++this.#ids),
      name,
      parent,
      children: new Map(),
      content: NOTHING,
      etag: `"${kind}-${this.#seq}"`,
      seq: this.#seq,
      mtime: { s: Math.floor(now / 1000), ns: (now % 1000) * 1_000_000 },
      posix: {},
      xattrs: new Map(),
      symlinkTarget: null,
      rights: parent?.rights ?? ALL_RIGHTS,
      shared: null,
      lock: null,
    };
  }

  #add(parent: FakeNode, name: Name, kind: NodeKind, meta: PosixMeta = {}): FakeNode {
    const node = this.#newNode(kind, name, parent);
    parent.children.set(name, node);
    applyMeta(node, meta);
    this.#touch(node, 'content');
    return node;
  }

  #store(parent: FakeNode, name: Name, content: FakeContent, meta: PosixMeta): FakeNode {
    const node = parent.children.get(name) ?? this.#add(parent, name, 'file');
    if (node.kind === 'dir') throw new CloudError('is_dir', `writing ${name}: a directory is there`);
    node.kind = 'file';
    node.symlinkTarget = null;
    node.content = content;
    const now = this.now_ms();
    node.mtime = { s: Math.floor(now / 1000), ns: (now % 1000) * 1_000_000 };
    applyMeta(node, meta);
    this.#touch(node, 'content');
    return node;
  }

  #storeLink(parent: FakeNode, name: Name, target: string): FakeNode {
    const node = this.#store(parent, name, bytesContent(Buffer.from(target)), {});
    node.kind = 'symlink';
    node.symlinkTarget = target;
    return node;
  }

  #patch(node: FakeNode, patch: MetaPatch): void {
    applyMeta(node, patch);
    for (const [name, value] of patch.xattrs ?? []) {
      if (value === null) node.xattrs.delete(name);
      else node.xattrs.set(name, Buffer.from(value));
    }
    this.#touch(node);
  }

  #detach(node: FakeNode, log: boolean): void {
    const parent = node.parent;
    if (parent === null) throw new CloudError('not_permitted', 'removing the root: not possible');
    const gone = [...this.#walk(node)].map((one) => ({
      past: this.#path(one),
      parent: one.parent ?? parent,
      name: one.name,
    }));
    parent.children.delete(node.name);
    node.parent = null;
    this.#touch(parent);
    if (log) for (const one of gone) this.#gone.push({ seq: this.#seq, ...one });
  }

  #attachMoved(node: FakeNode, parent: FakeNode, name: Name): void {
    const target = parent.children.get(name);
    if (target === node) return;
    if (target !== undefined) this.#detach(target, true);
    this.#detach(node, true);
    node.name = name;
    node.parent = parent;
    parent.children.set(name, node);
    this.#touch(node);
    for (const one of this.#walk(node)) {
      one.seq = this.#seq;
    }
  }

  /** One change: new numbers up to the root, new collection ETags, listeners told. */
  #touch(node: FakeNode, what: 'content' | 'meta' = 'meta'): void {
    this.#seq += 1;
    if (what === 'content' && node.kind !== 'dir') node.etag = `"file-${this.#seq}"`;
    for (let one: FakeNode | null = node; one !== null; one = one.parent) {
      one.seq = this.#seq;
      if (one.kind === 'dir') one.etag = `"dir-${this.#seq}"`;
    }
    for (const listener of this.#listeners) listener();
  }

  *#walk(node: FakeNode): Iterable<FakeNode> {
    yield node;
    const members = [...node.children.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const member of members) yield* this.#walk(member);
  }

  #path(node: FakeNode): RemotePath {
    return node.parent === null ? ROOT_PATH : joinPath(this.#path(node.parent), node.name);
  }

  #find(path: string): FakeNode | null {
    let node = this.#root;
    if (path === '') return node;
    for (const name of path.split('/')) {
      const next = node.children.get(name as Name);
      if (next === undefined) return null;
      node = next;
    }
    return node;
  }

  #get(path: string): FakeNode {
    const node = this.#find(path);
    if (node === null) throw new CloudError('not_found', `${path}: nothing is there`, { status: 404 });
    return node;
  }

  #parentOf(path: string, missing: 'make' | 'need'): { parent: FakeNode; name: Name } {
    if (path === '') throw new CloudError('not_permitted', 'the root is there already and stays');
    const { parent: parentPath, name } = splitPath(path as RemotePath);
    let parent = this.#find(parentPath);
    if (parent === null && missing === 'make') {
      this.mkdir(parentPath);
      parent = this.#find(parentPath);
    }
    if (parent === null || parent.kind !== 'dir') {
      throw new CloudError('not_found', `${path}: the parent must be a directory`, { status: 409 });
    }
    return { parent, name };
  }

  #lockOf(node: FakeNode): FakeLock | null {
    if (node.lock?.expires_s != null && node.lock.expires_s <= this.now_ms() / 1000) node.lock = null;
    return node.lock;
  }

  #needUnlocked(node: FakeNode, access: Access): void {
    const held = this.#lockOf(node);
    if (held !== null && held.token !== access.lockToken) throw lockedBy(this.#path(node), held);
  }

  #entry(node: FakeNode, user: string | null = null): RemoteEntry {
    const lock = this.#lockOf(node);
    const mine = lock !== null && lock.owner === user;
    return {
      path: this.#path(node),
      kind: node.kind,
      fileid: node.fileid,
      etag: node.etag,
      size_bytes: node.kind === 'file' ? node.content.size_bytes : 0,
      mtime: node.mtime,
      rights: node.rights,
      lock:
        lock === null
          ? null
          : {
              owner: lock.owner,
              sinceEpoch_s: Math.floor(lock.since_s),
              expiresEpoch_s: lock.expires_s === null ? null : Math.floor(lock.expires_s),
              token: mine ? lock.token : null,
              mine,
            },
      shared: node.shared,
      checksum: node.kind === 'file' && node.content.size_bytes < 1 << 24 ? checksumOf(node.content) : null,
      symlinkTarget: node.symlinkTarget,
      posix: node.posix,
      xattrs: new Map(node.xattrs),
    };
  }
}

interface FakeCursor {
  readonly epoch: number;
  readonly seq: number;
  /** Of a full listing that is not through: where the feed was when it began. */
  readonly listedFrom: number | null;
}

function parseCursor(cursor: string | null): FakeCursor | null {
  if (cursor === null) return null;
  try {
    return JSON.parse(cursor) as FakeCursor;
  } catch {
    return null; // an unknown cursor starts over
  }
}

interface Access {
  readonly lockToken?: string | undefined;
}

/** Sorts a tree depth first: `/` before every other character. */
function orderKey(path: RemotePath): string {
  return path.replaceAll('/', '\u0000');
}

function toContent(content: string | Buffer | FakeContent): FakeContent {
  if (typeof content === 'string') return bytesContent(Buffer.from(content));
  return Buffer.isBuffer(content) ? bytesContent(Buffer.from(content)) : content;
}

const checksums = new WeakMap<FakeContent, string>();

function checksumOf(content: FakeContent): string {
  const known = checksums.get(content);
  if (known !== undefined) return known;
  const hash = createHash('sha256').update(content.slice(0, content.size_bytes)).digest('hex');
  checksums.set(content, `SHA256:${hash}`);
  return `SHA256:${hash}`;
}

function applyMeta(node: FakeNode, meta: PosixMeta): void {
  const { mode, uid, gid, mtime } = meta;
  node.posix = {
    ...node.posix,
    ...(mode === undefined ? {} : { mode }),
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
    ...(mtime === undefined ? {} : { mtime }),
  };
  if (mtime !== undefined) node.mtime = mtime;
}

function mismatch(path: string, wanted: string, found: string | null): CloudError {
  return new CloudError('precondition', `${path}: the version ${wanted} is required, found ${found ?? 'nothing'}`, {
    status: 412,
    path,
  });
}

function noAccess(doing: string, path: string): CloudError {
  return new CloudError('no_access', `${doing} ${path}: the server does not allow it`, { status: 403, path });
}

function lockedBy(path: string, lock: FakeLock): CloudError {
  return new CloudError('locked', `${path} is locked by ${lock.owner}`, { status: 423, path, lockOwner: lock.owner });
}

export interface FakeCall {
  readonly op: FakeOp;
  readonly path: string;
}

export type FakeHook = (call: FakeCall) => void | Promise<void>;

interface Failure {
  readonly op: FakeOp | 'any';
  readonly code: ErrorCode;
  readonly when: 'before' | 'after';
  readonly retryAfter_s: number | null;
  left: number;
}

export interface FakeRemoteOptions {
  /** Name of the account; locks taken by another remote with the same user count as ours. */
  readonly user?: string;
  readonly capabilities?: Partial<RemoteCapabilities>;
  readonly displayUrl?: string;
}

/** Which upload in parts goes on or begins; as `chunked_upload.ts` knows one again: by size and time of the version. */
export function uploadInParts(session: UploadSession, size_bytes: number, meta: PosixMeta): { readonly id: string } {
  const version = `${meta.mtime?.s}.${meta.mtime?.ns}`;
  const known = session.state === null ? null : (JSON.parse(session.state) as Record<string, unknown>);
  if (known !== null && known['size_bytes'] === size_bytes && known['version'] === version) {
    return { id: String(known['id']) };
  }
  const id = `upload-${crypto.randomUUID()}`;
  session.save(JSON.stringify({ id, size_bytes, version }));
  return { id };
}

export class FakeRemote implements Remote {
  readonly server: FakeServer;
  readonly displayUrl: string;
  readonly user: string;
  capabilities: RemoteCapabilities;

  /** Every call waits this long first. */
  latency_ms = 0;
  /** A read's body comes in chunks of this size, each after `chunkLatency_ms`. */
  chunk_bytes = 64 * 1024;
  chunkLatency_ms = 0;
  /** Uploads larger than this go in chunks of `uploadChunk_bytes` and can be resumed. */
  chunkedFrom_bytes = 64 * 1024 * 1024;
  uploadChunk_bytes = 32 * 1024 * 1024;
  /** Whether what was put together is compared with the client's checksum. Nextcloud does not. */
  checksSums = true;
  /** Entries per page of `changes` and per batch of `list`. */
  page_entries = 1000;

  /** Every call in the order it came, failed ones too. */
  readonly calls: FakeCall[] = [];
  bytesRead = 0;
  bytesWritten = 0;
  inFlight = 0;
  maxInFlight = 0;

  readonly #hooks = new Map<string, Set<FakeHook>>();
  readonly #failures: Failure[] = [];
  readonly #watchers = new Set<RemoteEvents>();
  readonly #onlineWaits = new Set<() => void>();
  #connection: 'online' | 'offline' | 'unauthorized' | 'silent' = 'online';
  #closed = false;

  constructor(server = new FakeServer(), options: FakeRemoteOptions = {}) {
    this.server = server;
    this.user = options.user ?? 'me';
    this.displayUrl = options.displayUrl ?? 'fake://server/';
    this.capabilities = { ...FULL, ...options.capabilities };
  }

  // --- switches

  /** Every call fails with `network` at once; the push channel breaks. */
  goOffline(): void {
    this.#setConnection('offline');
  }

  /** Every call hangs until its signal or `goOnline`; the push channel breaks. */
  goSilent(): void {
    this.#setConnection('silent');
  }

  goOnline(): void {
    this.#setConnection('online');
  }

  /** Every call fails with `unauthorized`. */
  rejectCredentials(): void {
    this.#setConnection('unauthorized');
  }

  /** The next `times` calls of `op` fail; `after` = the server has done it and the answer is lost. */
  failNext(
    op: FakeOp | 'any',
    code: ErrorCode,
    options: { times?: number; when?: 'before' | 'after'; retryAfter_s?: number } = {},
  ): void {
    this.#failures.push({
      op,
      code,
      when: options.when ?? 'before',
      retryAfter_s: options.retryAfter_s ?? null,
      left: options.times ?? 1,
    });
  }

  clearFailures(): void {
    this.#failures.length = 0;
  }

  /** Runs before the server acts on each such call, until the returned function is called. */
  before(op: FakeOp, hook: FakeHook): () => void {
    return this.#addHook(`before ${op}`, hook);
  }

  /** Runs when the server has acted and the answer is not yet seen. */
  after(op: FakeOp, hook: FakeHook): () => void {
    return this.#addHook(`after ${op}`, hook);
  }

  count(op: FakeOp, path?: string): number {
    return this.calls.filter((call) => call.op === op && (path === undefined || call.path === path)).length;
  }

  resetCounters(): void {
    this.calls.length = 0;
    this.bytesRead = 0;
    this.bytesWritten = 0;
    this.maxInFlight = this.inFlight;
  }

  // --- Remote

  connect(options?: CallOptions): Promise<RemoteCapabilities> {
    return this.#call('connect', '', options, () => this.capabilities);
  }

  stat(path: RemotePath, options?: CallOptions): Promise<RemoteEntry> {
    return this.#call('stat', path, options, () => this.#dress(this.server.statAs(path, this.user)));
  }

  async *list(path: RemotePath, options?: CallOptions): AsyncIterable<readonly RemoteEntry[]> {
    const entries = await this.#call('list', path, options, () => this.server.membersAs(path, this.user));
    for (let i = 0; i < entries.length; i += this.page_entries) {
      yield entries.slice(i, i + this.page_entries).map((entry) => this.#dress(entry));
    }
  }

  read(
    path: RemotePath,
    range: { readonly start: number; readonly end: number },
    etag: string | null,
    sink: ReadSink,
    options?: CallOptions,
  ): Promise<void> {
    return this.#call('read', path, options, async () => {
      const { content, entry } = this.server.content(path);
      if (etag !== null && entry.etag !== etag) {
        throw new CloudError('stale', `reading ${path}: the version ${etag} is required, found ${entry.etag}`);
      }
      if (range.start < 0 || range.end < range.start || range.end > content.size_bytes) {
        throw new CloudError(
          'protocol',
          `reading ${path}: [${range.start}, ${range.end}) of ${content.size_bytes} bytes is not there`,
        );
      }
      for (let at = range.start; at < range.end; at += this.chunk_bytes) {
        if (this.chunkLatency_ms > 0) await wait(this.chunkLatency_ms, options?.signal);
        this.#needConnection(options);
        const chunk = Buffer.from(content.slice(at, Math.min(at + this.chunk_bytes, range.end)));
        this.bytesRead += chunk.length;
        const taken = sink(chunk, at);
        chunk.fill(0xdd); // a chunk is valid until the sink returns, not longer
        await taken;
      }
    });
  }

  put(
    path: RemotePath,
    source: UploadSource,
    precondition: Precondition,
    meta: PosixMeta,
    session: UploadSession,
    options?: CallOptions,
  ): Promise<PutResult> {
    return this.#call('put', path, options, async () => {
      const chunked = this.capabilities.chunkedUpload && source.size_bytes > this.chunkedFrom_bytes;
      try {
        this.server.checkPut(path, precondition, source.size_bytes, this.#access(options));
      } catch (error) {
        const same =
          error instanceof CloudError && error.code === 'precondition' && (await this.#alreadyThere(path, source));
        if (!same) throw error;
        await session.committing();
        const there = this.server.statAs(path, this.user);
        return { etag: there.etag, fileid: this.capabilities.fileIds ? there.fileid : null, created: false };
      }
      const upload = chunked ? uploadInParts(session, source.size_bytes, meta) : null;
      const id = upload?.id ?? `upload-${crypto.randomUUID()}`;
      const chunks = this.server.upload(id);
      const step = chunked ? this.uploadChunk_bytes : Math.max(source.size_bytes, 1);
      let sent = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
      while (sent < source.size_bytes) {
        const end = Math.min(sent + step, source.size_bytes);
        const parts: Buffer[] = [];
        for await (const part of source.open(sent, end)) {
          this.#needConnection(options);
          parts.push(Buffer.from(part));
          this.bytesWritten += part.length;
        }
        const chunk = Buffer.concat(parts);
        if (chunk.length !== end - sent) {
          throw new CloudError(
            'io',
            `uploading ${path}: ${end - sent} bytes are required, the source gave ${chunk.length}`,
          );
        }
        chunks.push(chunk);
        sent = end;
        session.progress(sent);
        if (this.chunkLatency_ms > 0) await wait(this.chunkLatency_ms, options?.signal);
      }
      await session.committing();
      const expected = this.checksSums ? await source.sha256?.() : undefined;
      this.#needConnection(options);
      const bytes = Buffer.concat(chunks);
      this.server.dropUpload(id);
      if (expected !== undefined) {
        const found = createHash('sha256').update(bytes).digest('hex');
        if (found !== expected) {
          throw new CloudError('invalid', `uploading ${path}: checksum ${expected} is required, found ${found}`);
        }
      }
      this.server.checkPut(path, precondition, source.size_bytes, this.#access(options));
      const result = this.server.commitPut(path, bytesContent(bytes), this.#storable(meta));
      if (chunked) session.save(null);
      return { ...result, fileid: this.capabilities.fileIds ? result.fileid : null };
    });
  }

  mkdir(path: RemotePath, meta: PosixMeta, options?: CallOptions): Promise<PutResult> {
    return this.#call('mkdir', path, options, () => {
      const result = this.server.makeDir(path, this.#storable(meta), this.#access(options));
      const { fileIds, collectionEtags } = this.capabilities;
      return { ...result, etag: collectionEtags ? result.etag : null, fileid: fileIds ? result.fileid : null };
    });
  }

  symlink(path: RemotePath, target: string, precondition: Precondition, options?: CallOptions): Promise<PutResult> {
    return this.#call('symlink', path, options, () => {
      if (!this.capabilities.symlinks)
        throw new CloudError('unsupported', `linking ${path}: the server has no symlinks`);
      this.server.checkPut(path, precondition, 0, this.#access(options));
      return this.server.commitSymlink(path, target);
    });
  }

  move(from: RemotePath, to: RemotePath, rule: MoveRule, options?: CallOptions): Promise<void> {
    return this.#call('move', from, options, () => {
      const { sourceKind, sourceId } = rule;
      const source = this.server.entry(from);
      const { dialect } = this.capabilities;
      if (dialect === 'generic' && sourceKind !== undefined && source?.kind !== sourceKind)
        throw mismatch(from, sourceKind, 'something else');
      if (dialect === 'cloudmount' && typeof sourceId === 'string' && source !== null && source.fileid !== sourceId)
        throw mismatch(from, sourceId, source.fileid);
      this.server.moveAs(from, to, rule, this.#access(options));
    });
  }

  remove(path: RemotePath, etag: string | null, options?: CallOptions): Promise<void> {
    return this.#call('remove', path, options, () => this.server.removeAs(path, etag, this.#access(options)));
  }

  setMeta(path: RemotePath, patch: MetaPatch, options?: CallOptions): Promise<void> {
    return this.#call('setMeta', path, options, () => {
      const { posix, setMtime, xattrs } = this.capabilities;
      const refused =
        (!posix && (patch.mode !== undefined || patch.uid !== undefined || patch.gid !== undefined)) ||
        (!setMtime && patch.mtime !== undefined) ||
        (!xattrs && patch.xattrs !== undefined && patch.xattrs.size > 0);
      if (refused) throw new CloudError('unsupported', `changing attributes of ${path}: the server cannot hold them`);
      this.server.setMetaAs(path, patch, this.#access(options));
    });
  }

  lock(path: RemotePath, options?: CallOptions & { readonly timeout_s?: number }): Promise<LockInfo> {
    return this.#call('lock', path, options, () => {
      if (!this.capabilities.locks) throw new CloudError('unsupported', `locking ${path}: the server has no locks`);
      return lockInfo(this.server.takeLock(path, this.user, options?.timeout_s ?? null));
    });
  }

  refreshLock(path: RemotePath, token: string, options?: CallOptions): Promise<LockInfo> {
    return this.#call('refreshLock', path, options, () => lockInfo(this.server.changeLock(path, token, 'refresh')));
  }

  unlock(path: RemotePath, token: string, options?: CallOptions): Promise<void> {
    return this.#call('unlock', path, options, () => {
      this.server.changeLock(path, token, 'free');
    });
  }

  quota(options?: CallOptions): Promise<Quota | null> {
    return this.#call('quota', '', options, () => {
      const used_bytes = this.server.used_bytes;
      const limit = this.server.quota_bytes;
      return { used_bytes, available_bytes: limit === null ? null : Math.max(0, limit - used_bytes) };
    });
  }

  changes(cursor: string | null, options?: CallOptions): Promise<ChangePage> {
    return this.#call('changes', '', options, () => {
      if (!this.capabilities.changeFeed) throw new CloudError('unsupported', 'the server has no change feed');
      const page = this.server.changesAs(cursor, this.page_entries, this.user);
      return {
        ...page,
        changes: page.changes.map((change) =>
          change.kind === 'present' ? { kind: 'present', entry: this.#dress(change.entry) } : change,
        ),
      };
    });
  }

  watch(events: RemoteEvents, signal: AbortSignal): void {
    if (!this.capabilities.push || signal.aborted) return;
    const off = this.server.onChange(() => {
      if (this.#connection === 'online' && !signal.aborted) setImmediate(() => !signal.aborted && events.onChange());
    });
    this.#watchers.add(events);
    signal.addEventListener('abort', () => {
      off();
      this.#watchers.delete(events);
    });
    setImmediate(() => !signal.aborted && events.onConnection(this.#connection === 'online'));
  }

  ping(options?: CallOptions): Promise<void> {
    return this.#call('ping', '', options, () => undefined);
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#watchers.clear();
    for (const wake of [...this.#onlineWaits]) wake();
    return Promise.resolve();
  }

  // --- inside

  async #call<T>(op: FakeOp, path: string, options: CallOptions | undefined, act: () => T | Promise<T>): Promise<T> {
    const call = { op, path };
    this.calls.push(call);
    this.inFlight += 1;
    this.maxInFlight = Math.max(this.maxInFlight, this.inFlight);
    try {
      this.#needConnection(options);
      if (this.latency_ms > 0) await wait(this.latency_ms, options?.signal);
      else await Promise.resolve();
      if (this.#connection === 'silent') await this.#untilOnline(options?.signal);
      this.#needConnection(options);
      this.#failIfAsked(call, 'before');
      for (const hook of [...(this.#hooks.get(`before ${op}`) ?? [])]) await hook(call);
      this.#needConnection(options);
      const result = await act();
      for (const hook of [...(this.#hooks.get(`after ${op}`) ?? [])]) await hook(call);
      this.#failIfAsked(call, 'after');
      this.#needConnection(options);
      trace(`  ${op} ${path}: ${shown(result)}`);
      return result;
    } catch (error) {
      trace(`  ${op} ${path}: ${error}`);
      throw error;
    } finally {
      this.inFlight -= 1;
    }
  }

  #needConnection(options: CallOptions | undefined): void {
    if (options?.signal?.aborted) throw new CloudError('interrupted', 'the call was interrupted');
    if (this.#closed) throw new CloudError('network', 'the remote is closed');
    if (this.#connection === 'offline') throw new CloudError('network', 'the fake server cannot be reached');
    if (this.#connection === 'unauthorized') {
      throw new CloudError('unauthorized', 'the fake server does not accept the credentials', { status: 401 });
    }
  }

  #untilOnline(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = () => {
        this.#onlineWaits.delete(done);
        signal?.removeEventListener('abort', abort);
        resolve();
      };
      const abort = () => {
        this.#onlineWaits.delete(done);
        reject(new CloudError('interrupted', 'the call was interrupted'));
      };
      this.#onlineWaits.add(done);
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  #failIfAsked(call: FakeCall, when: 'before' | 'after'): void {
    const index = this.#failures.findIndex((one) => (one.op === call.op || one.op === 'any') && one.when === when);
    const failure = this.#failures[index];
    if (failure === undefined) return;
    failure.left -= 1;
    if (failure.left <= 0) this.#failures.splice(index, 1);
    throw new CloudError(failure.code, `${call.op} ${call.path}: made to fail ${when} the server acted`, {
      path: call.path,
      ...(failure.retryAfter_s === null ? {} : { retryAfter_s: failure.retryAfter_s }),
    });
  }

  #addHook(key: string, hook: FakeHook): () => void {
    const hooks = this.#hooks.get(key) ?? new Set();
    this.#hooks.set(key, hooks);
    hooks.add(hook);
    return () => hooks.delete(hook);
  }

  #setConnection(state: 'online' | 'offline' | 'unauthorized' | 'silent'): void {
    const before = this.#connection === 'online';
    this.#connection = state;
    if (state !== 'silent') for (const wake of [...this.#onlineWaits]) wake();
    if (before !== (state === 'online')) {
      for (const events of this.#watchers)
        setImmediate(() => this.#watchers.has(events) && events.onConnection(!before));
    }
  }

  /** Identical content is no conflict: the answer of an earlier upload may have been lost. */
  async #alreadyThere(path: RemotePath, source: UploadSource): Promise<boolean> {
    const there = this.server.entry(path);
    if (there === null || there.kind !== 'file' || there.size_bytes !== source.size_bytes) return false;
    return (await collect(source.open(0, source.size_bytes))).equals(this.server.read(path));
  }

  #access(options: CallOptions | undefined): Access {
    return { lockToken: options?.lockToken };
  }

  #storable(meta: PosixMeta): PosixMeta {
    const { mode, uid, gid, mtime } = meta;
    return {
      ...(this.capabilities.posix && mode !== undefined ? { mode } : {}),
      ...(this.capabilities.posix && uid !== undefined ? { uid } : {}),
      ...(this.capabilities.posix && gid !== undefined ? { gid } : {}),
      ...(this.capabilities.setMtime && mtime !== undefined ? { mtime } : {}),
    };
  }

  /** What a server with fewer abilities would show. */
  #dress(entry: RemoteEntry): RemoteEntry {
    const { fileIds, collectionEtags } = this.capabilities;
    if (fileIds && collectionEtags) return entry;
    return {
      ...entry,
      fileid: fileIds ? entry.fileid : null,
      etag: entry.kind === 'dir' && !collectionEtags ? null : entry.etag,
    };
  }
}

function lockInfo(lock: FakeLock): LockInfo {
  return {
    owner: lock.owner,
    sinceEpoch_s: Math.floor(lock.since_s),
    expiresEpoch_s: lock.expires_s === null ? null : Math.floor(lock.expires_s),
    token: lock.token,
    mine: true,
  };
}

function wait(delay_ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(new CloudError('interrupted', 'the call was interrupted'));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort);
      resolve();
    }, delay_ms);
    signal?.addEventListener('abort', abort, { once: true });
  });
}

/** An answer in short, for the trace. */
function shown(result: unknown): string {
  const changes = (result as { changes?: readonly RemoteChange[] } | undefined)?.changes;
  if (changes === undefined) return String(JSON.stringify(result)).slice(0, 300);
  return changes
    .map((one) => (one.kind === 'gone' ? `-${one.path}` : `+${one.entry.path}#${one.entry.fileid}`))
    .join(' ');
}
