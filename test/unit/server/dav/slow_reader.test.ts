// A long listing is read from one moment's view, and as long as that is held the WAL grows with all that is written.

import { request } from 'node:http';
import { expect, test } from 'vitest';
import type { Name } from '../../../../src/ids.js';
import { startDavServer } from './dav_server.js';

test('a listing ends when its reader is too slow, however steadily they read', async () => {
  const server = await startDavServer({ limits: { listing_ms: 300 } });
  try {
    const rootId = await server.rootOf('anna');
    await server.metadata.write(async (tx) => {
      let parent = (await tx.node(rootId)) ?? expect.fail();
      const long = (name: string) => `${name}${'\u00fc'.repeat(120)}` as Name;
      for (const name of ['a', 'b', 'c']) parent = await tx.create(parent, long(name), { kind: 'dir' });
      for (let i = 0; i < 8000; i++) await tx.create(parent, long(`${i}`), { kind: 'dir' });
    });
    const began_ms = performance.now();
    const ended = await new Promise<string>((resolve, reject) => {
      const asked = request({
        port: server.port,
        method: 'PROPFIND',
        path: '/dav/files/anna/',
        headers: { depth: 'infinity' },
      });
      asked.on('error', reject).on('response', (answer) => {
        answer.on('data', () => {
          answer.pause();
          setTimeout(() => answer.resume(), 20);
        });
        answer.on('end', () => resolve('whole'));
        answer.on('error', () => resolve('cut'));
      });
      asked.end();
    });
    expect(ended).toBe('cut');
    expect(performance.now() - began_ms).toBeLessThan(20_000);
  } finally {
    await server.close();
  }
}, 60_000);
