// Extended attributes. `user.cloudmount.*` is the drive's own face (two of them writable), every other `user.*` is the
// user's and travels to a server that can hold it.

import type { Clock } from '../clock.js';
import { CloudError, isCloudError } from '../errors.js';
import type { NodeStatus, XattrMode } from './cache_api.js';
import { Dirty, type NodeRecord } from './metadata/node.js';
import type { NodeStore } from './metadata/node_store.js';
import type { Tree } from './tree.js';

export const OWN_PREFIX = 'user.cloudmount.';
/** XATTR_SIZE_MAX of Linux; a server property of this size is still one header's worth of XML. */
const VALUE_MAX_BYTES = 65_536;
const TOTAL_MAX_BYTES = 262_144;

export interface XattrServices {
  readonly store: NodeStore;
  readonly tree: Tree;
  readonly clock: Clock;
  readonly status: (node: NodeRecord) => NodeStatus;
  readonly pinState: (node: NodeRecord) => 'none' | 'pinned' | 'inherited';
  readonly setPin: (node: NodeRecord, pinned: boolean) => void;
  readonly lock: (node: NodeRecord) => Promise<void>;
  readonly unlock: (node: NodeRecord) => Promise<void>;
  readonly holdsXattrs: () => boolean;
}

export class Xattrs {
  readonly #s: XattrServices;

  constructor(services: XattrServices) {
    this.#s = services;
  }

  get(node: NodeRecord, name: string): Buffer {
    const value = name.startsWith(OWN_PREFIX) ? this.#own(node).get(name) : node.xattrs?.get(name);
    if (value === undefined) throw new CloudError('no_attribute', `reading ${name}: there is no such attribute`);
    return value;
  }

  list(node: NodeRecord): string[] {
    if (node.kind === 'symlink') return []; // Linux reads no user.* of one (xattr(7)): what is listed must be readable
    return [...this.#own(node).keys(), ...(node.xattrs?.keys() ?? [])];
  }

  async set(node: NodeRecord, name: string, value: Buffer, mode: XattrMode): Promise<void> {
    if (name.startsWith(OWN_PREFIX)) return this.#setOwn(node, name, value.toString('utf8').trim());
    this.#check(node, name, value);
    const has = node.xattrs?.has(name) ?? false;
    if (mode === 'create' && has) throw new CloudError('exists', `creating ${name}: the attribute is there already`);
    if (mode === 'replace' && !has)
      throw new CloudError('no_attribute', `replacing ${name}: there is no such attribute`);
    this.#change(node, name, Buffer.from(value));
  }

  async remove(node: NodeRecord, name: string): Promise<void> {
    if (name.startsWith(OWN_PREFIX)) {
      if (this.#own(node).get(name) === undefined)
        throw new CloudError('no_attribute', `removing ${name}: it is not set`);
      return this.#setOwn(node, name, '0');
    }
    if (node.xattrs?.has(name) !== true)
      throw new CloudError('no_attribute', `removing ${name}: there is no such attribute`);
    this.#change(node, name, null);
  }

  #change(node: NodeRecord, name: string, value: Buffer | null): void {
    this.#s.store.transaction(() => {
      const xattrs = new Map(node.xattrs ?? []);
      if (value === null) xattrs.delete(name);
      else xattrs.set(name, value);
      node.xattrs = xattrs.size === 0 ? null : xattrs;
      if (this.#s.holdsXattrs()) {
        node.xattrDirty = new Set(node.xattrDirty ?? []).add(name);
        node.dirty |= Dirty.xattrs;
      }
      node.ctime = this.#s.clock.timestamp();
      this.#s.tree.changed(node);
    });
  }

  #check(node: NodeRecord, name: string, value: Buffer): void {
    if (!name.startsWith('user.') || name.length === 5) {
      throw new CloudError('unsupported', `setting ${name}: only user.* attributes are kept`);
    }
    if (node.kind === 'symlink')
      throw new CloudError('not_permitted', `setting ${name}: a symbolic link holds no user attributes`);
    let total = name.length + value.length;
    for (const [other, held] of node.xattrs ?? []) if (other !== name) total += other.length + held.length;
    if (value.length > VALUE_MAX_BYTES) {
      throw new CloudError('too_big', `setting ${name}: at most ${VALUE_MAX_BYTES} bytes, found ${value.length}`);
    }
    if (total > TOTAL_MAX_BYTES) {
      throw new CloudError(
        'no_space',
        `setting ${name}: all attributes of one file have at most ${TOTAL_MAX_BYTES} bytes`,
      );
    }
  }

  async #setOwn(node: NodeRecord, name: string, text: string): Promise<void> {
    const key = name.slice(OWN_PREFIX.length);
    if (!OWN.has(key)) throw new CloudError('not_permitted', `setting ${name}: the drive has no such attribute`);
    // The others come along when a file is copied with its attributes: that must not fail, nor change what is so.
    if (key !== 'pin' && key !== 'lock') return;
    const on = text === '1' || text === 'true' || text === 'mine';
    if (!on && text !== '0' && text !== 'false' && text !== '') {
      throw new CloudError('invalid', `setting ${name}: required 1 or 0, found "${text.slice(0, 40)}"`);
    }
    if (key === 'pin') this.#s.setPin(node, on);
    else {
      try {
        await (on ? this.#s.lock(node) : this.#s.unlock(node));
      } catch (error) {
        if (isCloudError(error, 'locked')) throw new CloudError('busy', error.message, { cause: error });
        throw error;
      }
    }
  }

  #own(node: NodeRecord): Map<string, Buffer> {
    const values = new Map<string, Buffer>();
    for (const [key, textOf] of OWN) {
      const value = textOf(node, this.#s);
      if (value !== null && value !== undefined) values.set(OWN_PREFIX + key, Buffer.from(value));
    }
    return values;
  }
}

type ValueOf = (node: NodeRecord, services: XattrServices) => string | null | undefined;

/** All of `user.cloudmount.*`, in the order of a listing. */
const OWN: ReadonlyMap<string, ValueOf> = new Map<string, ValueOf>([
  ['status', (node, { status }) => status(node)],
  ['pin', (node, { pinState }) => PIN_TEXT[pinState(node)]],
  ['lock', ({ heldLock, lock }) => (heldLock === null ? null : lock)],
  ['lock.owner', ({ heldLock }) => heldLock?.owner],
  ['lock.since', ({ heldLock }) => isoTime(heldLock?.sinceEpoch_s ?? null)],
  ['etag', (node) => node.baseEtag],
  ['fileid', (node) => node.fileid],
  ['rights', rightsText],
  ['shared', (node) => node.shared],
  ['checksum', (node) => node.checksum],
  ['error', (node) => node.error],
]);

const PIN_TEXT = { none: null, pinned: '1', inherited: 'inherited' } as const;

function isoTime(epoch_s: number | null): string | null {
  return epoch_s === null ? null : new Date(epoch_s * 1000).toISOString();
}

/** The letters of `oc:permissions`, as far as the drive knows them. */
function rightsText(node: NodeRecord): string {
  const { rights } = node;
  const letters: string[] = [];
  if (rights.share) letters.push('R');
  if (rights.read) letters.push('G');
  if (rights.remove) letters.push('D');
  if (rights.rename) letters.push('N');
  if (rights.move) letters.push('V');
  if (node.isDir) {
    if (rights.createFile) letters.push('C');
    if (rights.createDir) letters.push('K');
  } else if (rights.write) letters.push('W');
  return letters.join('');
}
