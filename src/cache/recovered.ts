// When the database is damaged: nothing of the cache is thrown away blindly. Database and contents move to
// DIR/recovered-TIME/. What can still be read of the records says which contents the server has (those go), and which
// were never sent: these get their names back under `unsent/`. What no readable record explains stays under `unknown/`.
// Until all that is done the folder is called DIR/recovering: a start that finds it goes on with it before anything else.

import { existsSync, readdirSync } from 'node:fs';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { toCloudError } from '../errors.js';
import type { Log } from '../log.js';
import { fingerprintOf } from './content/content_file.js';
import { ExtentSet } from './content/extents.js';
import { databaseFiles } from './metadata/database.js';
import { Dirty } from './metadata/node.js';

const PREFIX = 'recovered-';
const UNDER_WAY = 'recovering';
const SALVAGE = 'salvage.db';
/** Beside an unsent file of which only parts were here. */
const INCOMPLETE = '.incomplete';

export interface Recovered {
  readonly folder: string;
  readonly unsent: number;
  readonly unknown: number;
}

interface OldRow {
  readonly parent: number | null;
  readonly name: string | Buffer;
  readonly size: number;
  readonly gen: number;
  readonly dirty: number;
  readonly base_parent: number | null;
  readonly extents: Buffer | null;
  readonly fingerprint: string | null;
}

/** Folders of this kind in the cache folder `dir`, as paths. */
export function recoveredFolders(dir: string): string[] {
  try {
    return readdirSync(dir)
      .filter((name) => name.startsWith(PREFIX))
      .sort()
      .map((name) => join(dir, name));
  } catch {
    return [];
  }
}

/** Are there contents in the folder `content`? */
export async function holdsContents(content: string): Promise<boolean> {
  return (await contentFiles(content)).length > 0;
}

/** Did a start end while it was setting a database aside? What lies beside the folder still belongs to that one. */
export function isBeingSetAside(dir: string): boolean {
  return existsSync(join(dir, UNDER_WAY));
}

/** Sets the damaged database `database` (a file in `dir`) and `content` (a folder in `dir`) aside; or what is left of them
 * to be set aside. */
export async function setAside(dir: string, database: string, content: string, log: Log): Promise<Recovered> {
  const aside = join(dir, UNDER_WAY);
  const time = new Date().toISOString().replaceAll(':', '').replace(/\..*/, '');
  const folder = join(dir, `${PREFIX}${time}-${process.pid}`);
  let left: { readonly unsent: number; readonly unknown: number };
  try {
    await fs.mkdir(aside, { recursive: true, mode: 0o700 });
    for (const name of databaseFiles(database)) await moveIfThere(join(dir, name), join(aside, name));
    await moveIfThere(join(dir, content), join(aside, 'content'));
    left = await sortOut(aside, database, log);
    await fs.rename(aside, folder);
  } catch (error) {
    throw toCloudError(error, `setting the damaged cache database in ${dir} aside`);
  }
  const found = { folder, ...left };
  log.error(
    found,
    'the cache database was damaged; it and all contents the server may not have are kept in this folder',
  );
  return found;
}

/** Gives each content in `folder` its place there. */
async function sortOut(folder: string, database: string, log: Log): Promise<Omit<Recovered, 'folder'>> {
  const old = await openOld(folder, database, log);
  for (const { path, ino, gen } of await contentFiles(join(folder, 'content'))) {
    const row = old?.row(ino) ?? null;
    const isClean = row !== null && (row.dirty & Dirty.content) === 0 && row.base_parent !== null;
    // The newest records may be lost: only what nobody has touched since this one is as it says.
    if (isClean && row.gen === gen && row.fingerprint === fingerprintOf(await fs.stat(path, { bigint: true }))) {
      await fs.rm(path); // the server has it
      continue;
    }
    const names = row !== null && row.gen === gen && !isClean ? old?.pathOf(row) : undefined;
    if (row !== null && names !== undefined && (await keep(path, join(folder, 'unsent'), names, row, log))) continue;
    await fs.mkdir(join(folder, 'unknown'), { recursive: true });
    await fs.rename(path, join(folder, 'unknown', `${ino}.${gen}`));
  }
  old?.close();
  for (const name of databaseFiles(SALVAGE)) await fs.rm(join(folder, name), { force: true });
  await fs.rm(join(folder, 'content'), { recursive: true, force: true });
  const unsent = await countFiles(Buffer.from(join(folder, 'unsent')));
  const unknown = await countFiles(Buffer.from(join(folder, 'unknown')));
  await fs.writeFile(join(folder, 'README.txt'), explanation(unsent, unknown), { mode: 0o600 });
  return { unsent, unknown };
}

/** An earlier start may have sorted out some of them. */
async function countFiles(folder: Buffer): Promise<number> {
  let count = 0;
  for (const name of await fs.readdir(folder, { encoding: 'buffer' }).catch(() => [])) {
    const path = Buffer.concat([folder, Buffer.from('/'), name]);
    if ((await fs.lstat(path)).isDirectory()) count += await countFiles(path);
    else if (!name.toString('latin1').endsWith(INCOMPLETE)) count += 1;
  }
  return count;
}

