// The kernel's end of a connection, without a mount: sends requests as bytes to a session and collects the replies.

import type { Clock } from '../../../src/clock.js';
import { systemClock } from '../../../src/clock.js';
import { Filesystem, type FilesystemParts } from '../../../src/fs/filesystem.js';
import { HandleTable } from '../../../src/fs/handle_table.js';
import { InodeTable } from '../../../src/fs/inode_table.js';
import { noBackingFiles } from '../../../src/fs/passthrough.js';
import { RequestBuffer } from '../../../src/fs/request_buffer.js';
import { type Delivery, type Handled, Session, type SessionOptions } from '../../../src/fs/session.js';
import { Timeouts } from '../../../src/fs/timeouts.js';
import { Opcode } from '../../../src/fs/wire/abi.js';
import { ReplyBuffer } from '../../../src/fs/wire/encode.js';
import type { Ino } from '../../../src/ids.js';
import { type Log, silentLog } from '../../../src/log.js';
import type { MemCache } from '../../support/mem_cache.js';

export interface Reply {
  /** Negative, as on the wire; 0 = success. */
  readonly error: number;
  readonly body: Buffer;
}

export interface FakeKernelOptions {
  readonly policy?: Partial<FilesystemParts['policy']>;
  readonly session?: Partial<SessionOptions>;
  readonly clock?: Clock;
  readonly log?: Log;
}

export class FakeKernel {
  readonly inodes = new InodeTable();
  readonly handles = new HandleTable(noBackingFiles);
  readonly session: Session;
  readonly attributesChanged: number[] = [];
  readonly pagesChanged: number[] = [];
  /** What the kernel says to the next reply. */
  delivery: Delivery = 'delivered';
  caller = { uid: 0, gid: 0, pid: 1 };
  readonly #replies = new Map<number, Reply>();
  readonly #waiting = new Map<number, (reply: Reply) => void>();
  #unique = 2;
  repliesTwice = 0;

