import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { describeAddresses } from '../../../bin/cli/addresses.js';
import { must } from '../../support/processes.js';

async function certificate(names: string): Promise<string> {
  const file = join(await mkdtemp(join(tmpdir(), 'cm-cert-')), 'cert.pem');
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-keyout', '/dev/null'];
  const about = ['-subj', '/CN=test', '-addext', `subjectAltName=${names}`];
  await must('openssl', ['req', '-x509', '-nodes', '-days', '2', ...key, ...about, '-out', file]);
  return file;
}

it.each([
  ['DNS:localhost', 'its certificate has no other name'],
  ['DNS:localhost,DNS:cloud.example.org', 'by a name that its certificate has: https://cloud.example.org:8443'],
  ['DNS:*.example.org', 'by a name that its certificate has'],
])('with a certificate for %s: %s', async (names, said) => {
  expect(describeAddresses('https://localhost:8443', '::', await certificate(names))).toBe(
    `https://localhost:8443, on all addresses of this machine; ${said}`,
  );
});
