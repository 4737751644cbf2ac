// Big files in chunks (Nextcloud's chunking v2, which our server speaks too): MKCOL a folder under /uploads, PUT the
// chunks into it, MOVE its `.file` to the target. The version is checked at the end, by the MOVE. What is there already
// is asked of the server, so that an upload goes on after a restart with nothing but the folder's name.
//
// A chunk is what may be lost to a cut, and a stop for the server's disk. To our server one chunk is what goes in some
// seconds, however much that is: on a fast line the whole file, which then needs no putting together. What lies between
// may want less (proxies refuse large bodies, or such of unknown length): after any failure the chunks are of one size.

import { systemClock } from '../clock.js';
import { CloudError, isCloudError } from '../errors.js';
import type { RemotePath } from '../ids.js';
import { ANSWER_PATIENCE, type Dav, propElement, show } from './dav.js';
import { lookAt, mismatch } from './guard.js';
import type { HttpResponse } from './http.js';
import type { CallOptions, PosixMeta, Precondition, PutResult, UploadSession, UploadSource } from './remote.js';
import { isTransient, retry } from './retry.js';
import { counted, Slice } from './upload_body.js';
import { segmentsOfHref } from './wire/href.js';
import { propertyText } from './wire/multistatus.js';
import { DAV, ROOT_XMLNS } from './wire/ns.js';
import { XML_DECLARATION } from './wire/xml.js';

export const CHUNKED_FROM_bytes = 64 * 1024 * 1024;
const CHUNK_bytes = 32 * 1024 * 1024;
const SLICE_MS = 15_000;
/** Nextcloud takes 10,000. */
const MAX_CHUNKS = 9_000;
/** Putting a big file together may take a while: so many times the usual timeout. */
const ASSEMBLE_PATIENCE = 30;

interface State {
  readonly id: string;
  readonly size_bytes: number;
  readonly chunk_bytes: number;
}

function parseState(text: string | null, size_bytes: number): State | null {
  if (text === null) return null;
  try {
    const state = JSON.parse(text) as Partial<State>;
    const usable =
      typeof state.id === 'string' &&
      /^[A-Za-z0-9-]{1,100}$/.test(state.id) &&
      state.size_bytes === size_bytes &&
      typeof state.chunk_bytes === 'number' &&
      state.chunk_bytes > 0;
    return usable ? (state as State) : null;
  } catch {
    return null;
  }
}

export type Commit = (send: (lockToken: string | undefined) => Promise<HttpResponse>) => Promise<PutResult>;

/** `commit` sends the last request and finds out what became of it. */
export async function uploadInChunks(
  dav: Dav,
  path: RemotePath,
  source: UploadSource,
  precondition: Precondition,
  meta: PosixMeta,
  session: UploadSession,
  options: CallOptions,
  commit: Commit,
): Promise<PutResult> {
  await refuseEarly(dav, path, precondition, options);
  const upload = new ChunkedUpload(dav, path, source, session, options);
  await upload.sendAll();
  const headers = { ...dav.dialect.metaHeaders(meta), ...dav.dialect.checksumHeaders(await source.sha256?.()) };
  try {
    const result = await commit((lockToken) =>
      upload.assemble({ ...headers, ...moveConditions(dav, path, precondition, lockToken) }),
    );
    session.save(null);
    return result;
  } catch (error) {
    if (isCloudError(error, 'precondition', 'invalid')) await upload.abandon();
    throw error;
  }
}

/** Gigabytes are not sent for a check at the end that can be made now. */
async function refuseEarly(
  dav: Dav,
  path: RemotePath,
  precondition: Precondition,
  options: CallOptions,
): Promise<void> {
  if (precondition.kind !== 'if_match') return;
  const entry = await lookAt(dav, path, options);
  if (entry === null) throw mismatch(path, precondition, null);
}

