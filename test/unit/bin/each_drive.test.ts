import { expect, it } from 'vitest';
import { eachDrive } from '../../../bin/cli/each_drive.js';
import { CommandError, EXIT } from '../../../bin/cli/exit_codes.js';
import type { RunningMount } from '../../../src/daemon/mount_registry.js';
import { CloudError } from '../../../src/errors.js';
import { keepOutput, printed } from '../../support/output.js';

keepOutput();

async function ask({ mountPoint }: RunningMount): Promise<readonly { of: string }[]> {
  if (mountPoint === '/silent') throw new CloudError('timeout', 'no answer within 30 s');
  if (mountPoint === '/gone') throw new CommandError(EXIT.notRunning, 'the daemon of /gone is gone');
  return [{ of: mountPoint }];
}

function run(names: readonly string[], json: boolean): Promise<number> {
  const drives = names.map((name) => ({ mountPoint: name }) as RunningMount);
  return eachDrive(drives, {
    json,
    ask,
    show: (entries, isAll) =>
      void process.stdout.write(`${entries.map((entry) => entry.of).join(' ')}${isAll ? '' : ' …'}\n`),
  });
}

it('tells what the others found, then which drives failed', async () => {
  expect(await run(['/silent', '/a', '/gone', '/b'], false)).toBe(EXIT.offline);
  expect(printed.out).toBe('/a /b …\n');
  expect(printed.err).toBe('cloudmount: /silent: no answer within 30 s\ncloudmount: the daemon of /gone is gone\n');
});

it('with --json in one document', async () => {
  expect(await run(['/gone', '/a'], true)).toBe(EXIT.notRunning);
  const error = { exitCode: 3, code: 'not_found', message: 'the daemon of /gone is gone' };
  expect(JSON.parse(printed.out)).toEqual([{ of: '/a' }, { mountPoint: '/gone', error }]);
});

it('is a failed command where every drive failed', async () => {
  expect(await run(['/gone', '/silent'], true)).toBe(EXIT.notRunning);
  expect(JSON.parse(printed.out)).toEqual({
    error: { exitCode: 3, code: 'not_found', message: 'the daemon of /gone is gone' },
  });
  expect(printed.err).toBe('cloudmount: the daemon of /gone is gone\ncloudmount: /silent: no answer within 30 s\n');
});

it('is done where all answered', async () => {
  expect(await run(['/a'], false)).toBe(EXIT.ok);
  expect(printed.out).toBe('/a\n');
  expect(printed.err).toBe('');
});
