// One small question to a server, beside what a drive asks it: before there is an account, or about it.

import { Agent, request } from 'undici';
import { CloudError } from '../../errors.js';
import { transportError } from '../../remote/transport_error.js';
import type { TlsMaterial } from './tls_files.js';

export interface ServerAddress {
  /** What the user gave or the account holds. */
  readonly url: string;
  readonly tls: TlsMaterial;
}

export interface Question {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** From the server's own address on; with a slash at its beginning, from its host. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

const TIMEOUT_MS = 15_000;
const MAX_ANSWER_BYTES = 64 * 1024;

/** The answer, whatever its status. Rejects with a CloudError where there is none; `too_large` above 64 KiB. */
export async function askServer(
  { url, tls }: ServerAddress,
  { path, ...question }: Question,
): Promise<{ readonly status: number; readonly body: string }> {
  const agent = new Agent({ connect: { ...tls, timeout: TIMEOUT_MS } });
  try {
    const answer = await request(new URL(path, serverBase(url)), {
      ...question,
      dispatcher: agent,
      headersTimeout: TIMEOUT_MS,
      bodyTimeout: TIMEOUT_MS,
    });
    let body = '';
    for await (const chunk of answer.body.setEncoding('utf8')) {
      body += chunk;
      if (body.length > MAX_ANSWER_BYTES) {
        throw new CloudError('too_large', `asking ${path}: at most ${MAX_ANSWER_BYTES} bytes are expected, found more`);
      }
    }
    return { status: answer.statusCode, body };
  } catch (error) {
    throw error instanceof CloudError ? error : transportError(error, `asking ${path}`);
  } finally {
    await agent.destroy();
  }
}

/** The server's own address out of any of its URLs: what comes before the WebDAV part. Ends in `/`. */
export function serverBase(url: string): string {
  const parsed = new URL(url);
  const path = parsed.pathname.replace(/\/(?:remote\.php|index\.php|public\.php|ocs|dav)(?:\/.*)?$/, '');
  return `${parsed.origin}${path.replace(/\/+$/, '')}/`;
}