/** The damaged database, as far as it can be read, one record at a time. */
class OldDatabase {
  readonly #sql: Sqlite.Database;
  readonly #select: Sqlite.Statement;

  constructor(path: string) {
    this.#sql = new Sqlite(path, { fileMustExist: true });
    this.#select = this.#sql.prepare(
      'SELECT parent, name, size, gen, dirty, base_parent, extents, fingerprint FROM node WHERE ino = ?',
    );
  }

  row(ino: number): OldRow | null {
    try {
      return (this.#select.get(ino) as OldRow | undefined) ?? null;
    } catch {
      return null; // on a damaged page
    }
  }

  /** Names from the root; directories that cannot be read are called by their number. */
  pathOf(row: OldRow): Buffer[] {
    const names = [bytesOf(row.name)];
    let above = row.parent;
    for (let depth = 0; above !== null && above !== 1 && depth < 1000; depth += 1) {
      const at = this.row(above);
      names.push(at === null ? Buffer.from(`inode-${above}`) : bytesOf(at.name));
      above = at?.parent ?? null;
    }
    return names.reverse();
  }

  close(): void {
    this.#sql.close();
  }
}

/** A copy is read, so that the original stays as it was. Of a file that was cut short SQLite would read nothing at all:
 * the copy gets its old length back, and only what was on the lost pages is lost. */
async function openOld(folder: string, database: string, log: Log): Promise<OldDatabase | null> {
  const copy = join(folder, SALVAGE);
  try {
    await fs.copyFile(join(folder, database), copy);
    await fs.copyFile(join(folder, `${database}-wal`), `${copy}-wal`).catch(() => undefined);
    const file = await fs.open(copy, 'r+');
    try {
      const header = Buffer.alloc(100); // https://www.sqlite.org/fileformat.html#the_database_header
      await file.read(header, 0, header.length, 0);
      const page_bytes = header.readUInt16BE(16) === 1 ? 65_536 : header.readUInt16BE(16);
      const whole_bytes = page_bytes * header.readUInt32BE(28);
      if ((await file.stat()).size < whole_bytes) await file.truncate(whole_bytes);
    } finally {
      await file.close();
    }
    return new OldDatabase(copy);
  } catch (error) {
    log.warn({ err: error }, 'nothing can be read from the damaged cache database; contents are kept without names');
    return null;
  }
}

async function contentFiles(dir: string): Promise<{ path: string; ino: number; gen: number }[]> {
  const found: { path: string; ino: number; gen: number }[] = [];
  for (const folder of await fs.readdir(dir).catch(() => [])) {
    if (!/^[0-9a-f]{2}$/.test(folder)) continue;
    for (const name of await fs.readdir(join(dir, folder))) {
      const parts = /^([1-9]\d{0,15})\.(\d{1,15})$/.exec(name);
      if (parts !== null) found.push({ path: join(dir, folder, name), ino: Number(parts[1]), gen: Number(parts[2]) });
    }
  }
  return found;
}

/** Moves one content file to its name below `root`. False when that name cannot be made. */
async function keep(path: string, root: string, names: readonly Buffer[], row: OldRow, log: Log): Promise<boolean> {
  const slash = Buffer.from('/');
  const target = Buffer.concat([Buffer.from(root), ...names.flatMap((name) => [slash, name])]);
  try {
    if (names.some((name) => impossible(name))) throw new Error('its name cannot be one');
    await fs.mkdir(target.subarray(0, target.lastIndexOf('/')), { recursive: true });
    // Never over something else: two records may claim one name.
    await fs.link(path, target);
    await fs.rm(path);
    if (!isComplete(row)) {
      await fs.writeFile(Buffer.concat([target, Buffer.from(INCOMPLETE)]), 'Only parts of this file were here.\n');
    }
    return true;
  } catch (error) {
    log.warn({ err: error, path }, 'unsent content could not be given its name');
    return false;
  }
}

/** A damaged record may say anything. */
function impossible(name: Buffer): boolean {
  const text = name.toString('latin1');
  return text === '' || text === '.' || text === '..' || text.includes('/') || text.includes('\0');
}

function isComplete(row: OldRow): boolean {
  try {
    return row.base_parent === null || ExtentSet.parse(row.extents).isComplete(row.size);
  } catch {
    return false;
  }
}

function bytesOf(name: string | Buffer): Buffer {
  return typeof name === 'string' ? Buffer.from(name) : name;
}

async function moveIfThere(from: string, to: string): Promise<void> {
  await fs.rename(from, to).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  });
}

function explanation(unsent: number, unknown: number): string {
  return [
    'The database of this cache was damaged and was set aside here. The drive went on with a new one.',
    '',
    `unsent/   ${unsent} files with changes that had not reached the server, under their names in the drive.`,
    `unknown/  ${unknown} contents whose records could not be read: INODE.GENERATION; the server may have them.`,
    '',
    'Copy back into the drive what you need, then delete this folder.',
    '',
  ].join('\n');
}
