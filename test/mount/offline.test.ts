import { once } from 'node:events';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { FaultProxy } from '../support/fault_proxy.js';
import { eventually } from '../support/processes.js';
import { useStage } from '../support/world.js';

const stage = useStage();

for (const kind of ['cloudmount', 'apache'] as const) {
  it(`on ${kind}: a start without network lists everything, reads what is cached and pinned, writes everything; it arrives later`, async () => {
    const server = await stage().server(kind);
    await server.dav.mkcol('pinned');
    await server.dav.mkcol('folder');
    for (const path of ['pinned/one', 'pinned/two', 'folder/cloud', 'edit', 'gone', 'move']) {
      await server.dav.put(path, `content of ${path}`);
    }
    const link = await stage().link(server);
    const drive = await stage().mount(link);
    const fs = stage().fs();
    await fs.walk(drive.dir);
    await drive.mustCli(['pin', drive.path('pinned'), '--wait'], { timeout_ms: 60_000 });
    expect(await fs.readText(drive.path('edit'))).toBe('content of edit');
    link.proxy.cut = true;
    await drive.signal('SIGTERM');
    await drive.mount();
    expect((await fs.list(drive.dir)).sort()).toEqual(['edit', 'folder', 'gone', 'move', 'pinned']);
    expect(await fs.list(drive.path('folder'))).toEqual(['cloud']);
    expect(await fs.readText(drive.path('pinned', 'one'))).toBe('content of pinned/one');
    expect(await fs.readText(drive.path('pinned', 'two'))).toBe('content of pinned/two');
    expect(await fs.readText(drive.path('edit'))).toBe('content of edit');
    await expect(fs.readFile(drive.path('folder', 'cloud'))).rejects.toThrow();
    await fs.writeFile(drive.path('edit'), 'edited on the train');
    await fs.writeFile(drive.path('new'), 'made on the train');
    await fs.mkdir(drive.path('made'));
    await fs.writeFile(drive.path('made', 'inner'), 'inner');
    await fs.rename(drive.path('move'), drive.path('made', 'moved'));
    await fs.unlink(drive.path('gone'));
    await drive.remount();
    expect(await fs.readText(drive.path('edit'))).toBe('edited on the train');
    link.proxy.cut = false;
    await drive.flush();
    expect(await server.dav.text('edit')).toBe('edited on the train');
    expect(await server.dav.text('new')).toBe('made on the train');
    expect(await server.dav.text('made/inner')).toBe('inner');
    expect(await server.dav.text('made/moved')).toBe('content of move');
    expect(await server.dav.exists('gone')).toBe(false);
    expect(await server.dav.exists('move')).toBe(false);
    expect((await server.dav.list()).sort()).toEqual(['edit', 'folder', 'made', 'new', 'pinned']);
    await drive.unmount();
  });

  it(`on ${kind}: pin fetches now, keeps complete as the server changes, and unpin and free let go of it`, async () => {
    const server = await stage().server(kind);
    await server.dav.mkcol('music');
    await server.dav.put('music/a', Buffer.alloc(300_000, 'a'));
    const drive = await stage().mount(server);
    const fs = stage().fs();
    const status = async (name: string) =>
      (await fs.getxattr(drive.path('music', name), 'user.cloudmount.status')).toString();
    await fs.walk(drive.dir);
    expect(await status('a')).toBe('cloud');
    await drive.mustCli(['pin', drive.path('music'), '--wait']);
    expect(await status('a')).toBe('cached');
    await server.dav.put('music/b', Buffer.alloc(200_000, 'b'));
    await server.dav.put('music/a', Buffer.alloc(300_001, 'A'));
    await eventually('the new file to be fetched', async () => {
      await fs.list(drive.path('music'));
      return (await fs.exists(drive.path('music', 'b'))) && (await status('b')) === 'cached';
    });
    await eventually('the new version to be fetched', async () => {
      const { size } = await fs.stat(drive.path('music', 'a'));
      return size === 300_001 && (await status('a')) === 'cached';
    });
    const pins = JSON.parse(await drive.mustCli(['pins', '--json'])) as unknown;
    expect(JSON.stringify(pins)).toContain('music');
    await drive.mustCli(['free', drive.path('music')]);
    expect(await status('a')).toBe('cached'); // pinned content is not let go of
    await drive.mustCli(['unpin', drive.path('music')]);
    expect(await status('a')).toBe('cached'); // only evictable now
    await drive.mustCli(['free', drive.path('music')]);
    expect(await status('a')).toBe('cloud');
    await drive.unmount();
  });
}

