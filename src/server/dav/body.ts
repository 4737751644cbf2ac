// Request bodies that are XML or must be empty. Whatever the Content-Type says (clients send none, or a wrong one).

import type { IncomingMessage } from 'node:http';
import { CloudError } from '../../errors.js';
import { parseXml, type XmlElement, type XmlLimits } from '../../remote/wire/xml.js';
import { nativeCalls } from '../native_calls.js';
import { PulledBody } from '../pulled_body.js';
import { bodyCut } from '../request_body.js';
import type { ByteSource } from '../storage/byte_source.js';

/** A whole small body. Throws `too_large` beyond `maxBytes`, `network` when it is cut short. */
export function readBody(req: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const declared = Number(req.headers['content-length'] ?? 0);
  if (declared > maxBytes) return Promise.reject(tooLarge(maxBytes));
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size_bytes = 0;
    // Listeners instead of an iterator: this is the way of every small request.
    const finish = (error: CloudError | null) => {
      req.off('data', onData);
      req.off('end', onEnd);
      req.off('error', onCut);
      req.off('close', onCut);
      if (error !== null) reject(error);
      else resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, size_bytes));
    };
    const onData = (chunk: Buffer) => {
      size_bytes += chunk.length;
      chunks.push(chunk);
      if (size_bytes > maxBytes) finish(tooLarge(maxBytes));
    };
    const onEnd = () => finish(req.complete ? null : bodyCut());
    const onCut = (cause?: unknown) => finish(bodyCut(cause));
    if (req.readableEnded || req.destroyed) {
      finish(req.complete ? null : bodyCut());
      return;
    }
    req.on('data', onData);
    req.on('end', onEnd);
    req.on('error', onCut);
    req.on('close', onCut);
  });
}

/** From here on a body is worth what it takes to pull it. */
const PULLED_FROM_BYTES = 16 << 20;

/** The body for storing. `expected_bytes`: how long it may become, as far as is told; null = it is not. */
export async function contentOf(req: IncomingMessage, expected_bytes: number | null): Promise<ByteSource> {
  if (expected_bytes === null || expected_bytes < PULLED_FROM_BYTES) return bodyOf(req);
  const { 'content-length': length } = req.headers;
  return new PulledBody(req, length === undefined ? null : Number(length), await nativeCalls());
}

/** The body as it arrives. Rejects with `network` when the client breaks off. Who stops reading before its end can still
 * answer: the connection stays. */
export async function* bodyOf(req: IncomingMessage): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of req.iterator({ destroyOnReturn: false })) yield chunk as Buffer;
  } catch (error) {
    throw bodyCut(error);
  }
  if (!req.complete) throw bodyCut();
}

/** Root element of the body, null when there is none (white space counts as none). */
export async function readXml(req: IncomingMessage, limits: XmlLimits): Promise<XmlElement | null> {
  return xmlOf(await readBody(req, limits.maxBytes), limits);
}

export function xmlOf(body: Buffer, limits: XmlLimits): XmlElement | null {
  if (body.length === 0 || body.toString('latin1').trim() === '') return null;
  return parseXml(body, limits);
}

export function hasBody(req: IncomingMessage): boolean {
  const { 'content-length': length, 'transfer-encoding': encoding } = req.headers;
  return encoding !== undefined || (length !== undefined && length !== '0');
}

function tooLarge(maxBytes: number): CloudError {
  return new CloudError('too_large', `reading the request body: at most ${maxBytes} bytes are allowed, found more`);
}
