// One push connection, in Nextcloud's notify_push protocol:
//   client: USER            (empty when what follows is a pre-auth token)
//   client: PASSWORD | TOKEN
//   server: authenticated   | err: REASON (and the connection ends)
//   client: listen notify_file_id
//   server: notify_file     | notify_file_id [1,2,3]
// Changes that come close together are one notice already (`ChangeBus`). What happens while a client is slow is not
// queued but summed up: a set of ids, and beyond `IDS_MAX` only the fact.

import type { WebSocket } from 'ws';
import type { Principal } from '../auth/authenticator.js';

const IDS_MAX = 500;
/** Bytes waiting for a client that does not read, beyond which nothing more is written. */
const BUFFER_MAX_BYTES = 256 * 1024;

export type LoginCheck = (
  user: string,
  secret: string,
) => Promise<
  { readonly kind: 'ok'; readonly principal: Principal } | { readonly kind: 'refused'; readonly why: string }
>;

type State =
  | { readonly kind: 'user' }
  | { readonly kind: 'secret'; readonly user: string }
  | { readonly kind: 'checking' }
  | { readonly kind: 'in'; readonly principal: Principal };

export class PushSession {
  readonly #socket: WebSocket;
  readonly #check: LoginCheck;
  readonly #onLogin: (session: PushSession, principal: Principal) => boolean;
  #state: State = { kind: 'user' };
  #wantsIds = false;
  #pendingIds: Set<number> | null = null;
  #pendingAny = false;
  #answered = true;

  /** `onLogin` answers false when the user may not have another connection. */
  constructor(
    socket: WebSocket,
    options: {
      readonly authTimeout_ms: number;
      readonly check: LoginCheck;
      readonly onLogin: (session: PushSession, principal: Principal) => boolean;
      readonly onClose: (session: PushSession) => void;
    },
  ) {
    this.#socket = socket;
    this.#check = options.check;
    this.#onLogin = options.onLogin;
    const timer = setTimeout(() => {
      if (this.#state.kind !== 'in') this.#refuse('Login took too long');
    }, options.authTimeout_ms);
    timer.unref();
    socket.on('message', (data, isBinary) => {
      if (isBinary) this.#refuse('Text messages only');
      else this.#onMessage(String(data)).catch(() => this.#refuse('Internal error'));
    });
    socket.on('pong', () => {
      this.#answered = true;
    });
    socket.on('error', () => socket.terminate());
    socket.on('close', () => {
      clearTimeout(timer);
      options.onClose(this);
    });
  }

  get principal(): Principal | null {
    return this.#state.kind === 'in' ? this.#state.principal : null;
  }

  /** Something changed in the user's tree; null = too much to name. */
  notify(fileIds: readonly number[] | null): void {
    if (this.#state.kind !== 'in') return;
    this.#pendingAny = true;
    if (this.#wantsIds && this.#pendingIds !== null) {
      for (const id of fileIds ?? []) this.#pendingIds.add(id);
      if (fileIds === null || this.#pendingIds.size > IDS_MAX) this.#pendingIds = null;
    }
    this.#flush();
  }

  /** Called at each ping interval; ends connections that did not answer the last one. */
  ping(): void {
    if (!this.#answered) {
      this.#socket.terminate();
      return;
    }
    this.#answered = false;
    this.#socket.ping();
    this.#flush();
  }

  close(code: number, reason: string): void {
    this.#socket.close(code, reason);
  }

  terminate(): void {
    this.#socket.terminate();
  }

  async #onMessage(text: string): Promise<void> {
    const state = this.#state;
    switch (state.kind) {
      case 'user':
        this.#state = { kind: 'secret', user: text };
        return;
      case 'secret': {
        this.#state = { kind: 'checking' };
        const answer = await this.#check(state.user, text);
        if (this.#socket.readyState !== this.#socket.OPEN) return;
        if (answer.kind === 'refused') {
          this.#refuse(answer.why);
          return;
        }
        if (!this.#onLogin(this, answer.principal)) {
          this.#refuse('Too many connections of this user');
          return;
        }
        this.#state = { kind: 'in', principal: answer.principal };
        this.#socket.send('authenticated');
        return;
      }
      case 'checking': // sent without waiting for the answer: counts once that is good
      case 'in':
        if (text.trim() === 'listen notify_file_id') {
          this.#wantsIds = true;
          this.#pendingIds = this.#pendingAny ? null : new Set();
        }
        return;
    }
  }

  #refuse(why: string): void {
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.send(`err: ${why}`);
    this.#socket.close(1008, why);
  }

  #flush(): void {
    if (!this.#pendingAny || this.#socket.readyState !== this.#socket.OPEN) return;
    // A client that does not read: keep the sum, try again at the next change or ping.
    if (this.#socket.bufferedAmount > BUFFER_MAX_BYTES) return;
    const ids = this.#pendingIds;
    this.#socket.send(ids === null || ids.size === 0 ? 'notify_file' : `notify_file_id ${JSON.stringify([...ids])}`);
    this.#pendingAny = false;
    this.#pendingIds = this.#wantsIds ? new Set() : null;
  }
}
