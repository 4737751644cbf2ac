// One-time tokens for push connections: a client that must not put its password into a WebSocket asks for one over
// HTTP, where it is logged in already, and uses it within seconds.

import { randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Principal } from '../auth/authenticator.js';

const LIFETIME_MS = 15_000;
const TOKENS_MAX = 10_000;

export class PreAuthTokens {
  readonly #tokens = new LRUCache<string, Principal>({ max: TOKENS_MAX, ttl: LIFETIME_MS });

  issue(principal: Principal): string {
    const token = randomBytes(24).toString('base64url');
    this.#tokens.set(token, principal);
    return token;
  }

  /** Whom the token was issued to; it is spent by this. */
  redeem(token: string): Principal | null {
    const principal = this.#tokens.get(token) ?? null;
    this.#tokens.delete(token);
    return principal;
  }
}
