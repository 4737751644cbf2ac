// The limit that no drive can beat: a bare HTTP client with 16 connections doing the same work.

import { Agent, request } from 'undici';
import type { DavLogin } from '../test/support/dav_client.js';

export class BareClient {
  readonly login: DavLogin;
  readonly #agent = new Agent({ connections: 16, pipelining: 1 });

  constructor(login: DavLogin) {
    this.login = login;
  }

  async send(method: string, path: string, headers: Record<string, string> = {}, body?: Buffer): Promise<number> {
    const { root, user, password } = this.login;
    const answer = await request(root + path, {
      method: method as 'GET',
      headers: { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`, ...headers },
      body: body ?? null,
      dispatcher: this.#agent,
    });
    let bytes = 0;
    for await (const chunk of answer.body) bytes += (chunk as Buffer).length;
    if (answer.statusCode >= 400) throw new Error(`${method} ${path}: ${answer.statusCode}`);
    return bytes;
  }

  /** Bytes of a whole file by 16 ranges at a time. */
  async readParallel(path: string, size: number, piece = 4 << 20): Promise<void> {
    const starts = Array.from({ length: Math.ceil(size / piece) }, (_, i) => i * piece);
    await this.parallel(starts, (start) =>
      this.send('GET', path, { range: `bytes=${start}-${Math.min(start + piece, size) - 1}` }),
    );
  }

  async parallel<T>(items: readonly T[], work: (item: T) => Promise<unknown>, connections = 16): Promise<void> {
    const pending = items.values();
    await Promise.all(
      Array.from({ length: connections }, async () => {
        for (const item of pending) await work(item);
      }),
    );
  }

  async close(): Promise<void> {
    await this.#agent.close();
  }
}

export async function seconds(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}
