import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type SchemaModule, SqliteDatabase } from '../../../../src/server/storage/metadata/sqlite/database.js';

const NOTES: SchemaModule = {
  name: 'notes',
  migrations: ['CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)'],
};

let dir: string;
let path: string;
let database: SqliteDatabase;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cloudmount-db-'));
  path = join(dir, 'db.sqlite');
  database = SqliteDatabase.open(path, [NOTES]);
});
afterEach(async () => {
  await database.close();
  await rm(dir, { recursive: true, force: true });
});

const add = (text: string) =>
  database.write(() => database.writer.prepare('INSERT INTO notes (text) VALUES (?)').run(text).lastInsertRowid);
const all = () => database.reader.prepare<[], string>('SELECT text FROM notes ORDER BY id').pluck().all();

test('jobs queued together run as one group, a failing one alone is undone', async () => {
  const results = await Promise.allSettled([
    add('one'),
    add('one'),
    database.write(() => {
      database.writer.prepare("INSERT INTO notes (text) VALUES ('never')").run();
      throw new Error('no');
    }),
    add('two'),
  ]);
  expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled']);
  expect(all()).toEqual(['one', 'two']);
});

test('results come back in order, more of them than fit one group', async () => {
  const ids = await Promise.all(Array.from({ length: 1000 }, (_, i) => add(`note ${i}`)));
  expect(ids.map(Number)).toEqual(Array.from({ length: 1000 }, (_, i) => i + 1));
});

test('nothing is said to be stored in a file that was moved away; back in its place it goes on', async () => {
  await add('before');
  await rename(path, `${path}.away`);
  await expect(add('lost')).rejects.toMatchObject({ code: 'busy_server' });
  await writeFile(path, 'another');
  await expect(add('lost')).rejects.toMatchObject({ code: 'busy_server' });
  await rename(`${path}.away`, path);
  await add('after');
  expect(all()).toEqual(['before', 'after']);
});

test('a job may await its own statements', async () => {
  const value = await database.write(async () => {
    await Promise.resolve();
    database.writer.prepare("INSERT INTO notes (text) VALUES ('late')").run();
    await Promise.resolve();
    return 7;
  });
  expect(value).toBe(7);
  expect(all()).toEqual(['late']);
});

test('a job that awaits I/O is failed and undone, and the others go on', async () => {
  const slow = database.write(async () => {
    database.writer.prepare("INSERT INTO notes (text) VALUES ('held')").run();
    await new Promise((resolve) => setTimeout(resolve, 50));
  });
  const other = add('fine');
  await expect(slow).rejects.toThrow('awaited something other than its own statements');
  await other;
  expect(all()).toEqual(['fine']);
});

test('readers see nothing of a transaction before its commit', async () => {
  let seen: readonly string[] = ['unset'];
  await database.write(() => {
    database.writer.prepare("INSERT INTO notes (text) VALUES ('half')").run();
    seen = all();
  });
  expect(seen).toEqual([]);
  expect(all()).toEqual(['half']);
});

test('the version moves with every commit, also of another process, and with nothing else', async () => {
  const seen = [database.version()];
  const turn = async () => {
    // What another process writes is seen when the view that reads share has ended.
    await new Promise((resolve) => setTimeout(resolve, 10));
    seen.push(database.version());
  };
  await turn();
  await add('own');
  await turn();
  const other = SqliteDatabase.open(path, [NOTES]);
  await other.write(() => other.writer.prepare("INSERT INTO notes (text) VALUES ('foreign')").run());
  await other.close();
  await turn();
  await turn();
  expect(seen.map((version) => seen.indexOf(version))).toEqual([0, 0, 2, 3, 3]);
});

test('a long transaction of another process holds up who writes, not who reads', async () => {
  await add('before');
  const other = new Database(path);
  other.exec('BEGIN IMMEDIATE');
  const began_ms = performance.now();
  const writes = Promise.all([add('one'), add('two')]);
  let longest_ms = 0;
  for (let last = performance.now(); last - began_ms < 500; ) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    expect(await database.read(async () => all())).toEqual(['before']);
    const now = performance.now();
    longest_ms = Math.max(longest_ms, now - last);
    last = now;
  }
  expect(longest_ms).toBeLessThan(2000);
  other.exec('COMMIT');
  other.close();
  await writes;
  expect(all()).toEqual(['before', 'one', 'two']);
});

test('whoever was told of a write finds another version', async () => {
  const before = database.version();
  await add('one');
  expect(database.version()).not.toBe(before);
  expect(all()).toEqual(['one']);
});

