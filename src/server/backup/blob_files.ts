// Contents as plain files, for copying them without opening the store (its owner is the running server). Same layout as
// `LocalBlobStore`: objects/ab/cdef… by SHA-256.

import { createHash } from 'node:crypto';
import { link, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CloudError, toCloudError } from '../../errors.js';

export interface BlobRef {
  readonly sha256: string;
  readonly size_bytes: number;
}

export function blobFile(blobsDir: string, sha256: string): string {
  if (!/^[0-9a-f]{64}$/.test(sha256)) {
    throw new CloudError(
      'corrupt',
      `backup: a content must be named by a SHA-256 in hex, found ${JSON.stringify(sha256)}`,
    );
  }
  return join(blobsDir, 'objects', sha256.slice(0, 2), sha256.slice(2));
}

/** Is the content there with its full length? */
export async function hasBlobFile(file: string, size_bytes: number): Promise<boolean> {
  try {
    return (await stat(file)).size === size_bytes;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw toCloudError(error, `looking at ${file}`);
  }
}

/** A second name for the same bytes, where both folders are on one file system; false = not possible, copy it. */
export async function linkBlobFile(from: string, to: string): Promise<boolean> {
  await mkdir(dirname(to), { recursive: true, mode: 0o700 });
  const temporary = `${to}.linking`;
  try {
    await rm(temporary, { force: true });
    await link(from, temporary);
    await rename(temporary, to);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EXDEV' || code === 'EPERM' || code === 'EMLINK' || code === 'ENOTSUP') return false;
    throw toCloudError(error, `linking ${from}`);
  }
}

/** Copies and verifies in one pass: `to` appears only whole, synced and with the right checksum. Rejects with `corrupt`
 * when the bytes are not what their name says. */
export async function copyBlobFile(from: string, to: string, blob: BlobRef, signal?: AbortSignal): Promise<void> {
  await mkdir(dirname(to), { recursive: true, mode: 0o700 });
  const temporary = `${to}.copying`;
  const source = await open(from, 'r').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new CloudError('corrupt', `content ${blob.sha256}: it is required, there is no ${from}`, { cause: error });
    }
    throw toCloudError(error, `reading the content ${blob.sha256}`);
  });
  try {
    const target = await open(temporary, 'w', 0o600);
    try {
      const hash = createHash('sha256');
      const buffer = Buffer.allocUnsafeSlow(1 << 20);
      let size_bytes = 0;
      for (;;) {
        signal?.throwIfAborted();
        const { bytesRead } = await source.read(buffer, 0, buffer.length);
        if (bytesRead === 0) break;
        const bytes = buffer.subarray(0, bytesRead);
        hash.update(bytes);
        size_bytes += bytesRead;
        await target.writeFile(bytes);
      }
      checkBlob(blob, hash.digest('hex'), size_bytes, from);
      await target.datasync();
    } finally {
      await target.close();
    }
    await rename(temporary, to);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw toCloudError(error, `copying the content ${blob.sha256}`);
  } finally {
    await source.close();
  }
}

function checkBlob(blob: BlobRef, sha256: string, size_bytes: number, file: string): void {
  if (sha256 === blob.sha256 && size_bytes === blob.size_bytes) return;
  throw new CloudError(
    'corrupt',
    `${file}: ${blob.size_bytes} bytes with SHA-256 ${blob.sha256} are required, found ${size_bytes} bytes with ${sha256}`,
  );
}

export async function sha256OfFile(file: string, signal?: AbortSignal): Promise<string> {
  const handle = await open(file, 'r');
  try {
    const hash = createHash('sha256');
    const buffer = Buffer.allocUnsafeSlow(1 << 20);
    for (;;) {
      signal?.throwIfAborted();
      const { bytesRead } = await handle.read(buffer, 0, buffer.length);
      if (bytesRead === 0) return hash.digest('hex');
      hash.update(buffer.subarray(0, bytesRead));
    }
  } finally {
    await handle.close();
  }
}
