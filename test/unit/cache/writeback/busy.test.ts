import { expect, it, vi } from 'vitest';
import { CloudError } from '../../../../src/errors.js';
import { FakeRemote } from '../../../support/fake_remote.js';
import { TestCache } from '../../../support/test_cache.js';

it('a server that wants to be left alone for an hour is asked again in minutes', async () => {
  const remote = new FakeRemote();
  const drive = await TestCache.open({ remote, quiet_ms: 5 });
  remote.before('put', async () => {
    throw new CloudError('busy_server', 'later', { status: 503, retryAfter_s: 3600 });
  });
  const timers = vi.spyOn(globalThis, 'setTimeout');
  await drive.write('a', 'text');
  await drive.until('it was refused', () => remote.count('put') > 0);
  const minutes = () => timers.mock.calls.map(([, delay_ms]) => Math.round((delay_ms ?? 0) / 60_000));
  await drive.until('it waits', () => minutes().some((delay) => delay > 1));
  expect(Math.max(...minutes())).toBe(5);
  timers.mockRestore();
  await drive.close();
});
