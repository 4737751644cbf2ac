// Big files in chunks (Nextcloud's chunking v2, which our server speaks too): MKCOL a folder under /uploads, PUT the
// chunks into it, MOVE its `.file` to the target. The version is checked at the end, by the MOVE. What is there already
// is asked of the server, so that an upload goes on after a restart with nothing but the folder's name.
//
// A chunk is what may be lost to a cut, and a stop for the server's disk. To our server one chunk is what goes in some
// seconds, however much that is: on a fast line the whole file, which then needs no putting together. What lies between
// may want less (proxies refuse large bodies, or such of unknown length, or keep them too long): after any failure the
// chunks are of one size. Our server compares the checksum of the whole at the end; others do not, so what they have
// counts only in the very chunks we would send.

import { systemClock } from '../clock.js';
import { CloudError, type ErrorCode, isCloudError, toCloudError } from '../errors.js';
import type { RemotePath } from '../ids.js';
import { ANSWER_PATIENCE, type Dav, propertyRequest, show } from './dav.js';
import { lookAt, mismatch } from './guard.js';
import type { HttpResponse } from './http.js';
import type { CallOptions, PosixMeta, Precondition, PutResult, UploadSession, UploadSource } from './remote.js';
import { retry } from './retry.js';
import { counted, Slice } from './upload_body.js';
import { segmentsOfHref } from './wire/href.js';
import { propertyText } from './wire/multistatus.js';
import { DAV } from './wire/ns.js';

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
  /** Of which version of the file the chunks are: its time. */
  readonly version: string;
  readonly chunk_bytes: number;
  /** From which chunk on, and where in the file, they are of one size; null = slices so far. */
  readonly even: { readonly number: number; readonly start: number } | null;
}

function parseState(text: string | null, size_bytes: number, version: string): State | null {
  if (text === null) return null;
  try {
    const state = JSON.parse(text) as Partial<State>;
    const { id, chunk_bytes, even } = state;
    const usable =
      typeof id === 'string' &&
      /^[A-Za-z0-9-]{1,100}$/.test(id) &&
      state.size_bytes === size_bytes &&
      state.version === version &&
      typeof chunk_bytes === 'number' &&
      chunk_bytes > 0 &&
      (even === null || (typeof even?.number === 'number' && typeof even.start === 'number'));
    return usable ? (state as State) : null;
  } catch {
    return null;
  }
}

/** A file whose chunks were of no use is begun anew, once. */
const ROUNDS = 2;
/** Failures of a slice that say something about us, the file or the account, not about the way. */
const NOT_THE_WAY: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'unauthorized',
  'no_access',
  'not_found',
  'locked',
  'quota',
  'offline',
  'interrupted',
  'again',
  'io',
  'corrupt',
]);

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
  const version = `${meta.mtime?.s}.${meta.mtime?.ns}`;
  let state = parseState(session.state, source.size_bytes, version);
  let chunks: Chunks = dav.info.dialect === 'cloudmount' ? 'slices' : 'of one size';
  for (let round = 1; ; round += 1) {
    const upload = new ChunkedUpload(dav, path, source, session, options, { state, version, chunks });
    try {
      await upload.sendAll();
    } catch (error) {
      // Nextcloud forgets after a day what the parts are for, and refuses those that follow with 412. It says nothing of
      // the version of the file.
      if (!isCloudError(error, 'precondition') && !(state !== null && isCloudError(error, 'not_found'))) throw error;
      await upload.abandon();
      if (round >= ROUNDS) throw new CloudError('busy_server', error.message, { ...error.details, cause: error });
      dav.log.warn({ error: String(error) }, 'the server takes no more parts of an upload; it is begun anew');
      state = null;
      continue;
    }
    const headers = { ...dav.dialect.metaHeaders(meta), ...dav.dialect.checksumHeaders(await source.sha256?.()) };
    try {
      const result = await commit((lockToken) =>
        upload.assemble({ ...headers, ...moveConditions(dav, path, precondition, lockToken) }),
      );
      session.save(null);
      return result;
    } catch (error) {
      if (isCloudError(error, 'precondition', 'invalid')) await upload.abandon();
      if (!isCloudError(error, 'invalid') || round >= ROUNDS) throw error;
      dav.log.warn({ error: String(error) }, 'the server has other bytes than were sent; they are sent anew');
    }
    state = null;
    chunks = 'of one size';
  }
}

type Chunks = 'slices' | 'of one size';

interface Beginning {
  /** Of an upload to go on with. */
  readonly state: State | null;
  /** Of one that is begun. */
  readonly version: string;
  readonly chunks: Chunks;
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
  readonly #beginning: Beginning;
  #state: State | null;