test('what is in no hurry comes by itself, when it is hurried, or with the end', async () => {
  const soon = (text: string) =>
    database.writeSoon(() => database.writer.prepare('INSERT INTO notes (text) VALUES (?)').run(text));
  const first = soon('first');
  await add('write');
  expect(all()).toEqual(['write']);
  await first;
  const second = soon('second');
  database.hurry();
  await second;
  expect(all()).toEqual(['write', 'first', 'second']);
  const last = soon('last');
  await database.close();
  await last;
  database = SqliteDatabase.open(path, [NOTES]);
  expect(all()).toContain('last');
});

test('the reader cannot write', () => {
  expect(() => database.reader.prepare("INSERT INTO notes (text) VALUES ('x')").run()).toThrow(/readonly/i);
});

test('a full disk refuses the write with no_space and keeps what was there', async () => {
  await add('kept');
  const pages = database.writer.pragma('page_count', { simple: true }) as number;
  database.writer.pragma(`max_page_count = ${pages + 2}`);
  await expect(add('x'.repeat(1_000_000))).rejects.toMatchObject({ code: 'no_space' });
  database.writer.pragma('max_page_count = 1000000');
  await add('after');
  expect(all()).toEqual(['kept', 'after']);
});

test('what was written is there after closing and opening', async () => {
  await add('durable');
  await database.durable();
  await database.close();
  await database.close();
  await expect(add('late')).rejects.toMatchObject({ code: 'io' });
  database = SqliteDatabase.open(path, [NOTES]);
  expect(all()).toEqual(['durable']);
});

test('closing finishes what is queued', async () => {
  const pending = [add('one'), add('two')];
  const closing = database.close();
  await expect(Promise.all(pending)).resolves.toHaveLength(2);
  await closing;
});

test('migrations run once, later ones are added, and a newer file is refused', async () => {
  await add('old');
  await database.close();
  const newer: SchemaModule = {
    name: 'notes',
    migrations: [...NOTES.migrations, 'ALTER TABLE notes ADD COLUMN tag TEXT'],
  };
  const beside: SchemaModule = { name: 'other', migrations: ['CREATE TABLE other (x)'] };
  database = SqliteDatabase.open(path, [newer, beside]);
  expect(database.reader.prepare('SELECT text, tag FROM notes').get()).toEqual({ text: 'old', tag: null });
  await database.close();
  expect(() => SqliteDatabase.open(path, [NOTES])).toThrow(/version 2/);
  database = SqliteDatabase.open(path, [newer]);
});

test('a migration that fails leaves the file as it was', async () => {
  await database.close();
  const broken: SchemaModule = {
    name: 'notes',
    migrations: [...NOTES.migrations, 'CREATE TABLE extra (x); SELECT * FROM nowhere'],
  };
  expect(() => SqliteDatabase.open(path, [broken])).toThrow();
  database = SqliteDatabase.open(path, [NOTES]);
  expect(database.reader.prepare("SELECT name FROM sqlite_master WHERE name = 'extra'").all()).toEqual([]);
});

test('what nobody waits for is on the disk soon, at once when somebody else waits, and before the end', async () => {
  const order: string[] = [];
  const note = (text: string, isEnough: boolean) => {
    const durable = database.write(
      () => database.writer.prepare('INSERT INTO notes (text) VALUES (?)').run(text),
      () => {
        order.push(`${text} is seen`);
        return isEnough;
      },
    );
    return durable.then(() => order.push(`${text} is durable`));
  };
  await note('alone', true);
  expect(order).toEqual(['alone is seen', 'alone is durable']);
  order.length = 0;

  const hurried = note('hurried', true);
  while (order.length === 0) await new Promise((resolve) => setImmediate(resolve));
  await database.durable();
  expect(order).toEqual(['hurried is seen', 'hurried is durable']);
  await hurried;
  order.length = 0;

  await Promise.all([note('lapses', true), note('awaited', false)]);
  expect(order).toEqual(['lapses is seen', 'awaited is seen', 'lapses is durable', 'awaited is durable']);
  order.length = 0;

  void note('last', true);
  await database.close();
  expect(order).toEqual(['last is seen', 'last is durable']);
});

test.each([
  ['another user’s', 'a file is required that this user can read and write', (at: string) => mkdir(at)],
  ['damaged', 'a whole SQLite database is required', (at: string) => writeFile(at, Buffer.alloc(5000, 'no database '))],
] as const)('a file that is %s is refused with its name and what is required', async (_what, required, make) => {
  const other = join(dir, 'other.sqlite');
  await make(other);
  const open = () => SqliteDatabase.open(other, [NOTES]);
  expect(open).toThrow(other);
  expect(open).toThrow(required);
});
