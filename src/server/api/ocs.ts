// OCS envelopes (Open Collaboration Services), v1 and v2, as JSON or XML. v1 says 100 for success and always answers
// HTTP 200 except for 401; v2 says what HTTP says.

import { element, writeDocument, type XmlElement } from '../../remote/wire/xml.js';
import type { RequestContext } from '../http_context.js';
import { sendJson, sendXml } from '../respond.js';

export interface OcsAnswer {
  /** HTTP status; success is 200. */
  readonly status: number;
  readonly message?: string;
  readonly data: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

export type OcsVersion = 1 | 2;

export function sendOcs(context: RequestContext, version: OcsVersion, answer: OcsAnswer): void {
  const ok = answer.status < 300;
  const statuscode = version === 1 && ok ? 100 : answer.status === 401 ? 997 : answer.status;
  const meta = { status: ok ? 'ok' : 'failure', statuscode, message: answer.message ?? (ok ? 'OK' : null) };
  const status = version === 1 && answer.status !== 401 ? 200 : answer.status;
  if (wantsJson(context)) sendJson(context, status, { ocs: { meta, data: answer.data } }, answer.headers);
  else sendXml(context, status, writeDocument(ocsElement('ocs', { meta, data: answer.data })), answer.headers);
}

function wantsJson(context: RequestContext): boolean {
  const format = context.query.get('format');
  if (format !== null) return format === 'json';
  return context.request.headers.accept?.includes('json') === true;
}

/** Objects become elements by key, lists repeat `<element>`, false and null are empty, true is 1 (as PHP prints them). */
function ocsElement(name: string, value: unknown): XmlElement {
  if (Array.isArray(value)) {
    return element(
      '',
      name,
      value.map((item) => ocsElement('element', item)),
    );
  }
  if (typeof value === 'object' && value !== null) {
    return element(
      '',
      name,
      Object.entries(value).map(([key, item]) => ocsElement(key, item)),
    );
  }
  if (value === null || value === undefined || value === false) return element('', name);
  return element('', name, [value === true ? '1' : String(value)]);
}
