// What the drive may look like after a crash, from the log of a workload: the names after every operation, and of every
// file the contents it has had, with the one from which on nothing may be lost.

import { contentOf, type LogLine, type Operation } from './operations.js';

export class FileHistory {
  readonly versions: Buffer[];
  /** Index of the newest version that was promised. */
  promised = 0;
  writers = 0;

  constructor(first: Buffer) {
    this.versions = [first];
  }

  get last(): Buffer {
    return this.versions.at(-1) ?? Buffer.alloc(0);
  }

  promiseLast(): void {
    this.promised = this.versions.length - 1;
  }

  /** Null = fine: every byte is of a version that may be, and so is the size. */
  whatIsWrong(found: Buffer): string | null {
    const allowed = this.versions.slice(this.promised);
    const sizes = allowed.map((version) => version.length);
    if (!sizes.includes(found.length)) return `${found.length} bytes; may have ${[...new Set(sizes)].join(', ')}`;
    for (let i = 0; i < found.length; i += 1) {
      const here = new Set(allowed.map((version) => version[i] ?? 0));
      if (!here.has(found[i] ?? 0)) return `byte ${i} is ${found[i]}; may be ${[...here].join(', ')}`;
    }
    return null;
  }
}

/** Path -> file, or null for a directory. */
export type Names = ReadonlyMap<string, FileHistory | null>;

export class CrashModel {
  /** After each operation, the one that was on its way included. */
  readonly states: Names[];
  /** The first of them that may be shown: the names in it were durable. */
  durable = 0;
  /** The last that was acknowledged. */
  acknowledged = 0;
  readonly #handles = new Map<number, FileHistory>();

  constructor(initial: ReadonlyMap<string, Buffer | null>, lines: readonly LogLine[]) {
    this.states = [
      new Map([...initial].map(([path, content]) => [path, content === null ? null : new FileHistory(content)])),
    ];
    const outcomes = new Map<number, LogLine>();
    for (const line of lines) if (!('operation' in line)) outcomes.set(line.number, line);
    for (const line of lines) {
      if (!('operation' in line)) continue;
      const outcome = outcomes.get(line.number);
      if (outcome !== undefined && 'failed' in outcome) continue;
      try {
        this.#apply(line.number, line.operation, outcome !== undefined);
      } catch (error) {
        if (outcome !== undefined) throw error; // what was on its way may have been about to fail
      }
    }
  }

  get #now(): Names {
    return this.states.at(-1) ?? new Map();
  }

  #apply(number: number, operation: Operation, acknowledged: boolean): void {
    const names = new Map(this.#now);
    switch (operation.op) {
      case 'create': {
        if (names.has(operation.path)) throw new Error(`the log creates ${operation.path}, which is there`);
        const file = new FileHistory(Buffer.alloc(0));
        names.set(operation.path, file);
        this.#open(operation.handle, file);
        break;
      }
      case 'open': {
        const file = names.get(operation.path);
        if (file === undefined || file === null) throw new Error(`the log opens ${operation.path}, which is no file`);
        if (operation.truncate && file.last.length > 0) file.versions.push(Buffer.alloc(0));
        this.#open(operation.handle, file);
        break;
      }
      case 'write': {
        const file = this.#file(operation.handle);
        const { offset, size_bytes } = operation;
        const next = Buffer.alloc(Math.max(file.last.length, offset + size_bytes));
        file.last.copy(next);
        contentOf(number, offset, size_bytes).copy(next, offset);
        file.versions.push(next);
        break;
      }
      case 'truncate':
        resize(this.#file(operation.handle), operation.size_bytes);
        break;
      case 'cut': {
        const file = names.get(operation.path);
        if (file) resize(file, operation.size_bytes);
        break;
      }
      case 'fsync':
        if (acknowledged) this.#file(operation.handle).promiseLast();
        break;
      case 'close': {
        this.#file(operation.handle).writers -= 1;
        this.#handles.delete(operation.handle);
        break;
      }
      case 'rename':
        if (operation.from !== operation.to) move(names, operation.from, operation.to);
        break;
      case 'unlink':
      case 'rmdir':
        names.delete(operation.path);
        break;
      case 'mkdir':
        names.set(operation.path, null);
        break;
      case 'settle':
        if (acknowledged) this.#promiseClosed(names);
        break;
      case 'flush':
        if (acknowledged && this.#handles.size === 0) this.#promiseClosed(names);
        break;
      default:
    }
    this.states.push(names);
    if (!acknowledged) return;
    this.acknowledged = this.states.length - 1;
    if (operation.op === 'fsync' || operation.op === 'settle') this.durable = this.acknowledged;
  }

  #promiseClosed(names: Names): void {
    for (const file of names.values()) if (file !== null && file.writers === 0) file.promiseLast();
  }

  #open(handle: number, file: FileHistory): void {
    file.writers += 1;
    this.#handles.set(handle, file);
  }

  #file(handle: number): FileHistory {
    const file = this.#handles.get(handle);
    if (file === undefined) throw new Error(`the log uses handle ${handle}, which is not open`);
    return file;
  }
}

function resize(file: FileHistory, size_bytes: number): void {
  const next = Buffer.alloc(size_bytes);
  file.last.copy(next);
  file.versions.push(next);
}

function move(names: Map<string, FileHistory | null>, from: string, to: string): void {
  const moved = [...names].filter(([path]) => path === from || path.startsWith(`${from}/`));
  for (const [path] of moved) names.delete(path);
  names.delete(to);
  for (const [path, file] of moved) names.set(to + path.slice(from.length), file);
}
