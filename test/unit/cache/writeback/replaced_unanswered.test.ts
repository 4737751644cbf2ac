// A new file of which it is not known whether the server has it, under the name by which it was sent, takes the name of
// one that the server has.

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

/** `report` is on the server, `report.tmp` was sent and no answer came; it is there, or not any more. Offline since. */
async function start(capabilities: typeof FULL, isThere: boolean) {
  const server = new FakeServer();
  server.write('report', 'old');
  const remote = new FakeRemote(server, { capabilities });
  const drive = await TestCache.open({ remote, quiet_ms: 5, dirCacheTime_ms: 50 });
  open.push(drive);
  const fileid = server.entry('report')?.fileid;
  await drive.read('report');
  remote.failNext('put', 'network', { when: 'after' });
  const unhook = remote.before('ping', () => Promise.resolve(remote.goOffline()));
  await drive.write('report.tmp', 'new');
  await drive.until('it is offline', () => drive.cache.status().connection === 'offline');
  unhook();
  expect(server.text('report.tmp')).toBe('new');
  if (!isThere) server.remove('report.tmp');
  return { server, remote, drive, fileid };
}

async function sendAll(drive: TestCache, remote: FakeRemote): Promise<void> {
  remote.goOnline();
  await drive.cache.reconnect();
  await drive.until('it is online', () => drive.cache.status().connection === 'online');
  await drive.flush();
}

describe.each([
  ['our server', FULL],
  ['a generic server', GENERIC],
] as const)('on %s', (_, capabilities) => {
  for (const isThere of [true, false]) {
    const sent = `sent without an answer${isThere ? '' : ', not there any more,'}`;
    it(`a file that was ${sent} and replaces another leaves nothing under its first name`, async () => {
      const { server, remote, drive, fileid } = await start(capabilities, isThere);
      await drive.rename('report.tmp', 'report');
      await sendAll(drive, remote);
      expect(server.paths()).toEqual(['report']);
      expect(server.text('report')).toBe('new');
      expect(await drive.list()).toEqual(['report']);
      // Replaced in one request, so that the name is never free; as new content where that is possible.
      expect(remote.count('remove')).toBe(0);
      if (!isThere) expect(server.entry('report')?.fileid).toBe(fileid); // its shares and lock stay
    });

    it(`a file that was ${sent} and gets the name of one that is removed leaves nothing under its first name`, async () => {
      const { server, remote, drive } = await start(capabilities, isThere);
      await drive.rename('report.tmp', 'report', 'exchange');
      await drive.unlink('report.tmp');
      await sendAll(drive, remote);
      expect(server.paths()).toEqual(['report']);
      expect(server.text('report')).toBe('new');
      expect(await drive.list()).toEqual(['report']);
    });
  }
});
