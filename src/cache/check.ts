// Every invariant of the cache, as sentences about what is wrong. Reads only. Used by `cloudmount check` and by every
// crash and model test: a cache that went through anything at all must come out with an empty list.

import { CloudError } from '../errors.js';
import type { Ino } from '../ids.js';
import { BlockSums } from './content/block_sums.js';
import type { ContentStore } from './content/content_store.js';
import { ExtentSet } from './content/extents.js';
import { verifyContent } from './content/verify.js';
import type { Contents } from './contents.js';
import type { Hydrator } from './hydrator.js';
import type { Database } from './metadata/database.js';
import type { NodeRecord } from './metadata/node.js';
import type { NodeStore } from './metadata/node_store.js';
import type { SpaceBudget } from './space.js';

export interface CheckServices {
  readonly store: NodeStore;
  readonly files: ContentStore;
  readonly contents: Contents;
  readonly space: SpaceBudget;
  readonly hydrator: Hydrator;
  readonly db: Database;
  readonly recovered: () => readonly string[];
}

export async function check(services: CheckServices, options: { readonly content: boolean }): Promise<string[]> {
  const problems: string[] = [];
  // Records of open contents are written behind: compare only what is settled.
  await services.contents.settled();
  const damage = await services.db.check();
  // Not in place, what is at its paths is none of what the records speak of.
  if (damage !== null && !services.db.isInPlace) return [damage];
  if (damage !== null) problems.push(`the cache database is damaged: ${damage}; the next start sets it aside`);
  for (const folder of services.recovered()) {
    problems.push(
      `${folder} keeps what was unsent when a damaged cache database was set aside: copy what you need, then delete it`,
    );
  }
  let looked = 0;
  for (const node of services.store.all()) {
    checkTree(node, services.store, problems);
    checkQueue(node, problems);
    await checkContent(node, services, options.content, problems);
    looked += 1;
    if (looked % 200 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  for await (const stored of services.files.list()) {
    const node = services.store.get(stored.ino);
    if (node === null && !services.contents.isLeaving(stored.ino, stored.gen)) {
      problems.push(`content file ${stored.ino}.${stored.gen}: no record knows it`);
    }
    if (node === null) continue;
    if (node.gen !== stored.gen && !services.contents.isLeaving(stored.ino, stored.gen)) {
      problems.push(
        `content file ${stored.ino}.${stored.gen}: the record of "${node.name}" is at generation ${node.gen}`,
      );
    }
  }
  checkSpace(services, problems);
  return problems;
}

/** Only while nothing is being fetched or written: bytes that are on their way are reserved, not yet stored. */
function checkSpace({ contents, space, hydrator }: CheckServices, problems: string[]): void {
  if (contents.anyInUse || hydrator.stats().running > 0 || space.waiting > 0) return;
  const held = contents.accountedBytes();
  if (held !== space.used_bytes) {
    problems.push(`the contents hold ${held} bytes, the space budget counts ${space.used_bytes}`);
  }
}

function checkTree(node: NodeRecord, store: NodeStore, problems: string[]): void {
  const say = (what: string) => problems.push(`inode ${node.ino} "${node.name}": ${what}`);
  if (node.ino === 1) {
    if (!node.isDir || node.parent !== null) say('the root must be a directory without a parent');
    return;
  }
  if (node.parent !== null) {
    const parent = store.get(node.parent);
    if (parent === null) say(`its directory, inode ${node.parent}, does not exist`);
    else if (!parent.isDir) say(`its parent, inode ${node.parent}, is not a directory`);
    else if (parent.parent === null && parent.ino !== 1) say(`its directory, inode ${node.parent}, was removed`);
    if (!reachesRoot(node, store, (at) => at.parent)) say('its directories form a circle');
  }
  if (node.base !== null) {
    const above = store.get(node.base.parent);
    if (above === null) say(`its collection on the server, inode ${node.base.parent}, does not exist`);
    else if (!above.isDir) say(`its collection on the server, inode ${node.base.parent}, is not a directory`);
    if (!reachesRoot(node, store, (at) => at.base?.parent ?? null)) say('its collections on the server form a circle');
  }
  if (node.name === '' || node.name === '.' || node.name === '..' || node.name.includes('/')) say('impossible name');
}

function reachesRoot(node: NodeRecord, store: NodeStore, up: (node: NodeRecord) => Ino | null): boolean {
  const seen = new Set<Ino>();
  for (let at: NodeRecord | null = node; at !== null; ) {
    if (seen.has(at.ino)) return false;
    seen.add(at.ino);
    const above = up(at);
    at = above === null ? null : store.get(above);
  }
  return true;
}

function checkQueue(node: NodeRecord, problems: string[]): void {
  const say = (what: string) => problems.push(`inode ${node.ino} "${node.name}": ${what}`);
  if (node.ino === 1 || node.limbo !== 'none') return;
  if (node.differs && node.pending === null) {
    const here = node.parent === null ? 'removed here' : `in ${node.parent}`;
    const there =
      node.base === null ? 'not on the server' : `on the server in ${node.base.parent} as "${node.base.name}"`;
    say(
      `differs from the server but is not queued: ${here}, ${there}, dirty ${node.dirty}, ${node.sending.length} unanswered`,
    );
  }
  if (!node.differs && node.pending !== null) say('is queued but does not differ from the server');
  if (node.base === null && node.parent !== null && !node.localOnly && node.kind === 'file' && !node.contentDirty) {
    say('is not on the server and has no content to send');
  }
}

async function checkContent(
  node: NodeRecord,
  services: CheckServices,
  full: boolean,
  problems: string[],
): Promise<void> {
  const say = (what: string) => problems.push(`inode ${node.ino} "${node.name}": ${what}`);
  if (node.unstored) say('the disk did not take all that was written; it is not sent before it is written anew');
  if (node.kind !== 'file' || node.extents === null) return;
  const open = services.contents.peek(node.ino);
  if (open !== null) return; // in use: its record follows
  let extents: ExtentSet;
  try {
    extents = ExtentSet.parse(node.extents);
  } catch (error) {
    say(`its record of cached ranges is damaged: ${error instanceof Error ? error.message : String(error)}`);
    return;
  }
  if (extents.end > node.size_bytes) say(`cached ranges end at ${extents.end}, the file has ${node.size_bytes} bytes`);
  if (extents.isDirty && !node.contentDirty) say('has dirty ranges but is not marked dirty');
  if (!services.files.has(node.ino, node.gen)) {
    if (!extents.isEmpty) say('its content file is missing');
    return;
  }
  const file = services.files.open(node.ino, node.gen, { create: false });
  try {
    const { size_bytes } = file.stat();
    if (size_bytes < extents.end) say(`its content file has ${size_bytes} bytes, cached ranges end at ${extents.end}`);
    if (size_bytes !== node.size_bytes && node.contentDirty) {
      say(`its content file has ${size_bytes} bytes, the file with unsent changes ${node.size_bytes}`);
    }
    if (!full || node.sums === null) return;
    const { damaged, damagedDirty } = await verifyContent(file, extents, BlockSums.parse(node.sums));
    for (const range of damaged) say(`cached bytes ${range.start} to ${range.end} are not the ones that were fetched`);
    for (const range of damagedDirty) {
      say(`unsent bytes ${range.start} to ${range.end} in ${node.ino}.${node.gen} are not the ones that were written`);
    }
  } catch (error) {
    if (!(error instanceof CloudError)) throw error;
    say(error.message);
  } finally {
    file.close();
  }
}
