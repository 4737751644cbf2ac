// Small whole answers. `Content-Length` always, so that keep-alive works and HEAD says what GET would.

import type { RequestContext } from './http_context.js';

type Headers = Readonly<Record<string, string>>;

/** `type` is the Content-Type. */
export function sendBody(
  context: RequestContext,
  status: number,
  type: string,
  body: string,
  headers: Headers = {},
): void {
  const { response } = context;
  const bytes = Buffer.from(body);
  response.writeHead(status, { ...headers, 'Content-Type': type, 'Content-Length': bytes.length });
  response.end(response.req.method === 'HEAD' ? undefined : bytes);
}

export function sendText(context: RequestContext, status: number, text: string, headers: Headers = {}): void {
  sendBody(context, status, 'text/plain; charset=utf-8', text, headers);
}

export function sendJson(context: RequestContext, status: number, value: unknown, headers: Headers = {}): void {
  sendBody(context, status, 'application/json; charset=utf-8', JSON.stringify(value), headers);
}

export function sendXml(context: RequestContext, status: number, xml: string, headers: Headers = {}): void {
  sendBody(context, status, 'application/xml; charset=utf-8', xml, headers);
}

/** A page without scripts, that nobody may frame. */
/** `policy`: what the page may do beyond showing itself, as directives of a Content-Security-Policy. */
export function sendHtml(context: RequestContext, status: number, html: string, policy = ''): void {
  sendBody(context, status, 'text/html; charset=utf-8', html, {
    'Content-Security-Policy': `default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'${policy === '' ? '' : `; ${policy}`}`,
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
  });
}

export function sendEmpty(context: RequestContext, status: number, headers: Headers = {}): void {
  const { response } = context;
  response.writeHead(status, status === 204 || status === 304 ? headers : { ...headers, 'Content-Length': '0' });
  response.end();
}

/** 405 with what would be allowed. */
export function sendMethodNotAllowed(context: RequestContext, allow: string): void {
  sendText(context, 405, `${context.request.method} is not possible here, only ${allow}\n`, { Allow: allow });
}
