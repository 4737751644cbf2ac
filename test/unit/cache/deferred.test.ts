import { expect, it } from 'vitest';
import { Deferred } from '../../../src/cache/deferred.js';
import type { RemotePath } from '../../../src/ids.js';
import { ALL_RIGHTS, type RemoteEntry } from '../../../src/remote/remote.js';

const path = (text: string) => text as RemotePath;

function entry(at: string): RemoteEntry {
  return {
    ...{ path: path(at), kind: 'file', fileid: '1', etag: '"1"', size_bytes: 1, mtime: { s: 1, ns: 0 } },
    ...{
      rights: ALL_RIGHTS,
      lock: null,
      shared: null,
      checksum: null,
      symlinkTarget: null,
      posix: {},
      xattrs: new Map(),
    },
  };
}

it('what was told once may turn out to be known, to have to wait, or to be a question', () => {
  const deferred = new Deferred();
  for (const name of ['known', 'waits', 'asked']) deferred.addEntry(entry(name));
  const verdicts = { known: 'known', waits: 'wait', asked: 'ask' } as const;
  expect(deferred.take((one) => verdicts[one.path as unknown as keyof typeof verdicts])).toEqual(['asked']);
  expect(['known', 'waits', 'asked'].map((name) => deferred.has(path(name)))).toEqual([false, true, false]);
  expect(deferred.take(() => 'ask')).toEqual(['waits']);
  expect([deferred.isEmpty, deferred.times]).toEqual([false, 3]); // both are being asked about
  deferred.answered(path('asked'));
  deferred.answered(path('waits'));
  expect(deferred.isEmpty).toBe(true);
});

it('what was told twice, or is not said, is asked about without a judgement', () => {
  const deferred = new Deferred();
  deferred.addEntry(entry('twice'));
  deferred.addEntry(entry('twice'));
  deferred.add(path('unsaid'));
  const never = () => {
    throw new Error('judged');
  };
  expect(deferred.take(never)).toEqual(['twice', 'unsaid']);
  expect(deferred.take(never)).toEqual([]);
});

it('what is put off again while it is asked about is asked again', () => {
  const deferred = new Deferred();
  deferred.add(path('a'));
  deferred.take(() => 'ask');
  deferred.add(path('a'));
  deferred.answered(path('a'));
  expect(deferred.isEmpty).toBe(false);
  expect(deferred.take(() => 'ask')).toEqual(['a']);
});

it('knows what was put off of a collection above a path', () => {
  const deferred = new Deferred();
  deferred.add(path('d'));
  deferred.add(path('e/f'));
  const above = () => ['d/x/y', 'd', 'e/f/x', 'e/x'].map((name) => deferred.hasAbove(path(name)));
  expect(above()).toEqual([true, false, true, false]);
  deferred.take(() => 'ask'); // is being asked about
  expect(above()).toEqual([true, false, true, false]);
  deferred.answered(path('d'));
  expect(above()).toEqual([false, false, true, false]);
});
