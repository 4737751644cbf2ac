import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ChangeBus, type ChangeNotice } from '../../../../src/server/changes/change_bus.js';
import type { CommittedChange, NodeId } from '../../../../src/server/storage/metadata/metadata_store.js';

let commit: (changes: readonly CommittedChange[]) => void;
let bus: ChangeBus;
const errors: unknown[] = [];
const source = {
  onCommit(listener: (changes: readonly CommittedChange[]) => void) {
    commit = listener;
    return () => {
      commit = () => undefined;
    };
  },
};

beforeEach(() => {
  vi.useFakeTimers();
  errors.length = 0;
  bus = new ChangeBus(source, { quiet_ms: 50, onError: (error) => errors.push(error) });
});
afterEach(() => {
  bus.close();
  vi.useRealTimers();
});

const change = (userId: string, seq: number, ...ids: number[]): CommittedChange => ({
  userId,
  seq,
  fileIds: ids as NodeId[],
});

test('changes close together arrive as one notice, to that user only', () => {
  const anna: ChangeNotice[] = [];
  const bert: ChangeNotice[] = [];
  bus.subscribe('anna', (notice) => anna.push(notice));
  bus.subscribe('bert', (notice) => bert.push(notice));
  commit([change('anna', 5, 1, 2)]);
  commit([change('anna', 7, 2, 3), change('nobody', 8, 9)]);
  vi.advanceTimersByTime(0);
  expect(anna).toEqual([{ seq: 7, fileIds: [1, 2, 3] }]);
  commit([change('anna', 9, 4)]);
  vi.advanceTimersByTime(49);
  expect(anna).toHaveLength(1);
  vi.advanceTimersByTime(1);
  expect(anna[1]).toEqual({ seq: 9, fileIds: [4] });
  expect(bert).toEqual([]);
});

test('too many ids to name are told as none', () => {
  const heard: ChangeNotice[] = [];
  bus.subscribe('anna', (notice) => heard.push(notice));
  commit([change('anna', 1, ...Array.from({ length: 600 }, (_, i) => i))]);
  vi.advanceTimersByTime(0);
  expect(heard).toEqual([{ seq: 1, fileIds: null }]);
});

test('a listener that throws does not keep the others from hearing', () => {
  const heard: ChangeNotice[] = [];
  bus.subscribe('anna', () => {
    throw new Error('no');
  });
  bus.subscribe('anna', (notice) => heard.push(notice));
  commit([change('anna', 1, 1)]);
  vi.advanceTimersByTime(0);
  expect(heard).toHaveLength(1);
  expect(errors).toHaveLength(1);
});

test('after unsubscribing nothing is heard, also not what was pending', () => {
  const heard: ChangeNotice[] = [];
  const listener = (notice: ChangeNotice) => heard.push(notice);
  const stopOne = bus.subscribe('anna', listener);
  const stopTwo = bus.subscribe('anna', listener);
  commit([change('anna', 1, 1)]);
  stopOne();
  stopOne();
  vi.advanceTimersByTime(100);
  expect(heard).toHaveLength(1);
  commit([change('anna', 2, 1)]);
  stopTwo();
  vi.advanceTimersByTime(100);
  expect(heard).toHaveLength(1);
});
