// `npm run bench -- [--server cloudmount,apache] [--targets local,cloudmount,rclone,davfs2] [--only NAME,…] [--runs N]
// [--json FILE] [--http-server [--filled FILES] [--users N]]`: the drive's workloads beside its peers on the same server
// in one run, or with `--http-server` our server beside its peers; `--filled` measures in an account that holds so many
// files already, `--users` beside so many other users. Everything runs in one temporary folder and is ended by its pid.

import { chmod, stat, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import type { DriveTarget } from '../test/support/drive.js';
import { run as runProgram } from '../test/support/processes.js';
import type { ServerKind } from '../test/support/servers.js';
import { Stage } from '../test/support/stage.js';
import { BenchServer } from './bench_server.js';
import type { Filling } from './fill_account.js';
import { BareClient } from './http_limit.js';
import { buildProbe } from './probe.js';
import { judge, markdown, type Results, table } from './report.js';
import { benchServers } from './server_bench.js';
import { startTarget, type Target, type TargetName } from './targets.js';
import { copyForLocal, type Figures, WORKLOADS, type Workload } from './workloads.js';

const FAR = { roundTrip_ms: 20, rate_bitsPerSecond: 100_000_000 };

interface Options {
  readonly servers: readonly ServerKind[];
  readonly targets: readonly TargetName[];
  readonly only: readonly string[] | null;
  readonly runs: number;
  readonly json: string | null;
  readonly httpServer: boolean;
  readonly filling: Filling;
}

function options(): Options {
  const { values } = parseArgs({
    options: {
      server: { type: 'string', default: 'cloudmount,apache' },
      targets: { type: 'string', default: 'local,cloudmount,rclone,davfs2' },
      only: { type: 'string' },
      runs: { type: 'string', default: '3' },
      json: { type: 'string' },
      'http-server': { type: 'boolean', default: false },
      filled: { type: 'string', default: '0' },
      users: { type: 'string', default: '0' },
    },
  });
  return {
    servers: values.server.split(',') as ServerKind[],
    targets: values.targets.split(',') as TargetName[],
    only: values.only?.split(',') ?? null,
    runs: Number(values.runs),
    json: values.json ?? null,
    httpServer: values['http-server'],
    filling: { files: Number(values.filled), users: Number(values.users) },
  };
}

/** One server, all targets, all workloads; prints its table and answers what it measured. */
async function benchDrive(stage: Stage, kind: ServerKind, chosen: Options): Promise<unknown> {
  const server = await stage.server(kind);
  const bench = new BenchServer(server, stage.folder('data'));
  const workloads = WORKLOADS.filter(({ name }) => chosen.only === null || chosen.only.includes(name));
  const rows = [];
  const memory = new Map<string, number>();
  for (const link of ['near', 'far'] as const) {
    const group = workloads.filter((workload) => workload.link === link);
    if (group.length === 0) continue;
    for (const workload of group) await workload.prepare?.(bench);
    const address: DriveTarget = link === 'near' ? server : await stage.link(server, FAR);
    const targets: Target[] = [];
    for (const name of chosen.targets) targets.push(await startTarget(name, stage.folder(name), address));
    const client = new BareClient(address.login);
    for (const target of targets) if (target.name === 'local') await copyForLocal(target, bench);
    for (const workload of group) {
      const results = await measureAll(workload, targets, client, bench, chosen.runs);
      rows.push(
        ...workload.metrics.map((metric) =>
          judge(
            { workload: workload.name, title: workload.title, metric, results: pick(results, metric.name) },
            kind === 'cloudmount',
          ),
        ),
      );
    }
    for (const target of targets) {
      const peak = target.peakMemory_bytes();
      if (peak !== null) memory.set(target.name, Math.max(memory.get(target.name) ?? 0, peak));
      await target.stop();
    }
    await client.close();
  }
  await bench.close();
  await server.stop();
  console.log(`\n## Drives on ${kind}: best (median) of ${chosen.runs} runs\n`);
  console.log(table(rows, [...chosen.targets, 'http']));
  console.log('\nPeak memory of the daemon:');
  console.log(
    markdown(
      ['drive', 'MB'],
      [...memory].map(([name, bytes]) => [name, (bytes / 1e6).toFixed(0)]),
    ),
  );
  return { server: kind, rows, memory_bytes: Object.fromEntries(memory) };
}

async function measureAll(
  workload: Workload,
  targets: readonly Target[],
  client: BareClient,
  bench: BenchServer,
  runs: number,
): Promise<Map<string, Figures[]>> {
  const results = new Map<string, Figures[]>();
  const note = (name: string, figures: Figures) => {
    results.set(name, [...(results.get(name) ?? []), figures]);
    const text = Object.entries(figures).map(([metric, value]) => `${metric} ${value.toPrecision(4)}`);
    console.error(`${bench.kind} ${workload.name} ${name}: ${text.join(', ')}`);
  };
  for (let run = 0; run < runs; run++) {
    const context = { server: bench, run };
    for (const target of targets) {
      if (workload.skip?.includes(target.name) === true) continue;
      try {
        note(target.name, await workload.measure(target, context));
      } catch (error) {
        // A peer that fails a workload has no figure; ours must not fail.
        console.error(
          `${bench.kind} ${workload.name} ${target.name}: FAILED: ${error instanceof Error ? error.message : error}`,
        );
        process.exitCode = target.name.startsWith('cloudmount') ? 1 : process.exitCode;
      }
    }
    if (workload.http !== undefined) note('http', await workload.http(client, context));
  }
  return results;
}

function pick(results: ReadonlyMap<string, readonly Figures[]>, metric: string): Results {
  return Object.fromEntries(
    [...results].map(([name, runs]) => [name, runs.map((run) => run[metric]).filter((value) => value !== undefined)]),
  );
}

/** Where udev runs, /dev/fuse is open to everyone; a bare machine may have it for root alone. */
async function openFuseDevice(stage: Stage): Promise<void> {
  const mode = (await stat('/dev/fuse')).mode & 0o777;
  if (mode === 0o666) return;
  await chmod('/dev/fuse', 0o666);
  stage.defer(() => chmod('/dev/fuse', mode));
}

const chosen = options();
const stage = new Stage();
try {
  await buildProbe(stage.dir);
  if (chosen.targets.includes('cloudmount-user')) await openFuseDevice(stage);
  const { stdout: machine } = await runProgram('sh', ['-c', 'uname -r; nproc; node --version']);
  console.error(machine.trim().split('\n').join(', '));
  const found: unknown[] = [];
  if (chosen.httpServer) found.push(await benchServers(stage, chosen.servers, chosen));
  else for (const kind of chosen.servers) found.push(await benchDrive(stage, kind, chosen));
  if (chosen.json !== null) await writeFile(chosen.json, `${JSON.stringify(found, null, 2)}\n`);
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  // Targets of a run that failed are still mounted: the stage detaches them and says so.
  await stage.close().catch((error: unknown) => console.error(String(error)));
}
