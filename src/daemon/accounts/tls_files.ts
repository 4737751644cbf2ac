// Certificates the user names: further authorities to trust, and a client certificate. There is no way to turn
// verification off.

import { readFile } from 'node:fs/promises';
import { CloudError } from '../../errors.js';

/** Absolute paths of PEM files. */
export interface TlsFiles {
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
}

export interface TlsMaterial {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export async function readTlsFiles(files: TlsFiles): Promise<TlsMaterial> {
  if ((files.certFile === undefined) !== (files.keyFile === undefined)) {
    throw new CloudError('invalid', 'client certificate: a certificate file and a key file are both required');
  }
  return {
    ...(files.caFile === undefined ? {} : { ca: await readPem(files.caFile, 'CERTIFICATE') }),
    ...(files.certFile === undefined ? {} : { cert: await readPem(files.certFile, 'CERTIFICATE') }),
    ...(files.keyFile === undefined ? {} : { key: await readPem(files.keyFile, 'PRIVATE KEY') }),
  };
}

async function readPem(path: string, kind: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch((error: Error) => {
    throw new CloudError('not_found', `reading the PEM file ${path}: ${error.message}`, { cause: error });
  });
  if (!text.includes(`${kind}-----`)) {
    throw new CloudError('invalid', `reading the PEM file ${path}: no "-----BEGIN … ${kind}-----" in it`);
  }
  return text;
}
