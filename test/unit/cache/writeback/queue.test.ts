import { afterEach, beforeEach, expect, it } from 'vitest';
import type { NodeRecord } from '../../../../src/cache/metadata/node.js';
import { WorkQueue } from '../../../../src/cache/writeback/queue.js';
import type { Ino } from '../../../../src/ids.js';
import { Rows } from './rows.js';

let rows: Rows;
let queue: WorkQueue;
let running: Set<Ino>;
let online: boolean;
let stuck: number;
let onStuck: () => void;
let considered: string[];
let consider: (node: NodeRecord) => void;

beforeEach(async () => {
  rows = await Rows.open();
  running = new Set();
  online = true;
  stuck = 0;
  onStuck = () => undefined;
  considered = [];
  consider = ({ ino }) => {
    queue.remove(ino);
    running.add(ino);
  };
  queue = new WorkQueue({
    store: rows.store,
    clock: { monotonic_ms: () => 0, now_ms: () => 0, timestamp: () => ({ s: 0, ns: 0 }), sleep: async () => undefined },
    parallel: 2,
    running,
    mayStart: () => online,
    hasWork: ({ pending }) => pending !== null,
    consider: (node) => {
      considered.push(node.name);
      consider(node);
    },
    stuck: () => {
      stuck += 1;
      onStuck();
    },
  });
});
afterEach(async () => {
  queue.close();
  await rows.close();
});

const turn = () => new Promise((resolve) => setImmediate(resolve));
const file = (name: string) => rows.add('file', { in: rows.root, name }, null);

it('starts no more than may run at once, in the order they came', async () => {
  const [a, b, c] = [file('a'), file('b'), file('c')];
  for (const node of [a, b, c]) queue.enqueue(node);
  await turn();
  expect(considered).toEqual(['a', 'b']);
  running.delete(a.ino);
  queue.kick();
  await turn();
  expect(considered).toEqual(['a', 'b', 'c']);
});

it('starts nothing while it may not, and everything after', async () => {
  online = false;
  queue.enqueue(file('a'));
  await turn();
  expect(considered).toEqual([]);
  online = true;
  queue.kick();
  await turn();
  expect(considered).toEqual(['a']);
});

it('looks at those who wait again when what they wait for is done', async () => {
  const [a, b] = [file('a'), file('b')];
  consider = (node) => {
    if (node === b && running.has(a.ino)) queue.wait(b.ino, a.ino);
    else {
      queue.remove(node.ino);
      running.add(node.ino);
    }
  };
  queue.enqueue(a);
  queue.enqueue(b);
  await turn();
  expect([...queue.waiters()]).toEqual([b.ino]);
  running.delete(a.ino);
  queue.wake(a.ino);
  await turn();
  expect(running.has(b.ino)).toBe(true);
});

it('says so when everything waits for something else', async () => {
  const [a, b] = [file('a'), file('b')];
  consider = (node) => queue.wait(node.ino, node === a ? b.ino : a.ino);
  queue.enqueue(a);
  queue.enqueue(b);
  await turn();
  expect(stuck).toBe(1);
  expect(queue.waiters()).toEqual(new Set([a.ino, b.ino]));
});

it('says so of all of them, also when they came to wait one after the other', async () => {
  const [a, b] = [file('a'), file('b')];
  consider = (node) => queue.wait(node.ino, node === a ? b.ino : a.ino);
  let most = 0;
  onStuck = () => {
    most = Math.max(most, queue.waiters().size);
    if (most < 2) queue.doubtAll();
  };
  queue.enqueue(a);
  await new Promise((resolve) => setTimeout(resolve, 100));
  queue.enqueue(b);
  for (let i = 0; i < 150 && most < 2; i++) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(most).toBe(2);
});

it('leaves alone what is not to be touched yet, and starts it when it is time', async () => {
  const a = file('a');
  a.notBefore_ms = 20;
  queue.enqueue(a);
  await turn();
  expect(considered).toEqual([]);
  a.notBefore_ms = 0;
  for (let i = 0; i < 200 && considered.length === 0; i++) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(considered).toEqual(['a']);
});

it('tells those who wait for a change, and lets go of those who are interrupted', async () => {
  const abort = new AbortController();
  const interrupted = queue.changed(abort.signal);
  const told = queue.changed(new AbortController().signal);
  abort.abort();
  await expect(interrupted).rejects.toMatchObject({ code: 'interrupted' });
  const done = file('done');
  done.pending = null;
  queue.enqueue(done);
  await told;
  await expect(queue.changed(abort.signal)).rejects.toMatchObject({ code: 'interrupted' });
});
