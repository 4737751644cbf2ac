// What was acknowledged, to be compared with what is on the server at the end. A line carries its own checksum, so that a
// reader, too, can tell damage; a blob is known by its hash.

import { createHash } from 'node:crypto';

const CONFLICT = /\(conflict/i;

export class Ledger {
  /** Line -> how it was written. */
  readonly #lines = new Map<string, string>();
  /** Path -> hashes it may have: several while it is not known whether the last write arrived. */
  readonly #blobs = new Map<string, Set<string>>();
  readonly damaged: string[] = [];
  operations = 0;
  /** Failed, with an error: nothing was promised. */
  refused = 0;
  #next = 0;

  /** A new line: unique, and telling whether it is whole. */
  line(author: string): string {
    this.#next += 1;
    const id = `${author}-${String(this.#next).padStart(7, '0')}`;
    return `${id} ${checksum(id)}\n`;
  }

  /** `how` is for the report of a loss. */
  acknowledge(how: string, ...lines: readonly string[]): void {
    for (const line of lines) this.#lines.set(line, `${how}, ${new Date().toISOString()}`);
  }

  /** Its author removes it, or is about to. */
  retract(...lines: readonly string[]): void {
    for (const line of lines) this.#lines.delete(line);
  }

  blobWill(path: string, hash: string): void {
    this.#blobs.set(path, new Set([...(this.#blobs.get(path) ?? []), hash]));
  }

  blobIs(path: string, hash: string): void {
    this.#blobs.set(path, new Set([hash]));
  }

  /** A text somebody read must be of whole lines, but for the last: it may be being written. */
  look(where: string, text: string): void {
    const lines = text.split('\n');
    lines.pop();
    for (const line of lines) {
      const [id = '', sum = ''] = line.split(' ');
      if (checksum(id) !== sum && this.damaged.length < 20)
        this.damaged.push(`${where}: ${JSON.stringify(line.slice(0, 100))}`);
    }
  }

  audit(found: ReadonlyMap<string, Buffer>): { readonly lost: readonly string[]; readonly checked: number } {
    const present = new Set<string>();
    const hashes = new Map<string, string>();
    for (const [path, content] of found) {
      if (path.includes('/blob-')) hashes.set(path, createHash('sha256').update(content).digest('hex'));
      else {
        const text = content.toString('latin1');
        this.look(path, text);
        for (const line of text.split('\n')) present.add(`${line}\n`);
      }
    }
    const lost = [...this.#lines].flatMap(([line, how]) => (present.has(line) ? [] : [`${line.trim()}: ${how}`]));
    for (const [path, allowed] of this.#blobs) {
      const [stem = path] = path.split('.bin');
      // Only one hash is acknowledged; that of a write whose end nobody saw may be there instead.
      const there = [...hashes].some(([name, hash]) => name.startsWith(stem) && allowed.has(hash));
      if (!there) lost.push(path);
    }
    return { lost, checked: this.#lines.size + this.#blobs.size };
  }

  conflictsIn(found: ReadonlyMap<string, Buffer>): number {
    return [...found.keys()].filter((path) => CONFLICT.test(path)).length;
  }
}

function checksum(id: string): string {
  return createHash('sha256').update(id).digest('hex').slice(0, 12);
}
