// The quick reader must never read a document otherwise than the general one: what it takes is the same, what it does
// not take is a surprise.

import { describe, expect, it } from 'vitest';
import {
  MULTISTATUS_START,
  MultistatusReader,
  type MultistatusResponse,
  propertyText,
} from '../../../../src/remote/wire/multistatus.js';
import { CM } from '../../../../src/remote/wire/ns.js';
import { PlainXml, Surprise } from '../../../../src/remote/wire/plain_xml.js';
import { StreamingXml, type XmlElement } from '../../../../src/remote/wire/xml.js';
import { Random } from '../../../support/random.js';

const LIMITS = { maxBytes: 1 << 20, maxDepth: 64, maxElements: 1000, maxAttributes: 1000 };

function general(document: string): XmlElement[] | 'refused' {
  const found: XmlElement[] = [];
  try {
    const xml = new StreamingXml({ depth: 2, limits: LIMITS, onElement: (element) => found.push(element) });
    xml.write(Buffer.from(document));
    xml.end();
    return found;
  } catch {
    return 'refused';
  }
}

function plain(document: string, piece: number): XmlElement[] | 'surprise' {
  const xml = new PlainXml(LIMITS);
  const found: XmlElement[] = [];
  const take = (atEnd: boolean) => {
    for (let element = xml.next(atEnd); element !== null; element = xml.next(atEnd)) found.push(element);
  };
  try {
    for (let at = 0; at < document.length; at += piece) {
      xml.add(document.slice(at, at + piece));
      take(false);
    }
    take(true);
    return xml.isEnded ? found : 'surprise';
  } catch (error) {
    if (error instanceof Surprise) return 'surprise';
    throw error;
  }
}

const APACHE = `<?xml version="1.0" encoding="utf-8"?>
<D:multistatus xmlns:D="DAV:" xmlns:ns0="DAV:">
<D:response xmlns:lp1="DAV:" xmlns:lp2="http://apache.org/dav/props/">
<D:href>/a%20b/</D:href>
<D:propstat>
<D:prop>
<lp1:resourcetype><D:collection/></lp1:resourcetype>
<lp1:getetag>W/"1&amp;2"</lp1:getetag>
<lp2:executable lang='x'>F</lp2:executable>
</D:prop>
<D:status>HTTP/1.1 200 OK</D:status>
</D:propstat>
</D:response>
<D:sync-token/>
</D:multistatus>
`;

describe('plain XML', () => {
  it('is read as the general parser reads it, whatever the pieces', () => {
    const expected = general(APACHE);
    expect(expected).toHaveLength(2);
    for (const piece of [1, 2, 3, 7, 64, 10_000]) expect(plain(APACHE, piece)).toEqual(expected);
  });

  it('knows references, default and inner namespaces, and names beyond ASCII', () => {
    const document =
      '<m xmlns="DAV:"><a>&lt;&#65;&#x42;&quot;</a><b xmlns="urn:b"><c xmlns:d="urn:d"><d:e f="g" d:f="h"/></c></b><a>ä𝄞</a></m>';
    const expected = general(document);
    expect(expected).not.toBe('refused');
    expect(plain(document, 5)).toEqual(expected);
  });

  it('does not judge what is not plain', () => {
    const inside = (text: string) => `<m xmlns:p="urn:p"><a>${text}</a></m>`;
    const odd = [
      ...['<!-- b -->', '<![CDATA[x]]>', '<?pi x?>', ']]>', '&unknown;', '& ', '&#0;', 'a\rb', '\u0001', '\ufffe'],
      ...['<q:b/>', '<b></c>', '<b x="1" x="2"/>', '<b x=1/>', '<b x="<"/>', '<b x="a\nb"/>', '<b x="a>b"/>', '<1/>'],
      ...['<b p:x="1" p:x="1"/>', '<b xmlns:p=""/>', '<b', '<b xmlns:xml="urn:x"/>', '</b>'],
    ].map(inside);
    const documents = [
      ...odd,
      '<m/>',
      '<m><a/></m>x',
      '<m><a/></m><m/>',
      '<!DOCTYPE m><m><a/></m>',
      '<m><a/></n>',
      'x',
    ];
    for (const document of documents)
      for (const piece of [1, 4, 1000]) expect([document, plain(document, piece)]).toEqual([document, 'surprise']);
    expect(plain('<?xml version="1.0" encoding="latin1"?><m><a/></m>', 100)).toBe('surprise');
    expect(plain('<?xml version="1.1"?><m><a/></m>', 100)).toBe('surprise');
  });

  it('agrees with the general parser on documents that were damaged anywhere', () => {
    const random = new Random(7);
    const alphabet = '<>/&;:"\'= \n]!?-aDx#\u0001ä';
    let taken = 0;
    for (let round = 0; round < 20000; round++) {
      let document = APACHE;
      for (let edits = random.below(3); edits >= 0; edits--) {
        const at = random.below(document.length);
        const gone = random.below(4);
        const put = random.below(2) === 0 ? '' : (alphabet[random.below(alphabet.length)] ?? '');
        document = document.slice(0, at) + put + document.slice(at + gone);
      }
      const found = plain(document, 1 + random.below(200));
      if (found === 'surprise') continue;
      taken += 1;
      expect([document, found]).toEqual([document, general(document)]);
    }
    expect(taken).toBeGreaterThan(100);
  });
});

