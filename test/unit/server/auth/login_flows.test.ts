import { expect, test } from 'vitest';
import { LoginFlows } from '../../../../src/server/auth/login_flows.js';

const granted = { user: 'alice', secret: 'cmt_secret' };

test('a device gets what it was let in with, once', async () => {
  const flows = new LoginFlows();
  const { page, poll } = flows.begin('my phone');
  expect(flows.deviceOf(page)).toBe('my phone');
  expect(flows.take(poll)).toBeNull();
  expect(await flows.letIn(page, async () => granted)).toBe(true);
  expect(flows.take(poll)).toEqual(granted);
  expect(flows.take(poll)).toBeNull();
});

test('neither secret does what the other is for', async () => {
  const flows = new LoginFlows();
  const { page, poll } = flows.begin('my phone');
  expect(flows.deviceOf(poll)).toBeNull();
  expect(await flows.letIn(poll, async () => granted)).toBe(false);
  await flows.letIn(page, async () => granted);
  expect(flows.take(page)).toBeNull();
});

test('of two who let a device in the second makes nothing', async () => {
  const flows = new LoginFlows();
  const { page, poll } = flows.begin('my phone');
  let made = 0;
  const grant = async (user: string) => {
    made += 1;
    await new Promise((resolve) => setImmediate(resolve));
    return { user, secret: user };
  };
  const both = [flows.letIn(page, () => grant('alice')), flows.letIn(page, () => grant('bert'))];
  expect(await Promise.all(both)).toEqual([true, false]);
  expect(made).toBe(1);
  expect(flows.take(poll)?.user).toBe('alice');
  expect(flows.deviceOf(page)).toBeNull();
});

test('what could not be made can be tried again', async () => {
  const flows = new LoginFlows();
  const { page, poll } = flows.begin('my phone');
  const full = new Error('the disk is full');
  await expect(flows.letIn(page, () => Promise.reject(full))).rejects.toBe(full);
  expect(flows.take(poll)).toBeNull();
  expect(await flows.letIn(page, async () => granted)).toBe(true);
  expect(flows.take(poll)).toEqual(granted);
});
