import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type WebSocket, WebSocketServer } from 'ws';
import type { Credentials } from '../../../src/remote/auth.js';
import { SILENT } from '../../../src/remote/dav.js';
import { keepPushOpen } from '../../../src/remote/push.js';
import { eventually } from '../../support/processes.js';

const BASIC: Credentials = { kind: 'basic', user: 'alice', password: 'secret' };

describe('the push channel', () => {
  let server: WebSocketServer;
  let abort: AbortController;
  let running: Promise<void>;
  let said: string[][];
  let lines: WebSocket[];
  let answerPings: boolean;
  const events = { changes: 0, connections: [] as boolean[] };

  beforeEach(async () => {
    abort = new AbortController();
    said = [];
    lines = [];
    answerPings = true;
    events.changes = 0;
    events.connections = [];
    server = new WebSocketServer({ port: 0, host: '127.0.0.1', autoPong: false });
    server.on('connection', (line) => {
      const heard: string[] = [];
      said.push(heard);
      lines.push(line);
      line.on('ping', (data) => answerPings && line.pong(data));
      line.on('message', (data) => {
        heard.push(data.toString());
        if (heard.length === 2)
          line.send(heard[1] === 'secret' || heard[1] === 'token' ? 'authenticated' : 'err: Invalid credentials');
      });
    });
    await once(server, 'listening');
  });

  afterEach(async () => {
    abort.abort();
    await running;
    for (const line of server.clients) line.terminate();
    server.close();
    await once(server, 'close');
  });

  function open(
    credentials = BASIC,
    preAuth: () => Promise<string> = () => Promise.reject(new Error('not expected')),
  ): void {
    const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}/push`;
    const bounds = { timeout_ms: 200, ping_ms: 50, firstRetry_ms: 10, maxRetry_ms: 50 };
    running = keepPushOpen(
      { url, credentials: () => credentials, userAgent: 'test', tls: {}, preAuth, log: SILENT, ...bounds },
      {
        onChange: () => void events.changes++,
        onConnection: (connected) => void events.connections.push(connected),
      },
      abort.signal,
    );
  }

  it('signs in, says so, and takes the moment before as a change', async () => {
    open();
    await eventually('the sign-in', () => events.connections.length === 1);
    expect(said).toEqual([['alice', 'secret']]);
    expect(events).toEqual({ changes: 1, connections: [true] });
  });

  it('hears changes and nothing else', async () => {
    open();
    await eventually('the sign-in', () => events.connections.length === 1);
    for (const message of ['notify_activity', 'notify_notification', 'notify_file', 'notify_file_id [1,2]'])
      lines[0]?.send(message);
    await eventually('two changes', () => events.changes === 3);
  });

  it('shows a token where there is no password', async () => {
    open({ kind: 'bearer', token: 'abc' }, () => Promise.resolve('token'));
    await eventually('the sign-in', () => events.connections.length === 1);
    expect(said).toEqual([['', 'token']]);
  });

  it('comes back after a break, and looks what it missed', async () => {
    open();
    await eventually('the sign-in', () => events.connections.length === 1);
    lines[0]?.terminate();
    await eventually('the second sign-in', () => events.connections.length === 3);
    expect(events).toEqual({ changes: 2, connections: [true, false, true] });
  });

  it('notices a dead line by its silence', async () => {
    answerPings = false;
    open();
    await eventually('the break', () => events.connections.includes(false));
    answerPings = true;
    await eventually('a line that stays', () => events.connections.at(-1) === true);
  });

  it('keeps a quiet line', async () => {
    open();
    await eventually('the sign-in', () => events.connections.length === 1);
    let pings = 0;
    lines[0]?.on('ping', () => void pings++);
    await eventually('some pings', () => pings > 5);
    expect(events.connections).toEqual([true]);
  });

  it('says nothing while it is not let in, and goes on trying', async () => {
    open({ kind: 'basic', user: 'alice', password: 'wrong' });
    await eventually('three tries', () => said.length >= 3);
    expect(events).toEqual({ changes: 0, connections: [] });
  });

  it('ends with its signal', async () => {
    open();
    await eventually('the sign-in', () => events.connections.length === 1);
    abort.abort();
    await running;
    expect(events.connections).toEqual([true, false]);
    await eventually('the end of the line', () => server.clients.size === 0);
  });
});
