// The bare client as young as a drive that was just mounted: a process of its own, its code not compiled yet, one request
// behind it, and pauses between the reads. What it takes no drive that starts with the mount can beat.
// On stdin: where (DavLogin) and what; on stdout: the seconds of each read.

import { text } from 'node:stream/consumers';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { DavLogin } from '../test/support/dav_client.js';
import { must } from '../test/support/processes.js';
import { BareClient, seconds } from './http_limit.js';

/** The first 4 KiB of each, or all of it by 16 ranges at a time. */
interface Read {
  readonly path: string;
  readonly size: number | null;
}

interface Order {
  readonly login: DavLogin;
  readonly reads: readonly Read[];
}

const SELF = fileURLToPath(import.meta.url);

export async function readInNewProcess(login: DavLogin, reads: readonly Read[]): Promise<readonly number[]> {
  const order: Order = { login, reads };
  return JSON.parse(await must(process.execPath, [SELF], { input: JSON.stringify(order) })) as number[];
}

async function obey({ login, reads }: Order): Promise<void> {
  const client = new BareClient(login);
  await client.send('PROPFIND', '', { depth: '1' });
  const taken: number[] = [];
  for (const { path, size } of reads) {
    await pause(100);
    const read = () =>
      size === null ? client.send('GET', path, { range: 'bytes=0-4095' }) : client.readParallel(path, size);
    taken.push(await seconds(read));
  }
  await client.close();
  process.stdout.write(JSON.stringify(taken));
}

if (process.argv[1] === SELF) await obey(JSON.parse(await text(process.stdin)) as Order);
