import { expect, it } from 'vitest';
import { mustCli } from '../support/cli.js';
import { eventually } from '../support/processes.js';
import { OwnServer } from '../support/servers.js';
import { ALL_SERVERS, onServers } from '../support/world.js';

interface StatVfs {
  readonly frsize: number;
  readonly blocks: number;
  readonly bfree: number;
  readonly bavail: number;
  readonly namemax: number;
}

onServers(ALL_SERVERS, {}, (world) => {
  it('statfs answers with sizes that make sense and names of 255 bytes', async () => {
    const s = await world.fs.call<StatVfs>({ op: 'statvfs', path: world.drive.dir });
    expect(s.namemax).toBe(255);
    expect(s.blocks).toBeGreaterThan(0);
    expect(s.bavail).toBeLessThanOrEqual(s.blocks);
    expect(s.frsize).toBeGreaterThanOrEqual(512);
    expect(await world.drive.must('df', ['-P', '.'])).toContain(world.drive.dir);
  });
});

onServers(['cloudmount'], {}, (world) => {
  it("statfs shows the server's quota", async () => {
    if (!(world.server instanceof OwnServer)) throw new Error('this test needs our own server');
    await mustCli(['user', 'quota', 'alice', '100M', '--data', world.server.data]);
    const s = await eventually(
      'the quota in statfs',
      () => world.fs.call<StatVfs>({ op: 'statvfs', path: world.drive.dir }),
      (found) => found.blocks * found.frsize <= 110_000_000,
    );
    expect(s.blocks * s.frsize).toBeGreaterThanOrEqual(99_000_000);
  });

  it('status shows what is used as soon as it is on the server', async () => {
    await world.fs.writeFile(world.drive.path('million'), 'x'.repeat(1_000_000));
    await world.drive.flush();
    const status = JSON.parse(await world.drive.mustCli(['status', world.drive.dir, '--json'])) as {
      cache: { quota: { used_bytes: number; available_bytes: number } | null };
    };
    expect(status.cache.quota?.used_bytes).toBeGreaterThanOrEqual(1_000_000);
    expect(status.cache.quota?.available_bytes).toBeLessThan(104_000_000);
  });
});