describe('a multistatus that is plain only at first', () => {
  const entry = (i: number, inner = '') =>
    `<d:response><d:href>/f${i}</d:href><d:propstat><d:prop><d:getetag>"${i}"</d:getetag>${inner}</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>`;

  function hrefs(document: string | Buffer, piece: number): string[] {
    const bytes = Buffer.from(document);
    const reader = new MultistatusReader();
    const found: string[] = [];
    for (let at = 0; at < bytes.length; at += piece) {
      found.push(...reader.write(bytes.subarray(at, at + piece)).flatMap((response) => response.hrefs));
    }
    found.push(...reader.end().responses.flatMap((response) => response.hrefs));
    return found;
  }

  it('is read to its end, each response once', () => {
    const odd = ['<!-- x -->', '<x><![CDATA[<d:response>]]></x>', '<?x?>', '<x>\r</x>'];
    for (const inner of odd) {
      const document = `<d:multistatus xmlns:d="DAV:">${entry(1)}${entry(2, inner)}${entry(3)}${entry(4, '<x>ä</x>')}</d:multistatus>`;
      for (const piece of [1, 9, 150, 5000]) expect(hrefs(document, piece)).toEqual(['/f1', '/f2', '/f3', '/f4']);
    }
  });

  it('may have any encoding', () => {
    const latin = `<?xml version="1.0" encoding="iso-8859-1"?><d:multistatus xmlns:d="DAV:">${entry(1, '<x>ä</x>')}</d:multistatus>`;
    expect(hrefs(Buffer.from(latin, 'latin1'), 11)).toEqual(['/f1']);
    const wide = `\ufeff<d:multistatus xmlns:d="DAV:">${entry(1)}</d:multistatus>`;
    expect(hrefs(Buffer.from(wide, 'utf16le'), 11)).toEqual(['/f1']);
  });

  it('is an error when it ends early, wherever', () => {
    const document = `<d:multistatus xmlns:d="DAV:">${entry(1)}${entry(2)}</d:multistatus>`;
    for (let length = 0; length < document.length; length++) {
      expect(() => hrefs(document.slice(0, length), 50)).toThrow(/multistatus/);
    }
  });
});

describe('a response that has nothing but cm:brief', () => {
  const entry = (i: number) =>
    `<d:response><d:href>/f%20${i}</d:href><d:propstat><d:prop><cm:brief>f ${i} 10 "e${i}"</cm:brief></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>`;
  const long = `<d:response><d:href>/long</d:href><d:propstat><d:prop><d:getetag>"1"</d:getetag></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>`;
  const END = '<d:sync-token>t</d:sync-token></d:multistatus>';

  function read(document: string, piece: number): unknown {
    const bytes = Buffer.from(document);
    const reader = new MultistatusReader();
    const found: MultistatusResponse[] = [];
    try {
      for (let at = 0; at < bytes.length; at += piece) found.push(...reader.write(bytes.subarray(at, at + piece)));
      const { responses, syncToken } = reader.end();
      found.push(...responses);
      const told = found.map((one) => [one.hrefs, one.status, one.brief ?? propertyText(one, CM, 'brief')]);
      return { told, syncToken };
    } catch (error) {
      return (error as Error).name;
    }
  }

  it('is taken without elements, between others', () => {
    const body = MULTISTATUS_START + entry(1) + entry(2) + long + entry(3) + END;
    for (const piece of [1, 5, 100, 10_000]) {
      const quick = (text: string) => new MultistatusReader().write(Buffer.from(text)).map(({ brief }) => brief);
      // With the first the reader learns what its prefixes mean.
      expect(quick(body)).toEqual([undefined, 'f 2 10 "e2"', undefined, 'f 3 10 "e3"']);
      expect(read(body, piece)).toEqual({
        told: [
          [['/f%201'], null, 'f 1 10 "e1"'],
          [['/f%202'], null, 'f 2 10 "e2"'],
          [['/long'], null, null],
          [['/f%203'], null, 'f 3 10 "e3"'],
        ],
        syncToken: 't',
      });
    }
  });

  it('means what its prefixes mean', () => {
    const document = (head: string) => `${head}${entry(1)}${END}`;
    const none = { told: [[['/f%201'], null, null]], syncToken: 't' };
    expect(read(document('<d:multistatus xmlns:d="DAV:" xmlns:cm="urn:other">'), 50)).toEqual(none);
    expect(read(document('<d:multistatus xmlns:d="urn:other" xmlns:cm="x">'), 50)).toBe('CloudError');
    expect(read(document('<d:multistatus xmlns:d="DAV:">'), 50)).toBe('CloudError');
  });

  it('is read as the general parser reads it, however damaged', () => {
    const random = new Random(11);
    const alphabet = '<>/&;:"\'= \n]!?-dcm#\u0001ä';
    const body = entry(1) + long + entry(2) + entry(3) + END;
    let whole = 0;
    for (let round = 0; round < 10000; round++) {
      let damaged = body;
      for (let edits = random.below(3); edits > 0; edits--) {
        const at = random.below(damaged.length);
        const put = random.below(2) === 0 ? '' : (alphabet[random.below(alphabet.length)] ?? '');
        damaged = damaged.slice(0, at) + put + damaged.slice(at + random.below(4));
      }
      const found = read(MULTISTATUS_START + damaged, 1 + random.below(300));
      if (typeof found === 'object') whole += 1;
      // A comment makes the general parser read all that follows.
      expect([damaged, found]).toEqual([damaged, read(`${MULTISTATUS_START}<!-- -->${damaged}`, 1000)]);
    }
    expect(whole).toBeGreaterThan(100);
  });
});
