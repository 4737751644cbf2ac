// The workloads of the drive's table. Each is run on every target in turn, several times; a run gives one figure per
// metric. What a workload needs on the server is put there once, before anything is measured.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { must, run } from '../test/support/processes.js';
import type { BenchServer } from './bench_server.js';
import { type BareClient, seconds } from './http_limit.js';
import { dropPageCache, probe, timed } from './probe.js';
import type { Target, TargetName } from './targets.js';
import { readInNewProcess } from './young_client.js';

export interface Metric {
  readonly name: string;
  readonly unit: 's' | 'MB/s' | '1/s';
  readonly better: 'low' | 'high';
  readonly goal: Goal | null;
}

/** What our drive should reach: an absolute figure, or a multiple of what another target or the bare client reached. */
export type Goal =
  | { readonly kind: 'absolute'; readonly value: number }
  | { readonly kind: 'times'; readonly of: TargetName | 'http'; readonly factor: number }
  | { readonly kind: 'all'; readonly goals: readonly Goal[] }
  | { readonly kind: 'by_server'; readonly own: Goal; readonly other: Goal };

export interface Bench {
  readonly server: BenchServer;
  /** Another figure for each run: names that were never used before. */
  readonly run: number;
}

export type Figures = Readonly<Record<string, number>>;

export interface Workload {
  readonly name: string;
  readonly title: string;
  readonly link: 'near' | 'far';
  readonly metrics: readonly Metric[];
  readonly skip?: readonly TargetName[];
  prepare?(server: BenchServer): Promise<void>;
  measure(target: Target, bench: Bench): Promise<Figures>;
  http?(client: BareClient, bench: Bench): Promise<Figures>;
}

const MB = 1e6;
const MIB = 1 << 20;
const BIG = 256 * MIB;
const MEDIUM = 32 * MIB;

const low = (name: string, goal: Goal | null): Metric => ({ name, unit: 's', better: 'low', goal });
const high = (name: string, unit: 'MB/s' | '1/s', goal: Goal | null): Metric => ({ name, unit, better: 'high', goal });
const times = (of: TargetName | 'http', factor: number): Goal => ({ kind: 'times', of, factor });
const at = (value: number): Goal => ({ kind: 'absolute', value });

/** Where a target finds what was put on the server; the local folder has a copy of its own. */
const place = (target: Target, path: string): string => join(target.dir, path);

/** A folder that no run has written into yet. */
async function freshFolder(target: Target, bench: Bench, label: string): Promise<string> {
  const name = `w-${label}-${target.name}-${bench.run}`;
  await must('mkdir', [place(target, name)], target.as);
  return name;
}

async function walkTree(target: Target, path: string): Promise<number> {
  return timed('find', [place(target, path), '-type', 'f', '-printf', '%s\n'], target.as);
}

async function longList(target: Target, path: string): Promise<number> {
  return timed('ls', ['-l', place(target, path)], target.as);
}

/** Until the server holds them; the local folder is its own server. */
async function onServer(target: Target, bench: Bench, folder: string, files: number, bytes: number): Promise<void> {
  if (target.name !== 'local') await bench.server.arrived(folder, files, bytes);
}

async function removeLeftovers(target: Target, folder: string): Promise<void> {
  await must('rm', ['-rf', place(target, folder)], { timeout_ms: 600_000, ...target.as });
}

const BIG_FILES = ['big', 'big-next'] as const;

async function bigFiles(server: BenchServer): Promise<void> {
  for (const name of BIG_FILES) await server.file(name, BIG);
}

/** Of the first file that is read after the mount, and of the next. */
async function firstBytes(target: Target, { server }: Bench): Promise<Figures> {
  await target.cold();
  for (const name of BIG_FILES) await server.inMemory(name, BIG);
  const [first, next] = BIG_FILES.map((name) => place(target, name)) as [string, string];
  await run('stat', [first, next], target.as);
  const read = async (path: string) => (await probe(target.as, 'first', path, 4096)).seconds;
  return { first: await read(first), next: await read(next) };
}

