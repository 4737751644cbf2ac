// The name under which something steps aside on the server for a moment, where names change places.

import { randomBytes } from 'node:crypto';
import type { Name } from '../ids.js';

const PREFIX = '.cloudmount-swap-';

/** One that no other device takes: it may be in the middle of the same. */
export function asideName(): Name {
  return `${PREFIX}${randomBytes(6).toString('hex')}` as Name;
}

/** It says nothing to anybody: what has it is on its way to another. */
export function isAsideName(name: Name): boolean {
  return name.startsWith(PREFIX);
}
