import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { basic, PASSWORD, TestServer } from '../api/test_server.js';

let server: TestServer;
const clients: PushClient[] = [];

beforeEach(async () => {
  server = await TestServer.start({ limits: { pushPing_ms: 100, pushAuth_ms: 300, pushPerUser: 3 } });
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.socket.terminate();
  await server.end();
});

class PushClient {
  readonly socket: WebSocket;
  readonly messages: string[] = [];
  closeCode: number | null = null;
  #wake: () => void = () => {};

  constructor(options: { readonly autoPong?: boolean } = {}) {
    this.socket = new WebSocket(`ws://127.0.0.1:${server.port}/push/ws`, options);
    clients.push(this);
    this.socket.on('message', (data) => {
      this.messages.push(String(data));
      this.#wake();
    });
    this.socket.on('close', (code) => {
      this.closeCode = code;
      this.#wake();
    });
    this.socket.on('error', () => {});
  }

  async send(...texts: readonly string[]): Promise<void> {
    if (this.socket.readyState === WebSocket.CONNECTING) {
      await new Promise((resolve) => this.socket.once('open', resolve));
    }
    for (const text of texts) this.socket.send(text);
  }

  /** The next message; rejects when the connection ends instead. */
  async next(): Promise<string> {
    for (;;) {
      const message = this.messages.shift();
      if (message !== undefined) return message;
      if (this.closeCode !== null) throw new Error(`closed with ${this.closeCode}`);
      await this.#turn();
    }
  }

  async closed(): Promise<number> {
    while (this.closeCode === null) await this.#turn();
    return this.closeCode;
  }

