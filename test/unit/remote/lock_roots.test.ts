import { describe, expect, it } from 'vitest';
import type { RemotePath } from '../../../src/ids.js';
import { LockRoots } from '../../../src/remote/lock_roots.js';

const at = (path: string) => path as RemotePath;
const roots = () =>
  new LockRoots((href) => (href.startsWith('/dav/') ? at(href.slice('/dav/'.length).replace(/\/$/, '')) : null));
const lock = (root: string | null, token = 't', deep = true) => ({ root, token, deep });

describe('where a lock was taken', () => {
  it('is what lockroot says, if that is a collection above', () => {
    expect(roots().above(at('a/b/c'), lock('/dav/a/'))).toBe('a');
    expect(roots().above(at('a/b/c'), lock('/dav/'))).toBe('');
    expect(roots().above(at('a'), lock('/dav/a/'))).toBeNull();
  });

  it('is here, as far as is known, if that is elsewhere', () => {
    expect(roots().above(at('a/b'), lock('/other/a/'))).toBeNull();
    expect(roots().above(at('a/b'), lock('/dav/ab/'))).toBeNull();
  });

  it('without lockroot, is the collection that the same answer showed with the same lock', () => {
    const one = roots();
    expect(one.above(at('a'), lock(null))).toBeNull();
    expect(one.above(at('a/b'), lock(null))).toBe('a');
    expect(one.above(at('a/b'), lock(null, 'another'))).toBeNull();
    expect(one.above(at('ab'), lock(null))).toBeNull();
    expect(one.above(at('a/c'), lock(null, 'flat', false))).toBeNull();
    expect(one.above(at('a/c/d'), lock(null, 'flat', false))).toBeNull();
  });
});
