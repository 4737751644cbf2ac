import { expect, it } from 'vitest';
import { eventually } from '../support/processes.js';
import type { TestServer } from '../support/servers.js';
import { errno, useStage } from '../support/world.js';

const stage = useStage();
const LOCK_BODY =
  '<?xml version="1.0"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype><D:owner>Berta</D:owner></D:lockinfo>';

async function lockAsSomebodyElse(server: TestServer, path: string): Promise<string> {
  const answer = await server.dav.send('LOCK', path, {
    headers: { timeout: 'Second-600', depth: '0', 'content-type': 'application/xml' },
    body: LOCK_BODY,
  });
  expect(answer.status).toBe(200);
  return String(answer.headers['lock-token']);
}

for (const kind of ['cloudmount', 'apache'] as const) {
  it(`on ${kind}: lock and unlock by command and by xattr stop other clients, and the token goes with our uploads`, async () => {
    const server = await stage().server(kind);
    await server.dav.put('report', 'content');
    const drive = await stage().mount(server);
    const fs = stage().fs();
    await fs.list(drive.dir);
    await drive.mustCli(['lock', drive.path('report')]);
    expect((await fs.getxattr(drive.path('report'), 'user.cloudmount.lock')).toString()).toBe('mine');
    expect((await server.dav.send('PUT', 'report', { body: 'by another' })).status).toBe(423);
    await fs.writeFile(drive.path('report'), 'by the one who holds it');
    await drive.flush();
    expect(await server.dav.text('report')).toBe('by the one who holds it');
    await drive.mustCli(['unlock', drive.path('report')]);
    await server.dav.put('report', 'by another');
    await fs.setxattr(drive.path('report'), 'user.cloudmount.lock', '1');
    expect((await server.dav.send('PUT', 'report', { body: 'no' })).status).toBe(423);
    await fs.setxattr(drive.path('report'), 'user.cloudmount.lock', '0');
    await server.dav.put('report', 'yes');
    // A folder's lock would keep its own holder from changing what is in it.
    await fs.mkdir(drive.path('folder'));
    await drive.flush();
    const refused = await drive.cli(['lock', drive.path('folder')]);
    expect([refused.code, refused.stderr.includes('a file is required, found a folder')]).toEqual([1, true]);
    await expect(fs.setxattr(drive.path('folder'), 'user.cloudmount.lock', '1')).rejects.toMatchObject(errno('EISDIR'));
    await drive.unmount();
  });
}

for (const kind of ['cloudmount', 'apache'] as const) {
  it(`on ${kind}: a lock goes along when the file, or its folder, is renamed or moved`, async () => {
    const server = await stage().server(kind);
    await server.dav.mkcol('in');
    await server.dav.put('in/report', 'content');
    const drive = await stage().mount(server);
    const fs = stage().fs();
    const isHeld = async (path: string) => {
      expect((await fs.getxattr(drive.path(path), 'user.cloudmount.lock')).toString()).toBe('mine');
      expect((await server.dav.send('PUT', path, { body: 'by another' })).status).toBe(423);
    };
    await fs.list(drive.path('in'));
    await drive.mustCli(['lock', drive.path('in', 'report')]);
    await fs.rename(drive.path('in', 'report'), drive.path('in', 'renamed'));
    await drive.flush();
    await isHeld('in/renamed');
    await fs.rename(drive.path('in'), drive.path('out'));
    await drive.flush();
    await isHeld('out/renamed');
    await fs.writeFile(drive.path('out', 'renamed'), 'by the one who holds it');
    await drive.flush();
    expect(await server.dav.text('out/renamed')).toBe('by the one who holds it');
    await drive.mustCli(['unlock', drive.path('out', 'renamed')]);
    await server.dav.put('out/renamed', 'by another');
    await drive.unmount();
  });
}

it('a lock is kept over a remount with the time since when', async () => {
  interface Held {
    readonly lock: { readonly mine: boolean; readonly sinceEpoch_s: number | null; readonly expiresEpoch_s: number };
  }
  const server = await stage().ownServer();
  await server.dav.put('report', 'content');
  const drive = await stage().mount(server);
  const held = async () => (JSON.parse(await drive.mustCli(['locks', '--json'])) as readonly Held[])[0]?.lock;
  await drive.mustCli(['lock', drive.path('report')]);
  const before = await held();
  expect(before).toMatchObject({ mine: true, sinceEpoch_s: expect.any(Number) as number });
  await drive.remount();
  const after = await eventually(
    'the lock to be refreshed',
    held,
    (lock) => (lock?.expiresEpoch_s ?? 0) > (before?.expiresEpoch_s ?? 0),
  );
  expect(after).toMatchObject({ mine: true, sinceEpoch_s: before?.sinceEpoch_s });
  await drive.unmount();
});

// On Apache a lock is whose token it is; on our server the account's own locks are not somebody else's.
it('a lock of somebody else makes the file read-only and names them; unlocking gives it back', async () => {
  const server = await stage().server('apache');
  await server.dav.put('report', 'content');
  const drive = await stage().mount(server);
  const fs = stage().fs();
  expect((await fs.stat(drive.path('report'))).mode & 0o222).not.toBe(0);
  const token = await lockAsSomebodyElse(server, 'report');
  await eventually('the lock in the mode', async () => {
    await fs.list(drive.dir);
    return ((await fs.stat(drive.path('report'))).mode & 0o222) === 0;
  });
  expect((await fs.getxattr(drive.path('report'), 'user.cloudmount.lock')).toString()).toBe('other');
  expect((await fs.getxattr(drive.path('report'), 'user.cloudmount.lock.owner')).toString()).toContain('Berta');
  await expect(fs.open(drive.path('report'), 'O_WRONLY')).rejects.toMatchObject(errno('EACCES'));
  expect(await fs.readText(drive.path('report'))).toBe('content');
  await server.dav.send('UNLOCK', 'report', { headers: { 'lock-token': token } });
  await eventually('the file to be writable again', async () => {
    await fs.list(drive.dir);
    const answer = await fs.ask({ op: 'open', path: drive.path('report'), flags: 'O_WRONLY' });
    if ('ok' in answer) await fs.close(Number(answer.ok));
    return 'ok' in answer;
  });
  await drive.unmount();
});

it('an edit that meets a lock on the server is kept and arrives once the lock is gone', async () => {
  const server = await stage().server('apache');
  await server.dav.put('report', 'content');
  const link = await stage().link(server);
  const drive = await stage().mount(link);
  const fs = stage().fs();
  expect(await fs.readText(drive.path('report'))).toBe('content');
  link.proxy.cut = true;
  await fs.writeFile(drive.path('report'), 'edited offline');
  const token = await lockAsSomebodyElse(server, 'report');
  link.proxy.cut = false;
  await eventually('the reason to be shown', async () => {
    const answer = await fs.ask({ op: 'getxattr', path: drive.path('report'), name: 'user.cloudmount.error' });
    return 'ok' in answer;
  });
  expect(await fs.readText(drive.path('report'))).toBe('edited offline');
  expect(await server.dav.text('report')).toBe('content');
  await server.dav.send('UNLOCK', 'report', { headers: { 'lock-token': token } });
  await drive.flush();
  expect(await server.dav.text('report')).toBe('edited offline');
  await drive.unmount();
});
