// What Prometheus scrapes. Labels have a bounded set of values: methods we know, statuses we send, never paths or users.

import { collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import { type FinishedRequest, formatSamples, RequestTally } from './request_tally.js';

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
  readonly #requests = new RequestTally();
  readonly #logins: Record<LoginOutcome, number> = { ok: 0, denied: 0, throttled: 0 };

  constructor(sources: MetricsSources) {
    const registers = [this.#registry];
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

  request(done: FinishedRequest): void {
    this.#requests.add(done);
  }

  login(outcome: LoginOutcome): void {
    this.#logins[outcome] += 1;
  }

  /** Text exposition format. */
  async text(): Promise<{ readonly type: string; readonly body: string }> {
    const logins = Object.entries(this.#logins)
      .filter(([, count]) => count > 0)
      .map(([outcome, count]) => [`{outcome="${outcome}"}`, count] as const);
    const parts = [
      this.#requests.text(),
      formatSamples('cloudmount_logins_total', 'Requests with credentials, by outcome.', 'counter', logins),
      await this.#registry.metrics(),
      (await processMetrics?.metrics()) ?? '',
    ];
    return { type: this.#registry.contentType, body: parts.join('\n') };
  }
}
