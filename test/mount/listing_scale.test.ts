import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { must } from '../support/processes.js';
import { ForeignServer, type TestServer } from '../support/servers.js';
import { useStage } from '../support/world.js';

const MIB = 1024 ** 2;
const stage = useStage();

/** 10,000 files in `flat`, 20,000 in 2,000 folders of `tree`, each of 10 bytes: put there by 16 connections at a time. */
async function populate(server: TestServer): Promise<void> {
  const files = [
    ...Array.from({ length: 10_000 }, (_, i) => `flat/f${i}`),
    ...Array.from({ length: 20_000 }, (_, i) => `tree/d${Math.floor(i / 10)}/f${i}`),
  ];
  const folders = ['flat', 'tree', ...Array.from({ length: 2000 }, (_, i) => `tree/d${i}`)];
  if (server instanceof ForeignServer) {
    for (const folder of folders) await mkdir(join(server.root, folder));
    await inParallel(files, (path) => writeFile(join(server.root, path), '0123456789'));
    await must('chmod', ['-R', 'a+rwX', server.root]);
    return;
  }
  await inParallel(folders.slice(0, 2), (path) => server.dav.mkcol(path));
  await inParallel(folders.slice(2), (path) => server.dav.mkcol(path));
  await inParallel(files, (path) => server.dav.put(path, '0123456789'));
}

async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  const pending = items.values();
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      for (const item of pending) await work(item);
    }),
  );
}

for (const kind of ['cloudmount', 'apache'] as const) {
  it(`on ${kind}: 10,000 files in a folder and 20,000 in 2,000 folders are listed completely, in bounded memory`, async () => {
    const server = await stage().server(kind);
    await populate(server);
    const drive = await stage().mount(server, { dirCacheTime_s: 60 });
    const fs = stage().fs();
    const flat = await fs.list(drive.path('flat'));
    expect(flat).toHaveLength(10_000);
    expect(new Set(flat).size).toBe(10_000);
    expect(await fs.walk(drive.path('flat'))).toEqual({ files: 10_000, dirs: 0, size: 100_000 });
    expect(await fs.walk(drive.path('tree'))).toEqual({ files: 20_000, dirs: 2000, size: 200_000 });
    expect(drive.peakRss_bytes()).toBeLessThan(250 * MIB);
    for (let i = 0; i < 3; i++) await fs.walk(drive.dir);
    const settled = drive.rss_bytes();
    for (let i = 0; i < 6; i++) {
      await must('sh', ['-c', 'echo 2 > /proc/sys/vm/drop_caches']);
      expect(await fs.walk(drive.dir)).toEqual({ files: 30_000, dirs: 2002, size: 300_000 });
    }
    expect(drive.rss_bytes()).toBeLessThan(settled + 30 * MIB);
    expect(drive.peakRss_bytes()).toBeLessThan(250 * MIB);
    await drive.unmount();
    await server.stop();
  }, 300_000);
}

it('a folder of 3,000 files lists whole while another client adds to it', async () => {
  const server = await stage().server('cloudmount');
  await server.dav.mkcol('busy');
  await inParallel(
    Array.from({ length: 3000 }, (_, i) => i),
    (i) => server.dav.put(`busy/stay${i}`, ''),
  );
  const drive = await stage().mount(server);
  const fs = stage().fs();
  const adding = inParallel(
    Array.from({ length: 300 }, (_, i) => i),
    (i) => server.dav.put(`busy/come${i}`, ''),
  );
  for (let i = 0; i < 10; i++) {
    const names = await fs.list(drive.path('busy'));
    expect(new Set(names).size).toBe(names.length);
    expect(names.filter((name) => name.startsWith('stay'))).toHaveLength(3000);
  }
  await adding;
  await drive.unmount();
});
