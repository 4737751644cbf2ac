// `Answer` -> bytes. One buffer, allocated once, holds every reply: it is written to the device in the same step, so
// nothing is allocated per answer. Directory entries are written in place by a `DirentWriter`.

import { encodeName } from '../../names.js';
import {
  ATTR_BYTES,
  ATTR_OUT_BYTES,
  DIRENT_BYTES,
  DIRENTPLUS_BYTES,
  ENTRY_OUT_BYTES,
  OUT_HEADER_BYTES as HEADER,
  INIT_OUT_BYTES,
  KERNEL_VERSION,
  OPEN_OUT_BYTES,
  STATFS_OUT_BYTES,
} from './abi.js';
import type { Answer, Entry, FileAttr, InitReply, OpenReply, StatfsReply } from './ops.js';

const HIGH = 4_294_967_296;
/** Directory pages the kernel asks for are smaller; larger ones are answered in part. */
const PAYLOAD_BYTES = 256 * 1024;
/** Below this, data is copied behind the header: cheaper than a gathering write. */
const COPY_BYTES = 32 * 1024;
const ATTR_BLOCK_BYTES = 4096;

/** What to write to the device: `length` bytes of the reply buffer, then `data` if there is any. */
export interface Encoded {
  readonly length: number;
  readonly data: Uint8Array | null;
}

export class ReplyBuffer {
  readonly bytes = Buffer.allocUnsafeSlow(HEADER + PAYLOAD_BYTES);
  readonly #view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length);

  /** Encodes an answer. Returns the number of bytes to write, and leaves large `data` to be written behind them. */
  encode(unique: number, answer: Exclude<Answer, { kind: 'none' }>): Encoded {
    let size = 0;
    let error = 0;
    let data: Uint8Array | null = null;
    switch (answer.kind) {
      case 'ok':
        break;
      case 'error':
        error = -answer.errno;
        break;
      case 'attr':
        size = this.#attrOut(answer.attr, answer.timeout_ms);
        break;
      case 'entry':
        size = this.#entry(HEADER, answer.entry);
        break;
      case 'negative':
        size = this.#negative(answer.timeout_ms);
        break;
      case 'data':
        if (answer.data.length > COPY_BYTES) data = answer.data;
        else this.bytes.set(answer.data, HEADER);
        size = answer.data.length;
        break;
      case 'dirents':
        if (answer.page !== null) this.bytes.set(answer.page, HEADER);
        size = answer.length;
        break;
      case 'open':
        size = this.#open(HEADER, answer.open);
        break;
      case 'create':
        size = this.#entry(HEADER, answer.entry) + this.#open(HEADER + ENTRY_OUT_BYTES, answer.open);
        break;
      case 'written':
      case 'xattr_size':
        // struct fuse_write_out, struct fuse_getxattr_out: u32 size, padding
        this.#u32(HEADER, answer.size);
        this.#u32(HEADER + 4, 0);
        size = 8;
        break;
      case 'offset':
        // struct fuse_lseek_out: u64 offset
        this.#u64(HEADER, answer.offset);
        size = 8;
        break;
      case 'statfs':
        size = this.#statfs(answer.statfs);
        break;
      case 'init':
        size = this.#init(answer.init);
        break;
    }
    // struct fuse_out_header: u32 len; s32 error; u64 unique
    this.#u32(0, HEADER + size);
    this.#view.setInt32(4, error, true);
    this.#u64(8, unique);
    return { length: data === null ? HEADER + size : HEADER, data };
  }

  /** Starts a page of directory entries of at most `size_bytes`, to be sent (or copied out) before the next encoding. */
  dirents(size_bytes: number): DirentWriter {
    return new DirentWriter(this.bytes, HEADER, Math.min(size_bytes, PAYLOAD_BYTES), (at, entry) =>
      entry === null ? this.bytes.fill(0, at, at + ENTRY_OUT_BYTES) : this.#entry(at, entry),
    );
  }

