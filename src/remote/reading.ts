// Ranged reads. Nothing reaches the sink before the answer has proved to be the version and the range that were asked for;
// a read cut short goes on where it stopped, with the same version required. Of an answer that does not say its version
// (lighttpd, for files of a kind it does not know) that counts which the file has when all of it has come.

import { CloudError } from '../errors.js';
import type { RemotePath } from '../ids.js';
import { type Dav, show } from './dav.js';
import type { HttpRequest, HttpResponse } from './http.js';
import { captivePortal, isWebPage } from './http_failure.js';
import { stat } from './listing.js';
import type { PlainAnswer } from './plain_get.js';
import { type CallOptions, isStrongEtag, type ReadSink } from './remote.js';
import { isTransient, retry } from './retry.js';
import { isStamp, stampOf } from './stamp.js';
import { parseHttpDate } from './wire/http_date.js';
import { type ByteRange, formatRange, parseContentRange } from './wire/range.js';

/** Not worth a new connection if another is free. */
const SHORT_bytes = 128 * 1024;

/** See `Remote.read`. */
export async function readRange(
  dav: Dav,
  path: RemotePath,
  range: ByteRange,
  etag: string | null,
  sink: ReadSink,
  options: CallOptions,
): Promise<void> {
  let most_bytes = Number.POSITIVE_INFINITY;
  for (let at = range.start; at < range.end; ) {
    const end = Math.min(range.end, at + most_bytes);
    const read = new RangeRead(dav, path, { start: at, end }, etag, sink, options);
    // Without a version the rest might be of another one than what the sink has taken.
    const retryable = (error: CloudError) => isTransient(error) && (etag !== null || !read.begun);
    if ((await retry(() => read.proceed(), { ...dav.retrying(options), retryable })) === 'unmarked')
      most_bytes = KEPT_bytes;
    at = read.at;
  }
}

/** What is kept until its version is known, at most. */
const KEPT_bytes = 1024 * 1024;

/** Of either way to ask. */
type Answer = HttpResponse | PlainAnswer;

class RangeRead {
  readonly #dav: Dav;
  readonly #path: RemotePath;
  readonly #start: number;
  readonly #end: number;
  readonly #etag: string | null;
  readonly #sink: ReadSink;
  readonly #options: CallOptions;
  /** The first byte the sink has not taken. */
  #at: number;
  /** Servers whose tag is weak for a while (mod_dav, young files) refuse If-Match: there the answer's own tag decides. */
  #ask: boolean;

  constructor(dav: Dav, path: RemotePath, range: ByteRange, etag: string | null, sink: ReadSink, options: CallOptions) {
    this.#dav = dav;
    this.#path = path;
    this.#start = range.start;
    this.#at = range.start;
    this.#end = range.end;
    this.#etag = etag;
    this.#sink = sink;
    this.#options = options;
    this.#ask = isStrongEtag(etag);
  }

