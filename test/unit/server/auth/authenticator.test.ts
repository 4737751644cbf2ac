import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { AccountStore } from '../../../../src/server/accounts/account_store.js';
import { openAccounts } from '../../../../src/server/accounts/open_accounts.js';
import { type AuthAnswer, Authenticator } from '../../../../src/server/auth/authenticator.js';
import type { Credentials } from '../../../../src/server/auth/credentials.js';

const HERE = '192.0.2.1';
const PASSWORD = 'correct horse battery';

let dir: string;
let accounts: AccountStore;
let auth: Authenticator;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'auth-'));
  accounts = await openAccounts(dir);
  await accounts.create({ name: 'Anna', password: PASSWORD });
  auth = new Authenticator(accounts, { throttle: { perUser: 3, perAddress: 6, window_s: 60 } });
});

afterEach(async () => {
  await accounts.close();
  await rm(dir, { recursive: true, force: true });
});

function basic(user: string, secret: string): Credentials {
  return { kind: 'basic', user, secret };
}

function who(answer: AuthAnswer): string {
  return answer.kind === 'ok' ? `${answer.principal.user.name} by ${answer.principal.via}` : answer.kind;
}

/** As every request does it; with `auth.check` for those that bring no header (push). */
async function login(user: string, secret: string, address = HERE): Promise<string> {
  const answer = await auth.checkHeader(header(user, secret), { address });
  return answer === null ? 'unreadable' : who(answer);
}

describe('passwords', () => {
  test('let in who has the right one, in any case of the name', async () => {
    expect(await login('Anna', PASSWORD)).toBe('Anna by password');
    expect(await login('anna', PASSWORD)).toBe('Anna by password');
    expect(await login('Anna', 'something else')).toBe('denied');
  });

  test('match in either Unicode form', async () => {
    await accounts.create({ name: 'bert', password: 'Stra\u00dfe caf\u00e9' });
    expect(await login('bert', 'Stra\u00dfe cafe\u0301')).toBe('bert by password');
  });

  test('are verified once, then remembered', async () => {
    await login('Anna', PASSWORD);
    for (let i = 0; i < 20; i++) expect(await login('Anna', PASSWORD)).toBe('Anna by password');
    expect(auth.verifications).toBe(1);
  });

  test('of concurrent first requests are verified once', async () => {
    const answers = await Promise.all(Array.from({ length: 30 }, () => login('Anna', PASSWORD)));
    expect(new Set(answers)).toEqual(new Set(['Anna by password']));
    expect(auth.verifications).toBe(1);
  });

  test('changed in this process: the old one ends at once', async () => {
    await login('Anna', PASSWORD);
    await accounts.setPassword('anna', 'another password');
    expect(await login('Anna', PASSWORD)).toBe('denied');
    expect(await login('Anna', 'another password')).toBe('Anna by password');
  });

  test('changed by another process: the old one ends at once', async () => {
    await login('Anna', PASSWORD);
    const cli = await openAccounts(dir);
    await cli.setPassword('anna', 'another password');
    await cli.close();
    expect(await login('Anna', PASSWORD)).toBe('denied');
    expect(await login('Anna', 'another password')).toBe('Anna by password');
  });

  test('that were wrong are right as soon as they are set', async () => {
    expect(await login('Anna', 'the new password')).toBe('denied');
    await accounts.setPassword('anna', 'the new password');
    expect(await login('Anna', 'the new password')).toBe('Anna by password');
  });

  test('of a disabled, removed or re-created user do not let in', async () => {
    await login('Anna', PASSWORD);
    await accounts.update('anna', { isDisabled: true });
    expect(await login('Anna', PASSWORD)).toBe('denied');
    await accounts.update('anna', { isDisabled: false });
    expect(await login('Anna', PASSWORD)).toBe('Anna by password');
    await accounts.remove('anna', 'delete');
    expect(await login('Anna', PASSWORD)).toBe('denied');
    await accounts.create({ name: 'anna', password: 'a different one' });
    expect(await login('Anna', PASSWORD)).toBe('denied');
  });

  test('cost a hash for unknown, disabled and passwordless users too', async () => {
    await accounts.create({ name: 'bert', password: null });
    await accounts.create({ name: 'carl', password: PASSWORD });
    await accounts.update('carl', { isDisabled: true });
    for (const [count, name] of ['nobody', 'bert', 'carl', 'no such / name'].entries()) {
      expect(await login(name, PASSWORD, `192.0.2.${count + 10}`)).toBe('denied');
      expect(auth.verifications).toBe(count + 1);
    }
  });
});