  #u32(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
  }

  /** Also for negative numbers: two's complement. */
  #u64(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
    this.#view.setInt32(at + 4, Math.floor(value / HIGH), true);
  }

  #attrOut(attr: FileAttr, timeout_ms: number): number {
    // struct fuse_attr_out: u64 attr_valid; u32 attr_valid_nsec, dummy; struct fuse_attr
    this.#u64(HEADER, Math.floor(timeout_ms / 1000));
    this.#u32(HEADER + 8, (timeout_ms % 1000) * 1e6);
    this.#u32(HEADER + 12, 0);
    this.#attr(HEADER + 16, attr);
    return ATTR_OUT_BYTES;
  }

  #entry(at: number, entry: Entry): number {
    // struct fuse_entry_out: u64 nodeid, generation, entry_valid, attr_valid; u32 entry_valid_nsec, attr_valid_nsec; attr
    this.#u64(at, entry.attr.ino);
    this.#u64(at + 8, 0);
    this.#u64(at + 16, Math.floor(entry.entryTimeout_ms / 1000));
    this.#u64(at + 24, Math.floor(entry.attrTimeout_ms / 1000));
    this.#u32(at + 32, (entry.entryTimeout_ms % 1000) * 1e6);
    this.#u32(at + 36, (entry.attrTimeout_ms % 1000) * 1e6);
    this.#attr(at + 40, entry.attr);
    return ENTRY_OUT_BYTES;
  }

  #negative(timeout_ms: number): number {
    // struct fuse_entry_out with nodeid 0
    this.bytes.fill(0, HEADER, HEADER + ENTRY_OUT_BYTES);
    this.#u64(HEADER + 16, Math.floor(timeout_ms / 1000));
    this.#u32(HEADER + 32, (timeout_ms % 1000) * 1e6);
    return ENTRY_OUT_BYTES;
  }

  #attr(at: number, attr: FileAttr): number {
    // struct fuse_attr: u64 ino, size, blocks, atime, mtime, ctime; u32 atimensec, mtimensec, ctimensec, mode, nlink,
    //                   uid, gid, rdev, blksize, flags
    this.#u64(at, attr.ino);
    this.#u64(at + 8, attr.size_bytes);
    this.#u64(at + 16, Math.ceil(attr.size_bytes / 512));
    this.#u64(at + 24, attr.atime.s);
    this.#u64(at + 32, attr.mtime.s);
    this.#u64(at + 40, attr.ctime.s);
    this.#u32(at + 48, attr.atime.ns);
    this.#u32(at + 52, attr.mtime.ns);
    this.#u32(at + 56, attr.ctime.ns);
    this.#u32(at + 60, attr.mode);
    this.#u32(at + 64, attr.nlink);
    this.#u32(at + 68, attr.uid);
    this.#u32(at + 72, attr.gid);
    this.#u32(at + 76, 0);
    this.#u32(at + 80, ATTR_BLOCK_BYTES);
    this.#u32(at + 84, 0);
    return ATTR_BYTES;
  }

  #open(at: number, open: OpenReply): number {
    // struct fuse_open_out: u64 fh; u32 open_flags; s32 backing_id
    this.#u64(at, open.handle);
    this.#u32(at + 8, open.flags);
    this.#u32(at + 12, open.backingId);
    return OPEN_OUT_BYTES;
  }

  #statfs(statfs: StatfsReply): number {
    // struct fuse_kstatfs: u64 blocks, bfree, bavail, files, ffree; u32 bsize, namelen, frsize, padding, spare[6]
    this.bytes.fill(0, HEADER, HEADER + STATFS_OUT_BYTES);
    this.#u64(HEADER, statfs.blocks);
    this.#u64(HEADER + 8, statfs.freeBlocks);
    this.#u64(HEADER + 16, statfs.freeBlocks);
    this.#u64(HEADER + 24, statfs.files);
    this.#u64(HEADER + 32, statfs.freeFiles);
    this.#u32(HEADER + 40, statfs.blockSize_bytes);
    this.#u32(HEADER + 44, statfs.nameMax_bytes);
    this.#u32(HEADER + 48, statfs.blockSize_bytes);
    return STATFS_OUT_BYTES;
  }

  #init(init: InitReply): number {
    // struct fuse_init_out: u32 major, minor, max_readahead, flags; u16 max_background, congestion_threshold;
    //                       u32 max_write, time_gran; u16 max_pages, map_alignment; u32 flags2, max_stack_depth, …
    this.bytes.fill(0, HEADER, HEADER + INIT_OUT_BYTES);
    this.#u32(HEADER, KERNEL_VERSION);
    this.#u32(HEADER + 4, init.minor);
    this.#u32(HEADER + 8, init.maxReadahead_bytes);
    this.#u32(HEADER + 12, init.flags);
    this.#view.setUint16(HEADER + 16, init.maxBackground, true);
    this.#view.setUint16(HEADER + 18, init.congestionThreshold, true);
    this.#u32(HEADER + 20, init.maxWrite_bytes);
    this.#u32(HEADER + 24, init.timeGranularity_ns);
    this.#view.setUint16(HEADER + 28, init.maxPages, true);
    this.#u32(HEADER + 32, init.flags2);
    this.#u32(HEADER + 36, init.maxStackDepth);
    return INIT_OUT_BYTES;
  }
}

