// Multistatus bodies (RFC 4918 sections 13 and 14, RFC 6578 for the sync token). Writing: one string per response, so
// that a listing streams. Reading: fed with chunks, hands out each response when it is complete. A response keeps every
// propstat with its status; a property counts as present only from a 2xx one, wherever in the response that stands.

import { isAscii } from 'node:buffer';
import { STATUS_CODES } from 'node:http';
import { StringDecoder } from 'node:string_decoder';
import { CloudError } from '../../errors.js';
import { CM, DAV, ROOT_PREFIXES, ROOT_XMLNS, type XmlName } from './ns.js';
import { PlainXml, Surprise } from './plain_xml.js';
import {
  childOf,
  childrenOf,
  elementsOf,
  escapeText,
  isNamed,
  RESPONSE_LIMITS,
  StreamingXml,
  textOf,
  writeElement,
  XML_DECLARATION,
  type XmlElement,
  type XmlLimits,
} from './xml.js';

// --- writing

export const MULTISTATUS_TYPE = 'application/xml; charset=utf-8';
export const MULTISTATUS_START = `${XML_DECLARATION}<d:multistatus${ROOT_XMLNS}>`;

/** End of the document; `syncToken` as RFC 6578 section 6.2 wants it. */
export function multistatusEnd(syncToken?: string): string {
  return syncToken === undefined
    ? '</d:multistatus>'
    : `<d:sync-token>${escapeText(syncToken)}</d:sync-token></d:multistatus>`;
}

export function statusElement(status: number): string {
  return `<d:status>HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}</d:status>`;
}

/** Tag name of `name` in a document that declares ROOT_XMLNS, with the declaration it still needs. */
function tagOf(name: XmlName): { tag: string; xmlns: string } {
  if (name.ns === '') return { tag: name.local, xmlns: '' };
  const prefix = ROOT_PREFIXES.get(name.ns);
  if (prefix !== undefined) return { tag: `${prefix}:${name.local}`, xmlns: '' };
  return { tag: `x:${name.local}`, xmlns: ` xmlns:x="${escapeText(name.ns).replaceAll('"', '&quot;')}"` };
}

/** A property with text inside, for a document that declares ROOT_XMLNS. */
export function textProperty(name: XmlName, text: string): string {
  const { tag, xmlns } = tagOf(name);
  return text === '' ? `<${tag}${xmlns}/>` : `<${tag}${xmlns}>${escapeText(text)}</${tag}>`;
}

/** An empty property element: a name in a 404 propstat or in a propname answer. */
export function emptyProperty(name: XmlName): string {
  const { tag, xmlns } = tagOf(name);
  return `<${tag}${xmlns}/>`;
}

/** A property whose inside is XML text already written (by this module or `writeElement`). */
export function rawProperty(name: XmlName, inner: string): string {
  const { tag, xmlns } = tagOf(name);
  return inner === '' ? `<${tag}${xmlns}/>` : `<${tag}${xmlns}>${inner}</${tag}>`;
}

export interface PropstatOut {
  readonly status: number;
  /** Property elements, already written. */
  readonly props: readonly string[];
  /** Precondition/postcondition element, already written, e.g. `<d:cannot-modify-protected-property/>`. */
  readonly error?: string;
  readonly description?: string;
}

/** `<d:response>` with propstats. `href` is percent-encoded already. Propstats without properties are left out unless it
 * is the only one (a response needs one). */
export function propResponse(href: string, propstats: readonly PropstatOut[]): string {
  let out = `<d:response><d:href>${escapeText(href)}</d:href>`;
  const used = propstats.filter((propstat) => propstat.props.length > 0);
  for (const propstat of used.length > 0 ? used : [{ status: 200, props: [] }]) out += propstatElement(propstat);
  return `${out}</d:response>`;
}

function propstatElement(propstat: PropstatOut): string {
  let out = '<d:propstat><d:prop>';
  for (const prop of propstat.props) out += prop;
  out += `</d:prop>${statusElement(propstat.status)}`;
  if (propstat.error !== undefined) out += `<d:error>${propstat.error}</d:error>`;
  if (propstat.description !== undefined) {
    out += `<d:responsedescription>${escapeText(propstat.description)}</d:responsedescription>`;
  }
  return `${out}</d:propstat>`;
}

/** `<d:response>` with a status for the whole resource (errors below a collection, what is gone, 507 of a report). */
export function statusResponse(
  href: string | readonly string[],
  status: number,
  detail: { readonly error?: string; readonly description?: string } = {},
): string {
  let out = '<d:response>';
  for (const one of typeof href === 'string' ? [href] : href) out += `<d:href>${escapeText(one)}</d:href>`;
  out += statusElement(status);
  if (detail.error !== undefined) out += `<d:error>${detail.error}</d:error>`;
  if (detail.description !== undefined) {
    out += `<d:responsedescription>${escapeText(detail.description)}</d:responsedescription>`;
  }
  return `${out}</d:response>`;
}

