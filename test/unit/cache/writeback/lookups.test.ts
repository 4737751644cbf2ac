import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { GENERIC } from '../../../support/capabilities.js';
import { FakeRemote, FakeServer } from '../../../support/fake_remote.js';
import { CALLER, TestCache } from '../../../support/test_cache.js';

let remote: FakeRemote;
let drive: TestCache;

beforeEach(async () => {
  remote = new FakeRemote();
  remote.server.mkdir('d');
  drive = await TestCache.open({ remote, quiet_ms: 5 });
  await drive.until('d is here', async () => (await drive.node('d')) !== null);
});
afterEach(() => drive.close());

it('what was put off and could not be asked about at first is asked about again', async () => {
  let go = (): void => undefined;
  const held = new Promise<void>((resolve) => {
    go = resolve;
  });
  const unhook = remote.before('setMeta', () => held);
  await drive.cache.setattr((await drive.must('d')).ino, { mode: 0o700 }, CALLER);
  await drive.until('the change is on its way', () => remote.count('setMeta') === 1);
  const asked = remote.count('changes');
  remote.server.write('d/theirs', 'x');
  await drive.until('the feed has been read', () => remote.count('changes') > asked);
  await sleep(300); // and applied
  remote.failNext('stat', 'quota', { times: 2 }); // nothing that has the connection made anew
  unhook();
  go();
  await drive.until('what the others made is shown', async () => (await drive.list('d')).includes('theirs'));
});

it('a reader that finds another version than is known has it looked at', async () => {
  remote.server.write('d/file', 'one');
  await drive.until('the file is here', async () => (await drive.node('d/file')) !== null);
  // A feed that lost something.
  remote.before('changes', () => new Promise(() => undefined));
  remote.server.write('d/file', 'another');
  await expect(drive.read('d/file')).rejects.toMatchObject({ code: 'stale' });
  await drive.until('the new version shows', async () => (await drive.must('d/file')).size_bytes === 7);
  expect(await drive.read('d/file')).toBe('another');
});

it('what an answer pushes out of its place is sent although nobody lists anything', async () => {
  const server = new FakeServer();
  server.mkdir('A');
  const generic = new FakeRemote(server, { capabilities: GENERIC });
  const other = await TestCache.open({ remote: generic, quiet_ms: 5, dirCacheTime_ms: 600_000 });
  try {
    await other.list('');
    const unhook = generic.before('move', async () => {
      unhook();
      await other.rename('B', 'C');
      await other.write('C/mine', 'mine');
      server.remove('A');
      server.write('A', 'theirs');
      server.write('B', 'theirs');
    });
    await other.rename('A', 'B');
    await other.until('the move has been asked for', () => generic.count('move') > 0);
    await other.flush('', 4_000);
    expect(server.text('C/mine')).toBe('mine');
  } finally {
    await other.close();
  }
});
