// A chunk that was answered stays: also its name is on the disk by then.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { UploadFolder } from '../../../../src/server/uploads/upload_folder.js';

/** What was asked of the disk, in order. */
const asked: string[] = [];
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  return {
    ...real,
    rename: async (from: string, to: string) => {
      await real.rename(from, to);
      asked.push(`rename to ${to}`);
    },
    open: async (path: string, ...rest: [string, number?]) => {
      const handle = await real.open(path, ...rest);
      const sync = handle.sync.bind(handle);
      handle.sync = async () => {
        await sync();
        asked.push(`sync ${path}`);
      };
      return handle;
    },
  };
});

test('the name of a chunk is synced before the chunk is answered', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'cloudmount-upload-'));
  try {
    const folder = new UploadFolder(join(dir, 'upload'));
    await folder.create();
    async function* source() {
      yield Buffer.from('content');
    }
    const limits = { expected_bytes: 7, max_bytes: 100, sum: false };
    await folder.receive('1', source(), limits);
    expect(asked.slice(asked.indexOf(`rename to ${join(folder.path, '1')}`))).toEqual([
      `rename to ${join(folder.path, '1')}`,
      `sync ${folder.path}`,
    ]);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