function moveConditions(
  dav: Dav,
  path: RemotePath,
  precondition: Precondition,
  lockToken: string | undefined,
): Record<string, string> {
  const token = lockToken === undefined ? '' : `<${lockToken}> `;
  const target = dav.url(path);
  // Our server takes If-Match on this MOVE for the target; the others (sabre) understand the tagged If.
  const own = dav.info.dialect === 'cloudmount';
  switch (precondition.kind) {
    case 'if_match':
      return {
        ...(own ? { 'if-match': precondition.etag } : {}),
        if: `<${target}> (${token}[${precondition.etag}])`,
        overwrite: 'T',
      };
    case 'if_absent':
      return {
        ...(own ? { 'if-none-match': '*' } : {}),
        ...(token === '' ? {} : { if: `<${target}> (${token.trim()})` }),
        overwrite: 'F',
      };
    case 'none':
      return token === '' ? {} : { if: `<${target}> (${token.trim()})` };
  }
}

class ChunkedUpload {
  readonly #dav: Dav;
  readonly #path: RemotePath;
  readonly #source: UploadSource;
  readonly #session: UploadSession;
  readonly #options: CallOptions;
  #state: State | null;
  #chunks: 'slices' | 'of one size';

  constructor(dav: Dav, path: RemotePath, source: UploadSource, session: UploadSession, options: CallOptions) {
    this.#dav = dav;
    this.#path = path;
    this.#source = source;
    this.#session = session;
    this.#options = options;
    this.#state = parseState(session.state, source.size_bytes);
    this.#chunks = dav.info.dialect === 'cloudmount' ? 'slices' : 'of one size';
  }

  /** Sends what the server does not have yet. */
  async sendAll(): Promise<void> {
    const have = this.#state === null ? null : await this.#chunksThere(this.#state);
    const state = this.#state !== null && have !== null ? this.#state : await this.#begin();
    const { size_bytes } = state;
    let at = 0;
    let number = 1;
    const there = () => have?.get(number) ?? 0;
    for (; there() > 0 && at + there() <= size_bytes; number += 1) at += there();
    if (at > 0) this.#session.progress(at);
    for (; at < size_bytes; number += 1) at = await this.#sendNext(state, number, at);
  }

