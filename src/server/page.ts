// Pages for people, in one look: without scripts unless `policy` lets one run, never kept by a browser or a search engine.

import { escapeText } from '../remote/wire/xml.js';
import type { RequestContext } from './http_context.js';
import { sendHtml } from './respond.js';

/** `title` is text, `body` HTML. `policy`: as `sendHtml` has it. */
export function sendPage(context: RequestContext, status: number, title: string, body: string, policy?: string): void {
  const text = escapeText(title);
  context.response.setHeader('Cache-Control', 'no-store');
  context.response.setHeader('X-Robots-Tag', 'noindex, nofollow');
  sendHtml(
    context,
    status,
    `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>${text}</title>` +
      `<style>:root{color-scheme:light dark}body{font:1rem/1.6 system-ui,sans-serif;max-width:48rem;margin:8vh auto;padding:0 1.5rem;overflow-wrap:anywhere}</style>` +
      `</head><body><h1>${text}</h1>${body}</body></html>\n`,
    policy,
  );
}
