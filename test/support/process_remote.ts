// One `FakeRemote` used from another process: the child that holds the cache calls, the parent that holds the server
// answers. So a child may be killed at any moment while the server lives on, with the call that was on its way done.

import type { ChildProcess } from 'node:child_process';
import { CloudError, type ErrorCode, type ErrorDetails } from '../../src/errors.js';
import type { RemotePath } from '../../src/ids.js';
import type {
  CallOptions,
  ChangePage,
  LockInfo,
  MetaPatch,
  MoveRule,
  PosixMeta,
  Precondition,
  PutResult,
  Quota,
  ReadSink,
  Remote,
  RemoteCapabilities,
  RemoteEntry,
  RemoteEvents,
  UploadSession,
  UploadSource,
} from '../../src/remote/remote.js';
import { collect } from '../../src/remote/upload_body.js';
import { type FakeRemote, uploadInParts } from './fake_remote.js';

interface Request {
  readonly kind: 'remote';
  readonly id: number;
  readonly method: string;
  readonly args: readonly unknown[];
}

interface Answer {
  readonly kind: 'answer';
  readonly id: number;
  readonly value?: unknown;
  readonly error?: { readonly code: ErrorCode; readonly message: string; readonly details: ErrorDetails };
}

interface Event {
  readonly kind: 'changed';
}

export type ToChild = Answer | Event;

const CHUNK_BYTES = 16 * 1024;
/** Files of the workload are some thousand bytes: so large ones go in parts, as those of 64 MiB do. */
export const PARTS_FROM_BYTES = 2000;
export const PART_BYTES = 900;

/** The child's side. */
export class ProcessRemote implements Remote {
  capabilities: RemoteCapabilities;
  readonly displayUrl = 'fake://server/';
  readonly #waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  readonly #watchers = new Set<RemoteEvents>();
  #ids = 0;

  constructor(capabilities: RemoteCapabilities) {
    this.capabilities = capabilities;
    process.on('message', (message: ToChild) => this.#heard(message));
  }

  async connect(options?: CallOptions): Promise<RemoteCapabilities> {
    this.capabilities = await this.#call<RemoteCapabilities>('connect', [], options);
    return this.capabilities;
  }
  stat(path: RemotePath, options?: CallOptions): Promise<RemoteEntry> {
    return this.#call('stat', [path], options);
  }
  async *list(path: RemotePath, options?: CallOptions): AsyncIterable<readonly RemoteEntry[]> {
    yield await this.#call<readonly RemoteEntry[]>('list', [path], options);
  }
  async read(
    path: RemotePath,
    range: { readonly start: number; readonly end: number },
    etag: string | null,
    sink: ReadSink,
    options?: CallOptions,
  ): Promise<void> {
    const bytes = Buffer.from(await this.#call<Uint8Array>('read', [path, range, etag], options));
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
      await sink(bytes.subarray(at, at + CHUNK_BYTES), range.start + at);
    }
  }
  async put(...args: Parameters<Remote['put']>): Promise<PutResult> {
    const [path, source, precondition, meta, session, options] = args;
    if (this.capabilities.chunkedUpload && source.size_bytes > PARTS_FROM_BYTES) {
      return await this.#putInParts(...args);
    }
    const bytes = await collect(source.open(0, source.size_bytes));
    const sha256 = await source.sha256?.();
    await session.committing();
    const result = await this.#call<PutResult>('put', [path, bytes, sha256, precondition, meta], options);
    session.progress(bytes.length);
    return result;
  }
  async #putInParts(
    ...[path, source, precondition, meta, session, options]: Parameters<Remote['put']>
  ): Promise<PutResult> {
    const { id } = uploadInParts(session, source.size_bytes, meta);
    let sent = await this.#call<number>('partsSent', [id], options);
    while (sent < source.size_bytes) {
      const end = Math.min(sent + PART_BYTES, source.size_bytes);
      await this.#call('part', [id, await collect(source.open(sent, end))], options);
      sent = end;
      session.progress(sent);
    }
    const sha256 = await source.sha256?.();
    await session.committing();
    const result = await this.#call<PutResult>('assemble', [path, id, sha256, precondition, meta], options);
    session.save(null);
    return result;
  }
  mkdir(path: RemotePath, meta: PosixMeta, options?: CallOptions): Promise<PutResult> {
    return this.#call('mkdir', [path, meta], options);
  }
  symlink(path: RemotePath, target: string, precondition: Precondition, options?: CallOptions): Promise<PutResult> {
    return this.#call('symlink', [path, target, precondition], options);
  }
  move(from: RemotePath, to: RemotePath, rule: MoveRule, options?: CallOptions): Promise<void> {
    return this.#call('move', [from, to, rule], options);
  }
  remove(path: RemotePath, etag: string | null, options?: CallOptions): Promise<void> {
    return this.#call('remove', [path, etag], options);
  }
  setMeta(path: RemotePath, patch: MetaPatch, options?: CallOptions): Promise<void> {
    return this.#call('setMeta', [path, patch], options);
  }
  lock(path: RemotePath, options?: CallOptions): Promise<LockInfo> {
    return this.#call('lock', [path], options);
  }
  refreshLock(path: RemotePath, token: string, options?: CallOptions): Promise<LockInfo> {
    return this.#call('refreshLock', [path, token], options);
  }
  unlock(path: RemotePath, token: string, options?: CallOptions): Promise<void> {
    return this.#call('unlock', [path, token], options);
  }
  quota(options?: CallOptions): Promise<Quota | null> {
    return this.#call('quota', [], options);
  }
  changes(cursor: string | null, options?: CallOptions): Promise<ChangePage> {
    return this.#call('changes', [cursor], options);
  }
  watch(events: RemoteEvents, signal: AbortSignal): void {
    if (!this.capabilities.push) return;
    this.#watchers.add(events);
    signal.addEventListener('abort', () => this.#watchers.delete(events));
    setImmediate(() => !signal.aborted && events.onConnection(true));
  }
  ping(options?: CallOptions): Promise<void> {
    return this.#call('ping', [], options);
  }
  async close(): Promise<void> {}

  #call<T>(method: string, args: readonly unknown[], options: CallOptions | undefined): Promise<T> {
    const signal = options?.signal;
    const lockToken = options?.lockToken;
    this.#ids += 1;
    const id = this.#ids;
    return new Promise<T>((resolve, reject) => {
      const interrupted = () => {
        this.#waiting.delete(id);
        reject(new CloudError('interrupted', `${method}: interrupted`));
      };
      if (signal?.aborted === true) {
        interrupted();
        return;
      }
      signal?.addEventListener('abort', interrupted, { once: true });
      const done = () => signal?.removeEventListener('abort', interrupted);
      this.#waiting.set(id, {
        resolve: (value) => {
          done();
          resolve(value as T);
        },
        reject: (error) => {
          done();
          reject(error);
        },
      });
      const request: Request = { kind: 'remote', id, method, args: [...args, { lockToken }] };
      process.send?.(request);
    });
  }

  #heard(message: ToChild): void {
    if (message.kind === 'changed') {
      for (const events of this.#watchers) events.onChange();
      return;
    }
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    const { error } = message;
    if (error === undefined) waiting?.resolve(message.value);
    else waiting?.reject(new CloudError(error.code, error.message, error.details));
  }
}

