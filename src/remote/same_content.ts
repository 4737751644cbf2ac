// Is what the server has what we sent? By checksum where both have the same kind, else by reading it back and comparing
// byte by byte: size and time alone prove nothing.

import { isCloudError } from '../errors.js';
import type { RemotePath } from '../ids.js';
import type { Dav } from './dav.js';
import { readRange } from './reading.js';
import type { CallOptions, RemoteEntry, UploadSource } from './remote.js';

export async function hasSameContent(
  dav: Dav,
  path: RemotePath,
  entry: RemoteEntry,
  source: UploadSource,
  options: CallOptions,
): Promise<boolean> {
  if (entry.kind !== 'file' || entry.size_bytes !== source.size_bytes) return false;
  if (source.size_bytes === 0) return true;
  if (source.sha256 !== undefined && entry.checksum?.startsWith('SHA256:')) {
    return entry.checksum === `SHA256:${(await source.sha256()).toLowerCase()}`;
  }
  return await startsAlike(dav, path, entry, source, options);
}

/** Has the server no more than the beginning of what we sent? */
export async function isBeginning(
  dav: Dav,
  path: RemotePath,
  entry: RemoteEntry,
  source: UploadSource,
  options: CallOptions,
): Promise<boolean> {
  if (entry.kind !== 'file' || entry.size_bytes >= source.size_bytes) return false;
  return entry.size_bytes === 0 || (await startsAlike(dav, path, entry, source, options));
}

class Different extends Error {}

/** As long as the server's goes. */
async function startsAlike(
  dav: Dav,
  path: RemotePath,
  entry: RemoteEntry,
  source: UploadSource,
  options: CallOptions,
): Promise<boolean> {
  const ours = new ByteReader(source.open(0, entry.size_bytes));
  try {
    const range = { start: 0, end: entry.size_bytes };
    await readRange(
      dav,
      path,
      range,
      entry.etag,
      async (chunk) => {
        const theirs = Buffer.from(chunk); // it is not ours after the await
        if (!theirs.equals(await ours.take(chunk.length))) throw new Different();
      },
      options,
    );
    return true;
  } catch (error) {
    if (error instanceof Different || isCloudError(error, 'stale')) return false;
    if (isCloudError(error) && error.cause instanceof Different) return false;
    throw error;
  } finally {
    await ours.close();
  }
}

/** Takes exact lengths from a stream of chunks. */
class ByteReader {
  readonly #chunks: AsyncIterator<Buffer>;
  #rest = Buffer.alloc(0);

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  async take(length: number): Promise<Buffer> {
    while (this.#rest.length < length) {
      const next = await this.#chunks.next();
      if (next.done === true) break;
      this.#rest = Buffer.concat([this.#rest, next.value]);
    }
    const taken = this.#rest.subarray(0, length);
    this.#rest = this.#rest.subarray(length);
    return taken;
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}
