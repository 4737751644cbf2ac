// Last line of defence for secrets in logs: whatever a caller passes, fields with a telling name and text that looks
// like a credential are blanked before a line is written.

const SECRET_KEY =
  /^(?:pass(?:word|phrase|wd)?|secret|token|locktoken|credentials?|authorization|cookie|set-cookie|proxy-authorization|api[-_]?key|apppassword|key)$/i;
const MAX_DEPTH = 6;
const BLANK = '[redacted]';

const PATTERNS: readonly [RegExp, string][] = [
  // user:password@ in a URL; the user name may stay
  [/([a-z][a-z0-9+.-]*:\/\/[^\s/:@]*):[^\s/@]*@/gi, `$1:${BLANK}@`],
  [/\b(Basic|Bearer)\s+[A-Za-z0-9+/_=.~-]{6,}/gi, `$1 ${BLANK}`],
  // our app tokens
  [/\bcmt_[A-Za-z0-9_-]{20,}/g, `cmt_${BLANK}`],
  // public links: who has the address has what is shared; logins of devices under way. The beginning of the token tells one
  // from another
  [
    /((?:^|:\/\/[^\s/]*)(?:\/index\.php)?\/(?:s|public\.php\/dav\/files|login\/v2\/flow)\/[\w-]{4})[\w-]{12,60}(?![\w-])/g,
    `$1${BLANK}`,
  ],
  [/((?:^|[?&])(?:password|token|secret|signature|x-amz-signature)=)[^&\s]+/gi, `$1${BLANK}`],
];

/** Without any of these no pattern finds anything: so it is with most texts. */
const SUSPICIOUS = /[@=\s]|cmt_|\/s\/|\/public\.php\/|\/flow\//;

export function redactText(text: string): string {
  if (!SUSPICIOUS.test(text)) return text;
  let out = text;
  for (const [pattern, replacement] of PATTERNS) out = out.replace(pattern, replacement);
  return out;
}

/** A copy fit for the log: secrets blanked, errors spelled out, depth bounded. */
export function redact(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return redactText(value);
  if (typeof value === 'bigint') return value.toString();
  if (typeof value !== 'object' || value === null) return value;
  if (depth >= MAX_DEPTH) return '[deep]';
  if (value instanceof Error) return redactError(value, depth);
  if (value instanceof Date) return value;
  if (Buffer.isBuffer(value) || ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (Array.isArray(value)) return value.map((item) => redact(item, depth + 1));
  if (value instanceof Map) return redact(Object.fromEntries(value), depth);
  const out: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) {
    out[key] = SECRET_KEY.test(key) && isTelling(item) ? BLANK : redact(item, depth + 1);
  }
  return out;
}

/** A flag or a count under a secret's name ("token: true") tells nothing and helps the reader. */
function isTelling(value: unknown): boolean {
  return typeof value === 'string' || (typeof value === 'object' && value !== null);
}

function redactError(error: Error, depth: number): object {
  const { code } = error as NodeJS.ErrnoException;
  return {
    type: error.name,
    message: redactText(error.message),
    ...(code === undefined ? {} : { code }),
    ...('details' in error ? { details: redact(error.details, depth + 1) } : {}),
    ...(error.stack === undefined ? {} : { stack: redactText(error.stack) }),
    ...(error.cause === undefined ? {} : { cause: redact(error.cause, depth + 1) }),
  };
}
