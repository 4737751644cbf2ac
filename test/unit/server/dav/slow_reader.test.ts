// A long listing is read from one moment's view, and as long as that is held the WAL grows with all that is written.

import { request } from 'node:http';
import { expect, test } from 'vitest';
import type { Name } from '../../../../src/ids.js';
import { type DavServer, startDavServer } from './dav_server.js';

/** A folder that takes long to tell, as somebody reads it who is slow but steady. */
async function readSlowly(server: DavServer, pause_ms: number): Promise<'whole' | 'cut'> {
  const rootId = await server.rootOf('anna');
  await server.metadata.write(async (tx) => {
    let parent = (await tx.node(rootId)) ?? expect.fail();
    const long = (name: string) => `${name}${'\u00fc'.repeat(120)}` as Name;
    for (const name of ['a', 'b', 'c']) parent = await tx.create(parent, long(name), { kind: 'dir' });
    for (let i = 0; i < 8000; i++) await tx.create(parent, long(`${i}`), { kind: 'dir' });
  });
  return await new Promise((resolve, reject) => {
    const path = '/dav/files/anna/';
    const asked = request({ port: server.port, method: 'PROPFIND', path, headers: { depth: 'infinity' } });
    asked.on('error', reject).on('response', (answer) => {
      answer.on('data', () => {
        answer.pause();
        setTimeout(() => answer.resume(), pause_ms);
      });
      answer.on('end', () => resolve('whole'));
      answer.on('error', () => resolve('cut'));
    });
    asked.end();
  });
}

test('a listing ends when its reader is too slow, however steadily they read', async () => {
  const server = await startDavServer({ limits: { listing_ms: 300 } });
  try {
    const began_ms = performance.now();
    expect(await readSlowly(server, 20)).toBe('cut');
    expect(performance.now() - began_ms).toBeLessThan(20_000);
  } finally {
    await server.close();
  }
}, 60_000);

test('it ends earlier when much has been written meanwhile, and then the WAL gets short again', async () => {
  const server = await startDavServer({ limits: { listingHeldUp_ms: 300 } });
  const { database } = server;
  try {
    database.writer.exec('CREATE TABLE written (bytes)');
    const write = () =>
      database.write(() => void database.writer.exec('INSERT INTO written VALUES (zeroblob(4000000))'));
    const reading = readSlowly(server, 50);
    let isCut = false;
    const ended = reading.then((how) => {
      isCut = true;
      return how;
    });
    await new Promise((resolve) => setTimeout(resolve, 1000)); // it has begun
    expect([isCut, database.isHeldUp()]).toEqual([false, false]);
    for (let i = 0; i < 100 && !isCut; i++) await write();
    expect(await ended).toBe('cut');
    await expect
      .poll(
        async () => {
          await write();
          return database.isHeldUp();
        },
        { timeout: 20_000 },
      )
      .toBe(false);
  } finally {
    await server.close();
  }
}, 60_000);
