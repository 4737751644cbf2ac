// The XML that servers really write in listings: elements, attributes and text in UTF-8, nothing else. Read by scanning
// for the next bracket instead of character by character, which a listing of thousands of entries needs. Whatever is not
// certainly plain and well-formed (comments, CDATA, processing instructions, odd names, an end tag that does not fit) is
// no error here but a `Surprise`: the general parser judges the document from the last whole element on.

import { XML_NS, XMLNS_NS, type XmlName } from './ns.js';
import type { XmlAttribute, XmlElement } from './xml.js';

/** Not plain: to be read by the general parser. */
export class Surprise extends Error {}

interface Scope {
  /** Prefix -> namespace; the default namespace under ''. */
  readonly namespaces: ReadonlyMap<string, string>;
  readonly names: Map<string, PlainName>;
  /** By the text of the attributes: a listing repeats the same few. */
  readonly inner: Map<string, Inner>;
}

interface PlainName extends XmlName {
  readonly prefix: string;
}

interface Inner {
  readonly scope: Scope;
  readonly attributes: readonly XmlAttribute[];
}

const NO_ATTRIBUTES: readonly XmlAttribute[] = [];
const NO_CHILDREN: readonly (XmlElement | string)[] = [];
const MAX_DEPTH = 32;
const REMEMBERED = 64;

const GT = 0x3e;
const SLASH = 0x2f;
const NAME = /^[A-Za-z_][A-Za-z0-9_.-]*(?::[A-Za-z_][A-Za-z0-9_.-]*)?$/;
const ATTRIBUTE = /\s+([A-Za-z_][A-Za-z0-9_.:-]*)=(?:"([^"<]*)"|'([^'<]*)')/y;
const DECLARATION =
  /^\ufeff?\s*(?:<\?xml\s+version\s*=\s*(["'])1\.0\1(?:\s+encoding\s*=\s*(["'])([A-Za-z0-9._-]+)\2)?(?:\s+standalone\s*=\s*(["'])(?:yes|no)\4)?\s*\?>\s*)?/;
