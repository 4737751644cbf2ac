import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { eachDrive } from '../../../bin/cli/each_drive.js';
import { CommandError, EXIT } from '../../../bin/cli/exit_codes.js';
import type { RunningMount } from '../../../src/daemon/mount_registry.js';
import { CloudError } from '../../../src/errors.js';

let err = '';
beforeEach(() => {
  err = '';
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    err += String(text);
    return true;
  });
});
afterEach(() => vi.restoreAllMocks());

const drives = (...names: string[]) => names.map((name) => ({ mountPoint: name }) as RunningMount);

async function ask({ mountPoint }: RunningMount): Promise<string> {
  if (mountPoint === '/silent') throw new CloudError('timeout', 'the daemon of /silent does not answer');
  if (mountPoint === '/gone') throw new CommandError(EXIT.notRunning, 'the daemon of /gone is gone');
  return `of ${mountPoint}`;
}

it('a drive that fails is in no other’s way', async () => {
  expect(await eachDrive(drives('/silent', '/a', '/gone', '/b'), ask)).toEqual({
    answers: ['of /a', 'of /b'],
    failed: [
      {
        mountPoint: '/silent',
        error: { exitCode: 4, code: 'timeout', message: 'the daemon of /silent does not answer' },
      },
      { mountPoint: '/gone', error: { exitCode: 3, code: 'not_found', message: 'the daemon of /gone is gone' } },
    ],
    code: EXIT.offline,
  });
  expect(err).toBe('cloudmount: the daemon of /silent does not answer\ncloudmount: the daemon of /gone is gone\n');
});

it('is a failed command where every drive failed', async () => {
  await expect(eachDrive(drives('/gone', '/silent'), ask)).rejects.toThrow('/gone is gone');
  expect(err).toBe('cloudmount: the daemon of /silent does not answer\n');
});

it('is done where all answered', async () => {
  expect(await eachDrive(drives('/a'), ask)).toEqual({ answers: ['of /a'], failed: [], code: EXIT.ok });
  expect(err).toBe('');
});