async function readSpeed(target: Target, name: string): Promise<number> {
  const { seconds: s, count } = await probe(target.as, 'read', place(target, name));
  return count / s / MB;
}

async function httpSpeed(client: BareClient, name: string, size: number): Promise<number> {
  const [taken = 0] = await readInNewProcess(client.login, [{ path: name, size }]);
  return size / taken / MB;
}

async function firstBytesByHttp(client: BareClient): Promise<Figures> {
  const reads = BIG_FILES.map((path) => ({ path, size: null }));
  const [first = 0, next = 0] = await readInNewProcess(client.login, reads);
  return { first, next };
}

export const WORKLOADS: readonly Workload[] = [
  {
    name: 'first-4k',
    title: 'first 4 KiB of a 256 MiB file, cold',
    link: 'near',
    metrics: [low('first', times('http', 2)), low('next', times('http', 2))],
    prepare: bigFiles,
    measure: firstBytes,
    http: firstBytesByHttp,
  },
  {
    name: 'first-4k-far',
    title: 'first 4 KiB of a 256 MiB file at 20 ms round trip, cold',
    link: 'far',
    metrics: [low('first', at(0.03)), low('next', at(0.03))],
    prepare: bigFiles,
    measure: firstBytes,
    http: firstBytesByHttp,
  },
  {
    name: 'seq-cold',
    title: 'cold sequential read of 256 MiB',
    link: 'near',
    metrics: [high('first', 'MB/s', times('http', 0.6))],
    prepare: (server) => server.file('big', BIG),
    async measure(target, { server }) {
      await target.cold();
      await server.inMemory('big', BIG);
      return { first: await readSpeed(target, 'big') };
    },
    http: async (client) => ({ first: await httpSpeed(client, 'big', BIG) }),
  },
  {
    name: 'seq-cold-far',
    title: 'cold sequential read of 32 MiB at 20 ms round trip and 100 Mbit/s',
    link: 'far',
    metrics: [high('first', 'MB/s', at(12.5 * 0.97)), high('next', 'MB/s', at(12.5 * 0.97))],
    async prepare(server) {
      for (const name of ['medium', 'medium-next']) await server.file(name, MEDIUM);
    },
    async measure(target, { server }) {
      await target.cold();
      for (const name of ['medium', 'medium-next']) await server.inMemory(name, MEDIUM);
      return { first: await readSpeed(target, 'medium'), next: await readSpeed(target, 'medium-next') };
    },
    async http(client) {
      return {
        first: await httpSpeed(client, 'medium', MEDIUM),
        next: await httpSpeed(client, 'medium-next', MEDIUM),
      };
    },
  },
  {
    name: 'seq-warm',
    title: 'warm sequential read of 256 MiB, page cache dropped',
    link: 'near',
    metrics: [high('speed', 'MB/s', times('local', 0.95))],
    prepare: (server) => server.file('big', BIG),
    async measure(target) {
      await probe(target.as, 'read', place(target, 'big'));
      await dropPageCache();
      const { seconds: s, count } = await probe(target.as, 'read', place(target, 'big'));
      return { speed: count / s / MB };
    },
  },
  {
    name: 'rand-warm',
    title: 'warm random reads of 4 KiB for 2 s, page cache dropped',
    link: 'near',
    metrics: [high('rate', '1/s', times('local', 0.9))],
    prepare: (server) => server.file('big', BIG),
    async measure(target) {
      await probe(target.as, 'read', place(target, 'big'));
      await dropPageCache();
      const { seconds: s, count } = await probe(target.as, 'random', place(target, 'big'), 2);
      return { rate: count / s };
    },
  },
  {
    name: 'ls',
    title: '`ls -l` of 10,000 files',
    link: 'near',
    metrics: [low('cold', at(0.2)), low('warm', { kind: 'all', goals: [at(0.07), times('local', 1.2)] })],
    prepare: (server) => server.flat('flat', 10_000),
    async measure(target) {
      await target.cold();
      const cold = await longList(target, 'flat');
      await longList(target, 'flat');
      return { cold, warm: await longList(target, 'flat') };
    },
    async http(client) {
      return { cold: await seconds(() => client.send('PROPFIND', 'flat/', { depth: '1' })) };
    },
  },
  {
    name: 'find',
    title: '`find` with stat of 20,000 files in 2,000 folders',
    link: 'near',
    metrics: [low('cold', { kind: 'by_server', own: at(0.5), other: at(1.2) }), low('warm', at(0.12))],
    prepare: (server) => server.tree('tree', 2000, 10),
    async measure(target) {
      await target.cold();
      const cold = await walkTree(target, 'tree');
      await walkTree(target, 'tree');
      return { cold, warm: await walkTree(target, 'tree') };
    },
    async http(client) {
      const folders = ['tree/', ...Array.from({ length: 2000 }, (_, i) => `tree/d${i}/`)];
      return {
        cold: await seconds(() => client.parallel(folders, (path) => client.send('PROPFIND', path, { depth: '1' }))),
      };
    },
  },
  {
    name: 'find-far',
    title: '`find` with stat of 5,000 files in 500 folders at 20 ms round trip',
    link: 'far',
    metrics: [low('cold', { kind: 'by_server', own: at(0.3), other: at(1.5) }), low('warm', at(0.05))],
    prepare: (server) => server.tree('tree-far', 500, 10),
    async measure(target) {
      await target.cold();
      const cold = await walkTree(target, 'tree-far');
      await walkTree(target, 'tree-far');
      return { cold, warm: await walkTree(target, 'tree-far') };
    },
    async http(client) {
      const folders = ['tree-far/', ...Array.from({ length: 500 }, (_, i) => `tree-far/d${i}/`)];
      return {
        cold: await seconds(() => client.parallel(folders, (path) => client.send('PROPFIND', path, { depth: '1' }))),
      };
    },
  },
  {
    name: 'missing',
    title: 'stat of missing names in a listed folder of 10,000',
    link: 'near',
    metrics: [high('repeated', '1/s', at(200_000)), high('new', '1/s', at(40_000))],
    prepare: (server) => server.flat('flat', 10_000),
    async measure(target) {
      await longList(target, 'flat');
      const dir = place(target, 'flat');
      const fresh = await probe(target.as, 'missing', dir, 20_000, 20_000);
      await probe(target.as, 'missing', dir, 100, 10);
      const repeated = await probe(target.as, 'missing', dir, 100_000, 10);
      return { repeated: repeated.count / repeated.seconds, new: fresh.count / fresh.seconds };
    },
  },
  {
    name: 'write-256m',
    title: 'writing 256 MiB',
    link: 'near',
    metrics: [high('writer', 'MB/s', times('local', 0.5)), low('close to on the server', at(1.5))],
    async measure(target, bench) {
      const folder = await freshFolder(target, bench, 'big');
      const { seconds: s, count } = await probe(target.as, 'write', place(target, `${folder}/big`), BIG);
      const closed = performance.now();
      await onServer(target, bench, folder, 1, BIG);
      const waited = target.name === 'local' ? 0 : (performance.now() - closed) / 1000;
      await removeLeftovers(target, folder);
      return { writer: count / s / MB, 'close to on the server': waited };
    },
    async http(client, bench) {
      const body = Buffer.alloc(BIG, `${bench.run}`);
      const took = await seconds(() => client.send('PUT', `http-big-${bench.run}`, {}, body));
      await client.send('DELETE', `http-big-${bench.run}`);
      return { 'close to on the server': took };
    },
  },
  {
    name: 'small-1000',
    title: '1,000 files of 4 KiB',
    link: 'near',
    metrics: [low('writer', at(0.5)), low('on the server', at(2))],
    async measure(target, bench) {
      const folder = await freshFolder(target, bench, 'small');
      const start = performance.now();
      const { seconds: writer } = await probe(target.as, 'files', place(target, folder), 1000, 4096);
      await onServer(target, bench, folder, 1000, 1000 * 4096);
      const arrived = target.name === 'local' ? writer : (performance.now() - start) / 1000;
      await removeLeftovers(target, folder);
      return { writer, 'on the server': arrived };
    },
    async http(client, bench) {
      return { 'on the server': await putSmall(client, `http-small-${bench.run}`, 1000) };
    },
  },
  {
    name: 'small-200-far',
    title: '200 files of 4 KiB at 20 ms round trip',
    link: 'far',
    metrics: [low('on the server', at(1.2))],
    async measure(target, bench) {
      const folder = await freshFolder(target, bench, 'small-far');
      const start = performance.now();
      const { seconds: writer } = await probe(target.as, 'files', place(target, folder), 200, 4096);
      await onServer(target, bench, folder, 200, 200 * 4096);
      const arrived = target.name === 'local' ? writer : (performance.now() - start) / 1000;
      await removeLeftovers(target, folder);
      return { 'on the server': arrived };
    },
    async http(client, bench) {
      return { 'on the server': await putSmall(client, `http-small-far-${bench.run}`, 200) };
    },
  },
  {
    name: 'untar',
    title: 'untar of 2,000 files, then `rm -rf`',
    link: 'near',
    metrics: [low('writer', at(1)), low('on the server', at(4)), low('rm', at(0.3))],
    prepare: (server) => server.archive(),
    async measure(target, bench) {
      const folder = await freshFolder(target, bench, 'tar');
      const start = performance.now();
      const writer = await timed('tar', ['-xf', bench.server.archivePath, '-C', place(target, folder)], target.as);
      await onServer(target, bench, folder, 2000, 2000 * 2000);
      const arrived = target.name === 'local' ? writer : (performance.now() - start) / 1000;
      return { writer, 'on the server': arrived, rm: await timed('rm', ['-rf', place(target, folder)], target.as) };
    },
  },
  {
    name: 'git',
    title: 'git clone of 1,000 files and 500 commits; status warm, status after a remount',
    link: 'near',
    metrics: [low('clone', at(0.8)), low('status', at(0.03)), low('status after remount', at(0.25))],
    prepare: (server) => server.repository(),
    async measure(target, bench) {
      const folder = await freshFolder(target, bench, 'git');
      const dir = place(target, folder);
      const git = ['-c', 'safe.directory=*'];
      const clone = await timed(
        'git',
        [...git, 'clone', '-q', '--no-local', `file://${bench.server.repositoryPath}`, `${dir}/clone`],
        target.as,
      );
      const status = () => timed('git', [...git, '-C', `${dir}/clone`, 'status', '--porcelain'], target.as);
      await status();
      const warm = await status();
      await bench.server.settled();
      await target.remount();
      const remounted = await status();
      await removeLeftovers(target, folder);
      return { clone, status: warm, 'status after remount': remounted };
    },
  },
];

async function putSmall(client: BareClient, folder: string, count: number): Promise<number> {
  await client.send('MKCOL', `${folder}/`);
  const body = Buffer.alloc(4096, folder);
  const names = Array.from({ length: count }, (_, i) => `${folder}/f${i}`);
  const took = await seconds(() => client.parallel(names, (name) => client.send('PUT', name, {}, body)));
  await client.send('DELETE', `${folder}/`);
  return took;
}

/** The local folder gets what the server has, by the same sizes. */
export async function copyForLocal(target: Target, server: BenchServer): Promise<void> {
  for (const [path, kind] of server.prepared) {
    await rm(place(target, path), { recursive: true, force: true });
    await kind(place(target, path));
  }
}
