import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DAV, XML_NS } from '../../../../src/remote/wire/ns.js';
import {
  attributeOf,
  childOf,
  escapeAttribute,
  escapeText,
  parseXml,
  StreamingXml,
  textOf,
  withInheritedLang,
  writeDocument,
  writeElement,
  type XmlElement,
} from '../../../../src/remote/wire/xml.js';
import { codeOf } from '../../../support/code_of.js';

const LIMITS = { maxBytes: 10_000, maxDepth: 10, maxElements: 100, maxAttributes: 100 };

describe('parseXml', () => {
  it('resolves namespaces whatever the prefixes are', () => {
    const a = parseXml('<D:propfind xmlns:D="DAV:"><D:prop><x xmlns="urn:x"/></D:prop></D:propfind>');
    expect([a.ns, a.local]).toEqual([DAV, 'propfind']);
    const prop = childOf(a, DAV, 'prop');
    expect(prop?.children).toMatchObject([{ ns: 'urn:x', local: 'x' }]);
  });

  it.each([
    ['byte order mark', '\uFEFF<a/>'],
    ['white space before the declaration', ' \r\n<?xml version="1.0"?><a/>'],
    ['no declaration', '<a/>'],
    ['stray text', '<a>\n stray <b/> more </a>'],
    ['a declared encoding', '<?xml version="1.0" encoding="UTF-8"?><a/>'],
    ['a comment and a processing instruction', '<!-- c --><?x y?><a/>'],
  ])('accepts %s', (_, text) => {
    expect(parseXml(Buffer.from(text)).local).toBe('a');
    expect(parseXml(text).local).toBe('a');
  });

  it('reads UTF-16 and declared single-byte encodings', () => {
    const utf16 = Buffer.from('\uFEFF<?xml version="1.0" encoding="UTF-16"?><a>é</a>', 'utf16le');
    expect(textOf(parseXml(utf16))).toBe('é');
    expect(textOf(parseXml(Buffer.from(utf16).swap16()))).toBe('é');
    expect(textOf(parseXml(Buffer.from('<?xml version="1.0" encoding="iso-8859-1"?><a>é</a>', 'latin1')))).toBe('é');
  });

  it.each([
    ['a DTD', '<!DOCTYPE a><a/>'],
    ['an entity declaration', '<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>'],
    ['an unknown entity', '<a>&e;</a>'],
    ['an unbound prefix', '<x:a/>'],
    ['a prefix bound to nothing', '<x:a xmlns:x=""/>'],
    ['a document that ends early', '<a><b/>'],
    ['an empty document', '  '],
    ['text only', 'hello'],
    ['two roots', '<a/><b/>'],
    ['a control character', '<a>\u0001</a>'],
    ['mismatched tags', '<a></b>'],
    ['an unknown encoding', '<?xml version="1.0" encoding="nonsense"?><a/>'],
  ])('refuses %s', (_, text) => {
    expect(codeOf(() => parseXml(Buffer.from(text)))).toBe('invalid');
  });

  it('refuses bytes that are no UTF-8', () => {
    expect(codeOf(() => parseXml(Buffer.from([0x3c, 0x61, 0x3e, 0xff, 0x3c, 0x2f, 0x61, 0x3e])))).toBe('invalid');
  });

  it('keeps to its limits', () => {
    expect(codeOf(() => parseXml(`<a>${'x'.repeat(10_001)}</a>`, LIMITS))).toBe('too_large');
    expect(codeOf(() => parseXml('<a>'.repeat(11) + '</a>'.repeat(11), LIMITS))).toBe('too_large');
    expect(codeOf(() => parseXml(`<a>${'<b/>'.repeat(100)}</a>`, LIMITS))).toBe('too_large');
    expect(parseXml(`<a>${'<b/>'.repeat(99)}</a>`, LIMITS).children).toHaveLength(99);
  });

  it('joins text and CDATA', () => {
    expect(parseXml('<a>1<![CDATA[<2>]]>3&amp;&#x34;</a>').children).toEqual(['1<2>3&4']);
  });
});

