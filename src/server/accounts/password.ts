// Passwords as argon2id hashes (RFC 9106). The parameters are OWASP's second choice (19 MiB, 2 passes, 1 lane), about
// 30 ms here: dear enough for a guesser, cheap enough for a small machine. The hash carries its parameters, so they can
// be raised later without breaking old ones.

import { hash, verify } from '@node-rs/argon2';
import { CloudError } from '../../errors.js';

const PARAMETERS = { memoryCost: 19_456, timeCost: 2, parallelism: 1, outputLen: 32 } as const;

export const PASSWORD_MIN_CHARS = 8;
/** A bound on what one guess can make us hash. */
export const PASSWORD_MAX_BYTES = 1024;

/** Throws `invalid`. Length is the only rule that helps (NIST SP 800-63B section 5.1.1.2). */
export function checkPassword(password: string): string {
  if ([...password].length < PASSWORD_MIN_CHARS) {
    throw new CloudError('invalid', `password: it must have at least ${PASSWORD_MIN_CHARS} characters`);
  }
  if (Buffer.byteLength(password) > PASSWORD_MAX_BYTES) {
    throw new CloudError('invalid', `password: it must not have more than ${PASSWORD_MAX_BYTES} bytes`);
  }
  return password;
}

export function hashPassword(password: string): Promise<string> {
  return hash(normalized(password), PARAMETERS);
}

/** Compares in constant time. A hash that is not argon2 does not match. */
export async function verifyPassword(storedHash: string, password: string): Promise<boolean> {
  if (Buffer.byteLength(password) > PASSWORD_MAX_BYTES) return false;
  try {
    return await verify(storedHash, normalized(password));
  } catch {
    return false;
  }
}

let decoy: Promise<string> | null = null;

/** Costs as much as `verifyPassword` and is always false: for users that do not exist. */
export async function verifyNothing(password: string): Promise<false> {
  decoy ??= hashPassword('no user has this password');
  await verifyPassword(await decoy, password);
  return false;
}

/** The same password typed on a Mac and on Linux (RFC 8265 section 4.2: OpaqueString uses NFC). */
function normalized(password: string): string {
  return password.normalize('NFC');
}
