import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../../../src/clock.js';
import { silentLog } from '../../../../src/log.js';
import { SERVER_SCHEMA } from '../../../../src/server/accounts/open_accounts.js';
import { Activity } from '../../../../src/server/sharing/activity.js';
import type { NodeId } from '../../../../src/server/storage/metadata/metadata_store.js';
import { SqliteDatabase } from '../../../../src/server/storage/metadata/sqlite/database.js';

const DAY_MS = 86_400_000;

let dir: string;
let database: SqliteDatabase;
let now_ms: number;
let activity: Activity;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'activity-'));
  database = SqliteDatabase.open(join(dir, 'db.sqlite'), SERVER_SCHEMA);
  now_ms = 1000 * DAY_MS;
  activity = new Activity(database, { ...systemClock, now_ms: () => now_ms }, silentLog, { maxRows: 3000 });
});
afterEach(async () => {
  await activity.settled();
  await database.close();
  await rm(dir, { recursive: true, force: true });
});

async function note(count: number, actor = 'anna', affected?: string): Promise<void> {
  for (let i = 0; i < count; i++) {
    const about = { kind: 'changed', actor, ownerRootId: 1 as NodeId, fileId: 7 as NodeId, path: [`f${i}`] };
    activity.note(affected === undefined ? about : { ...about, affected });
  }
  await activity.settled();
}

const rows = () => database.reader.prepare<[], number>('SELECT count(*) FROM activity').pluck().get();

test('the newest entries of who did it, whose it is and whom it is given to, each once, page by page', async () => {
  await note(3, 'anna');
  await note(2, 'bert', 'anna');
  await note(4, 'carl');
  await note(1, 'anna', 'anna');
  const list = (before: number | null, limit: number) =>
    activity.list({ userId: 'anna', since_ms: 0, before, limit }).map(({ actor, path }) => `${actor} ${path}`);
  expect(list(null, 10)).toEqual(['anna f0', 'bert f1', 'bert f0', 'anna f2', 'anna f1', 'anna f0']);
  expect(list(null, 2)).toEqual(['anna f0', 'bert f1']);
  const [, second] = activity.list({ userId: 'anna', since_ms: 0, before: null, limit: 2 });
  expect(list(second?.id ?? 0, 2)).toEqual(['bert f0', 'anna f2']);
});

test('what is too much goes, the oldest first', async () => {
  await note(3500);
  await note(600);
  expect(rows()).toBeLessThanOrEqual(3600);
  expect(rows()).toBeGreaterThanOrEqual(3000);
  const [newest] = activity.list({ userId: 'anna', since_ms: 0, before: null, limit: 1 });
  expect(newest?.path).toBe('f599');
});

test('what is too old goes as new entries come', async () => {
  await note(700);
  now_ms += 200 * DAY_MS;
  await note(600);
  expect(rows()).toBe(600);
});
