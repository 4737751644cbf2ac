import { mkdtemp, rm, stat } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ControlClient } from '../../../src/daemon/control/control_client.js';
import { ControlServer, type Handlers } from '../../../src/daemon/control/control_server.js';
import { LineReader } from '../../../src/daemon/control/line_reader.js';
import {
  choiceParam,
  flagParam,
  formatReply,
  formatRequest,
  MAX_REQUEST_BYTES,
  parseReply,
  parseRequest,
  pathParam,
} from '../../../src/daemon/control/protocol.js';
import { CloudError } from '../../../src/errors.js';
import { silentLog } from '../../../src/log.js';

describe('protocol', () => {
  it('a request survives the wire, names that are no UTF-8 included', () => {
    const request = { id: '7', method: 'pin', params: { path: 'a/b\udcff c\n"d' } };
    const line = formatRequest(request);
    expect(line.endsWith('\n')).toBe(true);
    expect(line.indexOf('\n')).toBe(line.length - 1);
    expect(parseRequest(line.trimEnd())).toEqual(request);
  });

  it.each([
    ['not json', 'hello'],
    ['an array', '[1]'],
    ['another version', '{"v":2,"id":"1","method":"status"}'],
    ['no version', '{"id":"1","method":"status"}'],
    ['a number as id', '{"v":1,"id":1,"method":"status"}'],
    ['a method that is no word', '{"v":1,"id":"1","method":"../x"}'],
    ['params that are a list', '{"v":1,"id":"1","method":"status","params":[]}'],
  ])('refuses %s', (_what, line) => {
    expect(() => parseRequest(line)).toThrow(expect.objectContaining({ code: 'protocol' }));
  });

  it('a result of nothing is still a result', () => {
    expect(parseReply(formatReply({ id: '1', result: undefined }).trimEnd())).toEqual({ id: '1', result: null });
  });

  it('an error keeps its code and details', () => {
    const error = { code: 'locked', message: 'held', details: { lockOwner: 'bob' } } as const;
    expect(parseReply(formatReply({ id: '1', error }).trimEnd())).toEqual({ id: '1', error });
  });

  it.each(['/abs', 'a//b', '../x', 'a/..', 'a/./b', 'a/', 'nul\0', 'x'.repeat(20_000)])(
    'refuses the path %j',
    (path) => {
      expect(() => pathParam({ path })).toThrow(expect.objectContaining({ code: 'invalid' }));
    },
  );

  it('takes the root and ordinary paths', () => {
    expect(pathParam({ path: '' })).toBe('');
    expect(pathParam({ path: 'a/..b/...' })).toBe('a/..b/...');
  });

  it('checks flags and choices', () => {
    expect(flagParam({}, 'wait')).toBe(false);
    expect(() => flagParam({ wait: 'yes' }, 'wait')).toThrow(CloudError);
    expect(choiceParam({ keep: 'mine' }, 'keep', ['mine', 'theirs'])).toBe('mine');
    expect(() => choiceParam({ keep: 'his' }, 'keep', ['mine', 'theirs'])).toThrow(/one of mine, theirs/);
  });
});

describe('line reader', () => {
  it('puts lines together however they are cut', () => {
    const text = Buffer.from('äöü\n\nzwei\nrest');
    for (let size = 1; size <= text.length; size++) {
      const reader = new LineReader(100);
      const lines: string[] = [];
      for (let from = 0; from < text.length; from += size) lines.push(...reader.push(text.subarray(from, from + size)));
      expect(lines).toEqual(['äöü', '', 'zwei']);
    }
  });

  it('bounds a line, not the stream', () => {
    const reader = new LineReader(4);
    expect(reader.push(Buffer.from('1234\n1234\n12'))).toEqual(['1234', '1234']);
    expect(() => reader.push(Buffer.from('345'))).toThrow(expect.objectContaining({ code: 'too_large' }));
  });
});

