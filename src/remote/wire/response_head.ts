// The head of an HTTP/1.1 answer, where it is as plain as answers to a GET of a range are.

/** `whole`: the body starts at `bodyAt`. `unfit`: not an answer this reader knows how to take, maybe not even HTTP. */
export type ResponseHead =
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'unfit' }
  | {
      readonly kind: 'whole';
      readonly status: number;
      /** Lower-case names; repeated ones joined with `, `. */
      readonly headers: Readonly<Record<string, string>>;
      readonly bodyAt: number;
    };

const END = Buffer.from('\r\n\r\n');
const LIMIT_bytes = 64 * 1024;
const STATUS_LINE = /^HTTP\/1\.1 ([2-5]\d\d)(?: |$)/;
/** RFC 9110 section 5.6.2 (token), RFC 9112 section 5: no space before the colon, no folded lines. */
const NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+(?=:)/;
const INVALID = /[^\t\x20-\x7e\x80-\xff]/;

/** Strict on purpose: whatever looks unusual is `unfit`, and is asked for again by a reader that knows all of HTTP. */
export function parseResponseHead(bytes: Buffer): ResponseHead {
  const end = bytes.indexOf(END);
  if ((end === -1 ? bytes.length : end) > LIMIT_bytes) return { kind: 'unfit' };
  if (end === -1) return { kind: 'incomplete' };
  const [first = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
  const status = STATUS_LINE.exec(first)?.[1];
  if (status === undefined) return { kind: 'unfit' };
  const headers: Record<string, string> = Object.create(null);
  for (const line of lines) {
    const name = NAME.exec(line)?.[0];
    if (name === undefined || INVALID.test(line)) return { kind: 'unfit' };
    const value = line.slice(name.length + 1).trim();
    const key = name.toLowerCase();
    const before = headers[key];
    headers[key] = before === undefined ? value : `${before}, ${value}`;
  }
  return { kind: 'whole', status: Number(status), headers, bodyAt: end + END.length };
}

/** How long the body is: null where that is not said by one Content-Length alone (RFC 9112 section 6.3). */
export function plainLength(headers: Readonly<Record<string, string>>): number | null {
  const length = headers['content-length'] ?? '';
  if (headers['transfer-encoding'] !== undefined || !/^\d{1,15}$/.test(length)) return null;
  return Number(length);
}
