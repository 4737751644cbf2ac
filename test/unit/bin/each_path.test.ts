import { expect, it } from 'vitest';
import { eachPath } from '../../../bin/cli/each_path.js';
import { CommandError, EXIT } from '../../../bin/cli/exit_codes.js';
import { CloudError } from '../../../src/errors.js';
import { keepOutput, printed } from '../../support/output.js';

keepOutput();

async function run(path: string): Promise<{ json: object; text: string }> {
  if (path === 'locked') throw new CloudError('locked', 'somebody holds the lock');
  if (path === 'outside') throw new CommandError(EXIT.notRunning, 'outside is in no drive');
  return { json: { path }, text: `${path} is done.` };
}

const LOCKED = { exitCode: 7, code: 'locked', message: 'somebody holds the lock' };

it('tells of everything that was done, then of what was not', async () => {
  expect(await eachPath(['a', 'locked', 'b', 'outside'], false, run)).toBe(EXIT.busy);
  expect(printed.out).toBe('a is done.\nb is done.\n');
  expect(printed.err).toBe('cloudmount: somebody holds the lock\ncloudmount: outside is in no drive\n');
});

it('with --json in one document', async () => {
  expect(await eachPath(['a', 'locked', 'b'], true, run)).toBe(EXIT.busy);
  expect(JSON.parse(printed.out)).toEqual([{ path: 'a' }, { given: 'locked', error: LOCKED }, { path: 'b' }]);
  expect(printed.err).toBe('cloudmount: somebody holds the lock\n');
});

it('is a failed command where nothing was done', async () => {
  expect(await eachPath(['outside', 'locked'], true, run)).toBe(EXIT.notRunning);
  expect(JSON.parse(printed.out)).toEqual({
    error: { exitCode: 3, code: 'not_found', message: 'outside is in no drive' },
  });
  expect(printed.err).toBe('cloudmount: outside is in no drive\ncloudmount: somebody holds the lock\n');
});

it('is done where all was', async () => {
  expect(await eachPath(['a', 'b'], true, run)).toBe(EXIT.ok);
  expect(JSON.parse(printed.out)).toEqual([{ path: 'a' }, { path: 'b' }]);
});
