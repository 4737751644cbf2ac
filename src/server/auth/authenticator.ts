// Turns credentials into a principal. App tokens are one hash and one indexed look-up. Passwords cost argon2id
// (~30 ms, 19 MiB), so a verified one is remembered for a while under an HMAC of user and password, with a key that
// lives in this process only: the password itself is never kept. What is remembered counts only as long as the
// account's login version is unchanged, which is looked up on every request (microseconds), so `passwd`, `disable` and
// `remove` take effect at once, also when another process on the same data folder did them.
//
// The same wrong password or token again (a device that was not told of a new one, or whose token was revoked) is not
// charged to the throttle: it is no new guess, and must not lock its owner out. A password is then refused from memory.
//
// Unknown and disabled users, and users without a password, cost the same as known ones.

import { createHmac, hash, randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { AccountStore, Login, LoginRecord, User } from '../accounts/account_store.js';
import { looksLikeToken } from '../accounts/app_token.js';
import { verifyNothing, verifyPassword } from '../accounts/password.js';
import { isUserName } from '../accounts/user_name.js';
import { type Credentials, parseAuthorization } from './credentials.js';
import { Gate } from './gate.js';
import { Throttle, type ThrottleLimits } from './throttle.js';

/** Who a request acts for. */
export interface Principal {
  readonly user: User;
  readonly via: 'password' | 'token';
  /** As at login; when `AccountStore.loginVersion` answers another, the login is over. */
  readonly loginVersion: number;
  readonly credential: Login['credential'];
}

export type AuthAnswer =
  | { readonly kind: 'ok'; readonly principal: Principal }
  | { readonly kind: 'denied' }
  | { readonly kind: 'throttled'; readonly retryAfter_s: number };

export interface AuthenticatorOptions {
  readonly throttle?: ThrottleLimits;
  readonly remember_ms?: number;
}

interface Verified {
  readonly name: string;
  readonly loginVersion: number;
}

/** A header that was let in. */
interface Admitted {
  readonly login: LoginRecord;
  readonly answer: AuthAnswer & { readonly kind: 'ok' };
  readonly tokenId: number | null;
}

const REMEMBER_MS = 10 * 60_000;
/** How long a header is known by its hash alone, before it is read again. */
const ADMIT_MS = 60_000;
const REMEMBER_MAX = 10_000;
/** Verifications at a time: bounded by memory (19 MiB each) and by the thread pool that file I/O needs too. */
const VERIFY_WIDTH = 2;
const VERIFY_QUEUE = 100;
const NO_SUCH_USER = -1;
const DENIED: AuthAnswer = { kind: 'denied' };

export class Authenticator {
  readonly #accounts: AccountStore;
  readonly #throttle: Throttle;
  readonly #key = randomBytes(32);
  readonly #verified: LRUCache<string, Verified>;
  /** Hash of an `Authorization` header -> whom it let in. */
  readonly #admitted: LRUCache<string, Admitted>;
  readonly #headerKey = randomBytes(32).toString('latin1');
  /** Credentials that were wrong -> the login version they were wrong for. */
  readonly #refused: LRUCache<string, number>;
  readonly #running = new Map<string, Promise<AuthAnswer>>();
  readonly #gate = new Gate(VERIFY_WIDTH, VERIFY_QUEUE);
  #verifications = 0;

  constructor(accounts: AccountStore, options: AuthenticatorOptions = {}) {
    this.#accounts = accounts;
    this.#throttle = new Throttle(options.throttle);
    this.#verified = new LRUCache({ max: REMEMBER_MAX, ttl: options.remember_ms ?? REMEMBER_MS });
    const admit_ms = Math.min(ADMIT_MS, options.remember_ms ?? REMEMBER_MS);
    this.#admitted = new LRUCache({ max: REMEMBER_MAX, ttl: admit_ms, noUpdateTTL: true });
    this.#refused = new LRUCache({ max: REMEMBER_MAX, ttl: options.remember_ms ?? REMEMBER_MS });
  }

  /** How often a password hash was computed so far; for metrics. */
  get verifications(): number {
    return this.#verifications;
  }

  /** As `check`, from the header itself; null if it has no form we know. Clients send the same header with every request:
   * one that was let in lately costs a hash (with a key of this process; the header itself is not kept) and a look at
   * the account, which must be as it was. */
  async checkHeader(header: string, from: { readonly address: string }): Promise<AuthAnswer | null> {
    const key = hash('sha256', this.#headerKey + header, 'base64');
    const known = this.#admitted.get(key);
    if (known !== undefined) {
      const { login, answer, tokenId } = known;
      const now = await this.#accounts.loginRecord(login.user.name);
      if (now !== null && !now.user.isDisabled && now.version === login.version) {
        if (tokenId !== null) this.#used(tokenId);
        if (now === login) return answer;
        const fresh = ok(now, tokenId);
        this.#admitted.set(key, { login: now, answer: fresh, tokenId });
        return fresh;
      }
      this.#admitted.delete(key);
    }
    const credentials = parseAuthorization(header);
    if (credentials === null) return null;
    const answer = await this.check(credentials, from.address);
    if (answer.kind === 'ok') await this.#admit(key, answer, credentials);
    return answer;
  }

  async #admit(key: string, answer: AuthAnswer & { readonly kind: 'ok' }, credentials: Credentials): Promise<void> {
    const { user, via, loginVersion } = answer.principal;
    const login = await this.#accounts.loginRecord(user.name);
    if (login === null || login.version !== loginVersion) return;
    const tokenId = via === 'token' ? ((await this.#accounts.tokenRecord(credentials.secret))?.token.id ?? null) : null;
    if (via === 'token' && tokenId === null) return;
    this.#admitted.set(key, { login, answer, tokenId });
  }

  /** Rejects with `busy_server` under a flood of logins. `address` is the client's IP address. */
  async check(credentials: Credentials, address: string): Promise<AuthAnswer> {
    if (looksLikeToken(credentials.secret)) return this.#checkToken(credentials, address);
    if (credentials.kind === 'bearer') return this.#wrongToken(credentials, address);
    return this.#checkPassword(credentials.user, credentials.secret, address);
  }

  /** Is a login still good? For connections that outlive a request. */
  async stillValid(principal: Principal): Promise<boolean> {
    return (await this.#accounts.loginVersion(principal.user.name)) === principal.loginVersion;
  }

  async #checkToken(credentials: Credentials, address: string): Promise<AuthAnswer> {
    const record = await this.#accounts.tokenRecord(credentials.secret);
    const named = credentials.kind === 'bearer' || sameName(credentials.user, record?.login.user.name);
    if (record !== null && named && !record.login.user.isDisabled) {
      this.#used(record.token.id);
      return ok(record.login, record.token.id);
    }
    return this.#wrongToken(credentials, address);
  }

  async #wrongToken(credentials: Credentials, address: string): Promise<AuthAnswer> {
    const user = credentials.kind === 'basic' ? credentials.user : '';
    const key = this.#keyOf(user, credentials.secret);
    if (this.#refused.has(key)) return DENIED;
    return this.#shared(key, address, () =>
      this.#guess(user, address, async () => {
        this.#refused.set(key, NO_SUCH_USER);
        return null;
      }),
    );
  }

  /** What is remembered of a credential instead of itself. */
  #keyOf(user: string, secret: string): string {
    return createHmac('sha256', this.#key).update(`${user.length}:${user}`).update(secret).digest('base64');
  }

  async #checkPassword(user: string, password: string, address: string): Promise<AuthAnswer> {
    const key = this.#keyOf(user, password);
    const known = this.#verified.get(key);
    if (known !== undefined) {
      const login = await this.#accounts.loginRecord(known.name);
      if (login !== null && !login.user.isDisabled && login.version === known.loginVersion) return ok(login);
      this.#verified.delete(key);
    }
    const refusedFor = this.#refused.get(key);
    if (refusedFor !== undefined) {
      const login = await this.#login(user);
      if ((login?.version ?? NO_SUCH_USER) === refusedFor) return DENIED;
      this.#refused.delete(key);
    }
    return this.#shared(key, address, () => this.#guess(user, address, () => this.#verify(user, password, key)));
  }

  /** Clients open many connections at once: the same credentials from the same address are one guess. */
  #shared(key: string, address: string, guess: () => Promise<AuthAnswer>): Promise<AuthAnswer> {
    const flight = `${key}\n${address}`;
    let running = this.#running.get(flight);
    if (running === undefined) {
      running = guess().finally(() => {
        this.#running.delete(flight);
      });
      this.#running.set(flight, running);
    }
    return running;
  }

  /** Nobody waits for this note, and nobody is kept out if it cannot be written. */
  #used(tokenId: number): void {
    this.#accounts.touchToken(tokenId).catch(() => undefined);
  }

  /** Runs one guess under the throttle. `verify` answers null for a wrong one. */
  async #guess(user: string, address: string, verify: () => Promise<LoginRecord | null>): Promise<AuthAnswer> {
    const answer = await this.#throttle.charge(user, address);
    if (answer.kind === 'wait') return { kind: 'throttled', retryAfter_s: answer.retryAfter_s };
    const login = await verify().catch(async (error: unknown) => {
      await this.#throttle.uncharge(user, address);
      throw error;
    });
    if (login === null) return DENIED;
    await this.#throttle.refund(user, address);
    return ok(login);
  }

  async #verify(user: string, password: string, key: string): Promise<LoginRecord | null> {
    return this.#gate.run(async () => {
      this.#verifications += 1;
      const login = await this.#login(user);
      const right =
        login?.passwordHash == null
          ? await verifyNothing(password)
          : (await verifyPassword(login.passwordHash, password)) && !login.user.isDisabled;
      if (login === null || !right) {
        this.#refused.set(key, login?.version ?? NO_SUCH_USER);
        return null;
      }
      this.#verified.set(key, { name: login.user.name, loginVersion: login.version });
      return login;
    });
  }

  async #login(user: string): Promise<LoginRecord | null> {
    return isUserName(user) ? this.#accounts.loginRecord(user) : null;
  }
}

/** `tokenId` null: by the password. */
function ok(login: LoginRecord, tokenId: number | null = null): AuthAnswer & { readonly kind: 'ok' } {
  const { user, version: loginVersion, passwordHash } = login;
  const credential = tokenId ?? passwordHash;
  return { kind: 'ok', principal: { user, via: tokenId === null ? 'password' : 'token', loginVersion, credential } };
}

function sameName(given: string, stored: string | undefined): boolean {
  return stored !== undefined && given.toLowerCase() === stored.toLowerCase();
}
