// Programs that were written to find what is wrong with a file system.

import { expect, it } from 'vitest';
import { onServers } from '../support/world.js';

/** Of stress-ng's file system class, what works on files, folders and links that a drive has, and leaves other mounts alone (io
 * and getdent do not). */
const STRESSORS = [
  ...['access', 'chdir', 'chmod', 'copy-file', 'dentry', 'dir', 'dirdeep', 'dirmany', 'fallocate', 'fcntl', 'filename'],
  ...['flock', 'fpunch', 'fsize', 'fstat', 'hdd', 'inotify', 'iomix', 'lease', 'locka', 'lockf'],
  ...['lockofd', 'msync', 'open', 'rename', 'seek', 'sendfile', 'sync-file', 'touch', 'utime', 'xattr'],
];

/** How fio writes, and reads back what its own sums say it wrote. */
const WAYS = {
  'single writes of all sizes': ['--ioengine=psync', '--rw=randrw', '--bsrange=1k-64k'],
  'many at a time': ['--ioengine=libaio', '--iodepth=16', '--rw=randwrite', '--bs=4k'],
  'past the page cache': ['--ioengine=libaio', '--iodepth=8', '--direct=1', '--rw=randrw', '--bs=4k'],
  'a mapping': ['--ioengine=mmap', '--rw=randwrite', '--bs=4k'],
  'in order, with fsync': ['--ioengine=sync', '--rw=write', '--bs=1m', '--fsync=4'],
};

onServers(['cloudmount', 'apache'], {}, (world) => {
  it('stress-ng: its stressors of files and folders, all at the same time, find nothing wrong', async () => {
    const dir = await world.folder();
    // Plain WebDAV stores no symbolic links.
    const names = world.kind === 'cloudmount' ? [...STRESSORS, 'symlink'] : STRESSORS;
    const which = names.flatMap((name) => [`--${name}`, '1']);
    await world.drive.must('stress-ng', [...which, '--timeout', '8s', '--verify', '--temp-path', dir]);
    expect(await world.fs.list(dir)).toEqual([]);
  });

  for (const [way, options] of Object.entries(WAYS)) {
    it(`fio: what it wrote by ${way} is the same when it has been to the server and back`, async () => {
      const dir = await world.folder();
      const job = ['--name=job', `--directory=${dir}`, '--size=12m', '--numjobs=2', '--randseed=7', ...options];
      const verify = ['--verify=crc32c', '--verify_fatal=1'];
      await world.drive.must('fio', [...job, ...verify, '--do_verify=1', '--verify_state_save=0']);
      await world.drive.flush();
      await world.drive.remount({ emptyCache: true });
      await world.drive.must('fio', [...job, ...verify, '--verify_only', '--verify_state_load=0']);
    });
  }
});