/** The parent's side: answers what `child` asks of `remote`. The returned function ends it. */
export function serveRemote(child: ChildProcess, remote: FakeRemote): () => void {
  const off = remote.server.onChange(() => {
    if (remote.capabilities.push) setImmediate(() => send(child, { kind: 'changed' }));
  });
  const heard = (message: Request | { readonly kind: string }) => {
    if (message.kind !== 'remote') return;
    const { id, method, args } = message as Request;
    perform(remote, method, args).then(
      (value) => send(child, { kind: 'answer', id, value }),
      (error: unknown) => {
        const { code, message: text, details } = error as CloudError;
        send(child, { kind: 'answer', id, error: { code: code ?? 'io', message: text, details: details ?? {} } });
      },
    );
  };
  child.on('message', heard);
  return () => {
    off();
    child.off('message', heard);
  };
}

function send(child: ChildProcess, message: ToChild): void {
  if (child.connected) child.send(message, () => undefined); // it may be killed any time
}

type Method = (...args: unknown[]) => Promise<unknown>;

async function perform(remote: FakeRemote, method: string, args: readonly unknown[]): Promise<unknown> {
  if (method === 'list') {
    const all: RemoteEntry[] = [];
    const [path, options] = args as [RemotePath, CallOptions];
    for await (const batch of remote.list(path, options)) all.push(...batch);
    return all;
  }
  if (method === 'read') {
    const [path, range, etag, options] = args as [RemotePath, { start: number; end: number }, string, CallOptions];
    const parts: Buffer[] = [];
    await remote.read(path, range, etag, (chunk) => void parts.push(Buffer.from(chunk)), options);
    return Buffer.concat(parts);
  }
  if (method === 'partsSent' || method === 'part') {
    const [id, part] = args as [string, Uint8Array];
    const parts = remote.server.upload(id);
    if (method === 'part') parts.push(Buffer.from(part));
    return parts.reduce((sum, { length }) => sum + length, 0);
  }
  if (method === 'assemble') {
    const [path, id, sha256, ...rest] = args as [RemotePath, string, string, ...unknown[]];
    const bytes = Buffer.concat(remote.server.upload(id));
    remote.server.dropUpload(id);
    return await perform(remote, 'put', [path, bytes, sha256, ...rest]);
  }
  if (method === 'put') {
    const [path, bytes, sha256, precondition, meta, options] = args as [
      RemotePath,
      Uint8Array,
      string,
      Precondition,
      PosixMeta,
      CallOptions,
    ];
    const source: UploadSource = {
      size_bytes: bytes.length,
      sha256: async () => sha256,
      async *open(start, end) {
        yield Buffer.from(bytes.subarray(start, end));
      },
    };
    const session: UploadSession = {
      state: null,
      save: () => undefined,
      progress: () => undefined,
      committing: async () => undefined,
    };
    return remote.put(path, source, precondition, meta, session, options);
  }
  return (remote as unknown as Record<string, Method>)[method]?.apply(remote, [...args]);
}