describe('a header that was let in', () => {
  test('is known again, with what the account says by now', async () => {
    await login('Anna', PASSWORD);
    const known = await auth.checkHeader(header('Anna', PASSWORD), { address: HERE });
    expect(await auth.checkHeader(header('Anna', PASSWORD), { address: HERE })).toBe(known);
    await accounts.update('Anna', { displayName: 'Anna Other' });
    expect(await auth.checkHeader(header('Anna', PASSWORD), { address: HERE })).toMatchObject({
      principal: { user: { displayName: 'Anna Other' } },
    });
    expect(auth.verifications).toBe(1);
  });

  test('of a token is known again until that is revoked, and notes that it was used', async () => {
    const { secret, token } = await accounts.createToken('Anna', 'laptop');
    expect(await login('Anna', secret)).toBe('Anna by token');
    expect(await login('Anna', secret)).toBe('Anna by token');
    await expect.poll(async () => (await accounts.listTokens('Anna'))[0]?.lastUsed_ms).not.toBeNull();
    await accounts.revokeToken('Anna', token.id);
    expect(await login('Anna', secret)).toBe('denied');
  });

  test('of another password, user or form is not', async () => {
    await login('Anna', PASSWORD);
    expect(await login('Anna', `${PASSWORD}!`)).toBe('denied');
    expect(await login('bert', PASSWORD)).toBe('denied');
    expect(await auth.checkHeader('Digest abc', { address: HERE })).toBeNull();
  });
});

function header(user: string, secret: string): string {
  return `Basic ${Buffer.from(`${user}:${secret}`).toString('base64')}`;
}

describe('app tokens', () => {
  test('let in by Basic under the own name, and by Bearer, without a password hash', async () => {
    const { secret } = await accounts.createToken('anna', 'laptop');
    await accounts.create({ name: 'bert', password: null });
    expect(await login('anna', secret)).toBe('Anna by token');
    expect(who(await auth.check({ kind: 'bearer', secret }, HERE))).toBe('Anna by token');
    expect(await login('bert', secret)).toBe('denied');
    expect(auth.verifications).toBe(0);
  });

  test('revoked by another process end at once', async () => {
    const { secret, token } = await accounts.createToken('anna', 'laptop');
    expect(await login('anna', secret)).toBe('Anna by token');
    const cli = await openAccounts(dir);
    await cli.revokeToken('anna', token.id);
    await cli.close();
    expect(await login('anna', secret)).toBe('denied');
  });

  test('of a disabled user do not let in', async () => {
    const { secret } = await accounts.createToken('anna', 'laptop');
    await accounts.update('anna', { isDisabled: true });
    expect(await login('anna', secret)).toBe('denied');
  });

  test('a Bearer that is no token is denied, a password is none', async () => {
    expect(who(await auth.check({ kind: 'bearer', secret: PASSWORD }, HERE))).toBe('denied');
  });
});

