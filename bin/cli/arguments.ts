// The words of the command line with their exact bytes, as names have them in the program (names.ts): Node has put U+FFFD
// for what is no UTF-8.

import { readFileSync } from 'node:fs';
import { decodeName } from '../../src/names.js';

/** `lossy`: what Node made of them. */
export function exactArguments(lossy: readonly string[], commandLine: () => Buffer = ownCommandLine): string[] {
  if (!lossy.some((word) => word.includes('\uFFFD'))) return [...lossy];
  const words: string[] = [];
  const bytes = commandLine();
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(0, at);
    words.push(decodeName(bytes.subarray(at, end)));
    at = end + 1;
  }
  return words.slice(-lossy.length); // before them are the interpreter, its options, and the program
}

function ownCommandLine(): Buffer {
  return readFileSync('/proc/self/cmdline');
}
