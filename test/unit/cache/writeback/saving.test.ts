// Sending while the disk still takes the bytes: what waits for it.

import { expect, it } from 'vitest';
import { Saving } from '../../../../src/cache/writeback/saving.js';

function disk() {
  let resolve = (_isStored: boolean) => {};
  let reject = (_error: Error) => {};
  const promise = new Promise<boolean>((done, failed) => {
    resolve = done;
    reject = failed;
  });
  return { promise, resolve, reject };
}

async function* pieces(count: number): AsyncGenerator<Buffer> {
  for (let n = 0; n < count; n++) yield Buffer.from([n]);
}

async function all(chunks: AsyncIterable<Buffer>): Promise<number[]> {
  const found: number[] = [];
  for await (const chunk of chunks) found.push(...chunk);
  return found;
}

it('notes wait until the disk has the bytes, and then only the last of them is made', async () => {
  const work = disk();
  const saving = new Saving(work.promise);
  const noted: string[] = [];
  saving.afterwards(() => noted.push('first'));
  saving.afterwards(() => noted.push('second'));
  await Promise.resolve();
  expect(noted).toEqual([]);
  work.resolve(true);
  await saving.done;
  expect(noted).toEqual(['second']);
  saving.afterwards(() => noted.push('third'));
  expect(noted).toEqual(['second', 'third']);
});

it('bytes go while the disk is at it', async () => {
  expect(await all(new Saving(new Promise(() => {})).guard(pieces(3)))).toEqual([0, 1, 2]);
});

it('when the disk does not take them no more are sent, and nothing is noted', async () => {
  const work = disk();
  const saving = new Saving(work.promise);
  const noted: string[] = [];
  saving.afterwards(() => noted.push('never'));
  const sent = saving.guard(pieces(3));
  expect((await sent.next()).value).toEqual(Buffer.from([0]));
  work.reject(new Error('the disk is broken'));
  await expect(saving.done).rejects.toThrow('the disk is broken');
  await expect(sent.next()).rejects.toThrow('the disk is broken');
  expect(noted).toEqual([]);
});

it('a full disk stops nothing, but nothing is noted of bytes it has not', async () => {
  const noted: string[] = [];
  const saving = new Saving(Promise.resolve(false));
  saving.afterwards(() => noted.push('before'));
  await saving.done;
  saving.afterwards(() => noted.push('after'));
  expect(noted).toEqual([]);
  expect(await all(saving.guard(pieces(2)))).toEqual([0, 1]);
});

it('a note that cannot be made stops it', async () => {
  const saving = new Saving(Promise.resolve(true));
  saving.afterwards(() => {
    throw new Error('no room for the note');
  });
  await expect(saving.done).rejects.toThrow('no room for the note');
  await expect(all(saving.guard(pieces(2)))).rejects.toThrow('no room for the note');
});
