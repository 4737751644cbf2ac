import { describe, expect, it } from 'vitest';
import { parseMountOptions, splitOptions } from '../../../bin/cli/mount_options.js';
import { mergeOptions } from '../../../bin/commands/mount.js';

describe('-o', () => {
  it('takes a whole line of fstab', () => {
    expect(
      parseMountOptions(
        'rw,noauto,user,_netdev,nofail,x-systemd.automount,x-systemd.mount-timeout=30s,username=anna,password-file=/etc/cloud pw,uid=1000,gid=1000,umask=027,allow_other,cache-size=5G,min-free=500M,timeout=10,dir-cache-time=2m,fsname=cloud',
      ),
    ).toEqual({
      readOnly: false,
      user: 'anna',
      passwordFile: '/etc/cloud pw',
      uid: 1000,
      gid: 1000,
      umask: 0o027,
      allowOther: true,
      cacheSize_bytes: 5 * 1024 ** 3,
      minFree_bytes: 500 * 1024 ** 2,
      timeout_ms: 10_000,
      dirCacheTime_ms: 120_000,
      fsname: 'cloud',
    });
  });

  it('user is a flag of mount(8) alone, a name with a value', () => {
    expect(parseMountOptions('user')).toEqual({});
    expect(parseMountOptions('user=anna')).toEqual({ user: 'anna' });
  });

  it('the last one counts', () => {
    expect(parseMountOptions('ro,rw,ro')).toEqual({ readOnly: true });
    expect(parseMountOptions('')).toEqual({});
  });

  it.each(['cachesize=1G', 'insecure', 'toString', '__proto__=1', 'RO'])(
    'refuses %s rather than ignoring it',
    (option) => {
      expect(() => parseMountOptions(option)).toThrow(expect.objectContaining({ code: 'invalid' }));
    },
  );

  it.each([
    'uid=root',
    'uid=-1',
    'uid=4294967295',
    'gid=',
    'umask=999',
    'umask=1777',
    'ro=1',
    'username=',
    'username',
    'cache-size=lots',
    'timeout=-1',
  ])('refuses %s', (option) => {
    expect(() => parseMountOptions(option)).toThrow(expect.objectContaining({ code: 'invalid' }));
  });

  it('a comma in a value is quoted or escaped', () => {
    expect(splitOptions('a="x,y",b=c\\,d,e')).toEqual(['a=x,y', 'b=c,d', 'e']);
    expect(splitOptions(' a , ,b ')).toEqual(['a', 'b']);
    expect(splitOptions('a=\\\\,b')).toEqual(['a=\\', 'b']);
  });

  it('long options win over -o, several -o add up', () => {
    const merged = mergeOptions({ o: ['ro,cache-size=1G', 'uid=5'], cacheSize: '2G', timeout: '5' });
    expect(merged).toMatchObject({ readOnly: true, uid: 5, cacheSize_bytes: 2 * 1024 ** 3, timeout_ms: 5000 });
    expect(mergeOptions({})).toEqual({ logLevel: undefined });
  });
});