const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };
const REFERENCE = /&(?:(lt|gt|amp|quot|apos)|#(\d{1,7})|#x([0-9A-Fa-f]{1,6}));|&/g;
/** Characters that XML 1.0 does not allow, and the line ends that it would normalise. Surrogates are odd only alone. */
const ODD = /[\0-\x08\x0b-\x1f\ufffe\uffff]/;
/** From here on an element is not tried again before as much more of it has come. */
const LONG_CHARS = 65_536;

/** The children of a document's root, one by one, out of text that comes in pieces. */
export class PlainXml {
  readonly #maxElements: number;
  /** What is not read yet, from `#at` on. */
  #text = '';
  #at = 0;
  /** Everything up to and including the start tag of the root. */
  #head: string | null = null;
  #root: PlainName | null = null;
  #rootTag = '';
  #scope: Scope = scopeOf(new Map([['xml', XML_NS]]));
  #ended = false;
  #elements = 0;
  /** How much text is worth another try: a long element is not read again with each piece of it. */
  #patience = 0;

  constructor(limits: { readonly maxElements: number }) {
    this.#maxElements = limits.maxElements;
  }

  /** Name of the root once its start tag has come. */
  get root(): XmlName | null {
    return this.#root;
  }

  get isEnded(): boolean {
    return this.#ended;
  }

  /** What the general parser has to be told to go on from here: the head of the document and all that was not handed
   * out. */
  get rest(): string {
    return (this.#head ?? '') + this.#text.slice(this.#at);
  }

  /** Characters that wait for the end of their element. */
  get waiting(): number {
    return this.#text.length - this.#at;
  }

  /** Takes more text; `next` then gives what is complete. Throws `Surprise` on characters that are not plain. */
  add(text: string): void {
    this.#text = this.#at === 0 ? this.#text + text : this.#text.slice(this.#at) + text;
    this.#at = 0;
    if (ODD.test(text) || !text.isWellFormed()) throw new Surprise();
  }

  /** The next whole child of the root, null when more text is needed (or the document has ended). Throws `Surprise`;
   * then nothing of that child is taken. */
  next(atEnd = false): XmlElement | null {
    if (this.#head === null && !this.#begin()) return null;
    if (!atEnd && this.waiting < this.#patience) return null;
    const begun = this.#skipText();
    if (begun < 0) return null;
    this.#at = begun;
    if (this.#ended) return null;
    this.#elements = 0;
    let element: XmlElement | null = null;
    try {
      element = this.#element(this.#scope, 0);
    } finally {
      if (element === null) this.#at = begun;
    }
    this.#patience = element === null && this.waiting > LONG_CHARS ? this.waiting * 2 : 0;
    return element;
  }

  /** What a prefix of the root means, null when it means nothing. */
  namespaceOf(prefix: string): string | null {
    return this.#scope.namespaces.get(prefix) ?? null;
  }

  /** The next child of the root, if it stands right here, is whole, and consists of the pieces of `form` (elements as
   * they are written) with plain text between them: these texts. Null, and nothing taken, if not. */
  filled(form: readonly string[]): readonly string[] | null {
    const text = this.#text;
    if (this.#head === null || this.#ended) return null;
    const texts: string[] = [];
    let at = this.#at;
    for (let i = 0; i < form.length; i += 1) {
      const piece = form[i] as string;
      if (i > 0) {
        const end = text.indexOf('<', at);
        if (end < 0) return null;
        const between = text.slice(at, end);
        if (between.includes('&') || between.includes('>')) return null;
        texts.push(between);
        at = end;
      }
      if (!text.startsWith(piece, at)) return null;
      at += piece.length;
    }
    this.#at = at;
    return texts;
  }

  /** Reads the declaration and the root's start tag; false when more text is needed. */
  #begin(): boolean {
    const text = this.#text;
    const declaration = DECLARATION.exec(text);
    const start = declaration?.[0].length ?? 0;
    const encoding = declaration?.[3];
    if (encoding !== undefined && !/^utf-?8$/i.test(encoding)) throw new Surprise();
    if (start === text.length) return false;
    const end = text.indexOf('>', start);
    if (end < 0) {
      if (text.length > 16_384) throw new Surprise();
      return false;
    }
    const tag = /^<([A-Za-z0-9_.:-]+)((?:\s[^<>]*)?)>$/.exec(text.slice(start, end + 1));
    const [, raw = '', attributes = ''] = tag ?? [];
    if (tag === null || attributes.endsWith('/')) throw new Surprise();
    const scope = attributes === '' ? this.#scope : this.#inside(this.#scope, attributes.trimEnd()).scope;
    this.#root = nameIn(scope, raw);
    this.#rootTag = raw;
    this.#scope = scope;
    this.#head = text.slice(0, end + 1);
    this.#at = end + 1;
    return true;
  }

  /** Position of the next start tag; notes the end of the root. -1 when more text is needed. */
  #skipText(): number {
    const next = this.#text.indexOf('<', this.#at);
    const between = this.#text.slice(this.#at, next < 0 ? undefined : next);
    if (/[^ \n\t]/.test(between)) throw new Surprise();
    if (next < 0) return -1;
    if (this.#ended) throw new Surprise(); // something behind the root
    if (this.#text.charCodeAt(next + 1) !== SLASH) return next;
    const tag = `</${this.#rootTag}>`;
    const found = this.#text.slice(next, next + tag.length);
    if (found !== tag) {
      if (tag.startsWith(found)) return -1;
      throw new Surprise();
    }
    this.#ended = true;
    return next + tag.length;
  }

  /** The element that begins at `#at`, which then is behind it; null when its end has not come. */
  #element(outer: Scope, depth: number): XmlElement | null {
    const text = this.#text;
    const start = this.#at;
    const close = text.indexOf('>', start + 1);
    if (close < 0) return null;
    this.#elements += 1;
    if (depth > MAX_DEPTH || this.#elements > this.#maxElements) throw new Surprise();
    const isEmpty = text.charCodeAt(close - 1) === SLASH;
    const inside = text.slice(start + 1, isEmpty ? close - 1 : close);
    this.#at = close + 1;
    let name = outer.names.get(inside);
    let raw = inside;
    let scope = outer;
    let attributes = NO_ATTRIBUTES;
    if (name === undefined) {
      const space = /[ \n\t]/.exec(inside)?.index ?? -1;
      if (space >= 0) {
        raw = inside.slice(0, space);
        const own = inside.slice(space).trimEnd();
        if (own !== '') ({ scope, attributes } = this.#inside(outer, own));
      }
      name = nameIn(scope, raw);
    }
    if (isEmpty) return build(name, attributes, NO_CHILDREN);
    const children: (XmlElement | string)[] = [];
    for (;;) {
      const bracket = text.indexOf('<', this.#at);
      if (bracket < 0) return null;
      if (bracket > this.#at) children.push(plainText(text.slice(this.#at, bracket)));
      this.#at = bracket;
      const behind = text.charCodeAt(bracket + 1);
      if (behind === SLASH) {
        const end = bracket + 2 + raw.length;
        if (end >= text.length) return null;
        if (!text.startsWith(raw, bracket + 2) || text.charCodeAt(end) !== GT) throw new Surprise();
        this.#at = end + 1;
        return build(name, attributes, children);
      }
      const child = this.#element(scope, depth + 1);
      if (child === null) return null;
      children.push(child);
    }
  }

  #inside(outer: Scope, text: string): Inner {
    const known = outer.inner.get(text);
    if (known !== undefined) return known;
    const inner = readAttributes(outer, text);
    if (outer.inner.size < REMEMBERED) outer.inner.set(text, inner);
    return inner;
  }
}

function scopeOf(namespaces: ReadonlyMap<string, string>): Scope {
  return { namespaces, names: new Map(), inner: new Map() };
}

function build(
  { ns, local, prefix }: PlainName,
  attributes: readonly XmlAttribute[],
  children: readonly (XmlElement | string)[],
): XmlElement {
  return prefix === '' ? { ns, local, attributes, children } : { ns, local, attributes, children, prefix };
}

function nameIn(scope: Scope, raw: string): PlainName {
  const known = scope.names.get(raw);
  if (known !== undefined) return known;
  if (!NAME.test(raw)) throw new Surprise();
  const colon = raw.indexOf(':');
  const prefix = colon < 0 ? '' : raw.slice(0, colon);
  const ns = scope.namespaces.get(prefix) ?? (colon < 0 ? '' : null);
  if (ns === null || prefix === 'xmlns') throw new Surprise();
  const name = { ns, local: raw.slice(colon + 1), prefix };
  scope.names.set(raw, name);
  return name;
}

function readAttributes(outer: Scope, text: string): Inner {
  const found = new Map<string, string>();
  const pattern = new RegExp(ATTRIBUTE);
  let at = 0;
  while (at < text.length) {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    const [, name, double, single] = match ?? [];
    if (match === null || name === undefined || !NAME.test(name) || found.has(name)) throw new Surprise();
    const value = double ?? single ?? '';
    if (/[\n\t]/.test(value)) throw new Surprise(); // to be normalised
    found.set(name, plainText(value));
    at = pattern.lastIndex;
  }
  const namespaces = new Map(outer.namespaces);
  for (const [name, value] of found) {
    const declared = name === 'xmlns' ? '' : name.startsWith('xmlns:') ? name.slice(6) : null;
    if (declared === null) continue;
    const isOdd = declared !== '' && (value === '' || !/^[A-Za-z_][A-Za-z0-9_.-]*$/.test(declared));
    if (
      isOdd ||
      declared === 'xml' ||
      declared === 'xmlns' ||
      value === XML_NS ||
      value === XMLNS_NS ||
      value.trim() !== value
    )
      throw new Surprise();
    namespaces.set(declared, value);
  }
  const scope = namespaces.size === outer.namespaces.size && !text.includes('xmlns') ? outer : scopeOf(namespaces);
  const attributes: XmlAttribute[] = [];
  const seen = new Set<string>();
  for (const [name, value] of found) {
    if (name === 'xmlns' || name.startsWith('xmlns:')) continue;
    const colon = name.indexOf(':');
    const prefix = colon < 0 ? '' : name.slice(0, colon);
    const local = name.slice(colon + 1);
    const ns = colon < 0 ? '' : scope.namespaces.get(prefix);
    if (ns === undefined || seen.has(`${ns} ${local}`)) throw new Surprise();
    seen.add(`${ns} ${local}`);
    attributes.push({ ns, local, value, ...(prefix === '' ? {} : { prefix }) });
  }
  return { scope, attributes };
}

function plainText(raw: string): string {
  if (raw.includes(']]>')) throw new Surprise();
  if (!raw.includes('&')) return raw;
  return raw.replace(REFERENCE, (all, entity?: string, decimal?: string, hex?: string) => {
    if (entity !== undefined) return ENTITIES[entity] ?? all;
    const code = decimal !== undefined ? Number(decimal) : hex !== undefined ? Number.parseInt(hex, 16) : -1;
    const isChar =
      code === 9 ||
      code === 10 ||
      code === 13 ||
      (code >= 0x20 && code <= 0xd7ff) ||
      (code >= 0xe000 && code <= 0xfffd) ||
      (code >= 0x10000 && code <= 0x10ffff);
    if (!isChar) throw new Surprise();
    return String.fromCodePoint(code);
  });
}
