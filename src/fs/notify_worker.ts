// The thread that tells the kernel what to forget. A notification may wait for a lock that a process holds which itself
// waits for an answer of this program: the thread that answers must therefore never write one. Nothing pending waits
// for this thread. It gets batches of encoded notifications and writes them one by one.

import { writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';

const { fd } = workerData as { fd: number };

parentPort?.on('message', (batch: Uint8Array) => {
  const view = new DataView(batch.buffer, batch.byteOffset, batch.byteLength);
  for (let at = 0; at < batch.byteLength; ) {
    const length = view.getUint32(at, true);
    try {
      writeSync(fd, batch, at, length);
    } catch {
      // ENOENT: the kernel does not have it. ENOTEMPTY, EBUSY: a DELETE that only invalidated. ENOTCONN, EBADF: the end.
    }
    at += length;
  }
});
