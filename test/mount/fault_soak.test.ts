// Writers and readers on two mounts and a direct client, while everything that goes wrong goes wrong: bad answers, lost
// ones, cuts, killed daemons, a killed server. At the end every byte that fsync (or the server, for the direct client) has
// acknowledged is on the server, under its name or in a named conflict.
//
// `npm run test:soak` takes half an hour a server, `npm test` some seconds, CLOUDMOUNT_SOAK_S=SECONDS any time.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { Drive } from '../support/drive.js';
import { FaultProxy } from '../support/fault_proxy.js';
import type { FsProcess } from '../support/fs_process.js';
import { eventually } from '../support/processes.js';
import { gateSeeds } from '../support/random.js';
import type { TestServer } from '../support/servers.js';
import { Chaos } from '../support/soak/chaos.js';
import { DirectClient } from '../support/soak/direct_client.js';
import { Ledger } from '../support/soak/ledger.js';
import { MountReader } from '../support/soak/mount_reader.js';
import { MountWriter } from '../support/soak/mount_writer.js';
import { ALL_SERVERS, useStage, wanted } from '../support/world.js';

const long = process.env['CLOUDMOUNT_SOAK'] === '1';
const DURATION_S = Number(process.env['CLOUDMOUNT_SOAK_S'] ?? (long ? 1800 : 20));
const WRITERS = 3;
const MEMORY_LIMIT_MB = 300;
/** A push channel that froze is found out by its next ping; until then the drive may not know what is new. */
const FROZEN_PUSH_MS = 45_000;
const LOCKS_LAST_MS = 240_000;
/** In `npm test` our own server, alone with its mounts; the soak takes the others, too. */
const SERVERS = wanted(long ? ALL_SERVERS : ['cloudmount']);
const stage = useStage();

interface Mount {
  readonly drive: Drive;
  readonly proxy: FaultProxy;
}

async function mountThrough(server: TestServer): Promise<Mount> {
  const proxy = await FaultProxy.open({ targetPort: server.port });
  stage().defer(() => proxy.close());
  const here = (url: string) => url.replace(`:${server.port}`, `:${proxy.port}`);
  const target = { url: here(server.url), login: { ...server.login, root: here(server.login.root) } };
  return { drive: await stage().mount(target, { args: ['--timeout', '3'] }), proxy };
}

function residentMegabytes(pid: number): number {
  const line = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(line?.[1] ?? 0) / 1024;
}

const [seed = 0] = gateSeeds(1);

it.each(SERVERS)(
  'nothing acknowledged is lost under faults, on %s',
  async (kind) => {
    const server = await stage().server(kind);
    const mounts = [await mountThrough(server), await mountThrough(server)];
    const processes: FsProcess[] = [];
    const fs = () => {
      const started = stage().fs();
      processes.push(started);
      return started;
    };
    const ledger = new Ledger();
    const stop = new AbortController();
    const [first] = mounts;
    if (first === undefined) throw new Error('no mounts');
    // Where nothing is mounted there is no such folder, so that nothing is written below a mount point by accident.
    await server.dav.mkcol('soak/'); // nginx insists on the slash
    for (const { drive } of mounts) {
      await eventually('the folder to be seen', () => fs().exists(drive.path('soak')));
    }
    const work: Promise<void>[] = [];
    mounts.forEach(({ drive }, m) => {
      for (let w = 0; w < WRITERS; w += 1) {
        const writer = new MountWriter(`m${m}w${w}`, drive.path('soak'), fs(), ledger, seed + 10 * m + w);
        work.push(writer.run(stop.signal));
      }
      work.push(new MountReader(drive.path('soak'), fs(), ledger, seed + 10 * m + 7).run(stop.signal));
    });
    work.push(new DirectClient(server, 'soak', ledger, seed + 30).run(stop.signal));
    const chaos = new Chaos(mounts, server, seed + 40);
    const memory: number[] = [];
    const sampled = setInterval(
      () => {
        for (const { drive } of mounts) {
          if (!drive.daemonEnded && drive.mounted) memory.push(residentMegabytes(drive.daemonPid));
        }
      },
      Math.max(1000, (DURATION_S * 1000) / 100),
    );
    try {
      await chaos.run(DURATION_S * 1000);
    } finally {
      clearInterval(sampled);
      stop.abort();
    }
    await Promise.all(work);
    await chaos.end();
    for (const { drive } of mounts) {
      // A killed daemon leaves its locks behind until they run out: what they are in the way of is tried again until then.
      await eventually('everything to be sent', () => drive.flush('', 240).then(() => true), Boolean, LOCKS_LAST_MS);
    }

    const audit = async () => {
      const found = await server.dav.files('soak');
      return { found, ...ledger.audit(found) };
    };
    let { found, lost, checked } = await audit();
    // A drive may still put away what it finds that it sent twice: what moves while it is listed shows in neither place.
    for (let again = 0; lost.length > 0 && again < 3; again += 1) {
      await pause(5000);
      ({ found, lost, checked } = await audit());
    }
    const report = {
      ...{ server: kind, seed, seconds: DURATION_S, operations: ledger.operations, refused: ledger.refused },
      ...{ faults: chaos.faults, acknowledged: checked, lost: lost.length, conflicts: ledger.conflictsIn(found) },
      peakMemory_MB: Math.round(Math.max(...memory)),
    };
    process.stdout.write(`${JSON.stringify(report)}\n`);
    expect(lost, `seed ${seed}`).toEqual([]);
    expect(ledger.damaged, `seed ${seed}`).toEqual([]);
    expect(chaos.faults.total).toBeGreaterThan(0);
    expect(checked).toBeGreaterThan(0);
    expect(Math.max(...memory)).toBeLessThan(MEMORY_LIMIT_MB);
    const later = memory.slice(memory.length / 2);
    if (long) expect(Math.max(...later)).toBeLessThan(1.25 * Math.max(...memory.slice(0, memory.length / 2)));

    // Both mounts show what the server has, and each cache is in order.
    const [eye] = processes;
    if (eye === undefined) throw new Error('no process to look with');
    for (const { drive } of mounts) {
      const shows = async () => {
        const tree = await eye.tree(drive.path('soak'));
        const shown = Object.entries(tree).flatMap(([path, [kind, , , sum]]) =>
          kind === 'file' ? [`${path} ${sum}`] : [],
        );
        const there = [...(await server.dav.files('soak'))].map(
          ([path, content]) => `${path.slice('soak/'.length)} ${sha256(content)}`,
        );
        expect(shown.sort()).toEqual(there.sort());
        return true;
      };
      await eventually('the mount to show what the server has', shows, Boolean, FROZEN_PUSH_MS);
      await drive.mustCli(['check', drive.dir]);
      await drive.unmount();
    }
  },
  (DURATION_S + 1200) * 1000, // tens of thousands of files are read back at the end, twice
);

function sha256(content: Buffer): string {
  return createHash('sha256').update(content).digest('hex');
}