/** Body of an error answer: `<d:error>` with the condition (RFC 4918 section 16) and sabre's message for people. */
export function errorBody(detail: {
  readonly condition?: string | XmlElement;
  readonly exception?: string;
  readonly message?: string;
}): string {
  let inner = '';
  if (detail.exception !== undefined) inner += `<s:exception>${escapeText(detail.exception)}</s:exception>`;
  if (detail.message !== undefined) inner += `<s:message>${escapeText(detail.message)}</s:message>`;
  if (detail.condition !== undefined) {
    inner += typeof detail.condition === 'string' ? detail.condition : writeElement(detail.condition);
  }
  return `${XML_DECLARATION}<d:error${ROOT_XMLNS}>${inner}</d:error>`;
}

// --- reading

export interface Propstat {
  readonly status: number;
  readonly props: readonly XmlElement[];
  /** Children of `<error>`. */
  readonly error: readonly XmlElement[];
  readonly description: string | null;
}

export interface MultistatusResponse {
  /** As sent; more than one only together with `status`. */
  readonly hrefs: readonly string[];
  /** Status of the whole resource, null when there are propstats. */
  readonly status: number | null;
  readonly propstats: readonly Propstat[];
  readonly error: readonly XmlElement[];
  readonly description: string | null;
  /** Of an answer that has nothing but `cm:brief`: what that says. */
  readonly brief?: string;
}

const NONE = [] as const;

/** What our server writes of a file or folder that it tells in brief. */
const BRIEF_RESPONSE = [
  '<d:response><d:href>',
  '</d:href><d:propstat><d:prop><cm:brief>',
  `</cm:brief></d:prop>${statusElement(200)}</d:propstat></d:response>`,
] as const;

/** Infinite Scale says so of all properties of a file that it still looks through (for viruses, say): they are right. */
const TOO_EARLY = 425;

/** The property from whichever propstat says 2xx. */
export function propertyOf(response: MultistatusResponse, ns: string, local: string): XmlElement | null {
  for (const propstat of response.propstats) {
    if ((propstat.status < 200 || propstat.status > 299) && propstat.status !== TOO_EARLY) continue;
    for (const prop of propstat.props) if (prop.local === local && prop.ns === ns) return prop;
  }
  return null;
}

/** Trimmed text of the property, null when it is not there. */
export function propertyText(response: MultistatusResponse, ns: string, local: string): string | null {
  const property = propertyOf(response, ns, local);
  return property === null ? null : textOf(property).trim();
}

function protocol(problem: string, cause?: unknown): CloudError {
  return new CloudError('protocol', `reading a multistatus answer: ${problem}`, {
    ...(cause === undefined ? {} : { cause }),
  });
}

/** `HTTP/1.1 404 Not Found` -> 404. Throws `protocol`. */
export function parseStatusLine(line: string): number {
  const status = /^\s*HTTP\/\d+(?:\.\d+)?\s+([1-5]\d\d)(?:\s|$)/i.exec(line)?.[1];
  if (status === undefined) throw protocol(`a status line is required, found ${JSON.stringify(line.slice(0, 80))}`);
  return Number(status);
}

function statusOf(parent: XmlElement): number | null {
  const status = childOf(parent, DAV, 'status');
  return status === null ? null : parseStatusLine(textOf(status));
}

function descriptionOf(parent: XmlElement): string | null {
  const description = childOf(parent, DAV, 'responsedescription');
  return description === null ? null : textOf(description).trim();
}

function errorOf(parent: XmlElement): readonly XmlElement[] {
  const error = childOf(parent, DAV, 'error');
  return error === null ? [] : elementsOf(error);
}

/** `<response>` -> its parts. Throws `protocol` on what RFC 4918 section 14.24 does not allow. */
export function readResponse(response: XmlElement): MultistatusResponse {
  const hrefs = childrenOf(response, DAV, 'href').map((href) => textOf(href).trim());
  if (hrefs.length === 0) throw protocol('a response needs an href, found none');
  const propstats = childrenOf(response, DAV, 'propstat').map((propstat): Propstat => {
    const status = statusOf(propstat);
    if (status === null) throw protocol(`a propstat of ${hrefs[0]} has no status`);
    const prop = childOf(propstat, DAV, 'prop');
    return {
      status,
      props: prop === null ? [] : elementsOf(prop),
      error: errorOf(propstat),
      description: descriptionOf(propstat),
    };
  });
  const status = statusOf(response);
  if (status === null && propstats.length === 0) throw protocol(`the response for ${hrefs[0]} has no status`);
  return { hrefs, status, propstats, error: errorOf(response), description: descriptionOf(response) };
}

