// Public links over HTTP: WebDAV at `/public.php/dav/files/TOKEN/` and `/public.php/webdav/` (user name = token), as
// Nextcloud has them, and a plain page at `/s/TOKEN` that needs no script except to take files in.

import type { Name } from '../../ids.js';
import { encodeSegment } from '../../names.js';
import { segmentsOfHref } from '../../remote/wire/href.js';
import { errorBody } from '../../remote/wire/multistatus.js';
import { escapeText } from '../../remote/wire/xml.js';
import { CHALLENGE, parseAuthorization } from '../auth/credentials.js';
import { readBody } from '../dav/body.js';
import type { DavHandler } from '../dav/handler.js';
import { aboutRequest, type RequestContext } from '../http_context.js';
import { sendPage } from '../page.js';
import { sendMethodNotAllowed, sendXml } from '../respond.js';
import type { MetadataStore, NodeRecord } from '../storage/metadata/metadata_store.js';
import { linkVisitor } from '../storage/metadata/share_records.js';
import type { LinkAnswer, OpenLink, PublicLinks } from './public_links.js';
import { CREATE, has, READ } from './rights.js';
import { uploadForm } from './upload_form.js';

const FORM_MAX_BYTES = 8 * 1024;
const PAGE_MEMBERS = 5000;
/** To who wanted to download a file. */
const REFUSED: Readonly<Record<number, string>> = {
  403: 'This link does not let files be downloaded, or has been used as often as it may be.',
  404: 'There is nothing of this name here.',
};
const COOKIE = 'cloudmount-link';

export class PublicFace {
  readonly #links: PublicLinks;
  readonly #dav: DavHandler;
  readonly #metadata: MetadataStore;

  constructor(links: PublicLinks, dav: DavHandler, metadata: MetadataStore) {
    this.#links = links;
    this.#dav = dav;
    this.#metadata = metadata;
  }

  /** False when the address is none of a public link. */
  async handle(context: RequestContext): Promise<boolean> {
    const { segments } = segmentsOfHref(context.path);
    const [first, second, third, fourth] = segments;
    if (first === 's' && second !== undefined) {
      await this.#page(context, second, segments.slice(2) as Name[]);
      return true;
    }
    if (first !== 'public.php') return false;
    if (second === 'dav' && third === 'files' && fourth !== undefined) {
      await this.#webdav(context, fourth, rawBase(context.path, 4));
      return true;
    }
    if (second === 'webdav') {
      const credentials = parseAuthorization(context.request.headers.authorization);
      const token = credentials?.kind === 'basic' ? credentials.user : '';
      await this.#webdav(context, token, rawBase(context.path, 2));
      return true;
    }
    return false;
  }

