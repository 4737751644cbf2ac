// XML in and out. In: saxes with namespaces, as a whole tree (`parseXml`) or as a stream that hands out complete
// elements of one depth (`StreamingXml`), so that a listing of any length needs the memory of one entry. Entities and
// DTDs are refused (nothing to expand, nothing to fetch), depth, size and number of elements are limited. Accepted on
// purpose, because real clients send them: a BOM, white space before the declaration, no declaration, stray text.
// Out: string building. Never a default namespace, so a self-contained element (`writeElement`) can be pasted anywhere.

import { TextDecoder } from 'node:util';
import { SaxesParser, type SaxesTagNS } from 'saxes';
import { CloudError } from '../../errors.js';
import { ROOT_PREFIXES, ROOT_XMLNS, XML_NS, XMLNS_NS, type XmlName } from './ns.js';

export interface XmlAttribute extends XmlName {
  readonly value: string;
  /** As it was written; only a wish when written again. */
  readonly prefix?: string;
}

export interface XmlElement extends XmlName {
  readonly attributes: readonly XmlAttribute[];
  readonly children: readonly (XmlElement | string)[];
  /** As it was written; kept where it can be when written again (RFC 4918 section 4.3). */
  readonly prefix?: string;
}

export interface XmlLimits {
  /** Bytes of one document, or of one handed-out element when streaming (counted by chunks). A namespace counts again with
   * each name in it: it is declared once, and what is made of the names has it as often. */
  readonly maxBytes: number;
  readonly maxDepth: number;
  /** Elements of one document, or of one handed-out element when streaming. */
  readonly maxElements: number;
  /** The same of attributes, declarations of namespaces included. */
  readonly maxAttributes: number;
}

export const REQUEST_LIMITS: XmlLimits = {
  maxBytes: 1 << 20,
  maxDepth: 64,
  maxElements: 20_000,
  maxAttributes: 2000,
};
export const RESPONSE_LIMITS: XmlLimits = {
  maxBytes: 16 << 20,
  maxDepth: 64,
  maxElements: 100_000,
  maxAttributes: 100_000,
};

interface OpenElement {
  ns: string;
  local: string;
  prefix?: string;
  attributes: XmlAttribute[];
  children: (XmlElement | string)[];
}

export interface StreamingXmlOptions {
  /** Depth of the elements handed out; the root is 1. */
  readonly depth: number;
  readonly onElement: (element: XmlElement) => void;
  /** Elements at `depth` for which this is false are parsed but not built. */
  readonly wanted?: (name: XmlName) => boolean;
  /** Called as soon as the root's name is known; throw to refuse the document. */
  readonly onRoot?: (name: XmlName) => void;
  readonly limits?: XmlLimits;
  /** Bytes that are no valid text: refuse the document (default) or read U+FFFD. */
  readonly malformed?: 'refuse' | 'replace';
}

function broken(problem: string, cause?: unknown): CloudError {
  return new CloudError('invalid', `parsing XML: well-formed XML without DTD is required, found: ${problem}`, {
    ...(cause === undefined ? {} : { cause }),
  });
}

function over(limit: string, value: number): CloudError {
  return new CloudError('too_large', `parsing XML: at most ${value} ${limit} are allowed, found more`);
}

/** Feeds saxes and builds elements of one depth. All problems throw CloudError `invalid` or `too_large`. */
export class StreamingXml {
  readonly #options: StreamingXmlOptions;
  readonly #limits: XmlLimits;
  readonly #parser = new SaxesParser({ xmlns: true, position: false });
  readonly #open: OpenElement[] = [];
  #head: Buffer | null = Buffer.alloc(0);
  #decoder: TextDecoder | null = null;
  #started = false;
  #depth = 0;
  #elements = 0;
  #attributes = 0;
  #bytes = 0;

