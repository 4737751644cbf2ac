// The bare client as young as a drive that was just mounted: a process of its own, its code not compiled yet, one request
// behind it, and pauses between the reads. What it takes no drive that starts with the mount can beat.
// On stdin: where (DavLogin) and what (paths); on stdout: seconds for the first 4 KiB of each.

import { text } from 'node:stream/consumers';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { DavLogin } from '../test/support/dav_client.js';
import { must } from '../test/support/processes.js';
import { BareClient, seconds } from './http_limit.js';

interface Order {
  readonly login: DavLogin;
  readonly paths: readonly string[];
}

const SELF = fileURLToPath(import.meta.url);

export async function firstBytesInNewProcess(login: DavLogin, paths: readonly string[]): Promise<readonly number[]> {
  const order: Order = { login, paths };
  return JSON.parse(await must(process.execPath, [SELF], { input: JSON.stringify(order) })) as number[];
}

async function obey({ login, paths }: Order): Promise<void> {
  const client = new BareClient(login);
  await client.send('PROPFIND', '', { depth: '1' });
  const taken: number[] = [];
  for (const path of paths) {
    await pause(100);
    taken.push(await seconds(() => client.send('GET', path, { range: 'bytes=0-4095' })));
  }
  await client.close();
  process.stdout.write(JSON.stringify(taken));
}

if (process.argv[1] === SELF) await obey(JSON.parse(await text(process.stdin)) as Order);
