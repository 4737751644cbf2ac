// What goes wrong during the soak: faults between each mount and the server, cut and frozen links, killed daemons, a killed
// server. One after the other, by a seed.

import { setTimeout as pause } from 'node:timers/promises';
import type { Drive } from '../drive.js';
import type { Fault, FaultProxy } from '../fault_proxy.js';
import { Random } from '../random.js';
import type { TestServer } from '../servers.js';

interface Through {
  readonly drive: Drive;
  readonly proxy: FaultProxy;
}

export class Chaos {
  readonly #mounts: readonly Through[];
  readonly #server: TestServer;
  readonly #random: Random;
  readonly faults = { total: 0, requests: 0, links: 0, daemons: 0, server: 0 };

  constructor(mounts: readonly Through[], server: TestServer, seed: number) {
    this.#mounts = mounts;
    this.#server = server;
    this.#random = new Random(seed);
  }

  async run(duration_ms: number): Promise<void> {
    const end = Date.now() + duration_ms;
    while (Date.now() < end) {
      const through = this.#random.pick(this.#mounts);
      if (through === undefined) return;
      this.faults.total += 1;
      await this.#random.weighted([
        [40, () => this.#request(through)],
        [6, () => this.#link(through)],
        [3, () => this.#killDaemon(through)],
        [1, () => this.#killServer()],
      ])();
      await pause(this.#random.below(400));
    }
  }

  /** All is well again. */
  async end(): Promise<void> {
    for (const { proxy } of this.#mounts) {
      proxy.clear();
      await proxy.accept();
    }
    if (this.#server.kind !== 'apache') return;
    // Its database of locks does not survive several clients (README, limits): what an admin does then, start without it.
    await this.#server.stop();
    await this.#server.start();
  }

  async #request({ proxy }: Through): Promise<void> {
    this.faults.requests += 1;
    const method = this.#random.pick([
      undefined,
      undefined,
      'PUT',
      'PUT',
      'GET',
      'PROPFIND',
      'MOVE',
      'DELETE',
      'MKCOL',
    ]);
    const fault = this.#random.pick(this.#kinds());
    if (fault === undefined) return;
    const times = 1 + this.#random.below(3);
    proxy.add(method === undefined ? { times, fault } : { method, times, fault });
  }

  #kinds(): Fault[] {
    const after_bytes = this.#random.below(3000);
    return [
      { kind: 'latency', delay_ms: this.#random.below(1500) },
      { kind: 'reset' },
      { kind: 'silence' },
      { kind: 'cut_request', after_bytes },
      { kind: 'lost_answer' },
      { kind: 'lost_answer', how: 'silence' },
      { kind: 'cut', after_bytes },
      { kind: 'truncate', after_bytes },
      { kind: 'shorten', after_bytes },
      { kind: 'stall', after_bytes },
      { kind: 'drip', bytes: 200, every_ms: 50 },
      { kind: 'answer', status: 503, headers: { 'retry-after': '1' } },
      { kind: 'answer', status: 500, body: 'no' },
      { kind: 'answer', status: 429 },
      { kind: 'answer', status: 507 },
      { kind: 'captive_portal' },
      { kind: 'status', status: 502 },
      { kind: 'headers', set: { etag: null } },
      { kind: 'request_headers', set: { range: null } },
    ];
  }

  async #link({ proxy }: Through): Promise<void> {
    this.faults.links += 1;
    const how = this.#random.pick(['cut', 'freeze', 'off', 'off']);
    if (how === 'cut') proxy.cutAll();
    else if (how === 'freeze') proxy.freezeUpgraded();
    else {
      await proxy.refuse();
      await pause(500 + this.#random.below(4000));
      await proxy.accept();
    }
  }

  async #killDaemon({ drive }: Through): Promise<void> {
    this.faults.daemons += 1;
    await drive.kill9();
    await drive.mount();
  }

  async #killServer(): Promise<void> {
    this.faults.server += 1;
    await this.#server.stop('SIGKILL');
    await pause(this.#random.below(2000));
    await this.#server.start();
  }
}
