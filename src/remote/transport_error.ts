// The one table from what undici, node and TLS throw to CloudErrors.

import { CloudError, type ErrorCode } from '../errors.js';

const NETWORK_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EAI_NODATA',
  'EADDRNOTAVAIL',
  'UND_ERR_SOCKET',
  'UND_ERR_CLOSED',
  'UND_ERR_DESTROYED',
]);

/** What undici, node and TLS throw -> CloudError. */
export function transportError(error: unknown, doing: string): CloudError {
  const found = error as { code?: unknown; message?: unknown; name?: unknown; errors?: unknown } | undefined;
  const inner = Array.isArray(found?.errors) ? (found.errors[0] as { code?: unknown } | undefined) : undefined;
  const code = String(found?.code ?? inner?.code ?? '');
  const message = String(found?.message ?? '') || code;
  const make = (as: ErrorCode, text: string) => new CloudError(as, `${doing}: ${text}`, { cause: error });
  if (found?.name === 'AbortError' || code === 'UND_ERR_ABORTED') return make('interrupted', 'interrupted');
  if (code === 'UND_ERR_CONNECT_TIMEOUT' || code === 'ETIMEDOUT') return make('timeout', 'no connection in time');
  if (code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT')
    return make('timeout', 'no answer in time');
  if (code === 'ECONNREFUSED') return make('network', `nothing answers there; does the server run? (${message})`);
  if (NETWORK_CODES.has(code)) return make('network', message);
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER') {
    return make(
      'protocol',
      'this port does not speak TLS: either the address starts with http://, or the port is another',
    );
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return make(
      'protocol',
      `the server's certificate is for other names than the one in the address (${message.trim()})`,
    );
  }
  if (/^(CERT_|ERR_TLS|ERR_SSL|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|HOSTNAME_MISMATCH)/.test(code)) {
    return make('protocol', `the server's certificate or TLS is not accepted (${message.trim()})`);
  }
  if (code.startsWith('HPE_') || code.startsWith('UND_ERR_')) return make('protocol', `no valid HTTP (${message})`);
  return make('io', message);
}
