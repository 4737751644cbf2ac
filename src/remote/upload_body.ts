// The bytes of an upload on their way: counted, reported, and refused when the source does not give what it promised.

import { CloudError } from '../errors.js';
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
