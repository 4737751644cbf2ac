// What waits in a cache folder that no drive uses, looked at without touching it: a server that has moved leaves one behind
// under its old address.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { nameFromSql } from '../names.js';

export interface Unsent {
  readonly changes: number;
  /** Of some of them. */
  readonly names: readonly string[];
}

/** As many names as fit into a message. */
const UNSENT_NAMED = 3;

/** `3 changes (a.txt, b.txt, …)`; null = none. */
export function describeUnsent({ changes, names }: Unsent): string | null {
  if (changes === 0) return null;
  const list = [...names.map((name) => JSON.stringify(name)), ...(changes > names.length ? ['…'] : [])];
  return `${changes} ${changes === 1 ? 'change' : 'changes'} (${list.join(', ')})`;
}

export function unsentOf(sql: Sqlite.Database): Unsent {
  const changes = sql.prepare('SELECT count(*) FROM node WHERE pending IS NOT NULL').pluck().get();
  const names = sql
    .prepare('SELECT name FROM node WHERE pending IS NOT NULL ORDER BY pending LIMIT +?')
    .pluck()
    .all(UNSENT_NAMED) as (string | Buffer)[];
  return { changes: Number(changes), names: names.map(nameFromSql) };
}

/** Null: it is no cache, or cannot be read. `belongsTo`: what it says it is of. */
export function unsentIn(dir: string): (Unsent & { readonly belongsTo: string }) | null {
  const path = join(dir, 'metadata.db');
  if (!existsSync(path)) return null;
  let sql: Sqlite.Database | undefined;
  try {
    // Read only: how the last process ended must be there to be read by the next.
    sql = new Sqlite(path, { readonly: true, fileMustExist: true, timeout: 0 });
    const belongsTo = sql.prepare("SELECT value FROM setting WHERE key = 'account'").pluck().get();
    return { belongsTo: String(belongsTo ?? ''), ...unsentOf(sql) };
  } catch {
    return null;
  } finally {
    sql?.close();
  }
}
