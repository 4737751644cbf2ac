import { describe, expect, test, vi } from 'vitest';
import { networkOf, Throttle } from '../../../../src/server/auth/throttle.js';

describe('the network of an address', () => {
  test.each([
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['::1', '0:0:0:0::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:0db8:0000:0000:aaaa:bbbb:cccc:dddd', '2001:db8:0:0::/64'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ])('%s is %s', (address, network) => {
    expect(networkOf(address)).toBe(network);
  });
});

test('names that are tried while the address has to wait are not remembered', async () => {
  vi.useFakeTimers(); // each remembered name has one
  try {
    const throttle = new Throttle({ perUser: 3, perAddress: 5, window_s: 300 });
    for (let i = 0; i < 100; i++) await throttle.charge(`user${i}`, '192.0.2.7');
    expect(vi.getTimerCount()).toBeLessThan(10);
    expect((await throttle.charge('user100', '192.0.2.7')).kind).toBe('wait');
    expect((await throttle.charge('user0', '192.0.2.8')).kind).toBe('go');
  } finally {
    vi.useRealTimers();
  }
});