/** Records start at multiples of 8 (`FUSE_DIRENT_ALIGN`); the payload itself starts at one, behind the header. */
function align8(at: number): number {
  return (at + 7) & ~7;
}

/** Appends `struct fuse_dirent` or `struct fuse_direntplus` records while they fit. */
export class DirentWriter {
  readonly #bytes: Buffer;
  readonly #start: number;
  readonly #end: number;
  readonly #writeEntry: (at: number, entry: Entry | null) => void;
  #at: number;

  constructor(bytes: Buffer, start: number, size: number, writeEntry: (at: number, entry: Entry | null) => void) {
    this.#bytes = bytes;
    this.#start = start;
    this.#at = start;
    this.#end = start + size;
    this.#writeEntry = writeEntry;
  }

  get length(): number {
    return this.#at - this.#start;
  }

  /** A copy of the page that outlives the reply buffer's next use. */
  copy(): Buffer {
    return Buffer.from(this.#bytes.subarray(this.#start, this.#at));
  }

  /** READDIR: an inode number, the offset that continues after this entry, `d_type`. False = it does not fit. */
  add(ino: number, offset: number, name: string, type: number): boolean {
    return this.#record(this.#at, ino, offset, name, type);
  }

  /** READDIRPLUS: the same with attributes. `entry` null (for `.` and `..`) counts no lookup. */
  addPlus(entry: Entry | null, ino: number, offset: number, name: string, type: number): boolean {
    const at = this.#at;
    if (at + DIRENTPLUS_BYTES > this.#end || !this.#record(at + ENTRY_OUT_BYTES, ino, offset, name, type)) return false;
    this.#writeEntry(at, entry);
    return true;
  }

  #record(at: number, ino: number, offset: number, name: string, type: number): boolean {
    // struct fuse_dirent: u64 ino, off; u32 namelen, type; the name, padded to 8 bytes
    const bytes = this.#bytes;
    const nameAt = at + DIRENT_BYTES;
    // Three bytes per UTF-16 unit is the most UTF-8 takes; measured exactly only near the end of the page.
    if (nameAt + name.length * 3 + 8 > this.#end) {
      if (align8(nameAt + encodeName(name).length) > this.#end) return false;
    }
    const length = name.isWellFormed() ? bytes.write(name, nameAt, 'utf8') : encodeName(name).copy(bytes, nameAt);
    bytes.writeUInt32LE(ino >>> 0, at);
    bytes.writeUInt32LE(Math.floor(ino / HIGH), at + 4);
    bytes.writeUInt32LE(offset >>> 0, at + 8);
    bytes.writeUInt32LE(Math.floor(offset / HIGH), at + 12);
    bytes.writeUInt32LE(length, at + 16);
    bytes.writeUInt32LE(type, at + 20);
    this.#at = align8(nameAt + length);
    bytes.fill(0, nameAt + length, this.#at);
    return true;
  }
}