  /** `unmarked`: nothing was taken, the answer does not say its version and is too long to be kept until that is known. */
  async proceed(): Promise<'taken' | 'unmarked'> {
    const plain = await this.#dav.http.plainGet(this.#request());
    if (plain !== null) return await this.#partial(plain);
    const response = await this.#dav.http.request(this.#request());
    switch (response.status) {
      case 206:
        return await this.#partial(response);
      case 200:
        return await this.#whole(response);
      case 412:
        await response.discard();
        if (this.#ask && this.#dav.info.conditional !== 'if_match') {
          this.#ask = false;
          return await this.proceed();
        }
        throw this.#stale('another one');
      case 416: {
        await response.discard();
        const entry = await stat(this.#dav, this.#path, this.#options);
        if (entry.etag !== this.#etag) throw this.#stale(entry.etag);
        throw this.#protocol(`the server says bytes ${this.#at} to ${this.#end} are not there, of ${entry.size_bytes}`);
      }
      default:
        if (response.status < 300) {
          await response.discard();
          throw this.#protocol(`status 206 is required, found ${response.status}`);
        }
        throw await this.#dav.failureOf(response, this.#doing);
    }
  }

  /** Up to where the sink has taken what was asked for: the server may send less of it. */
  get at(): number {
    return this.#at;
  }

  /** Has the sink taken anything? */
  get begun(): boolean {
    return this.#at > this.#start;
  }

  get #doing(): string {
    return `reading ${show(this.#path)}`;
  }

  #request(): HttpRequest {
    return {
      method: 'GET',
      path: this.#dav.href(this.#path),
      headers: {
        range: formatRange({ start: this.#at, end: this.#end }),
        'accept-encoding': 'identity',
        ...(this.#ask && this.#etag !== null ? { 'if-match': this.#etag } : {}),
      },
      lane: 'read',
      urgent: this.#end - this.#at <= SHORT_bytes,
      signal: this.#options.signal,
    };
  }

  async #partial(response: Answer): Promise<'taken' | 'unmarked'> {
    const header = response.headers['content-range'] ?? '';
    const found = parseContentRange(header)?.range ?? null;
    // A part of what was asked for is an answer, too (RFC 9110 section 15.3.7); of what has no version the rest may be of another.
    const isEnough = found !== null && (found.end === this.#end || (found.end < this.#end && this.#etag !== null));
    if (found === null || found.start !== this.#at || !isEnough) {
      this.#refuse(
        response,
        `Content-Range for [${this.#at}, ${this.#end}) is required, found ${JSON.stringify(header)}`,
      );
    }
    const length = response.headers['content-length'];
    const size_bytes = found.end - this.#at;
    if (length !== undefined && Number(length) !== size_bytes) {
      this.#refuse(response, `${size_bytes} bytes are required, ${length} are announced`);
    }
    if (this.#isMarked(response)) {
      await response.pour((chunk) => {
        if (chunk.length > found.end - this.#at) throw this.#tooMuch();
        return this.#take(chunk);
      });
    } else if (size_bytes > KEPT_bytes) {
      response.cancel();
      return 'unmarked';
    } else {
      const kept: Buffer[] = [];
      let room_bytes = size_bytes;
      await response.pour((chunk) => {
        room_bytes -= chunk.length;
        if (room_bytes < 0) throw this.#tooMuch();
        kept.push(Buffer.from(chunk));
      });
      const { etag } = await stat(this.#dav, this.#path, this.#options);
      if (etag !== this.#etag) throw this.#stale(etag);
      for (const chunk of kept) await this.#take(chunk);
    }
    this.#requireAll(found.end);
    return 'taken';
  }

  /** A server that ignores Range: what we want is inside, if it is the right version and long enough. */
  async #whole(response: HttpResponse): Promise<'taken'> {
    await this.#requireNoPortal(response);
    if (this.#etag === null || !this.#isMarked(response)) {
      if (isWebPage(response)) {
        await response.discard();
        throw captivePortal(this.#doing, response);
      }
      this.#refuse(
        response,
        this.#etag === null
          ? 'the server ignores Range and has no ETag to tell that it is the right file'
          : `the ETag ${this.#etag} is required, found none`,
      );
    }
    const length = response.headers['content-length'];
    // What changes bodies on the way drops Range and the length together; whether all has come shows at the end.
    if (length !== undefined && Number(length) < this.#end) {
      this.#refuse(response, `at least ${this.#end} bytes are required, ${length} are announced`);
    }
    let skip = this.#at;
    for await (const chunk of response.body) {
      const wanted = chunk.subarray(Math.min(skip, chunk.length)).subarray(0, this.#end - this.#at);
      skip -= Math.min(skip, chunk.length);
      if (wanted.length > 0) await this.#take(wanted);
      if (this.#at === this.#end) return 'taken'; // which closes the connection
    }
    this.#requireAll(this.#end);
    return 'taken';
  }

  /** The page of a network that wants us to sign in first has a version, too, but the file has the one that is required. */
  async #requireNoPortal(response: HttpResponse): Promise<void> {
    const found = this.#dav.versionOf(response);
    if (!isWebPage(response) || found === null || found === this.#etag || isStamp(this.#etag)) return;
    await response.discard();
    const { etag } = await stat(this.#dav, this.#path, this.#options);
    throw etag === this.#etag ? captivePortal(this.#doing, response) : this.#stale(etag);
  }

  /** Does it say that it is the version that is required? Throws where it is another one. */
  #isMarked(response: Answer): boolean {
    const encoding = response.headers['content-encoding'] ?? 'identity';
    if (encoding.trim().toLowerCase() !== 'identity')
      this.#refuse(response, `unencoded bytes are required, found ${encoding}`);
    if (this.#etag === null) return true;
    const found = isStamp(this.#etag) ? stampOfAnswer(response) : this.#dav.versionOf(response);
    if (found === null) return false;
    if (found === this.#etag) return true;
    response.cancel();
    throw this.#stale(found);
  }

  #take(chunk: Buffer): void | Promise<void> {
    if (chunk.length > this.#end - this.#at) throw this.#tooMuch();
    const offset = this.#at;
    this.#at += chunk.length;
    return this.#sink(chunk, offset);
  }

  #requireAll(end: number): void {
    if (this.#at === end) return;
    throw new CloudError('network', `${this.#doing}: cut short, ${end - this.#at} bytes are missing`);
  }

  #refuse(response: Answer, problem: string): never {
    response.cancel();
    throw this.#protocol(problem);
  }

  #protocol(problem: string): CloudError {
    return new CloudError('protocol', `${this.#doing}: ${problem}`, { path: this.#path });
  }

  #tooMuch(): CloudError {
    return this.#protocol('more bytes came than were asked for');
  }

  #stale(found: string | null): CloudError {
    const message = `${this.#doing}: the version ${this.#etag} is required, the server has ${found ?? 'none'}`;
    return new CloudError('stale', message, { path: this.#path, status: 412 });
  }
}

/** See `stamp.ts`. */
function stampOfAnswer({ status, headers }: Answer): string | null {
  const changed_s = parseHttpDate(headers['last-modified'] ?? '');
  const length = headers['content-length'];
  const whole_bytes = length === undefined ? null : Number(length);
  const size_bytes =
    status === 206 ? (parseContentRange(headers['content-range'] ?? '')?.total_bytes ?? null) : whole_bytes;
  return stampOf(changed_s, size_bytes);
}
