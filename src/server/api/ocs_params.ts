// Parameters of an OCS request: of the query, a form, or a JSON object, in this order of precedence from the last to the
// first. Values are text, as PHP would see them.

import { CloudError } from '../../errors.js';
import { readBody } from '../dav/body.js';
import type { RequestContext } from '../http_context.js';

const BODY_MAX_BYTES = 64 * 1024;

export type OcsParams = ReadonlyMap<string, string>;

/** Rejects with `invalid` on a body that cannot be read. */
export async function ocsParams(context: RequestContext): Promise<OcsParams> {
  const out = new Map<string, string>(context.query);
  const { method, headers } = context.request;
  if (method === 'GET' || method === 'HEAD') return out;
  const text = (await readBody(context.request, BODY_MAX_BYTES)).toString('utf8');
  if (text.trim() === '') return out;
  if (/json/i.test(headers['content-type'] ?? '')) {
    for (const [key, value] of Object.entries(parseObject(text))) out.set(key, asText(value));
  } else {
    for (const [key, value] of new URLSearchParams(text)) out.set(key, value);
  }
  return out;
}

function parseObject(text: string): object {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  } catch {
    // Told below, like any other thing that is no object.
  }
  throw new CloudError('invalid', 'reading the request: a JSON object is required');
}

function asText(value: unknown): string {
  if (value === null || value === undefined) return '';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

export function flag(params: OcsParams, name: string): boolean | undefined {
  const value = params.get(name)?.toLowerCase();
  if (value === undefined) return undefined;
  if (['true', '1', 'yes', 'on'].includes(value)) return true;
  if (['false', '0', 'no', 'off', ''].includes(value)) return false;
  throw new CloudError('invalid', `${name}: true or false is required, found ${JSON.stringify(value)}`);
}

export function wholeNumber(params: OcsParams, name: string): number | undefined {
  const value = params.get(name);
  if (value === undefined || value === '') return undefined;
  if (!/^\d{1,15}$/.test(value)) {
    throw new CloudError('invalid', `${name}: a whole number is required, found ${JSON.stringify(value)}`);
  }
  return Number(value);
}
