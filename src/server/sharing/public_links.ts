// Who comes with a public link. The token alone (192 random bits) opens it, or token and password. Guessing either is
// charged to the same kind of throttle that logins have: tokens by address, passwords by link and address.

import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Clock } from '../../clock.js';
import type { AccountStore } from '../accounts/account_store.js';
import { verifyPassword } from '../accounts/password.js';
import { Gate } from '../auth/gate.js';
import { Throttle, type ThrottleLimits } from '../auth/throttle.js';
import type { LinkAccess } from '../dav/context.js';
import type { MetadataStore, NodeRecord } from '../storage/metadata/metadata_store.js';
import type { ShareRecord } from '../storage/metadata/share_records.js';

export interface OpenLink {
  readonly share: ShareRecord;
  readonly node: NodeRecord;
  readonly access: LinkAccess;
}

export type LinkAnswer =
  | ({ readonly kind: 'open' } & OpenLink)
  /** There is no such link (any more). */
  | { readonly kind: 'none' }
  /** A password is required; `wrong`: another than the one that was given. */
  | { readonly kind: 'password'; readonly wrong: boolean; readonly share: ShareRecord }
  | { readonly kind: 'throttled'; readonly retryAfter_s: number };

const TOKEN = /^[A-Za-z0-9_-]{16,64}$/;
const VERIFY_WIDTH = 2;
const VERIFY_QUEUE = 50;
const REMEMBER_MAX = 5000;
const REMEMBER_MS = 10 * 60_000;

export class PublicLinks {
  readonly #metadata: MetadataStore;
  readonly #accounts: Pick<AccountStore, 'get'>;
  readonly #clock: Clock;
  readonly #throttle: Throttle;
  readonly #gate = new Gate(VERIFY_WIDTH, VERIFY_QUEUE);
  readonly #key = randomBytes(32);
  readonly #verified = new LRUCache<string, true>({ max: REMEMBER_MAX, ttl: REMEMBER_MS });

  constructor(options: {
    readonly metadata: MetadataStore;
    readonly accounts: Pick<AccountStore, 'get'>;
    readonly clock: Clock;
    readonly throttle?: ThrottleLimits;
  }) {
    this.#metadata = options.metadata;
    this.#accounts = options.accounts;
    this.#clock = options.clock;
    this.#throttle = new Throttle(options.throttle);
  }

  /** `secret` null = none was given; `pass`: what `passFor` gave out earlier. Rejects with `busy_server` under a flood. */
  async open(token: string, secret: string | null, address: string, pass: string | null = null): Promise<LinkAnswer> {
    const found = await this.#find(token);
    if (found === null) {
      const charged = await this.#throttle.charge('', address);
      return charged.kind === 'wait' ? { kind: 'throttled', retryAfter_s: charged.retryAfter_s } : { kind: 'none' };
    }
    const { share } = found;
    const hash = share.link?.passwordHash ?? null;
    if (hash !== null && !(pass !== null && this.#isPass(share, pass))) {
      if (secret === null) return { kind: 'password', wrong: false, share };
      const answer = await this.#check(token, secret, hash, address);
      if (answer !== 'right') {
        return answer === 'wrong' ? { kind: 'password', wrong: true, share } : answer;
      }
    }
    return { kind: 'open', ...found, access: this.#accessOf(share) };
  }

  /** Shows later that the password was given; void when that changes, and after a restart. */
  passFor(share: ShareRecord): string {
    return createHmac('sha256', this.#key)
      .update(`${share.id}\n${share.link?.token}\n${share.link?.passwordHash}`)
      .digest('base64url');
  }

  #isPass(share: ShareRecord, pass: string): boolean {
    const right = Buffer.from(this.passFor(share));
    const given = Buffer.from(pass);
    return right.length === given.length && timingSafeEqual(right, given);
  }

  async #find(token: string): Promise<Omit<OpenLink, 'access'> | null> {
    if (!TOKEN.test(token)) return null;
    const found = await this.#metadata.read(async (tx) => {
      const share = await tx.shareByToken(token);
      const node = share === null ? null : await tx.node(share.nodeId);
      return share === null || node === null ? null : { share, node };
    });
    if (found === null || found.share.granted === 0) return null;
    const { expires_ms, ownerId, sharerId } = found.share;
    if (expires_ms !== null && expires_ms <= this.#clock.now_ms()) return null;
    // Neither whose it is nor who has handed it on.
    for (const name of new Set([ownerId, sharerId])) {
      if ((await this.#accounts.get(name))?.isDisabled === true) return null;
    }
    return found;
  }

  async #check(
    token: string,
    secret: string,
    hash: string,
    address: string,
  ): Promise<'right' | 'wrong' | { readonly kind: 'throttled'; readonly retryAfter_s: number }> {
    const key = createHmac('sha256', this.#key).update(`${token}\n${hash}\n`).update(secret).digest('base64');
    if (this.#verified.has(key)) return 'right';
    const charged = await this.#throttle.charge(token, address);
    if (charged.kind === 'wait') return { kind: 'throttled', retryAfter_s: charged.retryAfter_s };
    const isRight = await this.#gate
      .run(() => verifyPassword(hash, secret))
      .catch(async (error: unknown) => {
        await this.#throttle.uncharge(token, address);
        throw error;
      });
    if (!isRight) return 'wrong';
    await this.#throttle.refund(token, address);
    this.#verified.set(key, true);
    return 'right';
  }

  #accessOf(share: ShareRecord): LinkAccess {
    const isLimited = share.link !== null && share.link.maxDownloads !== null;
    return {
      id: share.id,
      label: share.label,
      rights: share.granted,
      hideDownload: share.link?.hideDownload ?? false,
      passwordHash: share.link?.passwordHash ?? null,
      countDownload: isLimited ? () => this.#metadata.write((tx) => tx.countDownload(share.id)) : null,
    };
  }
}
