// What was acknowledged, to be compared with what is on the server at the end. A line carries its own checksum, so that a
// reader, too, can tell damage; of a blob every byte is known.

import { createHash } from 'node:crypto';

const CONFLICT = /\(conflict/i;

interface Blob {
  /** What the last acknowledged write made of it. */
  readonly content: Buffer;
  readonly underWay: { readonly at: number; readonly part: Buffer } | null;
}

export class Ledger {
  /** Line -> how it was written. */
  readonly #lines = new Map<string, string>();
  readonly #blobs = new Map<string, Blob>();
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

  /** Begun, not acknowledged: of these bytes any may be there. */
  blobWill(path: string, at: number, part: Buffer): void {
    const blob = this.#blobs.get(path);
    if (blob !== undefined) this.#blobs.set(path, { ...blob, underWay: { at, part } });
  }

  blobIs(path: string, content: Buffer): void {
    this.#blobs.set(path, { content, underWay: null });
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
    const blobs: [string, Buffer][] = [];
    for (const [path, content] of found) {
      if (path.includes('/blob-')) blobs.push([path, content]);
      else {
        const text = content.toString('latin1');
        this.look(path, text);
        for (const line of text.split('\n')) present.add(`${line}\n`);
      }
    }
    const lost = [...this.#lines].flatMap(([line, how]) => (present.has(line) ? [] : [`${line.trim()}: ${how}`]));
    for (const [path, blob] of this.#blobs) {
      const [stem = path] = path.split('.bin');
      const wrong = blobs.filter(([name]) => name.startsWith(stem)).map(([, content]) => firstWrong(content, blob));
      if (!wrong.includes(null)) lost.push(`${path}: ${wrong.join(', ')}`);
    }
    return { lost, checked: this.#lines.size + this.#blobs.size };
  }

  conflictsIn(found: ReadonlyMap<string, Buffer>): number {
    return [...found.keys()].filter((path) => CONFLICT.test(path)).length;
  }
}

/** Where `found` is not what the blob must be; null = nowhere. */
function firstWrong(found: Buffer, { content, underWay }: Blob): string | null {
  if (found.equals(content)) return null;
  if (found.length !== content.length) return `${found.length} bytes instead of ${content.length}`;
  const { at, part } = underWay ?? { at: 0, part: EMPTY };
  for (let i = 0; i < found.length; i += 1) {
    if (found[i] === content[i] || (i >= at && i < at + part.length && found[i] === part[i - at])) continue;
    return `another byte at ${i}, ${underWay === null ? 'nothing' : `${part.length} at ${at}`} was under way`;
  }
  return null;
}

const EMPTY = Buffer.alloc(0);

function checksum(id: string): string {
  return createHash('sha256').update(id).digest('hex').slice(0, 12);
}
