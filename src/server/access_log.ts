// One line per request: what, how it ended, how long, how much, who. Never headers, queries or bodies. Lines are gathered
// for a moment and written together: a system call per request would cost as much as finding the file.

import type { Log } from '../log.js';
import type { RequestDone } from './http.js';

export type AccessLog = (done: RequestDone) => void;

/** Whoever watches the log does not notice; under load it is hundreds of lines. */
const GATHER_MS = 20;

const QUIET = new Set(['/healthz', '/metrics']);

function fieldsOf({ context, duration_ms, received_bytes, sent_bytes, aborted }: RequestDone) {
  const { request, response, id, path, address, principal } = context;
  return {
    id,
    method: request.method,
    path,
    status: response.statusCode,
    duration_ms: Math.round(duration_ms * 10) / 10,
    received_bytes,
    sent_bytes,
    user: principal?.user.name ?? null,
    address,
    ...(aborted ? { aborted } : {}),
  };
}

/** Through the log everything else goes to. */
export function accessThroughLog(log: Log): AccessLog {
  return (done) => {
    if (QUIET.has(done.context.path)) log.debug(fieldsOf(done), 'request');
    else log.info(fieldsOf(done), 'request');
  };
}

export interface LineSink {
  /** Takes whole lines, newlines included. */
  write(lines: string): void;
}

/** Lines of the same form, made without the log's machinery. Of what stands in them only the path is a stranger's:
 * `redact` takes secrets out of it. */
export class AccessLines {
  readonly #sink: LineSink;
  readonly #redact: (text: string) => string;
  #waiting = '';

  constructor(sink: LineSink, redact: (text: string) => string) {
    this.#sink = sink;
    this.#redact = redact;
  }

  readonly note: AccessLog = (done) => {
    const { context } = done;
    if (QUIET.has(context.path)) return;
    if (this.#waiting === '') setTimeout(() => this.flush(), GATHER_MS);
    const { request, response, id, path, address, principal } = context;
    this.#waiting +=
      `{"level":30,"time":${Date.now()},"id":"${id}","method":"${request.method}","path":${JSON.stringify(this.#redact(path))}` +
      `,"status":${response.statusCode},"duration_ms":${Math.round(done.duration_ms * 10) / 10}` +
      `,"received_bytes":${done.received_bytes},"sent_bytes":${done.sent_bytes}` +
      `,"user":${JSON.stringify(principal?.user.name ?? null)},"address":${JSON.stringify(address)}` +
      `${done.aborted ? ',"aborted":true' : ''},"msg":"request"}\n`;
  };

  /** Writes what waits; to be called before the process ends. */
  flush(): void {
    const lines = this.#waiting;
    this.#waiting = '';
    if (lines !== '') this.#sink.write(lines);
  }
}
