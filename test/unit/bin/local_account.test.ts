import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { firstUser } from '../../../bin/cli/local_account.js';
import { openAccounts } from '../../../src/server/accounts/open_accounts.js';

it('the drive of a user who is disabled goes to nobody else, and is theirs again when they are enabled', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'cm-up-'));
  const { user } = await firstUser(dir, null);
  const accounts = await openAccounts(dir);
  try {
    await accounts.create({ name: 'second', password: 'a long password', isAdmin: true });
    await accounts.update(user, { isDisabled: true });
    await expect(firstUser(dir, user)).rejects.toThrow(`cloudmount user enable ${user} --data '${dir}'`);
    await accounts.update(user, { isDisabled: false });
    expect(await firstUser(dir, user)).toEqual({ user, newPassword: null });
  } finally {
    await accounts.close();
  }
});

it('the drive of a user who was removed goes to nobody else, and is theirs again when they are added again', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'cm-up-'));
  const { user } = await firstUser(dir, null);
  const accounts = await openAccounts(dir);
  try {
    await accounts.create({ name: 'second', password: 'a long password', isAdmin: true });
    await accounts.remove(user, 'keep');
    await expect(firstUser(dir, user)).rejects.toThrow(`cloudmount user add ${user} --adopt-files --data '${dir}'`);
    await accounts.create({ name: user, password: 'a long password', adoptFiles: true });
    expect(await firstUser(dir, user)).toEqual({ user, newPassword: null });
    expect(await firstUser(dir, null)).toEqual({ user, newPassword: null });
  } finally {
    await accounts.close();
  }
});
