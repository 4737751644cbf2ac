// Answers: small ones whole with their length, listings streamed with back-pressure, compressed when the client takes it.

import type { ServerResponse } from 'node:http';
import { constants, createGzip, type Gzip } from 'node:zlib';
import { CloudError } from '../../errors.js';
import type { DavRequest } from './context.js';

type Headers = Readonly<Record<string, string | number>>;

export function sendEmpty(res: ServerResponse, status: number, headers: Headers = {}): void {
  res.writeHead(status, status === 204 || status === 304 ? headers : { ...headers, 'Content-Length': 0 });
  res.end();
}

export function sendBody(res: ServerResponse, status: number, type: string, body: string, headers: Headers = {}): void {
  res.writeHead(status, { ...headers, 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) });
  // As text it goes out in one piece with the headers.
  res.end(res.req.method === 'HEAD' ? undefined : body);
}

/** Smaller answers are not worth compressing. */
const GZIP_BYTES = 2048;
/** Text gathered before it is handed on. */
export const FLUSH_CHARS = 128 * 1024;

/** A long answer. Nothing is sent before the first `FLUSH_CHARS`, so short ones still go out whole with their length and
 * a failure before that is still answered properly. */
export class TextStream {
  readonly #res: ServerResponse;
  readonly #headers: Headers;
  readonly #status: number;
  readonly #stall_ms: number;
  readonly #gzips: boolean;
  #gathered = '';
  #out: ServerResponse | Gzip | null = null;

  constructor(request: DavRequest, status: number, headers: Headers) {
    this.#res = request.res;
    this.#status = status;
    this.#headers = headers;
    this.#stall_ms = request.services.limits.stall_ms;
    this.#gzips = takesGzip(request.req.headers['accept-encoding']);
  }

  /** Text that is gathered and not handed on yet. */
  get gathered_chars(): number {
    return this.#gathered.length;
  }

  write(text: string): void {
    this.#gathered += text;
  }

  async flush(): Promise<void> {
    const out = this.#start();
    const text = this.#gathered;
    this.#gathered = '';
    if (!out.write(text)) await this.#drained(out);
  }

  end(): void {
    if (this.#out !== null) {
      this.#out.end(this.#gathered);
      return;
    }
    if (this.#gzips && this.#gathered.length >= GZIP_BYTES) {
      this.#start().end(this.#gathered);
      return;
    }
    this.#res.writeHead(this.#status, { ...this.#headers, 'Content-Length': Buffer.byteLength(this.#gathered) });
    this.#res.end(this.#gathered);
  }

  /** Cuts an answer that is under way. */
  destroy(): void {
    if (this.#out !== this.#res) this.#out?.destroy();
  }

  #start(): ServerResponse | Gzip {
    if (this.#out !== null) return this.#out;
    if (!this.#gzips) {
      this.#res.writeHead(this.#status, this.#headers);
      this.#out = this.#res;
      return this.#res;
    }
    this.#res.writeHead(this.#status, {
      ...this.#headers,
      'Content-Encoding': 'gzip',
      Vary: [this.#headers['Vary'], 'Accept-Encoding'].filter(Boolean).join(', '),
    });
    const gzip = createGzip({ level: constants.Z_BEST_SPEED });
    gzip.pipe(this.#res);
    this.#res.once('close', () => gzip.destroy());
    this.#out = gzip;
    return gzip;
  }

  /** More can be written. */
  async #drained(out: ServerResponse | Gzip): Promise<void> {
    let onDrain = () => {};
    try {
      await whileItReads(this.#res, this.#stall_ms, (finish) => {
        onDrain = () => finish();
        out.once('drain', onDrain);
      });
    } finally {
      out.off('drain', onDrain);
    }
  }
}

function takesGzip(accept: string | string[] | undefined): boolean {
  return typeof accept === 'string' && /(^|,)\s*(gzip|\*)\s*(;\s*q=(?!0(\.0*)?\s*(,|$))[^,]*)?(,|$)/i.test(accept);
}

/** Writes and resolves when the bytes are the kernel's. Rejects when the client is gone or has read nothing for
 * `stall_ms`. */
export function written(res: ServerResponse, chunk: Buffer, stall_ms: number): Promise<void> {
  return whileItReads(res, stall_ms, (finish) => {
    res.write(chunk, (error) => finish(error == null ? undefined : gone()));
  });
}

/** Resolves when `begin` calls `finish`. Rejects with what it calls it with, and when the client is gone or has read nothing
 * for `stall_ms`; then the answer is cut. */
function whileItReads(
  res: ServerResponse,
  stall_ms: number,
  begin: (finish: (error?: CloudError) => void) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (res.destroyed || res.closed) {
      reject(gone());
      return;
    }
    const finish = (error?: CloudError) => {
      clearTimeout(timer);
      res.off('close', onClose);
      if (error === undefined) resolve();
      else reject(error);
    };
    const onClose = () => finish(gone());
    const timer = setTimeout(() => {
      res.destroy();
      finish(new CloudError('timeout', `sending the answer: the client has read nothing for ${stall_ms} ms`));
    }, stall_ms);
    timer.unref();
    res.once('close', onClose);
    begin(finish);
  });
}

function gone(): CloudError {
  return new CloudError('interrupted', 'sending the answer: the client is gone');
}