  constructor(options: StreamingXmlOptions) {
    this.#options = options;
    this.#limits = options.limits ?? REQUEST_LIMITS;
    this.#parser.on('opentag', (tag) => this.#onOpen(tag));
    this.#parser.on('closetag', () => this.#onClose());
    this.#parser.on('text', (text) => this.#onText(text));
    this.#parser.on('cdata', (text) => this.#onText(text));
    this.#parser.on('doctype', () => {
      throw broken('a document type declaration');
    });
    this.#parser.on('error', (error) => {
      throw broken(error.message, error);
    });
  }

  write(chunk: Uint8Array | string): void {
    this.#count(chunk.length);
    if (typeof chunk === 'string') {
      this.#feed(chunk);
      return;
    }
    if (this.#head === null) {
      this.#feed(this.#decode(chunk, true));
      return;
    }
    this.#head = Buffer.concat([this.#head, chunk]);
    if (this.#head.length >= 512 || this.#head.includes('>')) this.#startDecoding();
  }

  /** Throws unless the document is complete. */
  end(): void {
    if (this.#head !== null && this.#head.length > 0) this.#startDecoding();
    if (this.#decoder !== null) this.#feed(this.#decode(new Uint8Array(0), false));
    if (!this.#started) throw broken('an empty document');
    this.#parser.close();
    if (this.#depth !== 0) throw broken('a document that ends early');
  }

  #startDecoding(): void {
    const head = this.#head ?? Buffer.alloc(0);
    this.#head = null;
    const label = encodingOf(head);
    try {
      this.#decoder = new TextDecoder(label, { fatal: this.#options.malformed !== 'replace' });
    } catch (error) {
      throw broken(`the unknown character encoding ${JSON.stringify(label)}`, error);
    }
    this.#feed(this.#decode(head, true));
  }

  #decode(bytes: Uint8Array, stream: boolean): string {
    try {
      return this.#decoder?.decode(bytes, { stream }) ?? '';
    } catch (error) {
      throw broken('bytes that are no text in the declared encoding', error);
    }
  }

  #feed(text: string): void {
    let rest = text;
    if (!this.#started) {
      rest = text.replace(/^[\uFEFF\s]+/, '');
      if (rest === '') return;
      this.#started = true;
    }
    if (rest !== '') this.#parser.write(rest);
  }

  #onOpen(tag: SaxesTagNS): void {
    this.#depth += 1;
    this.#elements += 1;
    if (this.#depth > this.#limits.maxDepth) throw over('levels of nesting', this.#limits.maxDepth);
    if (this.#elements > this.#limits.maxElements) throw over('elements', this.#limits.maxElements);
    this.#count(tag.uri.length);
    for (const key in tag.attributes) {
      const uri = tag.attributes[key]?.uri ?? '';
      this.#attributes += 1;
      if (uri !== XMLNS_NS) this.#count(uri.length);
    }
    if (this.#attributes > this.#limits.maxAttributes) throw over('attributes', this.#limits.maxAttributes);
    const name = { ns: tag.uri, local: tag.local };
    if (this.#depth === 1) this.#options.onRoot?.(name);
    const build =
      this.#open.length > 0 || (this.#depth === this.#options.depth && (this.#options.wanted?.(name) ?? true));
    if (!build) return;
    const attributes: XmlAttribute[] = [];
    for (const key in tag.attributes) {
      const attribute = tag.attributes[key];
      if (attribute === undefined || attribute.uri === XMLNS_NS) continue;
      attributes.push({
        ns: attribute.uri,
        local: attribute.local,
        value: attribute.value,
        ...(attribute.prefix === '' ? {} : { prefix: attribute.prefix }),
      });
    }
    const element: OpenElement = { ns: tag.uri, local: tag.local, attributes, children: [] };
    if (tag.prefix !== '') element.prefix = tag.prefix;
    this.#open.push(element);
  }

  #onClose(): void {
    const element = this.#open.pop();
    this.#depth -= 1;
    if (element === undefined) {
      if (this.#depth + 1 === this.#options.depth) this.#reset();
      return;
    }
    const parent = this.#open.at(-1);
    if (parent !== undefined) {
      parent.children.push(element);
      return;
    }
    this.#reset();
    this.#options.onElement(element);
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes > this.#limits.maxBytes) throw over('bytes', this.#limits.maxBytes);
  }

  #reset(): void {
    this.#elements = 0;
    this.#attributes = 0;
    this.#bytes = 0;
  }

  #onText(text: string): void {
    const parent = this.#open.at(-1);
    if (parent === undefined) return;
    const last = parent.children.length - 1;
    const before = parent.children[last];
    if (typeof before === 'string') parent.children[last] = before + text;
    else if (text !== '') parent.children.push(text);
  }
}

/** Character encoding by byte order mark, else by declaration, else UTF-8 (XML 1.0 appendix F). */
function encodingOf(head: Buffer): string {
  if (head[0] === 0xff && head[1] === 0xfe) return 'utf-16le';
  if (head[0] === 0xfe && head[1] === 0xff) return 'utf-16be';
  if (head[0] === 0x3c && head[1] === 0) return 'utf-16le';
  if (head[0] === 0 && head[1] === 0x3c) return 'utf-16be';
  const declared = /^\s*<\?xml[^>]*?\sencoding\s*=\s*["']([^"'<>]*)["']/.exec(
    head.toString('latin1').slice(0, 512),
  )?.[1];
  // Bytes that begin with an ASCII declaration are no UTF-16, whatever it says.
  return declared === undefined || /^(ucs-?2|utf-?16)/i.test(declared) ? 'utf-8' : declared;
}

/** The whole document as its root element. Throws CloudError `invalid` or `too_large`. */
export function parseXml(document: Uint8Array | string, limits: XmlLimits = REQUEST_LIMITS): XmlElement {
  let root: XmlElement | null = null;
  const parser = new StreamingXml({
    depth: 1,
    limits,
    onElement: (element) => {
      root = element;
    },
  });
  parser.write(document);
  parser.end();
  if (root === null) throw broken('a document without a root element');
  return root;
}

// --- reading a tree

export function isElement(node: XmlElement | string): node is XmlElement {
  return typeof node !== 'string';
}

export function isNamed(node: XmlElement | string, ns: string, local: string): node is XmlElement {
  return typeof node !== 'string' && node.local === local && node.ns === ns;
}

/** First child element of that name. */
export function childOf(parent: XmlElement, ns: string, local: string): XmlElement | null {
  for (const node of parent.children) if (isNamed(node, ns, local)) return node;
  return null;
}

export function childrenOf(parent: XmlElement, ns: string, local: string): XmlElement[] {
  return parent.children.filter((node): node is XmlElement => isNamed(node, ns, local));
}

export function elementsOf(parent: XmlElement): XmlElement[] {
  return parent.children.filter(isElement);
}

/** All text below, in document order, as it is (not trimmed). */
export function textOf(element: XmlElement): string {
  const only = element.children[0];
  if (element.children.length === 1 && typeof only === 'string') return only;
  let out = '';
  for (const node of element.children) out += typeof node === 'string' ? node : textOf(node);
  return out;
}

export function attributeOf(element: XmlElement, ns: string, local: string): string | null {
  return element.attributes.find((attribute) => attribute.local === local && attribute.ns === ns)?.value ?? null;
}

/** A property takes the `xml:lang` in scope with it when it is stored (RFC 4918 section 4.3). `ancestors`: inner first. */
export function withInheritedLang(element: XmlElement, ancestors: readonly XmlElement[]): XmlElement {
  if (attributeOf(element, XML_NS, 'lang') !== null) return element;
  for (const ancestor of ancestors) {
    const value = attributeOf(ancestor, XML_NS, 'lang');
    if (value !== null) {
      return { ...element, attributes: [...element.attributes, { ns: XML_NS, local: 'lang', prefix: 'xml', value }] };
    }
  }
  return element;
}

export function element(ns: string, local: string, children: readonly (XmlElement | string)[] = []): XmlElement {
  return { ns, local, attributes: [], children };
}

// --- writing

// What XML 1.0 cannot carry in any form (section 2.2): written as U+FFFD. Nothing that must be exact depends on it:
// names travel percent-encoded in hrefs, xattrs as base64. CR would be normalised away, hence a reference.
const TEXT_SPECIAL = /[<>&\r\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g;
const ATTRIBUTE_SPECIAL = /[<>&"\t\n\r\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g;
const SPECIAL: Readonly<Record<string, string>> = {
  '<': '&lt;',
  '>': '&gt;',
  '&': '&amp;',
  '"': '&quot;',
  '\t': '&#9;',
  '\n': '&#10;',
  '\r': '&#13;',
};

export function escapeText(text: string): string {
  const safe = text.isWellFormed() ? text : text.toWellFormed();
  return safe.replace(TEXT_SPECIAL, (char) => SPECIAL[char] ?? '\ufffd');
}

export function escapeAttribute(text: string): string {
  const safe = text.isWellFormed() ? text : text.toWellFormed();
  return safe.replace(ATTRIBUTE_SPECIAL, (char) => SPECIAL[char] ?? '\ufffd');
}

export const XML_DECLARATION = '<?xml version="1.0" encoding="utf-8"?>\n';

/** What is declared: each namespace under one prefix, and no prefix twice. */
interface Scope {
  /** Prefix -> namespace. */
  readonly namespaces: ReadonlyMap<string, string>;
  /** Namespace -> prefix. */
  readonly prefixes: ReadonlyMap<string, string>;
}

const EMPTY_SCOPE: Scope = { namespaces: new Map(), prefixes: new Map() };
const ROOT_SCOPE: Scope = {
  namespaces: new Map([...ROOT_PREFIXES].map(([ns, prefix]) => [prefix, ns])),
  prefixes: ROOT_PREFIXES,
};

/** The element as text that needs nothing from around it: every prefix is declared inside. May be stored and pasted into
 * any document that has no default namespace (ours never have). */
export function writeElement(node: XmlElement): string {
  return write(node, EMPTY_SCOPE);
}

/** The element as text inside a document whose root declares `ROOT_XMLNS`. */
export function writeInDocument(node: XmlElement): string {
  return write(node, ROOT_SCOPE);
}

/** A whole document. */
export function writeDocument(root: XmlElement): string {
  const inner = writeInDocument(root);
  const end = /^<[^\s/>]+/.exec(inner)?.[0].length ?? 0;
  return XML_DECLARATION + inner.slice(0, end) + ROOT_XMLNS + inner.slice(end);
}

function write(node: XmlElement, outer: Scope): string {
  let scope = outer;
  // Of this element, once it declares something.
  let own: { readonly namespaces: Map<string, string>; readonly prefixes: Map<string, string> } | null = null;
  let declarations = '';
  const prefixFor = (name: XmlName & { readonly prefix?: string }): string => {
    if (name.ns === XML_NS) return 'xml:';
    const known = scope.prefixes.get(name.ns);
    if (known !== undefined) return `${known}:`;
    const wish = name.prefix;
    let prefix = wish !== undefined && wish !== '' && !scope.namespaces.has(wish) ? wish : '';
    for (let i = 1; prefix === ''; i++) if (!scope.namespaces.has(`x${i}`)) prefix = `x${i}`;
    scope = own ??= { namespaces: new Map(scope.namespaces), prefixes: new Map(scope.prefixes) };
    own.namespaces.set(prefix, name.ns);
    own.prefixes.set(name.ns, prefix);
    declarations += ` xmlns:${prefix}="${escapeAttribute(name.ns)}"`;
    return `${prefix}:`;
  };
  const tag = (node.ns === '' ? '' : prefixFor(node)) + node.local;
  let attributes = '';
  for (const attribute of node.attributes) {
    const prefix = attribute.ns === '' ? '' : prefixFor(attribute);
    attributes += ` ${prefix}${attribute.local}="${escapeAttribute(attribute.value)}"`;
  }
  if (node.children.length === 0) return `<${tag}${declarations}${attributes}/>`;
  let out = `<${tag}${declarations}${attributes}>`;
  for (const child of node.children) out += typeof child === 'string' ? escapeText(child) : write(child, scope);
  return `${out}</${tag}>`;
}
