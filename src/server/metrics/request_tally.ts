// Requests counted the way Prometheus wants them told, with plain numbers: a metrics library that hashes labels took a
// twentieth of a small request. Methods and statuses have few values, so the tables stay small.

const METHODS = new Set([
  ...['GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'OPTIONS', 'PATCH', 'PROPFIND', 'PROPPATCH', 'MKCOL'],
  ...['COPY', 'MOVE', 'LOCK', 'UNLOCK', 'REPORT', 'SEARCH'],
]);

const BUCKETS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

export interface FinishedRequest {
  readonly method: string;
  readonly status: number;
  readonly duration_ms: number;
  readonly received_bytes: number;
  readonly sent_bytes: number;
  readonly aborted: boolean;
}

interface OfMethod {
  readonly byStatus: Map<number, number>;
  /** Requests by the first bucket they fit in; the last one is for those beyond all. */
  readonly buckets: number[];
  sum_s: number;
  aborted: number;
}

export class RequestTally {
  readonly #methods = new Map<string, OfMethod>();
  #received_bytes = 0;
  #sent_bytes = 0;

  add({ method, status, duration_ms, received_bytes, sent_bytes, aborted }: FinishedRequest): void {
    let of = this.#methods.get(method);
    if (of === undefined) {
      const known = METHODS.has(method) ? method : 'other';
      of = this.#methods.get(known);
      if (of === undefined) {
        of = { byStatus: new Map(), buckets: new Array(BUCKETS_S.length + 1).fill(0), sum_s: 0, aborted: 0 };
        this.#methods.set(known, of);
      }
    }
    of.byStatus.set(status, (of.byStatus.get(status) ?? 0) + 1);
    const duration_s = duration_ms / 1000;
    let bucket = 0;
    while (bucket < BUCKETS_S.length && duration_s > (BUCKETS_S[bucket] ?? 0)) bucket += 1;
    of.buckets[bucket] = (of.buckets[bucket] ?? 0) + 1;
    of.sum_s += duration_s;
    if (aborted) of.aborted += 1;
    this.#received_bytes += Math.max(0, received_bytes);
    this.#sent_bytes += Math.max(0, sent_bytes);
  }

  /** Text exposition format. */
  text(): string {
    const requests: Sample[] = [];
    const durations: Sample[] = [];
    const aborted: Sample[] = [];
    for (const [method, of] of this.#methods) {
      for (const [status, count] of of.byStatus) requests.push([`{method="${method}",status="${status}"}`, count]);
      let sum = 0;
      of.buckets.forEach((count, i) => {
        sum += count;
        durations.push([`_bucket{le="${BUCKETS_S[i] ?? '+Inf'}",method="${method}"}`, sum]);
      });
      durations.push([`_sum{method="${method}"}`, of.sum_s], [`_count{method="${method}"}`, sum]);
      if (of.aborted > 0) aborted.push([`{method="${method}"}`, of.aborted]);
    }
    const name = 'cloudmount_http';
    return [
      formatSamples(`${name}_requests_total`, 'Requests answered, by method and status.', 'counter', requests),
      formatSamples(
        `${name}_request_duration_seconds`,
        'From the headers of a request to the last byte of its answer.',
        'histogram',
        durations,
      ),
      formatSamples(`${name}_received_bytes_total`, 'Bytes read from clients, headers included.', 'counter', [
        ['', this.#received_bytes],
      ]),
      formatSamples(`${name}_sent_bytes_total`, 'Bytes written to clients, headers included.', 'counter', [
        ['', this.#sent_bytes],
      ]),
      formatSamples(
        `${name}_aborted_total`,
        'Requests whose client went away before the answer was out, by method.',
        'counter',
        aborted,
      ),
    ].join('\n');
  }
}

/** What follows the metric's name (suffix and labels), and the value. */
export type Sample = readonly [after: string, value: number];

export function formatSamples(
  name: string,
  help: string,
  type: 'counter' | 'histogram',
  samples: readonly Sample[],
): string {
  const lines = samples.map(([after, value]) => `${name}${after} ${value}\n`);
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`;
}
