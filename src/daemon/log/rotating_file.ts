// A log file that never fills the disk: at `maxBytes` it becomes FILE.1 (FILE.1 becomes FILE.2, …) and a new one starts.
// Lines wait in memory and are written in order by one asynchronous writer, so that logging never blocks the event loop
// that serves the kernel. What waits is bounded too: on a disk that does not answer, lines are counted and dropped.

import { appendFileSync, closeSync, openSync } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';

export interface RotatingFileOptions {
  readonly maxBytes: number;
  /** How many full files are kept beside the current one. */
  readonly keep: number;
}

const MAX_WAITING_BYTES = 4 * 1024 * 1024;

export class RotatingFile {
  readonly path: string;
  readonly #options: RotatingFileOptions;
  #waiting: string[] = [];
  #waitingBytes = 0;
  #dropped = 0;
  #file: FileHandle | null = null;
  #size = 0;
  #writing: Promise<void> | null = null;

  constructor(path: string, options: RotatingFileOptions) {
    this.path = path;
    this.#options = options;
  }

  /** Takes one line, newline included. Never throws, never waits. */
  write(line: string): void {
    const bytes = Buffer.byteLength(line);
    if (this.#waitingBytes + bytes > MAX_WAITING_BYTES) {
      this.#dropped += 1;
      return;
    }
    this.#waiting.push(line);
    this.#waitingBytes += bytes;
    this.#start();
  }

  #start(): void {
    this.#writing ??= this.#drain().then((written) => {
      this.#writing = null;
      // Lines that came between the last look and now; after a failure the next `write` tries again.
      if (written && this.#waiting.length > 0) this.#start();
    });
  }

  /** Everything written so far is in the file (or could not be written). */
  async flush(): Promise<void> {
    while (this.#writing !== null) await this.#writing;
  }

  /** For the way out of a dying process: what still waits is appended at once. */
  flushSync(): void {
    if (this.#waiting.length === 0) return;
    try {
      const fd = openSync(this.path, 'a', 0o600);
      try {
        appendFileSync(fd, this.#take());
      } finally {
        closeSync(fd);
      }
    } catch {
      // There is nobody left to tell.
    }
  }

  async close(): Promise<void> {
    await this.flush();
    await this.#file?.close();
    this.#file = null;
  }

  #take(): string {
    if (this.#dropped > 0) {
      this.#waiting.push(
        `{"level":40,"time":${Date.now()},"msg":"${this.#dropped} log lines dropped: disk too slow"}\n`,
      );
      this.#dropped = 0;
    }
    const text = this.#waiting.join('');
    this.#waiting = [];
    this.#waitingBytes = 0;
    return text;
  }

  /** False if the disk refused; never rejects. */
  async #drain(): Promise<boolean> {
    // Let the lines of this turn of the event loop gather.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      const text = this.#take();
      try {
        await this.#append(text);
      } catch {
        // A full or broken disk: the drive must go on, and the next line opens the file anew.
        await this.#file?.close().catch(() => undefined);
        this.#file = null;
        return false;
      }
    }
    return true;
  }

  async #append(text: string): Promise<void> {
    if (this.#file === null) {
      this.#file = await open(this.path, 'a', 0o600);
      this.#size = (await this.#file.stat()).size;
    }
    if (this.#size > 0 && this.#size + Buffer.byteLength(text) > this.#options.maxBytes) {
      await this.#file.close();
      this.#file = null;
      await this.#rotate();
      this.#file = await open(this.path, 'a', 0o600);
      this.#size = 0;
    }
    await this.#file.appendFile(text);
    this.#size += Buffer.byteLength(text);
  }

  async #rotate(): Promise<void> {
    const { keep } = this.#options;
    await rm(`${this.path}.${keep}`, { force: true });
    for (let i = keep - 1; i >= 1; i--) {
      await rename(`${this.path}.${i}`, `${this.path}.${i + 1}`).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error;
      });
    }
    await rename(this.path, `${this.path}.1`);
  }
}
