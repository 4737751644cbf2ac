// Guessing passwords is slowed down, logging in is not. A guess is charged before it is verified (so that parallel
// guesses count) and refunded when it was right. Two budgets:
//   user + address   stops guessing at one account, without locking its owner out elsewhere
//   address          stops trying many names; not asked of a user who lately logged in from that address, so that
//                    one stale password behind a shared address does not lock the others out
// IPv6 addresses count by their /64: that is what one customer has.

import { isIPv6 } from 'node:net';
import { LRUCache } from 'lru-cache';
import { RateLimiterMemory, type RateLimiterRes } from 'rate-limiter-flexible';

export interface ThrottleLimits {
  /** Wrong guesses per user and address before it has to wait. */
  readonly perUser: number;
  /** Wrong guesses per address, over all user names. */
  readonly perAddress: number;
  readonly window_s: number;
}

export const DEFAULT_THROTTLE: ThrottleLimits = { perUser: 10, perAddress: 60, window_s: 300 };

export type ThrottleAnswer = { readonly kind: 'go' } | { readonly kind: 'wait'; readonly retryAfter_s: number };

const KNOWN_MAX = 10_000;
const KNOWN_FOR_MS = 30 * 24 * 3600 * 1000;

export class Throttle {
  readonly #perUser: RateLimiterMemory;
  readonly #perAddress: RateLimiterMemory;
  readonly #known = new LRUCache<string, true>({ max: KNOWN_MAX, ttl: KNOWN_FOR_MS });

  constructor(limits: ThrottleLimits = DEFAULT_THROTTLE) {
    this.#perUser = new RateLimiterMemory({ points: limits.perUser, duration: limits.window_s });
    this.#perAddress = new RateLimiterMemory({ points: limits.perAddress, duration: limits.window_s });
  }

  /** Charges one guess. */
  async charge(user: string, address: string): Promise<ThrottleAnswer> {
    const network = networkOf(address);
    const key = pairKey(user, network);
    // The address first: once it has to wait, no further name is remembered, however many are tried.
    const wait_ms =
      (this.#known.has(key) ? 0 : await wait(this.#perAddress, network)) || (await wait(this.#perUser, key));
    return wait_ms === 0 ? { kind: 'go' } : { kind: 'wait', retryAfter_s: Math.max(1, Math.ceil(wait_ms / 1000)) };
  }

  /** The guess was never looked at: takes the charge back. */
  async uncharge(user: string, address: string): Promise<void> {
    const network = networkOf(address);
    const key = pairKey(user, network);
    await this.#perUser.reward(key);
    if (!this.#known.has(key)) await this.#perAddress.reward(network);
  }

  /** The guess was right: it costs nothing, and this pair starts afresh. */
  async refund(user: string, address: string): Promise<void> {
    const network = networkOf(address);
    const key = pairKey(user, network);
    await this.#perUser.delete(key);
    if (!this.#known.has(key)) await this.#perAddress.reward(network);
    this.#known.set(key, true);
  }
}

/** Milliseconds to wait, 0 = go on. */
async function wait(limiter: RateLimiterMemory, key: string): Promise<number> {
  try {
    await limiter.consume(key);
    return 0;
  } catch (refused) {
    if (refused instanceof Error) throw refused;
    return Math.max(1, (refused as RateLimiterRes).msBeforeNext);
  }
}

function pairKey(user: string, network: string): string {
  // The name is what a client sent: bounded, and without regard to case as the accounts are.
  return `${user.slice(0, 64).toLowerCase()}\n${network}`;
}

/** The /64 of an IPv6 address, an IPv4 address as it is (also when mapped into IPv6). */
export function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  if (mapped?.[1] !== undefined) return mapped[1];
  if (!isIPv6(address)) return address;
  const [plain = ''] = address.split('%');
  const [head = '', tail] = plain.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const groups = [...left, ...Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0'), ...right];
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}
