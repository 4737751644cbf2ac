// Whom one can share with, by a part of the name: `apps/files_sharing/api/v1/sharees`. Bounded in number and in rate, so
// that it completes what somebody types but cannot be used to copy the list of all people.

import { RateLimiterMemory } from 'rate-limiter-flexible';
import type { AccountStore, Group, User } from '../accounts/account_store.js';
import type { RequestContext } from '../http_context.js';
import type { OcsAnswer } from './ocs.js';

export const SHAREES_PATH = 'apps/files_sharing/api/v1/sharees';

const PER_PAGE = 25;
const PER_PAGE_MAX = 50;
const PER_MINUTE = 120;

export class Sharees {
  readonly #accounts: AccountStore;
  readonly #rate: RateLimiterMemory;

  constructor(accounts: AccountStore, perMinute = PER_MINUTE) {
    this.#accounts = accounts;
    this.#rate = new RateLimiterMemory({ points: perMinute, duration: 60 });
  }

  async answer({ query }: RequestContext, asker: User): Promise<OcsAnswer> {
    const part = (query.get('search') ?? '').trim();
    const perPage = Number(query.get('perPage') ?? PER_PAGE);
    const limit = Number.isInteger(perPage) && perPage > 0 ? Math.min(perPage, PER_PAGE_MAX) : PER_PAGE;
    // Everybody contains nothing: an empty search would be the list of all.
    if (part === '' || part.length > 100) return { status: 200, data: described([], []) };
    const isWithin = await this.#rate.consume(asker.id).then(
      () => true,
      () => false,
    );
    if (!isWithin) return { status: 429, message: 'Too many searches, wait a moment', data: [] };
    const types = query.getAll('shareType[]').concat(query.getAll('shareType'));
    const wants = (type: string) => types.length === 0 || types.includes(type);
    // One more than asked for: the one who asks is left out.
    const { users, groups } = await this.#accounts.search(part, limit + 1);
    const others = users.filter(({ id }) => id !== asker.id).slice(0, limit);
    return {
      status: 200,
      data: described(
        wants('0')
          ? others.map((user) => ({ entry: userEntry(user), isExact: isExact(part, user.name, user.displayName) }))
          : [],
        wants('1')
          ? groups.slice(0, limit).map((group) => ({ entry: groupEntry(group), isExact: isExact(part, group.name) }))
          : [],
      ),
    };
  }
}

interface Found {
  readonly entry: object;
  readonly isExact: boolean;
}

function isExact(part: string, ...names: readonly string[]): boolean {
  return names.some((name) => name.toLowerCase() === part.toLowerCase());
}

function described(users: readonly Found[], groups: readonly Found[]): object {
  const pick = (found: readonly Found[], exact: boolean) =>
    found.filter(({ isExact }) => isExact === exact).map(({ entry }) => entry);
  const none = { remotes: [], remote_groups: [], emails: [], circles: [], rooms: [], deck: [], lookup: [] };
  return {
    exact: { users: pick(users, true), groups: pick(groups, true), ...none },
    users: pick(users, false),
    groups: pick(groups, false),
    ...none,
    lookupEnabled: false,
  };
}

function userEntry(user: User): object {
  return {
    label: user.displayName,
    subline: '',
    icon: 'icon-user',
    value: { shareType: 0, shareWith: user.id },
    shareWithDisplayNameUnique: user.id,
    status: [],
  };
}

function groupEntry(group: Omit<Group, 'members'>): object {
  return { label: group.name, subline: '', icon: '', value: { shareType: 1, shareWith: group.id } };
}
