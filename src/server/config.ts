// What a server is started with, checked at the border, and the limits it keeps. Defaults are right alone.

import type { Clock } from '../clock.js';
import { CloudError } from '../errors.js';
import type { Log } from '../log.js';
import type { AccessLog } from './access_log.js';
import type { ThrottleLimits } from './auth/throttle.js';

export interface ServerOptions {
  /** The data folder (`data_dir.ts`); made if missing. */
  readonly dataDir: string;
  /** Port 0 = any free one, told in `RunningServer.address`. */
  readonly listen: { readonly host: string; readonly port: number };
  /** PEM files. Read again when they change, for certificates that are renewed under a running server. */
  readonly tls?: { readonly certFile: string; readonly keyFile: string };
  readonly log: Log;
  /** Told of every request; default: a line in `log`. */
  readonly access?: AccessLog;
  /** Believe `X-Forwarded-For/-Proto/-Host`: only behind a proxy that sets them. */
  readonly trustProxy?: boolean;
  readonly limits?: Partial<ServerLimits>;
  readonly throttle?: ThrottleLimits;
  readonly clock?: Clock;
}

export interface ServerLimits {
  readonly maxHeader_bytes: number;
  /** From the first byte of a request to the end of its headers. */
  readonly headersTimeout_ms: number;
  /** How long a body may stand still while we wait for it, or an answer while the client does not read it. */
  readonly idleTimeout_ms: number;
  readonly keepAlive_ms: number;
  readonly maxConnections: number;
  /** How long a push connection may take to log in. */
  readonly pushAuth_ms: number;
  readonly pushPing_ms: number;
  /** How often it is asked whether the logins of the push connections still count. */
  readonly pushCheck_ms: number;
  /** Push connections of one user. */
  readonly pushPerUser: number;
  /** Chunked uploads nobody touched for so long are removed. */
  readonly uploadAge_ms: number;
  /** How often certificate files are looked at. */
  readonly certificateCheck_ms: number;
}

export const DEFAULT_LIMITS: ServerLimits = {
  maxHeader_bytes: 32 * 1024,
  headersTimeout_ms: 30_000,
  idleTimeout_ms: 120_000,
  keepAlive_ms: 75_000,
  maxConnections: 2000,
  pushAuth_ms: 15_000,
  pushPing_ms: 30_000,
  pushCheck_ms: 3_000,
  pushPerUser: 64,
  uploadAge_ms: 2 * 24 * 3600 * 1000,
  certificateCheck_ms: 60_000,
};

/** The limits to run with; throws `invalid`. */
export function checkOptions(options: ServerOptions): ServerLimits {
  const { port, host } = options.listen;
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new CloudError('invalid', `listening port ${port}: it must be a number from 0 to 65535`);
  }
  if (host === '') throw new CloudError('invalid', 'listening host: it must be a name or an address, found nothing');
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  for (const [name, value] of Object.entries(limits)) {
    if (!Number.isSafeInteger(value) || value <= 0) {
      throw new CloudError('invalid', `limit ${name}: it must be a whole number above 0, found ${value}`);
    }
  }
  return limits;
}
