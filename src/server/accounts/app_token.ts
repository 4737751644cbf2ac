// App tokens: 256 random bits behind a prefix that tells them from passwords (and lets secret scanners find them).
// Stored as their SHA-256: with that much randomness a slow hash adds nothing, and a fast one can be checked per request.

import { createHash, randomBytes } from 'node:crypto';
import { CloudError } from '../../errors.js';

const SHAPE = /^cmt_[A-Za-z0-9_-]{43}$/;
const LABEL_MAX_CHARS = 100;

export function newTokenSecret(): string {
  return `cmt_${randomBytes(32).toString('base64url')}`;
}

export function looksLikeToken(secret: string): boolean {
  return SHAPE.test(secret);
}

export function tokenHash(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

/** Throws `invalid`. */
export function checkTokenLabel(label: string): string {
  const trimmed = label.trim();
  if (trimmed === '' || [...trimmed].length > LABEL_MAX_CHARS || /\p{Cc}/u.test(trimmed)) {
    throw new CloudError(
      'invalid',
      `token label ${JSON.stringify(label)}: it must have 1 to ${LABEL_MAX_CHARS} characters, none of them a control character`,
    );
  }
  return trimmed;
}