describe('guessing', () => {
  test('is stopped per user and address, with a time to wait', async () => {
    for (let i = 0; i < 3; i++) expect(await login('Anna', `wrong ${i}`)).toBe('denied');
    const answer = await auth.check(basic('Anna', 'wrong 4'), HERE);
    expect(answer.kind).toBe('throttled');
    expect(answer.kind === 'throttled' && answer.retryAfter_s).toBeGreaterThan(0);
    expect(answer.kind === 'throttled' && answer.retryAfter_s).toBeLessThanOrEqual(60);
    expect(await login('Anna', PASSWORD)).toBe('throttled');
    expect(auth.verifications).toBe(3);
  });

  test('from one address does not lock the owner out elsewhere', async () => {
    for (let i = 0; i < 5; i++) await login('Anna', `wrong ${i}`);
    expect(await login('Anna', PASSWORD, '198.51.100.7')).toBe('Anna by password');
  });

  test('does not end a login that is verified already', async () => {
    expect(await login('Anna', PASSWORD)).toBe('Anna by password');
    for (let i = 0; i < 5; i++) await login('Anna', `wrong ${i}`);
    expect(await login('Anna', PASSWORD)).toBe('Anna by password');
  });

  test('over many names is stopped per address, but not for who logged in from there before', async () => {
    await accounts.create({ name: 'bert', password: 'the other password' });
    expect(await login('bert', 'the other password')).toBe('bert by password');
    for (let i = 0; i < 6; i++) expect(await login(`name${i}`, 'guess')).toBe('denied');
    expect(await login('name7', 'guess')).toBe('throttled');
    expect(await login('Anna', PASSWORD)).toBe('throttled');
    await accounts.setPassword('bert', 'changed password');
    expect(await login('bert', 'changed password')).toBe('bert by password');
  });

  test('in parallel is counted as well', async () => {
    const answers = await Promise.all(Array.from({ length: 10 }, (_, i) => login('Anna', `wrong ${i}`)));
    expect(answers.filter((answer) => answer === 'denied')).toHaveLength(3);
    expect(answers.filter((answer) => answer === 'throttled')).toHaveLength(7);
    expect(auth.verifications).toBe(3);
  });

  test('the same wrong password again is no new guess', async () => {
    for (let i = 0; i < 20; i++) expect(await login('Anna', 'the old password')).toBe('denied');
    expect(auth.verifications).toBe(1);
    expect(await login('Anna', PASSWORD)).toBe('Anna by password');
  });

  test('successful logins cost nothing', async () => {
    for (let i = 0; i < 10; i++) {
      await accounts.setPassword('anna', `password number ${i}`);
      expect(await login('Anna', `password number ${i}`)).toBe('Anna by password');
    }
  });

  test('a revoked token again is no new guess, however many requests bring it at once', async () => {
    const { token, secret } = await accounts.createToken('Anna', 'laptop');
    expect(await login('Anna', secret)).toBe('Anna by token');
    await accounts.revokeToken('Anna', token.id);
    const atOnce = await Promise.all(Array.from({ length: 16 }, () => login('Anna', secret)));
    expect(new Set(atOnce)).toEqual(new Set(['denied']));
    for (let i = 0; i < 16; i++) expect(await login('Anna', secret)).toBe('denied');
    expect(await login('Anna', PASSWORD)).toBe('Anna by password');
  });

  test('of tokens is throttled too', async () => {
    const answers = [];
    for (let i = 0; i < 5; i++) answers.push(await login('Anna', `cmt_${String(i).repeat(43)}`));
    expect(answers).toEqual(['denied', 'denied', 'denied', 'throttled', 'throttled']);
  });
});

describe('connections that outlive a request', () => {
  test('end with the login they began with', async () => {
    const answer = await auth.check(basic('Anna', PASSWORD), HERE);
    if (answer.kind !== 'ok') throw new Error(answer.kind);
    expect(await auth.stillValid(answer.principal)).toBe(true);
    await accounts.setPassword('anna', 'another password');
    expect(await auth.stillValid(answer.principal)).toBe(false);
  });
});

test('a token opens also while its use cannot be noted: the disk is full, or another process holds the database', async () => {
  const { secret } = await accounts.createToken('anna', 'laptop');
  let used = 0;
  accounts.touchToken = () => {
    used += 1;
    return used === 2 ? new Promise(() => undefined) : Promise.reject(new Error('no space left'));
  };
  for (let i = 0; i < 3; i++) expect(await login('anna', secret)).toBe('Anna by token');
  expect(who(await auth.check({ kind: 'bearer', secret }, HERE))).toBe('Anna by token');
  expect(used).toBe(4);
});
