import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkClock, checkDeadMounts, checkServers } from '../../../bin/cli/doctor_checks.js';
import { refuseIfMissing } from '../../../bin/cli/refuse.js';
import {
  checkAllowOther,
  checkFuseDevice,
  checkNode,
  checkPassthrough,
  hasSysAdmin,
} from '../../../bin/cli/requirements.js';

let dir = '';
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cm-req-'));
});
afterEach(() => rm(dir, { recursive: true }));

describe('what the machine must have', () => {
  it('a Node that is new enough', () => {
    expect(['20.19.0', '20.20.2', '22.0.0', '24.1.0'].map((version) => checkNode(version).state)).toEqual(
      Array(4).fill('ok'),
    );
    expect(['18.19.0', '20.18.9'].map((version) => checkNode(version).state)).toEqual(Array(2).fill('missing'));
    expect(checkNode('18.0.0').fix).toContain('20.19');
  });

  it('a device, and says how to get one', async () => {
    const absent = checkFuseDevice(join(dir, 'fuse'));
    expect(absent).toMatchObject({ state: 'missing', fix: expect.stringContaining('modprobe fuse') });
    await writeFile(join(dir, 'fuse'), '');
    expect(checkFuseDevice(join(dir, 'fuse')).state).toBe('ok');
  });

  it('a device that may be opened', async () => {
    const path = join(dir, 'fuse');
    await writeFile(path, '', { mode: 0o600 });
    const refuse = (code: string) => () => {
      throw Object.assign(new Error(code), { code });
    };
    expect(checkFuseDevice(path, refuse('EACCES'))).toMatchObject({
      state: 'missing',
      found: expect.stringContaining('mode 600'),
      fix: expect.stringContaining('chmod 666'),
    });
    // A container without the device in its cgroup.
    expect(checkFuseDevice(path, refuse('EPERM'))).toMatchObject({
      state: 'missing',
      fix: expect.stringContaining('--device /dev/fuse'),
    });
  });

  it('all that is missing is said at once', () => {
    expect(() =>
      refuseIfMissing([
        { id: 'a', state: 'missing', found: 'no a', fix: 'get a' },
        { id: 'b', state: 'warning', found: 'no b', fix: 'get b' },
        { id: 'c', state: 'missing', found: 'no c', fix: 'get c' },
      ]),
    ).toThrow(/no a\n.*get a\n.*no c\n.*get c$/);
    expect(() => refuseIfMissing([{ id: 'b', state: 'warning', found: '', fix: '' }])).not.toThrow();
  });
});

describe('what the machine may do', () => {
  it('CAP_SYS_ADMIN is bit 21', () => {
    expect(hasSysAdmin('CapEff:\t0000000000200000\n')).toBe(true);
    expect(hasSysAdmin('CapEff:\t000001ffffdfffff\n')).toBe(false);
    expect(hasSysAdmin('')).toBe(false);
  });
  it('passthrough needs kernel and privilege', () => {
    expect(checkPassthrough('6.8.0-generic', true).state).toBe('warning');
    expect(checkPassthrough('6.9.0', true).found).toContain('speed of the local file system');
    expect(checkPassthrough('7.0.1-x', false).found).toContain('page cache');
  });
  it('allow_other is for those the administrator lets', async () => {
    const conf = join(dir, 'fuse.conf');
    expect(checkAllowOther(conf, 1000).found).toContain('cannot');
    await writeFile(conf, '#user_allow_other\n');
    expect(checkAllowOther(conf, 1000).found).toContain('cannot');
    await writeFile(conf, 'mount_max = 5\n user_allow_other \n');
    expect(checkAllowOther(conf, 1000).found).toBe('--allow-other can be used');
    expect(checkAllowOther(join(dir, 'none'), 0).found).toBe('--allow-other can be used');
  });
});

describe('doctor', () => {
  it('sees a clock that stands in the past', () => {
    expect(checkClock(1000, 1e12).state).toBe('warning');
    expect(checkClock(1e12, 1e12).state).toBe('ok');
  });
  it('sees mounts without a daemon', async () => {
    const entry = (mountPoint: string) => ({ mountPoint, fsType: 'fuse.cloudmount', source: 'x', readOnly: false });
    const running = {
      pid: 1,
      account: '',
      url: '',
      mountPoint: '/a',
      cacheDir: '',
      socket: '',
      logFile: '',
      startedAt: '',
    };
    const states: Readonly<Record<string, 'alive' | 'dead' | 'silent'>> = {
      '/b': 'dead',
      '/c': 'alive',
      '/d': 'silent',
    };
    const ask = async (mountPoint: string) => states[mountPoint] ?? 'dead';
    expect(await checkDeadMounts(['/a', '/b', '/c', '/d'].map(entry), [running], ask)).toMatchObject([
      { state: 'warning', found: expect.stringContaining('gone'), fix: expect.stringContaining("'/b'") },
      { state: 'warning', found: expect.stringContaining('does not answer'), fix: expect.stringContaining("'/d'") },
    ]);
    // A file system that answers is left alone.
    expect(await checkDeadMounts([entry('/proc')], [])).toEqual([]);
  });
  it('says which server does not answer', async () => {
    const account = {
      name: 'w',
      url: 'http://127.0.0.1:9/',
      user: 'u',
      credential: 'file',
      appToken: false,
      tls: {},
      addedAt: '',
    } as const;
    expect(await checkServers([account])).toMatchObject([
      { id: 'server w', state: 'warning', found: expect.stringContaining('ECONNREFUSED') },
    ]);
  });
});
