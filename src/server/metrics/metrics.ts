// What Prometheus scrapes. Labels have a bounded set of values: methods we know, statuses we send, never paths or users.

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

const METHODS = new Set([
  ...['GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'OPTIONS', 'PATCH', 'PROPFIND', 'PROPPATCH', 'MKCOL'],
  ...['COPY', 'MOVE', 'LOCK', 'UNLOCK', 'REPORT', 'SEARCH'],
]);

/** Values that are read when somebody scrapes. */
export interface MetricsSources {
  readonly activeRequests: () => number;
  readonly pushSessions: () => number;
  readonly databaseBytes: () => Promise<number>;
  readonly passwordChecks: () => number;
}

export type LoginOutcome = 'ok' | 'denied' | 'throttled';

/** Of the process, not of one server: shared by all servers in it, and started only once. */
let processMetrics: Registry | null = null;

export class Metrics {
  readonly #registry = new Registry();
  readonly #requests: Counter<'method' | 'status'>;
  readonly #durations: Histogram<'method'>;
  readonly #received: Counter;
  readonly #sent: Counter;
  readonly #aborted: Counter<'method'>;
  readonly #logins: Counter<'outcome'>;

  constructor(sources: MetricsSources) {
    const registers = [this.#registry];
    this.#requests = new Counter({
      name: 'cloudmount_http_requests_total',
      help: 'Requests answered, by method and status.',
      labelNames: ['method', 'status'],
      registers,
    });
    this.#durations = new Histogram({
      name: 'cloudmount_http_request_duration_seconds',
      help: 'From the headers of a request to the last byte of its answer.',
      labelNames: ['method'],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
      registers,
    });
    this.#received = new Counter({
      name: 'cloudmount_http_received_bytes_total',
      help: 'Bytes read from clients, headers included.',
      registers,
    });
    this.#sent = new Counter({
      name: 'cloudmount_http_sent_bytes_total',
      help: 'Bytes written to clients, headers included.',
      registers,
    });
    this.#aborted = new Counter({
      name: 'cloudmount_http_aborted_total',
      help: 'Requests whose client went away before the answer was out, by method.',
      labelNames: ['method'],
      registers,
    });
    this.#logins = new Counter({
      name: 'cloudmount_logins_total',
      help: 'Requests with credentials, by outcome.',
      labelNames: ['outcome'],
      registers,
    });
    const gauge = (name: string, help: string, value: () => number | Promise<number>): void => {
      new Gauge({
        name,
        help,
        registers,
        async collect() {
          this.set(await value());
        },
      });
    };
    gauge('cloudmount_http_active_requests', 'Requests being answered now.', sources.activeRequests);
    gauge('cloudmount_push_sessions', 'Push connections that are logged in.', sources.pushSessions);
    gauge('cloudmount_database_bytes', 'Size of the metadata database with its log.', sources.databaseBytes);
    gauge('cloudmount_password_checks', 'Password hashes computed since the start.', sources.passwordChecks);
    if (processMetrics === null) {
      processMetrics = new Registry();
      collectDefaultMetrics({ register: processMetrics });
    }
  }

  request(done: {
    readonly method: string;
    readonly status: number;
    readonly duration_ms: number;
    readonly received_bytes: number;
    readonly sent_bytes: number;
    readonly aborted: boolean;
  }): void {
    const method = METHODS.has(done.method) ? done.method : 'other';
    this.#requests.inc({ method, status: done.status });
    this.#durations.observe({ method }, done.duration_ms / 1000);
    this.#received.inc(Math.max(0, done.received_bytes));
    this.#sent.inc(Math.max(0, done.sent_bytes));
    if (done.aborted) this.#aborted.inc({ method });
  }

  login(outcome: LoginOutcome): void {
    this.#logins.inc({ outcome });
  }

  /** Text exposition format. */
  async text(): Promise<{ readonly type: string; readonly body: string }> {
    const parts = [await this.#registry.metrics(), (await processMetrics?.metrics()) ?? ''];
    return { type: this.#registry.contentType, body: parts.join('\n') };
  }
}
