// Another program that works on the server itself, with preconditions as the wire has them: it never overwrites what it has
// not seen, and what the server answers with 2xx is entered into the ledger.

import { setTimeout as pause } from 'node:timers/promises';
import { Random } from '../random.js';
import type { TestServer } from '../servers.js';
import type { Ledger } from './ledger.js';
import { SHARED_FILES } from './mount_writer.js';

export class DirectClient {
  readonly #server: TestServer;
  readonly #dir: string;
  readonly #ledger: Ledger;
  readonly #random: Random;
  #count = 0;

  constructor(server: TestServer, dir: string, ledger: Ledger, seed: number) {
    this.#server = server;
    this.#dir = dir;
    this.#ledger = ledger;
    this.#random = new Random(seed);
  }

  async run(stop: AbortSignal): Promise<void> {
    // Apache compares and writes in two steps, and its tags do not tell two versions of one clock tick apart.
    const atomic = this.#server.kind === 'cloudmount';
    while (!stop.aborted) {
      this.#ledger.operations += 1;
      try {
        if (atomic && this.#random.chance(0.6)) await this.#append();
        else await this.#make();
      } catch {
        this.#ledger.refused += 1; // the server is being killed and started again
      }
      await pause(100 + this.#random.below(200));
    }
  }

  async #append(): Promise<void> {
    const path = `${this.#dir}/shared-${this.#random.below(SHARED_FILES)}`;
    const { dav } = this.#server;
    const before = await dav.send('GET', path);
    if (before.status !== 200 && before.status !== 404) return;
    const line = this.#ledger.line('direct');
    const condition: Record<string, string> =
      before.status === 404 ? { 'if-none-match': '*' } : { 'if-match': String(before.headers['etag']) };
    const body = before.status === 404 ? line : before.body.toString('latin1') + line;
    const { status } = await dav.send('PUT', path, { headers: condition, body });
    if (status < 300) this.#ledger.acknowledge(`appended to ${path} on the server`, line);
    else this.#ledger.refused += 1;
  }

  async #make(): Promise<void> {
    this.#count += 1;
    const path = `${this.#dir}/direct-${this.#count}`;
    const line = this.#ledger.line('direct');
    await this.#server.dav.put(path, line, { 'if-none-match': '*' });
    this.#ledger.acknowledge(`written into the new ${path} on the server`, line);
    if (this.#random.chance(0.3)) await this.#server.dav.move(path, `${path}-moved`);
  }
}