  /** Answers up to where the file is sent then. */
  async #sendNext(state: State, number: number, start: number): Promise<number> {
    if (this.#chunks === 'slices') {
      try {
        return await this.#sendSlice(state, number, start);
      } catch (error) {
        const narrow = isCloudError(error) && (isTransient(error) || error.code === 'too_large');
        if (!narrow && !(isCloudError(error) && error.details.status === 411)) throw error;
        this.#dav.log.info({ error: String(error) }, 'uploading in chunks of one size');
        this.#chunks = 'of one size';
      }
    }
    const end = Math.min(start + state.chunk_bytes, state.size_bytes);
    await retry(() => this.#put(state, number, end - start, this.#body(start, end)), {
      ...this.#dav.retrying(this.#options),
      deadline_ms: this.#dav.http.timeout_ms * ANSWER_PATIENCE,
    });
    return end;
  }

  async #sendSlice(state: State, number: number, start: number): Promise<number> {
    const slice = new Slice(this.#source, start, CHUNK_bytes, SLICE_MS, systemClock);
    await this.#put(
      state,
      number,
      null,
      slice.body((sent) => this.#session.progress(sent)),
    );
    return slice.end;
  }

  #body(start: number, end: number): AsyncIterable<Buffer> {
    return counted(this.#source, start, end, (sent) => this.#session.progress(sent));
  }

  async #begin(): Promise<State> {
    const size_bytes = this.#source.size_bytes;
    const state = {
      id: `cloudmount-${crypto.randomUUID()}`,
      size_bytes,
      chunk_bytes: Math.max(CHUNK_bytes, Math.ceil(size_bytes / MAX_CHUNKS)),
    };
    await retry(
      (tried) =>
        this.#dav.send(
          {
            method: 'MKCOL',
            path: `${this.#folder(state)}/`,
            headers: { destination: this.#dav.url(this.#path) },
            signal: this.#options.signal,
          },
          tried === 0 ? [201] : [201, 405], // 405: a try whose answer was lost has made it
          `beginning the upload of ${show(this.#path)}`,
        ),
      this.#dav.retrying(this.#options),
    );
    this.#state = state;
    this.#session.save(JSON.stringify(state));
    return state;
  }

  #folder(state: State): string {
    return `${this.#dav.info.uploads ?? ''}${state.id}`;
  }

  /** `length` null = as many as come. */
  async #put(state: State, number: number, length: number | null, body: AsyncIterable<Buffer>): Promise<void> {
    await this.#dav.send(
      {
        method: 'PUT',
        path: `${this.#folder(state)}/${String(number).padStart(5, '0')}`,
        headers: {
          destination: this.#dav.url(this.#path),
          'oc-total-length': String(state.size_bytes),
          'content-type': 'application/octet-stream',
        },
        body,
        ...(length === null ? {} : { contentLength: length }),
        lane: 'write',
        answer_ms: this.#dav.http.timeout_ms * ANSWER_PATIENCE,
        signal: this.#options.signal,
      },
      [200, 201, 204],
      `uploading part ${number} of ${show(this.#path)}`,
    );
  }

  /** Number -> bytes of the chunks the server has; null when it no longer knows the upload. */
  async #chunksThere(state: State): Promise<Map<number, number> | null> {
    const doing = `looking at what is uploaded of ${show(this.#path)}`;
    const request = {
      method: 'PROPFIND',
      path: `${this.#folder(state)}/`,
      headers: { depth: '1', 'content-type': 'application/xml; charset=utf-8' },
      body: `${XML_DECLARATION}<d:propfind${ROOT_XMLNS}>${propElement([{ ns: DAV, local: 'getcontentlength' }])}</d:propfind>`,
      signal: this.#options.signal,
    };
    try {
      return await retry(async () => {
        const found = new Map<number, number>();
        for await (const page of this.#dav.multistatus(request, doing)) {
          for (const response of page.responses) {
            const name = segmentsOfHref(response.hrefs[0] ?? '').segments.at(-1) ?? '';
            const length = propertyText(response, DAV, 'getcontentlength');
            if (/^\d{1,9}$/.test(name) && length !== null && length !== '') found.set(Number(name), Number(length));
          }
        }
        return found;
      }, this.#dav.retrying(this.#options));
    } catch (error) {
      if (isCloudError(error, 'not_found', 'no_access')) return null;
      throw error;
    }
  }

  /** Puts the file together at the target. */
  async assemble(headers: Readonly<Record<string, string>>): Promise<HttpResponse> {
    const state = this.#state;
    if (state === null) throw new CloudError('io', 'assembling an upload that has not begun');
    return await this.#dav.send(
      {
        method: 'MOVE',
        path: `${this.#folder(state)}/.file`,
        headers: {
          destination: this.#dav.url(this.#path),
          'oc-total-length': String(state.size_bytes),
          ...headers,
        },
        answer_ms: this.#dav.http.timeout_ms * ASSEMBLE_PATIENCE,
        signal: this.#options.signal,
      },
      [200, 201, 204],
      `putting together the upload of ${show(this.#path)}`,
    );
  }

  /** The parts are of no use any more. Servers clean up by themselves if this fails. */
  async abandon(): Promise<void> {
    const state = this.#state;
    if (state === null) return;
    this.#session.save(null);
    try {
      await this.#dav.send(
        { method: 'DELETE', path: `${this.#folder(state)}/` },
        [200, 204, 404],
        'dropping an upload',
      );
    } catch (error) {
      this.#dav.log.warn({ error: String(error) }, 'the parts of an upload could not be removed');
    }
  }
}
