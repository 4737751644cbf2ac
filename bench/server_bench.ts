// Our server beside Apache mod_dav and `rclone serve webdav`: 16 authenticated keep-alive connections.

import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { must } from '../test/support/processes.js';
import { ForeignServer, OwnServer, type ServerKind, type TestServer } from '../test/support/servers.js';
import type { Stage } from '../test/support/stage.js';
import { type Filling, fillAccount, fillFolder } from './fill_account.js';
import { seconds } from './http_limit.js';
import { type LoadAnswer, type LoadConnection, type LoadRequest, type LoadResult, load } from './load.js';
import { bestOf, markdown, medianOf } from './report.js';

const MIB = 1 << 20;
const LOCK_BODY = Buffer.from(
  '<?xml version="1.0"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>',
);

interface Case {
  readonly name: string;
  readonly title: string;
  readonly unit: '1/s' | 'MB/s' | 's';
  /** Figures to reach: at least (or for `s` at most) this multiple of another server's, or this absolute value. */
  readonly goal: { readonly of: ServerKind; readonly factor: number } | { readonly value: number };
  prepare?(server: TestServer): Promise<void>;
  run(server: TestServer): Promise<Found>;
}

interface Found {
  readonly figure: number;
  readonly errors: number;
  /** Of the processors, for one request, all but the client's share: in ms; and how much of them nobody used. */
  readonly cost?: { readonly each_ms: number; readonly idle: number };
}

/** The same request again and again, or another one each time. */
function repeat(make: (i: number, n: number) => LoadRequest, fixed = false) {
  return (connection: LoadConnection, i: number) => {
    const once = fixed ? connection.build(make(i, 0)) : null;
    return (n: number) => [() => once ?? connection.build(make(i, n))];
  };
}

const ok = (status: number): boolean => status >= 200 && status < 300;

function rate(result: LoadResult): Found {
  return found(result, result.requests / result.seconds);
}

function found(result: LoadResult, figure: number): Found {
  const { use, requests } = result;
  return { figure, errors: count(result), cost: { each_ms: (use.others_s * 1000) / requests, idle: use.idle } };
}

function count(result: LoadResult): number {
  return [...result.unexpected.values()].reduce((sum, n) => sum + n, 0);
}

/** Puts a file of `size` bytes there, by PUT. */
async function put(server: TestServer, path: string, size: number): Promise<void> {
  await server.dav.put(path, Buffer.alloc(size, 'bench'));
}

async function collection(server: TestServer, path: string, files: number): Promise<void> {
  if (server instanceof ForeignServer) {
    await must('mkdir', [join(server.root, path)]);
    for (let i = 0; i < files; i++) await writeFile(join(server.root, path, `f${i}`), '0123456789');
    await must('chmod', ['-R', 'a+rwX', server.root]);
    return;
  }
  if (!(server instanceof OwnServer)) throw new Error('a server of another kind');
  await server.stop();
  await fillFolder(server.data, 'alice', path, files);
  await server.start();
}

function lockCycle(paths: (i: number, n: number) => string) {
  return (connection: LoadConnection, i: number) => (n: number) => [
    () =>
      connection.build({
        method: 'LOCK',
        path: paths(i, n),
        headers: { Timeout: 'Second-60', Depth: '0', 'Content-Type': 'application/xml' },
        body: LOCK_BODY,
      }),
    (last: LoadAnswer | null) =>
      connection.build({
        method: 'UNLOCK',
        path: paths(i, n),
        headers: { 'Lock-Token': /\r\nlock-token: *(\S+)/i.exec(last?.headers ?? '')?.[1] ?? '<opaquelocktoken:none>' },
      }),
  ];
}

/** Seconds of one listing, in the middle of several that follow one another, as the other cases repeat their requests. */
async function propfind(
  server: TestServer,
  path: string,
  entries: number,
  times: number,
): Promise<{ figure: number; errors: number }> {
  const took: number[] = [];
  let errors = 0;
  for (let i = 0; i < times; i++) {
    const start = performance.now();
    const answer = await server.dav.send('PROPFIND', path, { headers: { depth: '1' } });
    took.push((performance.now() - start) / 1000);
    const found = (answer.body.toString('latin1').match(/<(?:\w+:)?response[ >]/g) ?? []).length;
    if (found !== entries + 1) errors += 1;
  }
  return { figure: medianOf(took), errors };
}

