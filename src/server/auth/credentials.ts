// What a client presents: Basic (RFC 7617) or Bearer (RFC 6750). Parsing only; nothing here decides anything.

export type Credentials =
  | { readonly kind: 'basic'; readonly user: string; readonly secret: string }
  | { readonly kind: 'bearer'; readonly secret: string };

/** The challenge of every 401. `charset` tells clients to send UTF-8 (RFC 7617 section 2.1). */
export const CHALLENGE = 'Basic realm="cloudmount", charset="UTF-8"';

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The `Authorization` header's value; null if there is none or it is of no form we know. */
export function parseAuthorization(header: string | undefined): Credentials | null {
  const match = /^([A-Za-z]+) +([A-Za-z0-9\-._~+/]+=*) *$/.exec(header ?? '');
  if (match === null) return null;
  const [, scheme = '', value = ''] = match;
  switch (scheme.toLowerCase()) {
    case 'bearer':
      return { kind: 'bearer', secret: value };
    case 'basic': {
      const text = decodeText(Buffer.from(value, 'base64'));
      const colon = text.indexOf(':');
      return colon < 0 ? null : { kind: 'basic', user: text.slice(0, colon), secret: text.slice(colon + 1) };
    }
    default:
      return null;
  }
}

/** UTF-8 as asked for; older clients send Latin-1 without asking. */
function decodeText(bytes: Buffer): string {
  try {
    return strict.decode(bytes);
  } catch {
    return bytes.toString('latin1');
  }
}
