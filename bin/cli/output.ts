// What commands print. Results go to standard output, everything else to standard error; with --json standard output is
// one JSON document and nothing else.

import { fstatSync, writeFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { CommandError, EXIT } from './exit_codes.js';

const STDOUT = 1;

/** Why standard output has not taken all of the result; null = it has. */
let loss: NodeJS.ErrnoException | null = null;

/** To be called before anything is written. */
export function watchOutput(): void {
  process.stdout.on('error', lost);
  // Nobody is left to be told; a server whose log nobody reads any more serves on.
  process.stderr.on('error', () => undefined);
}

/** A reader that has gone (`| head -1`) had what it wanted. */
function lost(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') loss ??= error;
}

/** Rejects if the result has not arrived: a full disk must not pass for a command that is done. */
export async function requireOutput(): Promise<void> {
  // Node writes at once and tells what went wrong a little later.
  await setImmediate();
  if (loss !== null) throw new CommandError(EXIT.failed, `writing to standard output: ${loss.message}`);
}

function write(text: string): void {
  try {
    // Of what a full disk takes a part of, Node's stream leaves out the rest without an error.
    if (fstatSync(STDOUT).isFile()) writeFileSync(STDOUT, text);
    else process.stdout.write(text);
  } catch (error) {
    lost(error as NodeJS.ErrnoException);
  }
}

/** Text from elsewhere (file names, servers' messages) made safe for a terminal: control characters and halves of
 * surrogate pairs (bytes that are no UTF-8) are shown as escapes. */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cs}\u202a-\u202e\u2066-\u2069]/gu, (character) => {
    const unit = character.charCodeAt(0);
    if (unit >= 0xdc80 && unit <= 0xdcff) return `\\x${(unit - 0xdc00).toString(16)}`;
    return unit < 0x100 ? `\\x${unit.toString(16).padStart(2, '0')}` : `\\u${unit.toString(16)}`;
  });
}

/** Of what is printed much was said by a server, whoever has put it together: the way out is where nothing gets past. A
 * name in it is to be made `printable` before, or its line breaks would make lines of their own. */
function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}

export function printLine(text = ''): void {
  write(`${printableLines(text)}\n`);
}

/** JSON escapes the control characters of ASCII by itself; others can only stand in its strings, where they may be escaped. */
export function printJson(value: unknown): void {
  const text = JSON.stringify(value, null, 2).replaceAll(
    /[\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  write(`${text}\n`);
}

/** For what accompanies the result: hints, warnings. */
export function note(text: string): void {
  process.stderr.write(`${printableLines(text)}\n`);
}

/** Rows as aligned columns; the last column is not padded. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => [...(row[column] ?? '')].length)));
  return all
    .map((row) =>
      row
        .map((cell, column) =>
          column === row.length - 1 ? cell : cell + ' '.repeat((widths[column] ?? 0) - [...cell].length),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
