import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { eventually } from '../support/processes.js';
import type { LinkedServer } from '../support/stage.js';
import { errno, useStage } from '../support/world.js';

const MIB = 1024 ** 2;
const stage = useStage();

/** A file of the pattern on a server, and a fresh drive behind a link that counts what crosses it. */
async function fileBehindLink(kind: 'cloudmount' | 'apache', size: number) {
  const server = await stage().server(kind);
  const fs = stage().fs();
  const local = `${stage().folder('x')}/file`;
  const hash = await fs.fill(local, size, { seed: 51 });
  await server.dav.put('file', await fs.readFile(local));
  const link = await stage().link(server);
  const drive = await stage().mount(link);
  await fs.stat(drive.path('file'));
  return { server, fs, link, drive, path: drive.path('file'), hash };
}

async function cost(link: LinkedServer, work: () => Promise<unknown>): Promise<number> {
  const before = link.proxy.received_bytes;
  await work();
  return link.proxy.received_bytes - before;
}

for (const kind of ['cloudmount', 'apache'] as const) {
  it(`on ${kind}: open costs no transfer, a read fetches its range, and nothing is fetched twice`, async () => {
    const { fs, link, drive, path, hash } = await fileBehindLink(kind, 24 * MIB);
    let fd = 0;
    expect(await cost(link, async () => (fd = await fs.open(path)))).toBeLessThan(0.5 * MIB);
    const one = await cost(link, () => fs.pread(fd, 4096, 16 * MIB));
    expect(one).toBeGreaterThan(4096);
    expect(one).toBeLessThan(3 * MIB);
    expect(await cost(link, () => fs.pread(fd, 4096, 16 * MIB + 1000))).toBeLessThan(0.5 * MIB);
    await fs.close(fd);
    const rest = await cost(link, async () => expect((await fs.sha256(path)).sha256).toBe(hash));
    expect(rest).toBeLessThan(25 * MIB);
    expect(await cost(link, async () => expect((await fs.sha256(path)).sha256).toBe(hash))).toBeLessThan(0.5 * MIB);
    await drive.remount();
    expect(await cost(link, async () => expect((await fs.sha256(path)).sha256).toBe(hash))).toBeLessThan(0.5 * MIB);
    await drive.unmount();
  });

  it(`on ${kind}: a handle never mixes two versions of a file`, async () => {
    const { server, fs, drive, path, hash } = await fileBehindLink(kind, 12 * MIB);
    const fd = await fs.open(path);
    const first = await fs.pread(fd, 4096, 0);
    const replacement = Buffer.alloc(12 * MIB, 'N');
    await server.dav.put('file', replacement);
    const pieces: Buffer[] = [first];
    let failed: string | null = null;
    for (let at = 4096; at < 12 * MIB && failed === null; at += MIB) {
      const answer = await fs.ask({ op: 'pread', fd, size: Math.min(MIB, 12 * MIB - at), offset: at });
      if ('errno' in answer) failed = answer.errno;
      else pieces.push(Buffer.from(String(answer.ok), 'base64'));
    }
    await fs.close(fd);
    const got = Buffer.concat(pieces);
    if (failed !== null) {
      // The page cache of newer kernels turns every failed read into EIO.
      expect(failed).toMatch(/^(ESTALE|EIO)$/);
      expect(got.includes(Buffer.alloc(64, 'N'))).toBe(false);
    } else {
      expect(createHash('sha256').update(got).digest('hex')).toBe(hash);
    }
    await eventually('the new version by a new open', async () => {
      const whole = await fs.readFile(path);
      return whole.equals(replacement);
    });
    await drive.unmount();
  });

  it(`on ${kind}: what is cached is read without the network; what is not fails at once, and all comes back`, async () => {
    const { server, fs, link, drive, path, hash } = await fileBehindLink(kind, 4 * MIB);
    expect((await fs.sha256(path)).sha256).toBe(hash);
    await server.dav.put('other', Buffer.alloc(MIB, 'o'));
    await eventually('the other file to appear', () => fs.exists(drive.path('other')));
    link.proxy.cut = true;
    const unreachable = /^(EIO|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENETDOWN|ENOTCONN|ECONNRESET)$/;
    const first = await fs.ask({ op: 'read_file', path: drive.path('other') }, 40_000);
    expect('errno' in first ? first.errno : 'read').toMatch(unreachable);
    expect((await drive.status())['cache']).toMatchObject({ connection: 'offline' });
    expect((await fs.sha256(path)).sha256).toBe(hash);
    expect((await fs.list(drive.dir)).sort()).toEqual(['file', 'other']);
    const answer = await fs.ask({ op: 'read_file', path: drive.path('other') }, 15_000);
    expect('errno' in answer ? answer.errno : 'read').toMatch(unreachable);
    link.proxy.cut = false;
    await eventually('the network to be noticed', async () =>
      (await fs.readFile(drive.path('other'))).equals(Buffer.alloc(MIB, 'o')),
    );
    await drive.unmount();
  });
}