  #turn(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}

async function loggedIn(user = 'alice', ...more: readonly string[]): Promise<PushClient> {
  const client = new PushClient();
  await client.send(user, PASSWORD, ...more);
  expect(await client.next()).toBe('authenticated');
  return client;
}

describe('logging in', () => {
  test('with user and password', async () => {
    await loggedIn();
  });

  test('with an app token', async () => {
    const { secret } = await server.running.accounts.createToken('alice', 'drive');
    const client = new PushClient();
    await client.send('alice', secret);
    expect(await client.next()).toBe('authenticated');
  });

  test('with a token made for it, once', async () => {
    const answer = await server.call('POST', '/apps/notify_push/pre_auth');
    expect(answer.status).toBe(200);
    const first = new PushClient();
    await first.send('', answer.text);
    expect(await first.next()).toBe('authenticated');
    const second = new PushClient();
    await second.send('', answer.text);
    expect(await second.next()).toMatch(/^err: /);
    expect((await server.call('POST', '/apps/notify_push/pre_auth', { user: null })).status).toBe(401);
    expect((await server.call('GET', '/apps/notify_push/pre_auth')).status).toBe(405);
  });

  test('with a wrong password ends the connection', async () => {
    const client = new PushClient();
    await client.send('alice', 'wrong');
    expect(await client.next()).toBe('err: Invalid credentials');
    expect(await client.closed()).toBe(1008);
  });

  test('guessing is throttled as it is over HTTP', async () => {
    const answers = [];
    for (let i = 0; i < 11; i++) {
      const client = new PushClient();
      await client.send('alice', `wrong ${i}`);
      answers.push(await client.next());
    }
    expect(answers.at(9)).toBe('err: Invalid credentials');
    expect(answers.at(10)).toBe('err: Too many attempts, wait a while');
  });

  test('that does not come in time ends the connection', async () => {
    const client = new PushClient();
    expect(await client.next()).toBe('err: Login took too long');
    expect(await client.closed()).toBe(1008);
  });

  test('more than a user may have are refused, also one of another user is not', async () => {
    for (let i = 0; i < 3; i++) await loggedIn();
    const client = new PushClient();
    await client.send('alice', PASSWORD);
    expect(await client.next()).toBe('err: Too many connections of this user');
    await loggedIn('bert');
  });

  test('binary and oversized messages end the connection', async () => {
    const client = await loggedIn();
    client.socket.send(Buffer.from('listen'));
    expect(await client.next()).toMatch(/^err/);
    const other = await loggedIn();
    other.socket.send('x'.repeat(5000));
    expect(await other.closed()).toBe(1009);
  });

  test('another address has no push', async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${server.port}/other`);
    const error = await new Promise<Error>((resolve) => socket.once('error', resolve));
    expect(error.message).toContain('404');
    expect((await server.call('GET', '/push/ws')).status).toBe(426);
  });
});

describe('notices', () => {
  test('tell that something changed', async () => {
    const client = await loggedIn();
    await server.call('PUT', '/webdav/f', { body: 'x' });
    expect(await client.next()).toBe('notify_file');
  });

  test('name the files to who asked for it', async () => {
    const client = await loggedIn('alice', 'listen notify_file_id');
    const put = await server.call('PUT', '/webdav/f', { body: 'x' });
    const message = await client.next();
    expect(message).toMatch(/^notify_file_id \[/);
    const ids = JSON.parse(message.slice('notify_file_id '.length)) as number[];
    expect(ids).toContain(Number.parseInt(String(put.headers['oc-fileid']), 10));
  });

  test('come for every kind of change, to every session of the user and to no other', async () => {
    const [one, two, other] = [await loggedIn(), await loggedIn(), await loggedIn('bert')];
    const changes: (() => Promise<{ status: number }>)[] = [
      () => server.call('MKCOL', '/webdav/d'),
      () => server.call('PUT', '/webdav/d/f', { body: 'x' }),
      () => server.call('MOVE', '/webdav/d/f', { headers: { destination: '/webdav/g' } }),
      () => server.call('COPY', '/webdav/g', { headers: { destination: '/webdav/h' } }),
      () => server.call('DELETE', '/webdav/g'),
    ];
    for (const change of changes) {
      expect((await change()).status).toBeLessThan(300);
      expect(await one.next()).toBe('notify_file');
      expect(await two.next()).toBe('notify_file');
    }
    expect(other.messages).toEqual([]);
    await server.call('PUT', '/webdav/f', { user: 'bert', body: 'x' });
    expect(await other.next()).toBe('notify_file');
  });

  test('of many changes are few', async () => {
    const client = await loggedIn('alice', 'listen notify_file_id');
    const ids = new Set<number>();
    await Promise.all(
      Array.from({ length: 60 }, async (_, i) => {
        const put = await server.call('PUT', `/webdav/f${i}`, { body: 'x' });
        ids.add(Number.parseInt(String(put.headers['oc-fileid']), 10));
      }),
    );
    let messages = 0;
    while (ids.size > 0) {
      messages += 1;
      for (const id of JSON.parse((await client.next()).slice('notify_file_id '.length)) as number[]) ids.delete(id);
    }
    expect(messages).toBeLessThan(30);
  });
});

describe('keeping the connection', () => {
  test('a client that does not answer pings is dropped', async () => {
    const client = new PushClient({ autoPong: false });
    await client.send('alice', PASSWORD);
    expect(await client.next()).toBe('authenticated');
    expect(await client.closed()).toBe(1006);
  });

  test('a login that ends takes its connections with it', async () => {
    const [alice, bert] = [await loggedIn(), await loggedIn('bert')];
    await server.running.accounts.setPassword('alice', 'another password');
    expect(await alice.closed()).toBe(1008);
    expect(bert.closeCode).toBeNull();
  });

  test('a login that was in time stays when that time is over', async () => {
    const client = await loggedIn();
    const late = new PushClient();
    expect(await late.next()).toBe('err: Login took too long');
    await server.call('PUT', '/webdav/f', { body: 'x' });
    expect(await client.next()).toBe('notify_file');
  });

  test('a stopping server says so', async () => {
    const client = await loggedIn();
    await server.stop();
    expect(await client.closed()).toBe(1001);
  });

  test('a stopping server takes nobody any more, who would keep it from its end', async () => {
    const slow = server.raw();
    slow.send(`PUT /webdav/f HTTP/1.1\r\nHost: x\r\nAuthorization: ${basic('alice')}\r\nContent-Length: 9\r\n\r\nabc`);
    const late = server.raw();
    late.send('GET /push/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n');
    await expect.poll(async () => (await server.call('GET', '/metrics')).text).toMatch(/active_requests 2\n/);
    const stopped = server.stop(1000);
    late.send('Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n');
    expect(await late.untilClosed()).toBe('');
    await stopped;
  });

  test('metrics count the sessions', async () => {
    await loggedIn();
    await loggedIn('bert');
    const { text } = await server.call('GET', '/metrics', { user: null });
    expect(text).toMatch(/cloudmount_push_sessions 2\n/);
  });
});