/** Fed with the body, gives back the responses each chunk completes. Throws `protocol` on anything that is no complete
 * multistatus document: a listing is whole or it is an error. */
export class MultistatusReader {
  readonly #limits: XmlLimits;
  readonly #xml: StreamingXml;
  readonly #decoder = new StringDecoder('utf8');
  /** How far the document is known: `bytes` = its encoding is the general parser's matter, `text` = UTF-8 that is not
   * plain. */
  #mode: 'plain' | 'text' | 'bytes' = 'plain';
  readonly #plain: PlainXml;
  /** The first chunks, until the document's head has told its encoding. */
  #head: Uint8Array[] | null = [];
  /** A chunk ended within a character. */
  #isCut = false;
  #ready: MultistatusResponse[] = [];
  #syncToken: string | null = null;

  constructor(limits: XmlLimits = RESPONSE_LIMITS) {
    this.#limits = limits;
    this.#plain = new PlainXml(limits);
    this.#xml = new StreamingXml({
      depth: 2,
      limits,
      malformed: 'replace',
      wanted: isWanted,
      onRoot: demandMultistatus,
      onElement: (element) => this.#onElement(element),
    });
  }

  write(chunk: Uint8Array): readonly MultistatusResponse[] {
    return this.#guarded(() => {
      if (this.#mode === 'bytes') this.#xml.write(chunk);
      else {
        this.#head?.push(chunk);
        this.#text(this.#decode(chunk), false);
      }
    });
  }

  /** What is left, and the sync token if the document had one. */
  end(): { readonly responses: readonly MultistatusResponse[]; readonly syncToken: string | null } {
    const responses = this.#guarded(() => {
      if (this.#mode !== 'bytes') this.#text(this.#decoder.end(), true);
      if (this.#mode === 'plain' && !this.#plain.isEnded) this.#general();
      if (this.#mode !== 'plain') this.#xml.end();
    });
    return { responses, syncToken: this.#syncToken };
  }

  #decode(chunk: Uint8Array): string {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    if (!this.#isCut && isAscii(chunk)) return bytes.toString('latin1');
    const text = this.#decoder.write(bytes);
    this.#isCut = ((chunk.at(-1) ?? 0) & 0x80) !== 0;
    return text;
  }

  #text(text: string, isLast: boolean): void {
    if (this.#mode === 'text') {
      this.#xml.write(text);
      return;
    }
    try {
      this.#plain.add(text);
      for (;;) {
        this.#briefOnes();
        const element = this.#plain.next(isLast);
        if (this.#head !== null && this.#plain.root !== null) {
          demandMultistatus(this.#plain.root);
          this.#head = null; // from here on nothing is read twice
        }
        if (element === null) break;
        if (isWanted(element)) this.#onElement(element);
      }
    } catch (error) {
      if (!(error instanceof Surprise)) throw error;
      this.#general();
      return;
    }
    if (this.#plain.waiting > this.#limits.maxBytes) this.#general();
  }

  /** A tree of many thousands is nearly all of these: their text is known, so that no elements need be made of it. */
  #briefOnes(): void {
    if (this.#head !== null || this.#plain.namespaceOf('d') !== DAV || this.#plain.namespaceOf('cm') !== CM) return;
    for (;;) {
      const texts = this.#plain.filled(BRIEF_RESPONSE);
      if (texts === null) return;
      const href = (texts[0] as string).trim();
      const brief = (texts[1] as string).trim();
      this.#ready.push({ hrefs: [href], status: null, propstats: NONE, error: NONE, description: null, brief });
    }
  }

  /** From here on the general parser reads. */
  #general(): void {
    if (this.#head === null) {
      this.#mode = 'text';
      this.#xml.write(this.#plain.rest);
    } else {
      this.#mode = 'bytes';
      for (const chunk of this.#head) this.#xml.write(chunk);
      this.#head = null;
    }
  }

  #onElement(element: XmlElement): void {
    if (isNamed(element, DAV, 'response')) this.#ready.push(readResponse(element));
    else this.#syncToken = textOf(element).trim();
  }

  /** Runs `read`; answers what it completed. */
  #guarded(read: () => void): readonly MultistatusResponse[] {
    try {
      read();
    } catch (error) {
      throw error instanceof CloudError && error.code !== 'protocol' ? protocol(error.message, error) : error;
    }
    if (this.#ready.length === 0) return [];
    const ready = this.#ready;
    this.#ready = [];
    return ready;
  }
}

function isWanted(name: XmlName): boolean {
  return name.ns === DAV && (name.local === 'response' || name.local === 'sync-token');
}

function demandMultistatus(root: XmlName): void {
  if (root.ns !== DAV || root.local !== 'multistatus') {
    throw protocol(`the root element must be {DAV:}multistatus, found {${root.ns}}${root.local}`);
  }
}
