// Depth header (RFC 4918 section 10.2) and Overwrite header (section 10.6).

import { CloudError } from '../../errors.js';

export type Depth = 0 | 1 | 'infinity';

/** Throws `invalid` on another value than 0, 1, infinity. */
export function parseDepth(header: string | undefined, fallback: Depth): Depth {
  if (header === undefined) return fallback;
  const value = header.trim().toLowerCase();
  if (value === '0') return 0;
  if (value === '1' || value === '1,noroot') return 1;
  if (value === 'infinity') return 'infinity';
  throw new CloudError(
    'invalid',
    `reading the Depth header: 0, 1 or infinity is required, found ${JSON.stringify(header)}`,
  );
}

/** May the destination be replaced? Absent means yes. Throws `invalid`. */
export function parseOverwrite(header: string | undefined): boolean {
  const value = header?.trim().toUpperCase() ?? 'T';
  if (value === 'T') return true;
  if (value === 'F') return false;
  throw new CloudError('invalid', `reading the Overwrite header: T or F is required, found ${JSON.stringify(header)}`);
}
