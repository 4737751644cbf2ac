// The bytes of an upload on their way: counted, reported, and refused when the source does not give what it promised.

import { CloudError, toCloudError } from '../errors.js';
import type { UploadSource } from './remote.js';

/** Bytes [start, end) of the source. Throws `io` when it gives more or fewer: nothing wrong is committed, the server gets
 * an incomplete request. */
export async function* counted(
  source: UploadSource,
  start: number,
  end: number,
  progress: (sent_bytes: number) => void,
): AsyncGenerator<Buffer> {
  let at = start;
  if (start === end) return;
  for await (const chunk of source.open(start, end)) {
    at += chunk.length;
    if (at > end) break;
    yield chunk;
    progress(at);
  }
  if (at !== end) {
    throw new CloudError('io', `uploading: ${end - start} bytes are required, the local source gave ${at - start}`);
  }
}

/** The whole of a short body. A source that fails is `io`, as `counted` says. */
export async function collect(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  try {
    for await (const chunk of chunks) parts.push(chunk);
  } catch (error) {
    throw toCloudError(error, 'uploading: reading what is to be sent');
  }
  return Buffer.concat(parts);
}
