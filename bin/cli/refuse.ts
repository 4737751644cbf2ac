// Says everything that is missing at once, before anything is started.

import { CommandError, EXIT } from './exit_codes.js';
import type { Finding } from './requirements.js';

export function refuseIfMissing(findings: readonly Finding[]): void {
  const missing = findings.filter((finding) => finding.state === 'missing');
  if (missing.length === 0) return;
  const lines = missing.map((finding) => `  ${finding.found}\n    → ${finding.fix}`);
  throw new CommandError(EXIT.failed, `This machine cannot mount a drive yet:\n${lines.join('\n')}`);
}