describe('StreamingXml', () => {
  it('hands out elements of one depth however the bytes are cut', () => {
    const text = '<m xmlns="DAV:"><r>é<p/></r><skip><r/></skip>text<r/></m>';
    fc.assert(
      fc.property(fc.array(fc.nat(text.length), { maxLength: 8 }), (cuts) => {
        const bytes = Buffer.from(text);
        const found: XmlElement[] = [];
        const roots: string[] = [];
        const xml = new StreamingXml({
          depth: 2,
          onElement: (element) => found.push(element),
          onRoot: (name) => roots.push(name.local),
          wanted: (name) => name.local === 'r',
        });
        let from = 0;
        for (const cut of [...cuts].sort((a, b) => a - b)) {
          xml.write(bytes.subarray(from, cut));
          from = cut;
        }
        xml.write(bytes.subarray(from));
        xml.end();
        expect(roots).toEqual(['m']);
        expect(found.map((element) => [element.local, textOf(element), element.children.length])).toEqual([
          ['r', 'é', 2],
          ['r', '', 0],
        ]);
      }),
    );
  });

  it('limits each element, not the document', () => {
    const xml = new StreamingXml({ depth: 2, onElement: () => undefined, limits: { ...LIMITS, maxElements: 4 } });
    xml.write('<m>');
    for (let i = 0; i < 1000; i++) xml.write('<r><a/><b/></r>');
    xml.write('</m>');
    xml.end();
    const other = new StreamingXml({ depth: 2, onElement: () => undefined, limits: { ...LIMITS, maxElements: 4 } });
    expect(codeOf(() => other.write('<m><r><a/><a/><a/><a/><a/></r></m>'))).toBe('too_large');
  });

  it('a namespace counts with each name in it, so that what is made of the names has a bound too', () => {
    const xml = (names: number) => `<x:m xmlns:x="${'n'.repeat(1000)}">${'<x:a/>'.repeat(names)}</x:m>`;
    expect(codeOf(() => parseXml(xml(7), LIMITS))).toBe('no error');
    expect(codeOf(() => parseXml(xml(9), LIMITS))).toBe('too_large');
    const attributes = (names: number) => `<m xmlns:x="${'n'.repeat(1000)}">${'<a x:b=""/>'.repeat(names)}</m>`;
    expect(codeOf(() => parseXml(attributes(8), LIMITS))).toBe('no error');
    expect(codeOf(() => parseXml(attributes(9), LIMITS))).toBe('too_large');
  });

  it('limits attributes and declarations', () => {
    const xml = (attributes: number) =>
      `<m${Array.from({ length: attributes / 2 }, (_, i) => ` xmlns:a${i}="${i}" a${i}:x=""`).join('')}/>`;
    expect(codeOf(() => parseXml(xml(100), LIMITS))).toBe('no error');
    expect(codeOf(() => parseXml(xml(102), LIMITS))).toBe('too_large');
  });
});

describe('writing', () => {
  it('escapes', () => {
    expect(escapeText('a<b>&"\r\n')).toBe('a&lt;b&gt;&amp;"&#13;\n');
    expect(escapeAttribute('"\t\n<')).toBe('&quot;&#9;&#10;&lt;');
    expect(escapeText('\u0000\u001f\ufffe\ud800x')).toBe('\ufffd\ufffd\ufffd\ufffdx');
  });

  const text = fc.string({ unit: 'grapheme' }).map((s) => s.replace(/[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g, ''));
  const local = fc.constantFrom('a', 'b', 'prop', 'x-1');
  const ns = fc.constantFrom('', 'DAV:', 'urn:a', 'urn:b&"<', XML_NS.replace('1998', '2098'));
  const prefix = fc.option(fc.constantFrom('d', 'x1', 'p', 'q'), { nil: undefined });
  const tree = fc.letrec<{ node: XmlElement }>((tie) => ({
    node: fc
      .record({
        ns,
        local,
        prefix,
        attributes: fc.uniqueArray(fc.record({ ns: fc.constantFrom('', 'urn:a', XML_NS), local, value: text }), {
          selector: (a) => `${a.ns} ${a.local}`,
          maxLength: 3,
        }),
        children: fc.array(fc.oneof({ depthSize: 'small', withCrossShrink: true }, text, tie('node')), {
          maxLength: 3,
        }),
      })
      .map(({ prefix: wish, ...rest }) => (wish === undefined || rest.ns === '' ? rest : { ...rest, prefix: wish })),
  })).node;

  const plain = (node: XmlElement): unknown => ({
    name: `{${node.ns}}${node.local}`,
    attributes: node.attributes.map((a) => `{${a.ns}}${a.local}=${a.value}`).sort(),
    children: node.children.reduce<unknown[]>((out, child) => {
      if (typeof child !== 'string') return out.concat(plain(child));
      const last = out.at(-1);
      if (child === '') return out;
      if (typeof last === 'string') return out.slice(0, -1).concat(last + child);
      return out.concat(child);
    }, []),
  });

  it('gives every tree back, alone, in a document and pasted into one', () => {
    fc.assert(
      fc.property(tree, (node) => {
        expect(plain(parseXml(writeElement(node)))).toEqual(plain(node));
        expect(plain(parseXml(writeDocument(node)))).toEqual(plain(node));
        const pasted = parseXml(`<d:x xmlns:d="DAV:" xmlns:p="urn:other">${writeElement(node)}</d:x>`).children[0];
        expect(typeof pasted === 'object' && plain(pasted)).toEqual(plain(node));
      }),
    );
  });

  it('keeps the prefix that was written where it can', () => {
    expect(writeElement(parseXml('<z:a xmlns:z="urn:z"><z:b/></z:a>'))).toBe('<z:a xmlns:z="urn:z"><z:b/></z:a>');
  });
});

describe('withInheritedLang', () => {
  it('takes the innermost language in scope', () => {
    const outer = parseXml('<set xml:lang="de"><prop xml:lang="fr"><a/><b xml:lang="en"/></prop></set>');
    const prop = outer.children[0] as XmlElement;
    const [a, b] = prop.children as XmlElement[];
    if (a === undefined || b === undefined) throw new Error('two children expected');
    expect(attributeOf(withInheritedLang(a, [prop, outer]), XML_NS, 'lang')).toBe('fr');
    expect(attributeOf(withInheritedLang(b, [prop, outer]), XML_NS, 'lang')).toBe('en');
    expect(writeElement(withInheritedLang(a, [prop]))).toBe('<a xml:lang="fr"/>');
  });
});
