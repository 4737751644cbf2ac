import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { serviceManager } from '../../../src/daemon/sd_notify.js';
import { silentLog } from '../../../src/log.js';

let dir = '';
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cm-sd-'));
});
afterEach(() => rm(dir, { recursive: true }));

/** Stands in for systemd: node has no datagram unix sockets to listen on. */
const RECEIVER = `
import socket, sys
address = sys.argv[1]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind('\\0' + address[1:] if address[0] == '@' else address)
print('ready', flush=True)
while True:
    text = s.recv(4096).decode()
    print(repr(text), flush=True)
    if 'STOPPING' in text: break
`;

it.each(['path', 'abstract'])('tells systemd by a socket with a %s address', async (kind) => {
  const address = kind === 'path' ? join(dir, 'notify') : `@cloudmount-test-${process.pid}`;
  const receiver = spawn('python3', ['-c', RECEIVER, address], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(receiver, 'exit');
  const lines = createInterface({ input: receiver.stdout })[Symbol.asyncIterator]();
  const next = async () => (await lines.next()).value as string;
  expect(await next()).toBe('ready');
  const service = await serviceManager(silentLog, address);
  service.status('connecting');
  service.ready('/mnt: two\nlines');
  service.stopping();
  expect(await next()).toBe("'STATUS=connecting'");
  expect(await next()).toBe(`'READY=1\\nMAINPID=${process.pid}\\nSTATUS=/mnt: two lines'`);
  expect(await next()).toBe("'STOPPING=1'");
  await ended;
});

it('says nothing where nobody listens', async () => {
  const service = await serviceManager(silentLog, join(dir, 'nobody'));
  service.ready('x');
  const none = await serviceManager(silentLog, '');
  none.ready('x');
  const warned: string[] = [];
  await serviceManager({ ...silentLog, warn: (_fields, message) => warned.push(message) }, 'relative');
  expect(warned).toEqual(['systemd cannot be notified']);
});
