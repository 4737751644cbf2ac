// A file was moved out of a folder, no answer came, and then the folder goes on the server.

import { afterEach, describe, expect, it } from 'vitest';
import { FULL, GENERIC } from '../../../support/capabilities.js';
import { FakeRemote, FakeServer } from '../../../support/fake_remote.js';
import { TestCache } from '../../../support/test_cache.js';

const open: TestCache[] = [];

afterEach(async () => {
  for (const drive of open.splice(0)) {
    expect(await drive.check()).toEqual([]);
    await drive.close();
  }
});

describe.each([
  ['our server', FULL],
  ['a generic server', GENERIC],
] as const)('on %s', (_, capabilities) => {
  it.each(['moved', null])(
    'a folder that goes (now %s) does not keep a move out of it from being confirmed',
    async (to) => {
      const server = new FakeServer();
      server.mkdir('d');
      server.write('d/file', 'x');
      server.write('d/other', 'y');
      const remote = new FakeRemote(server, { capabilities });
      const drive = await TestCache.open({ remote, quiet_ms: 5, dirCacheTime_ms: 20 });
      open.push(drive);
      await drive.list('d');

      remote.failNext('move', 'network', { when: 'after' });
      remote.failNext('stat', 'busy_server', { retryAfter_s: 1 }); // time for the drive to hear of the folder first
      await drive.rename('d/file', 'file');
      await drive.until('it is looked for', () => remote.count('stat', 'd/file') === 1);
      if (to === null) server.remove('d');
      else server.move('d', to);
      await drive.until('the drive has heard of it', async () => !(await drive.list()).includes('d'));

      await drive.flush();
      expect(server.paths()).toEqual(to === null ? ['file'] : ['file', to, `${to}/other`].sort());
      await drive.until(
        'the drive shows it',
        async () => (await drive.list()).join() === (to === null ? 'file' : `file,${to}`),
      );
      expect(await drive.read('file')).toBe('x');
    },
  );
});