describe('control socket', () => {
  let dir = '';
  let server: ControlServer;
  const clients: ControlClient[] = [];
  let aborted = 0;
  let noted = 0;

  const handlers: Handlers = {
    echo: (params) => params,
    note: () => {
      noted += 1;
    },
    fail: () => {
      throw new CloudError('locked', 'held by bob', { lockOwner: 'bob' });
    },
    crash: () => {
      throw new TypeError('a defect');
    },
    count: async (_params, context) => {
      for (let i = 1; i <= 3; i++) context.progress({ i });
      return 'counted';
    },
    hang: (_params, { signal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          aborted += 1;
          reject(signal.reason);
        });
      }),
  };

  beforeEach(async () => {
    aborted = 0;
    noted = 0;
    dir = await mkdtemp(join(tmpdir(), 'cm-ctl-'));
    server = await ControlServer.listen(join(dir, 's'), handlers, silentLog);
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) client.close();
    await server.close();
    await rm(dir, { recursive: true });
  });

  async function client(): Promise<ControlClient> {
    const made = await ControlClient.connect(server.path);
    clients.push(made);
    return made;
  }

  it('does nothing of what was asked by somebody who is gone by then', async () => {
    for (const leave of ['end', 'destroy'] as const) {
      const socket = connect(server.path);
      await new Promise((resolve) => socket.once('connect', resolve));
      socket.write(formatRequest({ id: '1', method: 'note', params: {} }));
      await new Promise((resolve) => setImmediate(resolve)); // written
      socket[leave]();
    }
    const patient = await client();
    await patient.call('note');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(noted).toBe(1);
  });

  it('is for its user alone', async () => {
    expect((await stat(server.path)).mode & 0o777).toBe(0o600);
  });

  it('answers several requests at once, each with its own answer', async () => {
    const one = await client();
    const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => one.call('echo', { n })));
    expect(answers).toEqual(Array.from({ length: 20 }, (_, n) => ({ n })));
  });

  it('streams progress before the result', async () => {
    const seen: unknown[] = [];
    expect(await (await client()).call('count', {}, { onProgress: (value) => seen.push(value) })).toBe('counted');
    expect(seen).toEqual([{ i: 1 }, { i: 2 }, { i: 3 }]);
  });

  it('hands on errors with code and details; a defect becomes `io`', async () => {
    const one = await client();
    await expect(one.call('fail')).rejects.toMatchObject({
      code: 'locked',
      message: 'held by bob',
      details: { lockOwner: 'bob' },
    });
    await expect(one.call('crash')).rejects.toMatchObject({ code: 'io' });
    await expect(one.call('nosuch')).rejects.toMatchObject({ code: 'unsupported' });
    await expect(one.call('toString')).rejects.toMatchObject({ code: 'unsupported' });
    expect(await one.call('echo', { still: 'here' })).toEqual({ still: 'here' });
  });

  it('gives up after silence, and the handler learns that the client is gone', async () => {
    const one = await client();
    await expect(one.call('hang', {}, { silence_ms: 50 })).rejects.toMatchObject({ code: 'timeout' });
    one.close();
    await expect.poll(() => aborted).toBe(1);
  });

  it('ends a call that is aborted', async () => {
    const one = await client();
    const abort = new AbortController();
    const call = one.call('hang', {}, { signal: abort.signal });
    abort.abort();
    await expect(call).rejects.toMatchObject({ code: 'interrupted' });
    await expect(one.call('hang', {}, { signal: abort.signal })).rejects.toMatchObject({ code: 'interrupted' });
  });

  it('a client that talks nonsense is told so and dropped; others go on', async () => {
    const other = await client();
    for (const nonsense of ['nonsense\n', 'x'.repeat(MAX_REQUEST_BYTES + 1)]) {
      const socket = connect(server.path);
      let said = '';
      socket.on('data', (chunk) => {
        said += chunk.toString();
      });
      const closed = new Promise((resolve) => socket.on('close', resolve));
      socket.on('error', () => undefined);
      socket.write(nonsense);
      await closed;
      if (said !== '') expect(JSON.parse(said)).toMatchObject({ error: { message: expect.any(String) } });
    }
    expect(await other.call('echo', { a: 1 })).toEqual({ a: 1 });
  });

  it('closing ends the calls that wait and removes the socket', async () => {
    const one = await client();
    const call = one.call('hang');
    const refused = expect(call).rejects.toMatchObject({ code: 'network' });
    await one.call('echo');
    await server.close();
    await refused;
    await expect(stat(server.path)).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(ControlClient.connect(server.path)).rejects.toMatchObject({ code: 'not_found' });
    server = await ControlServer.listen(server.path, handlers, silentLog);
  });

  it('the socket of a drive that was mounted while a client was slow to go stays', async () => {
    const { path } = server;
    const slow = connect({ path, allowHalfOpen: true });
    await new Promise((resolve) => slow.once('connect', resolve));
    slow.resume().on('error', () => undefined);
    await (await client()).call('echo');
    const closed = server.close();
    server = await ControlServer.listen(path, { echo: () => 'the next' }, silentLog);
    await closed;
    expect(await (await client()).call('echo')).toBe('the next');
    slow.destroy();
  });

  it('a daemon that accepts no connection (it was stopped) is not one that is gone', async () => {
    const path = join(dir, 'full');
    const listener = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => listener.listen({ path, backlog: 1 }, resolve));
    // All in one turn: nobody accepts meanwhile.
    const all = await Promise.allSettled(Array.from({ length: 5 }, () => ControlClient.connect(path)));
    for (const one of all) if (one.status === 'fulfilled') one.value.close();
    listener.close();
    const codes = all.flatMap((one) => (one.status === 'rejected' ? [(one.reason as CloudError).code] : []));
    expect(new Set(codes)).toEqual(new Set(['timeout']));
  });

  it('replaces the socket that a dead daemon left', async () => {
    const path = server.path;
    const second = await ControlServer.listen(path, { echo: () => 'second' }, silentLog);
    const one = await client();
    expect(await one.call('echo')).toBe('second');
    one.close();
    await second.close();
  });

  it('refuses a path the kernel would cut', async () => {
    await expect(ControlServer.listen(join(dir, 'x'.repeat(120)), handlers, silentLog)).rejects.toMatchObject({
      code: 'name_too_long',
    });
  });
});
