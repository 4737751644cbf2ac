import { expect, it, vi } from 'vitest';
import { watchForDefects } from '../../../src/daemon/last_words.js';
import { silentLog } from '../../../src/log.js';

it('a rejection nobody handled is logged and survived, an exception is logged and ends the process', () => {
  const logged: string[] = [];
  const ended: string[] = [];
  const before = [process.listenerCount('unhandledRejection'), process.listenerCount('uncaughtException')];
  const unwatch = watchForDefects(
    { ...silentLog, error: (_fields, message) => logged.push(message) },
    { flushSync: () => ended.push('flushed'), exit: () => ended.push('exit') },
  );
  // Called directly: raising them would be taken as this test's own failure.
  process.listeners('unhandledRejection').at(-1)?.(new Error('one'), Promise.resolve());
  expect(logged).toEqual(['unhandled rejection']);
  expect(ended).toEqual([]);
  const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  process.listeners('uncaughtException').at(-1)?.(new Error('two'), 'uncaughtException');
  expect(said.mock.calls.join()).toContain('two');
  said.mockRestore();
  expect(logged).toEqual(['unhandled rejection', 'uncaught exception']);
  expect(ended).toEqual(['flushed', 'exit']);
  unwatch();
  expect([process.listenerCount('unhandledRejection'), process.listenerCount('uncaughtException')]).toEqual(before);
});
