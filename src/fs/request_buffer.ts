// Buffers that requests are read into. One is enough while requests are answered at once; a WRITE that has to wait
// keeps its buffer (large data) or a copy of its data (small), and the next request is read into another.

import { REQUEST_BUFFER_BYTES } from './wire/abi.js';
import { Cursor } from './wire/cursor.js';

export class RequestBuffer {
  readonly bytes = Buffer.allocUnsafeSlow(REQUEST_BUFFER_BYTES);
  readonly cursor = new Cursor(this.bytes);
}

const KEPT_SPARE = 4;

export class RequestBufferPool {
  readonly #spare: RequestBuffer[] = [];

  take(): RequestBuffer {
    return this.#spare.pop() ?? new RequestBuffer();
  }

  giveBack(buffer: RequestBuffer): void {
    if (this.#spare.length < KEPT_SPARE) this.#spare.push(buffer);
  }
}