  async #webdav(context: RequestContext, token: string, base: string): Promise<void> {
    const credentials = parseAuthorization(context.request.headers.authorization);
    const secret = credentials?.kind === 'basic' && credentials.secret !== '' ? credentials.secret : null;
    if (token === '') {
      sendDavError(context, 401, 'The token of the link is required as user name.');
      return;
    }
    const answer = await this.#links.open(token, secret, context.address);
    switch (answer.kind) {
      case 'open':
        await this.#serve(context, answer, base);
        return;
      case 'none':
        sendDavError(context, 404, 'There is no such link, or it has ended.');
        return;
      case 'password':
        sendDavError(context, 401, 'This link needs its password.');
        return;
      case 'throttled':
        context.response.setHeader('Retry-After', String(answer.retryAfter_s));
        sendDavError(context, 429, 'Too many attempts. Try again later.');
    }
  }

  async #serve(
    context: RequestContext,
    { share, node, access }: OpenLink,
    base: string,
    showError?: (status: number) => void,
  ): Promise<void> {
    const { request, response, signal } = context;
    await this.#dav.handle(request, response, {
      principal: { userId: linkVisitor(share.id), displayName: share.label === '' ? 'A public link' : share.label },
      basePath: base,
      rootId: node.id,
      link: access,
      ...(showError === undefined ? {} : { showError }),
      ...aboutRequest(context),
      signal,
    });
  }

  async #page(context: RequestContext, token: string, path: readonly Name[]): Promise<void> {
    const { method, headers } = context.request;
    const isForm = method === 'POST';
    const isUpload = method === 'PUT' && path.length > 0;
    if (method !== 'GET' && method !== 'HEAD' && !isForm && !isUpload) {
      sendMethodNotAllowed(context, `GET, HEAD, POST${path.length === 0 ? '' : ', PUT'}`);
      return;
    }
    const secret = isForm
      ? new URLSearchParams((await readBody(context.request, FORM_MAX_BYTES)).toString('utf8')).get('password')
      : null;
    const answer = await this.#links.open(token, secret, context.address, cookieOf(headers.cookie));
    if (answer.kind !== 'open') {
      this.#sendClosed(context, answer);
      return;
    }
    if (isForm) {
      const secure = context.origin.startsWith('https:') ? '; Secure' : '';
      context.response.setHeader(
        'Set-Cookie',
        `${COOKIE}=${this.#links.passFor(answer.share)}; Path=/s/${encodeSegment(token)}; HttpOnly; SameSite=Strict${secure}`,
      );
      // Where they wanted to go: also to what is in there, by an address that somebody has sent them.
      context.response.writeHead(303, {
        Location: context.origin + hrefUnder(`/s/${encodeSegment(token)}`, path),
        'Content-Length': '0',
      });
      context.response.end();
      return;
    }
    // The pass in the cookie is of the same site only, so no other page can put anything in here in a visitor's name.
    if (isUpload) await this.#serve(context, answer, `/s/${encodeSegment(token)}/`);
    else await this.#sendOpen(context, answer, token, path);
  }

  async #sendOpen(context: RequestContext, open: OpenLink, token: string, path: readonly Name[]): Promise<void> {
    const { share, node: top } = open;
    const mayRead = has(share.granted, READ);
    const found = await this.#metadata.read(async (tx) => {
      const { node } = mayRead || path.length === 0 ? await tx.resolve(top.id, path) : { node: null };
      const members = node?.kind === 'dir' && mayRead ? await tx.children(node, null, PAGE_MEMBERS + 1, 'brief') : [];
      return { node, members };
    });
    const { node, members } = found;
    if (node === null) {
      sendPage(context, 404, 'Not found', '<p>There is nothing of this name here.</p>');
      return;
    }
    const base = `/s/${encodeSegment(token)}`;
    const isDownload = context.query.has('download');
    if (node.kind !== 'dir' && (path.length > 0 || isDownload)) {
      context.response.setHeader('Content-Disposition', `attachment; filename*=UTF-8''${encodeSegment(node.name)}`);
      // Or the browser would save the refusal under the file's name.
      await this.#serve(context, open, `${base}/`, (status) => {
        context.response.removeHeader('Content-Disposition');
        sendPage(
          context,
          status,
          'Not to be had',
          `<p>${REFUSED[status] ?? 'It cannot be read now. Try again later.'}</p>`,
        );
      });
      return;
    }
    const title = share.label === '' ? node.name : share.label;
    const note = share.note === '' ? '' : `<p>${escapeText(share.note)}</p>`;
    if (!mayRead) {
      const form = has(share.granted, CREATE) ? uploadForm(base, false) : null;
      const hint = form === null ? '' : `<p>Files can be put in here; they are not shown.</p>${form.html}`;
      sendPage(context, 200, title, note + hint, form?.policy);
      return;
    }
    const canLoad = !open.access.hideDownload;
    const list =
      node.kind === 'dir'
        ? `<ul>${path.length === 0 ? '' : `<li><a href="${hrefUnder(base, path.slice(0, -1))}">..</a></li>`}${listOf(base, path, members, canLoad)}</ul>`
        : `<p>${canLoad ? `<a href="${base}?download=1">Download</a>` : 'Not for downloading.'} (${node.size_bytes} bytes)</p>`;
    const form = node.kind === 'dir' && has(share.granted, CREATE) ? uploadForm(hrefUnder(base, path), true) : null;
    sendPage(context, 200, title, note + list + (form?.html ?? ''), form?.policy);
  }

  #sendClosed(context: RequestContext, answer: Exclude<LinkAnswer, { readonly kind: 'open' }>): void {
    switch (answer.kind) {
      case 'none':
        sendPage(context, 404, 'Not found', '<p>There is no such link, or it has ended.</p>');
        return;
      case 'throttled':
        context.response.setHeader('Retry-After', String(answer.retryAfter_s));
        sendPage(context, 429, 'Wait a moment', '<p>There were too many attempts. Try again later.</p>');
        return;
      case 'password': {
        const wrong = answer.wrong ? '<p role="alert">This is not the password.</p>' : '';
        sendPage(
          context,
          answer.wrong ? 403 : 401,
          'Password',
          `${wrong}<form method="post"><label>Password of this link <input type="password" name="password" required autofocus></label> <button>Open</button></form>`,
        );
      }
    }
  }
}

function listOf(base: string, path: readonly Name[], members: readonly NodeRecord[], canLoad: boolean): string {
  const items = members.slice(0, PAGE_MEMBERS).map((member) => item(base, path, member, canLoad));
  if (members.length > PAGE_MEMBERS) items.push(`<li>… (more than ${PAGE_MEMBERS}; a WebDAV client shows all)</li>`);
  return items.join('');
}

function item(base: string, path: readonly Name[], member: NodeRecord, canLoad: boolean): string {
  const name = escapeText(member.name + (member.kind === 'dir' ? '/' : ''));
  if (member.kind !== 'dir' && !canLoad) return `<li>${name}</li>`;
  return `<li><a href="${hrefUnder(base, [...path, member.name])}">${name}</a></li>`;
}

function hrefUnder(base: string, path: readonly Name[]): string {
  return path.length === 0 ? base : `${base}/${path.map(encodeSegment).join('/')}`;
}

function sendDavError(context: RequestContext, status: 401 | 404 | 429, message: string): void {
  const exception = status === 401 ? 'Sabre\\DAV\\Exception\\NotAuthenticated' : 'Sabre\\DAV\\Exception\\NotFound';
  const headers: Record<string, string> = status === 401 ? { 'WWW-Authenticate': CHALLENGE } : {};
  sendXml(context, status, errorBody({ exception, message }), headers);
}

function cookieOf(header: string | undefined): string | null {
  for (const part of (header ?? '').split(';')) {
    const [name, value] = part.trim().split('=');
    if (name === COOKIE && value !== undefined) return value;
  }
  return null;
}

/** The first `count` segments of the raw path, slashes at both ends. */
function rawBase(path: string, count: number): string {
  return `/${path.slice(1).split('/').slice(0, count).join('/')}/`;
}