const CASES: readonly Case[] = [
  {
    name: 'get-4k',
    title: 'GET 4 KiB',
    unit: '1/s',
    goal: { of: 'apache', factor: 1 },
    prepare: (server) => put(server, 'small', 4096),
    run: async ({ login }) =>
      rate(
        await load(
          login,
          16,
          3,
          repeat(() => ({ method: 'GET', path: 'small' }), true),
          ok,
        ),
      ),
  },
  {
    name: 'get-64m',
    title: 'GET 64 MiB',
    unit: 'MB/s',
    goal: { of: 'apache', factor: 1 },
    prepare: (server) => put(server, 'large', 64 * MIB),
    async run({ login }) {
      const result = await load(
        login,
        16,
        3,
        repeat(() => ({ method: 'GET', path: 'large' }), true),
        ok,
      );
      return found(result, result.body_bytes / result.seconds / 1e6);
    },
  },
  {
    name: 'put-4k',
    title: 'PUT 4 KiB, new files',
    unit: '1/s',
    goal: { of: 'apache', factor: 1 },
    prepare: (server) => server.dav.mkcol('puts'),
    async run({ login }) {
      const tag = Date.now();
      const body = (i: number, n: number) => Buffer.alloc(4096, `${tag}-${i}-${n} `);
      const make = (i: number, n: number) => ({ method: 'PUT', path: `puts/${tag}-${i}-${n}`, body: body(i, n) });
      return rate(await load(login, 16, 3, repeat(make), ok));
    },
  },
  {
    name: 'put-64m',
    title: 'PUT 64 MiB',
    unit: 'MB/s',
    goal: { of: 'apache', factor: 1 },
    prepare: (server) => server.dav.mkcol('large-puts'),
    async run({ login }) {
      const bodies = Array.from({ length: 4 }, (_, i) => Buffer.alloc(64 * MIB, `${Date.now()} ${i}`));
      const make = (i: number, n: number) => ({
        method: 'PUT',
        path: `large-puts/${i}`,
        body: tagged(bodies[i % 4], n),
      });
      const result = await load(login, 4, 4, repeat(make), ok);
      return found(result, (result.requests * 64 * MIB) / result.seconds / 1e6);
    },
  },
  {
    name: 'put-64m-disk',
    title: 'PUT 64 MiB, new files, until the disk has them',
    unit: 'MB/s',
    goal: { of: 'apache', factor: 1 },
    prepare: (server) => server.dav.mkcol('new-puts'),
    async run({ login, dav }) {
      const tag = Date.now();
      const bodies = Array.from({ length: 4 }, (_, i) => Buffer.alloc(64 * MIB, `${tag} ${i}`));
      const name = (i: number, n: number) => `new-puts/${tag}-${i}-${n}`;
      const made: string[] = [];
      const make = (i: number, n: number) => {
        made.push(name(i, n));
        return { method: 'PUT', path: name(i, n), body: tagged(bodies[i % 4], n) };
      };
      await must('sync', []);
      const result = await load(login, 4, 3, repeat(make), ok);
      const sync_s = await seconds(() => must('sync', []));
      // Those that failed are counted as errors, and are not there.
      for (const path of made) await dav.remove(path).catch(() => undefined);
      return found(result, (result.requests * 64 * MIB) / (result.seconds + sync_s) / 1e6);
    },
  },
  {
    name: 'propfind-0',
    title: 'PROPFIND depth 0',
    unit: '1/s',
    goal: { of: 'apache', factor: 1 },
    prepare: (server) => put(server, 'stat', 4096),
    async run({ login }) {
      const make = () => ({ method: 'PROPFIND', path: 'stat', headers: { Depth: '0' } });
      return rate(await load(login, 16, 3, repeat(make, true), ok));
    },
  },
  {
    name: 'propfind-1-10k',
    title: 'PROPFIND depth 1, 10,000 entries',
    unit: 's',
    goal: { value: 0.05 },
    prepare: (server) => collection(server, 'ten-thousand', 10_000),
    run: (server) => propfind(server, 'ten-thousand/', 10_000, 10),
  },
  {
    name: 'propfind-1-100k',
    title: 'PROPFIND depth 1, 100,000 entries',
    unit: 's',
    goal: { value: 0.5 },
    prepare: (server) => collection(server, 'hundred-thousand', 100_000),
    run: (server) => propfind(server, 'hundred-thousand/', 100_000, 3),
  },
  ...([1, 16] as const).map(
    (connections): Case => ({
      name: `lock-${connections}`,
      title: `LOCK + UNLOCK, ${connections} connection${connections === 1 ? '' : 's'}, pairs`,
      unit: '1/s',
      goal: { of: 'rclone', factor: 1 },
      async prepare(server) {
        for (let i = 0; i < connections; i++) await put(server, `lock-${connections}-${i}`, 10);
      },
      async run({ login }) {
        const result = await load(
          login,
          connections,
          3,
          lockCycle((i) => `lock-${connections}-${i}`),
          ok,
        );
        return found(result, result.requests / 2 / result.seconds);
      },
    }),
  ),
];