  constructor(
    dav: Dav,
    path: RemotePath,
    source: UploadSource,
    session: UploadSession,
    options: CallOptions,
    beginning: Beginning,
  ) {
    this.#dav = dav;
    this.#path = path;
    this.#source = source;
    this.#session = session;
    this.#options = options;
    this.#beginning = beginning;
    this.#state = beginning.state;
  }

  /** Sends what the server does not have yet. */
  async sendAll(): Promise<void> {
    let { number, start } = await this.#resume();
    if (start > 0) this.#session.progress(start);
    for (; start < this.#source.size_bytes; number += 1) start = await this.#sendNext(number, start);
  }

  /** Which chunk is next, and where it begins. */
  async #resume(): Promise<{ number: number; start: number }> {
    const have = this.#state === null ? null : await this.#chunksThere(this.#state);
    if (this.#state !== null && have !== null) {
      const next = nextChunk(this.#state, have);
      if (next !== null) return next;
      await this.abandon();
    }
    await this.#begin();
    return { number: 1, start: 0 };
  }

  /** Answers up to where the file is sent then. */
  async #sendNext(number: number, start: number): Promise<number> {
    const state = this.#known();
    if (state.even === null) {
      const sent = await this.#trySlice(state, number, start);
      if (sent !== null) return sent;
    }
    const end = Math.min(start + state.chunk_bytes, state.size_bytes);
    const progress = (sent: number) => this.#session.progress(sent);
    await retry(() => this.#put(state, number, end - start, counted(this.#source, start, end, progress)), {
      ...this.#dav.retrying(this.#options),
      deadline_ms: this.#dav.http.timeout_ms * ANSWER_PATIENCE,
    });
    return end;
  }

  /** Null = it is to be sent in chunks of one size, as all that follows, also after a restart. */
  async #trySlice(state: State, number: number, start: number): Promise<number | null> {
    const slice = new Slice(this.#source, start, CHUNK_bytes, SLICE_MS, systemClock);
    try {
      await this.#put(
        state,
        number,
        null,
        slice.body((sent) => this.#session.progress(sent)),
      );
      return slice.end;
    } catch (error) {
      const failure = toCloudError(error, `uploading ${show(this.#path)}`);
      if (NOT_THE_WAY.has(failure.code)) throw failure;
      this.#dav.log.info({ error: String(failure) }, 'uploading in chunks of one size');
      this.#save({ ...state, even: { number, start } });
      if (failure.code === 'timeout') throw failure; // has used up its patience
      return null;
    }
  }

  #known(): State {
    if (this.#state === null) throw new CloudError('io', 'a chunked upload that has not begun');
    return this.#state;
  }

  #save(state: State): void {
    this.#state = state;
    this.#session.save(JSON.stringify(state));
  }

  async #begin(): Promise<void> {
    const size_bytes = this.#source.size_bytes;
    const state: State = {
      id: `cloudmount-${crypto.randomUUID()}`,
      size_bytes,
      version: this.#beginning.version,
      chunk_bytes: Math.max(CHUNK_bytes, Math.ceil(size_bytes / MAX_CHUNKS)),
      even: this.#beginning.chunks === 'slices' ? null : { number: 1, start: 0 },
    };
    await retry(
      (tried) =>
        this.#dav.send(
          {
            method: 'MKCOL',
            path: `${this.#folder(state)}/`,
            headers: { destination: this.#dav.url(this.#path), 'oc-total-length': String(size_bytes) },
            signal: this.#options.signal,
          },
          tried === 0 ? [201] : [201, 405], // 405: a try whose answer was lost has made it
          `beginning the upload of ${show(this.#path)}`,
        ),
      this.#dav.retrying(this.#options),
    );
    this.#save(state);
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
    const request = propertyRequest(`${this.#folder(state)}/`, 1, ['getcontentlength'], this.#options);
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
    const state = this.#known();
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

/** What follows the chunks that the server has; null = they do not fit together. */
function nextChunk(state: State, have: ReadonlyMap<number, number>): { number: number; start: number } | null {
  const { size_bytes, chunk_bytes, even } = state;
  let number = 1;
  let start = 0;
  for (; number < (even?.number ?? Number.POSITIVE_INFINITY); number += 1) {
    const length = have.get(number) ?? 0;
    if (length === 0) break;
    start += length;
  }
  if (even === null) return start <= size_bytes && have.size === number - 1 ? { number, start } : null;
  if (start !== even.start) return null;
  while (start < size_bytes && have.get(number) === Math.min(chunk_bytes, size_bytes - start)) {
    start += Math.min(chunk_bytes, size_bytes - start);
    number += 1;
  }
  return { number, start };
}
