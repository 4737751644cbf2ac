import { expect, it } from 'vitest';
import { ALL_SERVERS, errno, onServers } from '../support/world.js';

onServers(['cloudmount'], {}, (world) => {
  it('chmod: every permission bit is kept, on files and folders', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, '#!/bin/sh\necho ran\n');
    await world.fs.mkdir(`${dir}/folder`);
    for (const mode of [0o755, 0o600, 0o444, 0o4755, 0o2755, 0o000, 0o777]) {
      await world.fs.chmod(`${dir}/file`, mode);
      expect((await world.fs.stat(`${dir}/file`)).mode).toBe(mode);
    }
    for (const mode of [0o755, 0o700, 0o1777, 0o2775, 0o500]) {
      await world.fs.chmod(`${dir}/folder`, mode);
      expect((await world.fs.stat(`${dir}/folder`)).mode).toBe(mode);
    }
    await world.fs.chmod(`${dir}/file`, 0o755);
    expect(await world.drive.must(`${dir}/file`, [])).toBe('ran\n');
  });

  it('a new file and folder take the mode asked for, less the umask', async () => {
    const dir = await world.folder();
    await world.fs.call({ op: 'umask', mode: 0o027 });
    const fd = await world.fs.open(`${dir}/file`, 'O_WRONLY|O_CREAT', 0o666);
    await world.fs.close(fd);
    await world.fs.mkdir(`${dir}/folder`, 0o777);
    await world.fs.call({ op: 'umask', mode: 0o022 });
    expect((await world.fs.stat(`${dir}/file`)).mode).toBe(0o640);
    expect((await world.fs.stat(`${dir}/folder`)).mode).toBe(0o750);
  });

  it('chown is kept, and modes are enforced for other users', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/theirs`, 'secret');
    await world.fs.chmod(`${dir}/theirs`, 0o600);
    await world.fs.chown(`${dir}/theirs`, 12_345, 23_456);
    expect(await world.fs.stat(`${dir}/theirs`)).toMatchObject({ uid: 12_345, gid: 23_456 });
    await world.fs.chown(`${dir}/theirs`, -1, 34_567);
    expect(await world.fs.stat(`${dir}/theirs`)).toMatchObject({ uid: 12_345, gid: 34_567 });
  });

  it('a write by an unprivileged user clears setuid, as POSIX wants', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/tool`, 'x');
    await world.fs.chown(`${dir}/tool`, 1234, 1234);
    await world.fs.chmod(`${dir}/tool`, 0o4755);
    await world.fs.chown(`${dir}/tool`, 1235, 1235);
    expect((await world.fs.stat(`${dir}/tool`)).mode & 0o4000).toBe(0);
  });
});

onServers(ALL_SERVERS, {}, (world) => {
  it('utimensat: a given time is kept to the nanosecond, NOW is now, OMIT leaves it', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, 'x');
    const given = 1_234_567_890_123_456_789n;
    await world.fs.utimens(`${dir}/file`, 987_654_321_000_000_001n, given);
    expect((await world.fs.stat(`${dir}/file`)).mtime_ns).toBe(given);
    expect((await world.fs.stat(`${dir}/file`)).atime_ns).toBe(987_654_321_000_000_001n);
    await world.fs.utimens(`${dir}/file`, 'now', 'omit');
    expect((await world.fs.stat(`${dir}/file`)).mtime_ns).toBe(given);
    const before = BigInt(Date.now() - 1000) * 1_000_000n;
    await world.fs.utimens(`${dir}/file`, 'omit', 'now');
    expect((await world.fs.stat(`${dir}/file`)).mtime_ns).toBeGreaterThan(before);
  });

  it('an mtime set by hand is not undone by the upload', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, 'x');
    const given = 1_500_000_000_000_000_000n;
    await world.fs.utimens(`${dir}/file`, given, given);
    await world.drive.flush();
    expect((await world.fs.stat(`${dir}/file`)).mtime_ns).toBe(given);
    await world.fs.utimens(`${dir}/file`, given, given + 1_000_000_000n);
    await world.drive.flush();
    expect((await world.fs.stat(`${dir}/file`)).mtime_ns).toBe(given + 1_000_000_000n);
  });

  it('times before 1970 and after 2038 are kept', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/file`, 'x');
    for (const time of [-86_400_000_000_000n, 4_102_444_800_000_000_000n]) {
      await world.fs.utimens(`${dir}/file`, time, time);
      expect((await world.fs.stat(`${dir}/file`)).mtime_ns).toBe(time);
    }
  });

  it('writing and truncating move mtime and ctime; chmod and rename move ctime alone', async () => {
    const dir = await world.folder();
    const path = `${dir}/file`;
    await world.fs.writeFile(path, 'x');
    await world.fs.utimens(path, 'omit', 1_000_000_000_000_000_000n);
    const set = await world.fs.stat(path);
    const fd = await world.fs.open(path, 'O_WRONLY');
    await world.fs.pwrite(fd, 'y', 0);
    await world.fs.close(fd);
    const written = await world.fs.stat(path);
    expect(written.mtime_ns).toBeGreaterThan(set.mtime_ns);
    expect(written.ctime_ns).toBeGreaterThanOrEqual(set.ctime_ns);
    await world.fs.chmod(path, 0o600);
    const changed = await world.fs.stat(path);
    expect(changed.mtime_ns).toBe(written.mtime_ns);
    expect(changed.ctime_ns).toBeGreaterThanOrEqual(written.ctime_ns);
    await world.fs.rename(path, `${dir}/renamed`);
    const renamed = await world.fs.stat(`${dir}/renamed`);
    expect(renamed.mtime_ns).toBe(written.mtime_ns);
    await world.fs.utimens(`${dir}/renamed`, 'omit', 1_000_000_000_000_000_000n);
    await world.fs.truncate(`${dir}/renamed`, 0);
    expect((await world.fs.stat(`${dir}/renamed`)).mtime_ns).toBeGreaterThan(1_000_000_000_000_000_000n);
  });

  it('making, removing and renaming an entry moves the mtime of its folder', async () => {
    const dir = await world.folder();
    const old = 1_000_000_000_000_000_000n;
    const reset = () => world.fs.utimens(dir, 'omit', old);
    const mtime = async () => (await world.fs.stat(dir)).mtime_ns;
    await reset();
    expect(await mtime()).toBe(old);
    await world.fs.writeFile(`${dir}/a`, 'x');
    expect(await mtime()).toBeGreaterThan(old);
    await reset();
    await world.fs.rename(`${dir}/a`, `${dir}/b`);
    expect(await mtime()).toBeGreaterThan(old);
    await reset();
    await world.fs.unlink(`${dir}/b`);
    expect(await mtime()).toBeGreaterThan(old);
    await reset();
    await world.fs.mkdir(`${dir}/sub`);
    expect(await mtime()).toBeGreaterThan(old);
  });

  it('attributes of a missing name are ENOENT', async () => {
    const dir = await world.folder();
    await expect(world.fs.chmod(`${dir}/none`, 0o600)).rejects.toMatchObject(errno('ENOENT'));
    await expect(world.fs.utimens(`${dir}/none`, 'now', 'now')).rejects.toMatchObject(errno('ENOENT'));
  });
});