/** A body that differs each time, so that no server may recognise it. */
function tagged(body: Buffer | undefined, n: number): Buffer {
  if (body === undefined) throw new Error('no body');
  body.writeUInt32LE(n, 0);
  return body;
}

export interface ServerBenchOptions {
  readonly runs: number;
  readonly only: readonly string[] | null;
  /** What our server holds beforehand. */
  readonly filling: Filling;
}

/** The most memory the process ever had, in MB; null for servers of several processes. */
function peakMemory_mb(server: TestServer): number | null {
  if (server.kind === 'apache') return null;
  const found = /VmHWM:\s*(\d+) kB/.exec(readFileSync(`/proc/${server.pid}/status`, 'utf8'))?.[1];
  return found === undefined ? null : Number(found) / 1000;
}

async function fill(server: TestServer, filling: Filling): Promise<void> {
  if (!(server instanceof OwnServer) || (filling.files === 0 && filling.users === 0)) return;
  await server.stop();
  await fillAccount(server.data, 'alice', filling);
  const start = performance.now();
  await server.start();
  console.error(
    `filled with ${filling.files} files and ${filling.users} users; started in ${((performance.now() - start) / 1000).toFixed(2)} s`,
  );
}

export async function benchServers(
  stage: Stage,
  kinds: readonly ServerKind[],
  { runs, only, filling }: ServerBenchOptions,
): Promise<unknown> {
  const cases = CASES.filter(({ name }) => only === null || only.includes(name));
  const servers: TestServer[] = [];
  for (const kind of kinds) servers.push(await stage.server(kind));
  for (const server of servers) await fill(server, filling);
  for (const server of servers) for (const one of cases) await one.prepare?.(server);
  const figures = new Map<string, number[]>();
  const errors = new Map<string, number>();
  const costs: (readonly string[])[] = [];
  for (const one of cases) {
    for (let run = 0; run < runs; run++) {
      for (const server of servers) {
        const key = `${one.name} ${server.kind}`;
        const { figure, errors: failed, cost } = await one.run(server);
        figures.set(key, [...(figures.get(key) ?? []), figure]);
        errors.set(key, (errors.get(key) ?? 0) + failed);
        console.error(`${one.name} ${server.kind}: ${figure.toPrecision(4)} ${one.unit}, ${failed} errors`);
        if (cost === undefined || run + 1 < runs) continue;
        costs.push([one.title, server.kind, `${cost.each_ms.toPrecision(3)} ms`, `${(cost.idle * 100).toFixed(0)} %`]);
      }
    }
  }
  const best = (one: Case, kind: string) =>
    bestOf(figures.get(`${one.name} ${kind}`) ?? [], one.unit === 's' ? 'low' : 'high');
  const rows = cases.map((one) => {
    const goal =
      'value' in one.goal
        ? one.goal.value
        : kinds.includes(one.goal.of)
          ? best(one, one.goal.of) * one.goal.factor
          : null;
    const ours = kinds.includes('cloudmount') ? best(one, 'cloudmount') : null;
    const met = goal === null || ours === null ? null : one.unit === 's' ? ours <= goal : ours >= goal;
    const says = 'value' in one.goal ? `${one.goal.value} s` : one.goal.of;
    return [
      one.title,
      ...kinds.map((kind) => {
        const failed = errors.get(`${one.name} ${kind}`) ?? 0;
        const runsOf = figures.get(`${one.name} ${kind}`) ?? [];
        const text = `${round(best(one, kind))} (${round(medianOf(runsOf))}) ${one.unit}`;
        return failed === 0 ? text : `${text}, ${failed} errors`;
      }),
      ...kinds
        .filter((kind) => kind !== 'cloudmount')
        .map((kind) => (ours === null ? '–' : (ours / best(one, kind)).toFixed(2))),
      met === null ? '–' : `${one.unit === 's' ? '≤' : '≥'} ${says}: ${met ? 'met' : 'MISSED'}`,
    ];
  });
  console.log(`\n## Servers, best (median) of ${runs} runs\n`);
  const others = kinds.filter((kind) => kind !== 'cloudmount').map((kind) => `ours / ${kind}`);
  console.log(markdown(['request', ...kinds, ...others, 'goal'], rows));
  if (costs.length > 0) {
    console.log('\nProcessor time of one request without the client (last run), and how long no processor was used:');
    console.log(markdown(['request', 'server', 'processor time', 'idle'], costs));
  }
  const memory = servers.map((server) => [server.kind, peakMemory_mb(server)?.toFixed(0) ?? '–'] as const);
  console.log('\nPeak memory of the server:');
  console.log(markdown(['server', 'MB'], memory));
  for (const server of servers) await server.stop();
  return {
    figures: Object.fromEntries(figures),
    errors: Object.fromEntries(errors),
    memory: Object.fromEntries(memory),
  };
}

function round(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
