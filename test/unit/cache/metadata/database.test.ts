import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Database } from '../../../../src/cache/metadata/database.js';
import { silentLog } from '../../../../src/log.js';

let dir: string;
let db: Database;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cm-database-'));
  db = await Database.open(join(dir, 'metadata.db'), silentLog);
});
afterEach(async () => {
  await db.close(true);
  await rm(dir, { recursive: true });
});

/** What another process finds. */
function fromOutside(): unknown {
  try {
    const other = new Sqlite(join(dir, 'metadata.db'), { readonly: true, timeout: 50 });
    try {
      return other.prepare('SELECT count(*) FROM node').pluck().get();
    } finally {
      other.close();
    }
  } catch (error) {
    return (error as { code: unknown }).code;
  }
}

function change(): void {
  db.transaction(() => db.sql.exec("INSERT OR REPLACE INTO setting VALUES ('a', 'b')"));
}

describe('the database of a cache in use', () => {
  it('says where it is when the disk is full: it need not be the disk one thinks of', () => {
    db.sql.pragma(`max_page_count = ${db.sql.pragma('page_count', { simple: true })}`);
    const grow = () => db.transaction(() => db.sql.exec("INSERT INTO setting VALUES ('x', zeroblob(100000))"));
    expect(grow).toThrow(expect.objectContaining({ code: 'no_space' }));
    expect(grow).toThrow(join(dir, 'metadata.db'));
    db.sql.pragma('max_page_count = 1000000');
    expect(grow).not.toThrow();
  });

  it('is nobody else’s', () => {
    expect(fromOutside()).toBe('SQLITE_BUSY');
    change();
    expect(fromOutside()).toBe('SQLITE_BUSY');
  });

  it('is written at once where another program looks into it, and is nobody else’s after a check without one', async () => {
    await db.close(true);
    const other = new Sqlite(join(dir, 'metadata.db'), { readonly: true });
    expect(other.prepare('SELECT count(*) FROM node').pluck().get()).toBe(0);
    db = await Database.open(join(dir, 'metadata.db'), silentLog);
    const begun_ms = performance.now();
    change();
    expect(await db.check()).toBeNull();
    change();
    expect(performance.now() - begun_ms).toBeLessThan(2_000);
    expect(other.prepare("SELECT value FROM setting WHERE key = 'a'").pluck().get()).toBe('b');
    other.close();
    expect(await db.check()).toBeNull();
    expect(fromOutside()).toBe('SQLITE_BUSY');
    change();
  });

  it('is checked by a thread of its own, several times at once, and is nobody else’s again after that', async () => {
    change();
    expect(await Promise.all([db.check(), db.check()])).toEqual([null, null]);
    expect(fromOutside()).toBe('SQLITE_BUSY');
    expect(await db.check()).toBeNull();
  });

  it('is anybody’s once it is closed', async () => {
    await db.close(true);
    expect(fromOutside()).toBe(0);
    db = await Database.open(join(dir, 'metadata.db'), silentLog);
    expect(db.previousEnd).toBe('clean');
  });
});
