import { afterEach, beforeEach, expect, it } from 'vitest';
import { FakeRemote } from '../../../support/fake_remote.js';
import { TestCache } from '../../../support/test_cache.js';

let remote: FakeRemote;
let drive: TestCache;

beforeEach(async () => {
  remote = new FakeRemote();
  drive = await TestCache.open({ remote, quiet_ms: 5 });
});
afterEach(() => drive.close());

it('a conflict is settled however often the server has failed before', async () => {
  remote.server.write('file', 'base');
  await drive.until('the file is here', async () => (await drive.node('file')) !== null);
  remote.failNext('put', 'server', { times: 30 });
  await drive.write('file', 'mine, longer');
  await drive.until('it was tried in vain', () => {
    drive.cache.sendNow('');
    return remote.count('put') >= 30;
  });
  // Nothing tells us of it: the upload finds out.
  remote.before('changes', () => new Promise(() => undefined));
  remote.server.write('file', 'theirs');
  await drive.until('both are there', () => {
    drive.cache.sendNow('');
    return drive.cache.conflicts().length === 1 && drive.cache.status().queue.length === 0;
  });
  const copy = drive.cache.conflicts()[0]?.path ?? '';
  expect(remote.server.text(copy)).toBe('mine, longer');
  expect(remote.server.text('file')).toBe('theirs');
});
