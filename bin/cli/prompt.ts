// Questions to the person at the terminal; a script is never asked, it gets an error that names the option to use.

import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { CloudError, isCloudError } from '../../src/errors.js';
import { CommandError, EXIT } from './exit_codes.js';
import { note, printable } from './output.js';

const MAX_SECRET_BYTES = 64 * 1024;

function isInteractive(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

/** `otherwise`: what a script should do instead, e.g. "use --user". */
export async function ask(question: string, otherwise: string): Promise<string> {
  requireTerminal(question, otherwise);
  return (await readAnswer(`${question} `, 'shown')).trim();
}

/** What is typed is not shown. */
export async function askSecret(question: string, otherwise: string): Promise<string> {
  requireTerminal(question, otherwise);
  const answer = await readAnswer(`${question} `, 'hidden');
  process.stderr.write('\n');
  return answer;
}

export async function askNewPassword(): Promise<string> {
  const password = await askSecret('New password:', 'use --password-file or --password-stdin');
  const again = await askSecret('Again:', 'use --password-file or --password-stdin');
  if (password !== again) throw new CommandError(EXIT.failed, 'The two passwords differ; nothing was changed.');
  return password;
}

export async function confirm(question: string, otherwise: string): Promise<boolean> {
  return /^(?:y|yes)$/i.test(await ask(`${question} [y/N]`, otherwise));
}

/** The first line of standard input, for --password-stdin. */
export async function secretFromStdin(): Promise<string> {
  if (process.stdin.isTTY) return askSecret('Password:', 'pipe the password in');
  return firstLine(process.stdin.setEncoding('utf8'), 'standard input');
}

/** The first line of a file, for --password-file. */
export async function secretFromFile(path: string): Promise<string> {
  await warnIfShown(path);
  const file = createReadStream(path, 'utf8');
  return firstLine(file, path).catch((error: Error) => {
    if (isCloudError(error)) throw error;
    throw new CloudError('not_found', `reading the password file: ${error.message}`, { cause: error });
  });
}

/** It may be meant so, for a group say: it is used all the same. */
async function warnIfShown(path: string): Promise<void> {
  const found = await stat(path).catch(() => null); // what is wrong with it is said when it is read
  if (found === null || !found.isFile() || (found.mode & 0o044) === 0) return;
  note(
    `Warning: others can read the password file ${printable(path)} (mode ${(found.mode & 0o777).toString(8)}). If nobody has yet: chmod 600 '${printable(path)}'`,
  );
}

/** No more is read than that takes: what it comes from may have no end. */
async function firstLine(chunks: AsyncIterable<string>, source: string): Promise<string> {
  let text = '';
  for await (const chunk of chunks) {
    text += chunk;
    if (text.includes('\n')) break;
    if (text.length > MAX_SECRET_BYTES)
      throw new CloudError('too_large', `reading the password from ${source}: its first line is too long`);
  }
  const line = text.split('\n', 1)[0]?.replace(/\r$/, '') ?? '';
  if (line === '') throw new CloudError('invalid', `reading the password from ${source}: its first line is empty`);
  return line;
}

function requireTerminal(question: string, otherwise: string): void {
  if (isInteractive()) return;
  throw new CommandError(EXIT.usage, `"${question}" can only be asked on a terminal; ${otherwise}.`);
}

async function readAnswer(question: string, echo: 'shown' | 'hidden'): Promise<string> {
  // readline echoes to its output: for a secret it gets one that swallows. It puts the terminal into raw mode when it is
  // made, so the question comes after that: nothing typed early is shown by the terminal itself.
  const output = echo === 'shown' ? process.stderr : new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output, terminal: true });
  const ended = new AbortController();
  lines.once('SIGINT', () => ended.abort());
  lines.once('close', () => ended.abort());
  if (echo === 'hidden') process.stderr.write(question);
  try {
    return await lines.question(question, { signal: ended.signal });
  } catch {
    process.stderr.write('\n');
    throw new CommandError(EXIT.interrupted, 'Interrupted.');
  } finally {
    lines.close();
  }
}