  constructor(cache: MemCache, options: FakeKernelOptions = {}) {
    const replies = new ReplyBuffer();
    const clock = options.clock ?? systemClock;
    const filesystem = new Filesystem({
      cache,
      clock,
      replies,
      inodes: this.inodes,
      handles: this.handles,
      timeouts: new Timeouts(cache),
      policy: { uid: 0, gid: 0, fileMode: 0o644, dirMode: 0o755, storedOwners: true, ...options.policy },
      attributesChanged: (ino) => this.attributesChanged.push(ino),
      pagesChanged: (ino) => this.pagesChanged.push(ino),
    });
    this.session = new Session(filesystem, replies, clock, options.log ?? silentLog, {
      passthrough: false,
      requestTimeout_ms: 1000,
      onRequest: () => cache.served(),
      onInit: () => undefined,
      onInitFailed: () => undefined,
      ...options.session,
    });
    this.session.attach({
      send: (bytes, length, data) => {
        const whole = Buffer.concat([bytes.subarray(0, length), data ?? Buffer.alloc(0)]);
        const unique = Number(whole.readBigUInt64LE(8));
        const reply = { error: whole.readInt32LE(4), body: whole.subarray(16) };
        if (whole.readUInt32LE(0) !== whole.length) throw new Error('the length of a reply is not what it states');
        if (this.#replies.has(unique)) this.repliesTwice += 1;
        this.#replies.set(unique, reply);
        this.#waiting.get(unique)?.(reply);
        return this.delivery;
      },
    });
  }

  /** Sends a request; `settled` is when its buffer is free. */
  post(opcode: number, ino: number, body: Buffer, buffer = new RequestBuffer()): { unique: number; handled: Handled } {
    const unique = this.#unique;
    this.#unique += 2;
    const header = Buffer.alloc(40);
    header.writeUInt32LE(40 + body.length, 0);
    header.writeUInt32LE(opcode, 4);
    header.writeBigUInt64LE(BigInt(unique), 8);
    header.writeBigUInt64LE(BigInt(ino), 16);
    header.writeUInt32LE(this.caller.uid, 24);
    header.writeUInt32LE(this.caller.gid, 28);
    header.writeUInt32LE(this.caller.pid, 32);
    header.copy(buffer.bytes, 0);
    body.copy(buffer.bytes, 40);
    return { unique, handled: this.session.handle(buffer, 40 + body.length) };
  }

  /** The reply that is there by now, if any. */
  replyTo(unique: number): Reply | undefined {
    return this.#replies.get(unique);
  }

  async reply(unique: number): Promise<Reply> {
    return this.#replies.get(unique) ?? new Promise((resolve) => this.#waiting.set(unique, resolve));
  }

  call(opcode: number, ino: number, body: Buffer = Buffer.alloc(0)): Promise<Reply> {
    return this.reply(this.post(opcode, ino, body).unique);
  }

  async lookup(parent: number, name: string | Buffer): Promise<Reply> {
    return this.call(Opcode.LOOKUP, parent, Buffer.concat([Buffer.from(name), NUL]));
  }

  async open(ino: number, flags = 0): Promise<{ error: number; handle: number; flags: number }> {
    const { error, body } = await this.call(Opcode.OPEN, ino, u32(flags, 0));
    return { error, handle: error ? 0 : Number(body.readBigUInt64LE(0)), flags: error ? 0 : body.readUInt32LE(8) };
  }

  read(ino: number, handle: number, offset: number, size: number): Promise<Reply> {
    return this.call(Opcode.READ, ino, readBody(handle, offset, size));
  }

  write(ino: number, handle: number, offset: number, data: Buffer, flags = 0, openFlags = 0): Promise<Reply> {
    return this.call(Opcode.WRITE, ino, writeBody(handle, offset, data, flags, openFlags));
  }

  release(ino: number, handle: number): Promise<Reply> {
    return this.call(Opcode.RELEASE, ino, Buffer.concat([u64(handle), Buffer.alloc(16)]));
  }
}

export const NUL = Buffer.alloc(1);

export function u32(...values: number[]): Buffer {
  const out = Buffer.alloc(values.length * 4);
  for (const [i, value] of values.entries()) out.writeUInt32LE(value >>> 0, i * 4);
  return out;
}

export function u64(...values: number[]): Buffer {
  const out = Buffer.alloc(values.length * 8);
  for (const [i, value] of values.entries()) out.writeBigInt64LE(BigInt(value), i * 8);
  return out;
}

export function text(...strings: string[]): Buffer {
  return Buffer.concat(strings.flatMap((string) => [Buffer.from(string), NUL]));
}

export function readBody(handle: number, offset: number, size: number): Buffer {
  return Buffer.concat([u64(handle, offset), u32(size, 0), Buffer.alloc(16)]);
}

export function writeBody(handle: number, offset: number, data: Buffer, flags = 0, openFlags = 0): Buffer {
  return Buffer.concat([u64(handle, offset), u32(data.length, flags), u64(0), u32(openFlags, 0), data]);
}

/** struct fuse_setattr_in with only what is given. */
export function setattrBody(change: {
  valid: number;
  handle?: number;
  size?: number;
  mtime_s?: number;
  mtime_ns?: number;
  mode?: number;
  uid?: number;
  gid?: number;
}): Buffer {
  return Buffer.concat([
    u32(change.valid, 0),
    u64(change.handle ?? 0, change.size ?? 0, 0, 0, change.mtime_s ?? 0, 0),
    u32(0, change.mtime_ns ?? 0, 0, change.mode ?? 0, 0, change.uid ?? 0, change.gid ?? 0, 0),
  ]);
}

/** struct fuse_attr at `at`. */
export function attrOf(body: Buffer, at: number) {
  return {
    ino: Number(body.readBigUInt64LE(at)) as Ino,
    size: Number(body.readBigUInt64LE(at + 8)),
    mtime_s: Number(body.readBigInt64LE(at + 32)),
    mtime_ns: body.readUInt32LE(at + 52),
    mode: body.readUInt32LE(at + 60),
    nlink: body.readUInt32LE(at + 64),
    uid: body.readUInt32LE(at + 68),
    gid: body.readUInt32LE(at + 72),
  };
}

/** struct fuse_entry_out */
export function entryOf(body: Buffer) {
  return {
    ino: Number(body.readBigUInt64LE(0)),
    entryTimeout_s: Number(body.readBigUInt64LE(16)),
    attr: attrOf(body, 40),
  };
}
