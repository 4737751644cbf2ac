// The push endpoint: takes WebSocket upgrades, logs sessions in, and hands each user's changes to that user's sessions.

import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import { isCloudError } from '../../errors.js';
import type { Authenticator, Principal } from '../auth/authenticator.js';
import type { ChangeBus } from '../changes/change_bus.js';
import type { ServerLimits } from '../config.js';
import { PreAuthTokens } from './pre_auth.js';
import { type LoginCheck, PushSession } from './push_session.js';

export const PUSH_PATH = '/push/ws';

export interface PushServerOptions {
  readonly authenticator: Authenticator;
  readonly changes: Pick<ChangeBus, 'subscribe'>;
  readonly limits: Pick<ServerLimits, 'pushAuth_ms' | 'pushPing_ms' | 'pushCheck_ms' | 'pushPerUser'>;
}

interface UserSessions {
  readonly sessions: Set<PushSession>;
  readonly unsubscribe: () => void;
}

const MESSAGE_MAX_BYTES = 4096;

export class PushServer {
  readonly preAuth = new PreAuthTokens();
  readonly #options: PushServerOptions;
  readonly #upgrader = new WebSocketServer({ noServer: true, clientTracking: false, maxPayload: MESSAGE_MAX_BYTES });
  readonly #all = new Set<PushSession>();
  readonly #byUser = new Map<string, UserSessions>();
  readonly #pinger: NodeJS.Timeout;
  readonly #checker: NodeJS.Timeout;

  constructor(options: PushServerOptions) {
    this.#options = options;
    this.#pinger = setInterval(() => this.#pingAll(), options.limits.pushPing_ms);
    this.#pinger.unref();
    this.#checker = setInterval(() => this.#endWithdrawn(), options.limits.pushCheck_ms);
    this.#checker.unref();
  }

  /** Connections that are logged in. */
  get sessions(): number {
    let count = 0;
    for (const { sessions } of this.#byUser.values()) count += sessions.size;
    return count;
  }

  /** Takes the connection over. `address`: the client's IP address. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, address: string): void {
    this.#upgrader.handleUpgrade(request, socket, head, (client) => {
      this.#all.add(
        new PushSession(client, {
          authTimeout_ms: this.#options.limits.pushAuth_ms,
          check: this.#check(address),
          onLogin: (session, principal) => this.#join(session, principal),
          onClose: (session) => this.#leave(session),
        }),
      );
    });
  }

  /** Tells everybody to come back later and ends the connections. */
  close(): void {
    clearInterval(this.#pinger);
    clearInterval(this.#checker);
    for (const session of this.#all) session.close(1001, 'The server is stopping');
    const sessions = [...this.#all];
    setTimeout(() => {
      for (const session of sessions) session.terminate();
    }, 500).unref();
  }

  #check(address: string): LoginCheck {
    return async (user, secret) => {
      if (user === '') {
        const principal = this.preAuth.redeem(secret);
        if (principal !== null && (await this.#options.authenticator.stillValid(principal))) {
          return { kind: 'ok', principal };
        }
      }
      try {
        const answer = await this.#options.authenticator.check({ kind: 'basic', user, secret }, address);
        if (answer.kind === 'ok') return answer;
        const throttled = answer.kind === 'throttled';
        return { kind: 'refused', why: throttled ? 'Too many attempts, wait a while' : 'Invalid credentials' };
      } catch (error) {
        if (isCloudError(error, 'busy_server')) return { kind: 'refused', why: 'Too many logins at once' };
        throw error;
      }
    };
  }

  #join(session: PushSession, principal: Principal): boolean {
    const { id } = principal.user;
    const known = this.#byUser.get(id);
    if (known !== undefined) {
      if (known.sessions.size >= this.#options.limits.pushPerUser) return false;
      known.sessions.add(session);
      return true;
    }
    const sessions = new Set([session]);
    const unsubscribe = this.#options.changes.subscribe(id, ({ fileIds }) => {
      for (const listener of sessions) listener.notify(fileIds);
    });
    this.#byUser.set(id, { sessions, unsubscribe });
    return true;
  }

  #leave(session: PushSession): void {
    this.#all.delete(session);
    const id = session.principal?.user.id;
    const known = id === undefined ? undefined : this.#byUser.get(id);
    if (id === undefined || known === undefined) return;
    known.sessions.delete(session);
    if (known.sessions.size > 0) return;
    known.unsubscribe();
    this.#byUser.delete(id);
  }

  /** Finds dead connections. */
  #pingAll(): void {
    for (const session of this.#all) session.ping();
  }

  /** Ends those whose login has ended since: a token revoked, a password changed, by whatever process. */
  #endWithdrawn(): void {
    for (const session of this.#all) {
      const { principal } = session;
      if (principal === null) continue;
      this.#options.authenticator.stillValid(principal).then(
        (valid) => {
          if (!valid) session.close(1008, 'The login has ended');
        },
        () => session.terminate(),
      );
    }
  }
}