it('a captive portal, a 401 and a maintenance page never make files vanish or be overwritten', async () => {
  const server = await stage().server('cloudmount');
  await server.dav.put('kept', 'kept');
  const link = await stage().link(server);
  const drive = await stage().mount(link);
  const fs = stage().fs();
  expect(await fs.readText(drive.path('kept'))).toBe('kept');
  await drive.signal('SIGTERM');
  for (const [status, type, body] of [
    [200, 'text/html', '<html><body>Please accept the terms of our Wi-Fi</body></html>'],
    [401, 'text/plain', 'who are you'],
    [503, 'text/html', '<h1>Maintenance</h1>'],
    [404, 'text/html', 'not here'],
  ] as const) {
    const portal = createServer((request, response) => {
      request.resume();
      response.writeHead(status, { 'content-type': type, 'retry-after': '1' }).end(body);
    });
    portal.listen(0, '127.0.0.1');
    await once(portal, 'listening');
    stage().defer(async () => void portal.close());
    const address = portal.address();
    if (address === null || typeof address === 'string') throw new Error('no address');
    link.proxy.retarget(address.port);
    await drive.mount();
    expect(await fs.list(drive.dir)).toContain('kept');
    expect(await fs.readText(drive.path('kept'))).toBe('kept');
    await fs.writeFile(drive.path(`made-${status}`), `during ${status}`);
    await drive.mustCli(['unmount', drive.dir], { timeout_ms: 60_000 });
    await drive.waitEnded();
    portal.closeAllConnections();
    portal.close();
  }
  link.proxy.retarget(server.port);
  await drive.mount();
  await drive.flush();
  expect((await server.dav.list()).sort()).toEqual(['kept', 'made-200', 'made-401', 'made-404', 'made-503']);
  expect(await server.dav.text('kept')).toBe('kept');
  expect(await server.dav.text('made-200')).toBe('during 200');
  await drive.unmount();
});

// Traefik says so while what is behind it is away, and nginx with its site taken out.
it('a 404 for everything while it is mounted says nothing of any file', async () => {
  const server = await stage().server('apache');
  const proxy = await FaultProxy.open({ targetPort: server.port });
  stage().defer(() => proxy.close());
  const swap = (url: string) => url.replace(`:${server.port}`, `:${proxy.port}`);
  const login = { ...server.login, root: swap(server.login.root) };
  const drive = await stage().mount({ url: swap(server.url), login }, { dirCacheTime_s: 1 });
  const fs = stage().fs();
  await fs.mkdir(drive.path('photos'));
  await fs.writeFile(drive.path('photos', 'kept'), 'kept');
  await fs.writeFile(drive.path('photos', 'removed'), 'removed');
  await drive.flush();
  const before = await fs.stat(drive.path('photos', 'kept'));
  const end = proxy.add({ fault: { kind: 'answer', status: 404, body: '404 page not found' } });
  await sleep(1100);
  await fs.unlink(drive.path('photos', 'removed'));
  for (let i = 0; i < 10; i += 1) {
    expect(await fs.list(drive.path('photos'))).toEqual(['kept']);
    await sleep(300);
  }
  expect(await drive.mustCli(['status'])).toContain('404');
  end();
  await drive.flush('', 30);
  expect(await fs.list(drive.path('photos'))).toEqual(['kept']);
  expect((await fs.stat(drive.path('photos', 'kept'))).ino).toBe(before.ino);
  expect(await server.dav.list('photos')).toEqual(['kept']);
  await drive.unmount();
});
