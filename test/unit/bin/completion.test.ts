// The script for bash, with a program of ours in place of cloudmount.

import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { completion } from '../../../bin/commands/completion.js';

let dir = '';
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cm-complete-'));
});
afterEach(() => rm(dir, { recursive: true }));

async function script(): Promise<string> {
  const write = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  try {
    await completion.handler({ shell: 'bash' });
    return write.mock.calls.map(([text]) => String(text)).join('');
  } finally {
    write.mockRestore();
  }
}

/** What bash offers for the last of `words` when the program names `known`. */
async function offered(known: readonly string[], ...words: readonly string[]): Promise<readonly string[]> {
  const run = [
    `cloudmount() { cat "$KNOWN"; }`,
    await script(),
    `COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _cloudmount; printf '%s\\n' "\${COMPREPLY[@]}"`,
  ].join('\n');
  const told = join(dir, '.known');
  await writeFile(told, known.map((name) => `${name}\n`).join(''));
  const env = { ...process.env, KNOWN: told };
  const { stdout } = await promisify(execFile)('bash', ['-c', run, 'bash', 'cloudmount', ...words], { cwd: dir, env });
  return stdout.split('\n').filter(Boolean);
}

it('a name that a server tells is offered as it is, and runs nothing', async () => {
  const names = ['crew $(touch made)', 'crew `touch made`', 'cr*', "crew's", 'crew "x"', 'crew \\n', 'other'];
  expect(await offered(names, 'share', 'x', '--with', '@', 'cr')).toEqual(names.slice(0, -1));
  expect(await readdir(dir)).toEqual(['.known']);
});

it('where the program knows nothing files are offered, whatever they are called', async () => {
  await writeFile(join(dir, 'my file'), '');
  await writeFile(join(dir, 'my*'), '');
  await writeFile(join(dir, 'other'), '');
  expect([...(await offered([], 'pin', 'my'))].sort()).toEqual(['my file', 'my*']);
  expect(await offered(['work', 'play'], 'mount', 'w')).toEqual(['work']);
});