it('a read that waits for a silent server ends within the bound and can be interrupted', async () => {
  const { server, fs, drive, path } = await fileBehindLink('cloudmount', 4 * MIB);
  drive.change({ args: ['--timeout', '3'] });
  await drive.remount();
  process.kill(server.pid, 'SIGSTOP');
  try {
    const reader = await drive.run('timeout', ['-s', 'INT', '1', 'cat', path], { timeout_ms: 30_000 });
    expect(reader.code).toBe(124); // ended by the signal: not stuck
    const answer = await fs.ask({ op: 'read_file', path }, 30_000);
    expect('errno' in answer ? answer.errno : 'read').toMatch(/^(EIO|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENETDOWN)$/);
    expect(await fs.list(drive.dir)).toEqual(['file']);
    await fs.call({ op: 'statvfs', path: drive.dir }, 30_000);
    const ended = await drive.signal('SIGTERM');
    expect(ended.forced).toBe(false);
  } finally {
    process.kill(server.pid, 'SIGCONT');
  }
  await expect(fs.readFile(path)).rejects.toMatchObject(errno('ENOENT'));
});

/** Removes a file past all libraries, which would try again; a timer goes off twenty times a second. */
const UNLINK_WITH_A_TIMER = `
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
rung = []
signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
failed = libc.unlink(sys.argv[1].encode())
signal.setitimer(signal.ITIMER_REAL, 0)
print(os.strerror(ctypes.get_errno()) if failed else 'removed', len(rung) > 0)
`;

it('a timer of the program interrupts nothing: a local disk is not interrupted either', async () => {
  const server = await stage().server('apache');
  await server.dav.mkcol('folder');
  await server.dav.put('folder/file', 'x');
  const link = await stage().link(server, { roundTrip_ms: 600 });
  const drive = await stage().mount(link);
  const path = drive.path('folder/file');
  expect(await drive.must('python3', ['-c', UNLINK_WITH_A_TIMER, path], { timeout_ms: 30_000 })).toBe('removed True\n');
  await drive.unmount();
});

it('listing and stat cost no request per file', async () => {
  const server = await stage().server('apache');
  for (let i = 0; i < 50; i++) await server.dav.put(`f${i}`, 'x');
  const link = await stage().link(server, { roundTrip_ms: 0 });
  const drive = await stage().mount(link, { dirCacheTime_s: 60 });
  const fs = stage().fs();
  const sent = link.proxy.sent_bytes;
  expect((await fs.walk(drive.dir)).files).toBe(50);
  // One PROPFIND is under 2 KB of request; fifty would be far above.
  expect(link.proxy.sent_bytes - sent).toBeLessThan(6000);
  const before = link.proxy.sent_bytes;
  for (let i = 0; i < 20; i++) await fs.walk(drive.dir);
  expect(link.proxy.sent_bytes - before).toBeLessThan(2500);
  await drive.unmount();
});
