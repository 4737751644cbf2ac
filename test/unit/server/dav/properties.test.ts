import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Name } from '../../../../src/ids.js';
import { MultistatusReader, type MultistatusResponse, propertyText } from '../../../../src/remote/wire/multistatus.js';
import { CM, CM_XATTR, DAV, NC, OC } from '../../../../src/remote/wire/ns.js';
import { elementsOf, writeElement } from '../../../../src/remote/wire/xml.js';
import { type DavServer, startDavServer } from './dav_server.js';

let server: DavServer;
let n = 0;
let dir: string;
beforeAll(async () => {
  server = await startDavServer({ limits: { infinityEntries: 3000 } });
});
afterAll(() => server.close());
beforeEach(async () => {
  dir = `d${++n}`;
  await server.ask('MKCOL', dir);
});

const XMLNS = `xmlns:d="${DAV}" xmlns:oc="${OC}" xmlns:nc="${NC}" xmlns:cm="${CM}" xmlns:xa="${CM_XATTR}"`;
const prop = (names: string) => `<d:propfind ${XMLNS}><d:prop>${names}</d:prop></d:propfind>`;
const find = (path: string, depth: string, body = '', headers: Record<string, string> = {}) =>
  server.ask('PROPFIND', path, { headers: { Depth: depth, ...headers }, ...(body === '' ? {} : { body }) });
const patch = (path: string, inner: string, headers: Record<string, string> = {}) =>
  server.ask('PROPPATCH', path, { body: `<d:propertyupdate ${XMLNS}>${inner}</d:propertyupdate>`, headers });

function responses(bytes: Buffer): MultistatusResponse[] {
  const reader = new MultistatusReader();
  return [...reader.write(bytes), ...reader.end().responses];
}
async function one(path: string, names: string): Promise<MultistatusResponse> {
  const [first] = responses((await find(path, '0', prop(names))).bytes);
  if (first === undefined) throw new Error('no response');
  return first;
}
const hrefs = (bytes: Buffer) => responses(bytes).map(({ hrefs: [href] }) => href?.replace('/dav/files/anna/', ''));

describe('PROPFIND', () => {
  test('depth 0, 1 and infinity; collections end in a slash', async () => {
    await server.ask('MKCOL', `${dir}/sub`);
    await server.ask('PUT', `${dir}/sub/f`, { body: 'x' });
    await server.ask('PUT', `${dir}/g`, { body: 'x' });
    expect(hrefs((await find(dir, '0')).bytes)).toEqual([`${dir}/`]);
    expect(hrefs((await find(`${dir}/`, '1')).bytes)).toEqual([`${dir}/`, `${dir}/g`, `${dir}/sub/`]);
    expect(new Set(hrefs((await find(dir, 'infinity')).bytes))).toEqual(
      new Set([`${dir}/`, `${dir}/g`, `${dir}/sub/`, `${dir}/sub/f`]),
    );
    expect(hrefs((await find(`${dir}/g`, '1')).bytes)).toEqual([`${dir}/g`]);
    expect((await find(`${dir}/none`, '0')).status).toBe(404);
    expect((await find(dir, '2')).status).toBe(400);
  });

  test('live properties of a file and of a collection', async () => {
    await server.ask('PUT', `${dir}/a b.txt`.replace(' ', '%20'), { body: 'hello', headers: { 'X-OC-Mtime': '12' } });
    const file = await one(
      `${dir}/a%20b.txt`,
      '<d:getcontentlength/><d:getcontenttype/><d:getetag/><d:displayname/><d:resourcetype/><d:creationdate/><oc:id/>' +
        '<oc:fileid/><oc:permissions/><oc:size/><oc:checksums/><oc:favorite/><oc:owner-id/><nc:has-preview/><nc:lock/><cm:mtime/><d:none/>',
    );
    const text = (ns: string, name: string) => propertyText(file, ns, name);
    expect(text(DAV, 'getcontentlength')).toBe('5');
    expect(text(DAV, 'getcontenttype')).toBe('text/plain');
    expect(text(DAV, 'displayname')).toBe('a b.txt');
    expect(text(DAV, 'resourcetype')).toBe('');
    expect(text(DAV, 'getetag')).toBe((await server.ask('HEAD', `${dir}/a%20b.txt`)).headers.etag);
    expect(text(DAV, 'creationdate')).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    expect(text(OC, 'id')).toBe(`${text(OC, 'fileid')?.padStart(8, '0')}cloudmount`);
    expect(text(OC, 'permissions')).toBe('RGDNVW');
    expect(text(OC, 'checksums')).toMatch(/^SHA256:[0-9a-f]{64}$/);
    expect([text(OC, 'favorite'), text(OC, 'owner-id'), text(NC, 'lock')]).toEqual(['0', 'anna', '0']);
    expect(text(CM, 'mtime')).toBe('12.000000000');
    const missing = file.propstats.find(({ status }) => status === 404);
    expect(missing?.props.map(({ local }) => local)).toEqual(['none']);

    const collection = await one(
      dir,
      '<d:resourcetype/><d:sync-token/><d:supported-report-set/><d:quota-used-bytes/><d:quota-available-bytes/><oc:permissions/><oc:size/><d:getcontentlength/>',
    );
    expect(collection.propstats[0]?.props.map(writeElement)[0]).toContain('collection');
    expect(propertyText(collection, DAV, 'sync-token')).toMatch(/^urn:cloudmount:sync:/);
    expect(propertyText(collection, OC, 'permissions')).toBe('RGDNVCK');
    expect(propertyText(collection, OC, 'size')).toBe('5');
    expect(Number(propertyText(collection, DAV, 'quota-available-bytes'))).toBeGreaterThan(0);
    expect(propertyText(collection, DAV, 'getcontentlength')).toBeNull();
  });

  test('what is left of the quota is told', async () => {
    const root = await server.rootOf('anna');
    await server.metadata.write((tx) => tx.setQuota(root, 1_000_000));
    await server.ask('PUT', `${dir}/f`, { body: Buffer.alloc(1000) });
    const { used_bytes } = await server.metadata.read((tx) => tx.usage(root));
    const found = await one('', '<d:quota-available-bytes/><d:quota-used-bytes/>');
    expect(propertyText(found, DAV, 'quota-available-bytes')).toBe(String(1_000_000 - used_bytes));
    expect(propertyText(found, DAV, 'quota-used-bytes')).toBe(String(used_bytes));
    await server.metadata.write((tx) => tx.setQuota(root, null));
  });

  test('allprop, include and propname', async () => {
    await patch(dir, '<d:set><d:prop><x:p xmlns:x="urn:x">v</x:p></d:prop></d:set>');
    const all = await find(dir, '0');
    expect(all.status).toBe(207);
    expect(all.text).toContain('<d:getlastmodified>');
    expect(all.text).toContain('<x:p xmlns:x="urn:x">v</x:p>');
    expect(all.text).not.toContain('oc:fileid');
    expect(all.text).not.toContain('HTTP/1.1 404');
    const include = `<d:propfind ${XMLNS}><d:allprop/><d:include><oc:fileid/></d:include></d:propfind>`;
    expect((await find(dir, '0', include)).text).toContain('<oc:fileid>');
    const names = await find(dir, '0', `<d:propfind ${XMLNS}><d:propname/></d:propfind>`);
    expect(names.text).toContain('<x:p xmlns:x="urn:x"/>');
    expect(names.text).toContain('<d:getetag/>');
    expect(names.text).not.toContain('getcontentlength');
  });

  test.each([
    ['white space', ' \r\n\t'],
    ['white space in front of the declaration', ` \n<?xml version="1.0"?>${prop('<d:getetag/>')}`],
    ['no declaration', prop('<d:getetag/>')],
    ['stray text between elements', `<d:propfind xmlns:d="DAV:">x<d:prop>y<d:getetag/>z</d:prop></d:propfind>`],
    ['a byte order mark', `\ufeff${prop('<d:getetag/>')}`],
    [
      'an element nobody knows',
      `<d:propfind xmlns:d="DAV:" xmlns:z="z"><z:x/><d:prop><d:getetag/></d:prop></d:propfind>`,
    ],
  ])('a body with %s is understood', async (_, body) => {
    const answer = await find(dir, '0', body);
    expect(answer.status).toBe(207);
    expect(answer.text).toContain('<d:getetag>');
  });

  test.each([
    ['broken XML', '<d:propfind xmlns:d="DAV:"><d:prop>', 400],
    ['an undeclared prefix', '<d:propfind/>', 400],
    ['another root', '<d:foo xmlns:d="DAV:"/>', 400],
    ['an entity declaration', `<!DOCTYPE x [<!ENTITY a "b">]>${prop('<d:getetag/>')}`, 400],
    ['an external entity', `<!DOCTYPE x SYSTEM "file:///etc/passwd">${prop('<d:getetag/>')}`, 400],
    ['too many levels', `<d:propfind xmlns:d="DAV:">${'<d:prop>'.repeat(100)}`, 413],
    ['too many elements', prop('<d:a/>'.repeat(30_000)), 413],
    ['too many bytes', prop(`<d:a>${'x'.repeat(2 << 20)}</d:a>`), 413],
  ])('%s is refused', async (_, body, status) => {
    expect((await find(dir, '0', body)).status).toBe(status);
  });

  test('a property asked for twice is told once; an empty prop is fine', async () => {
    const twice = await one(dir, '<d:getetag/><d:getetag/>');
    expect(twice.propstats[0]?.props).toHaveLength(1);
    expect((await find(dir, '0', prop(''))).status).toBe(207);
  });

  test('Prefer: return=minimal leaves out what is not there', async () => {
    const answer = await find(dir, '0', prop('<d:getetag/><d:none/>'), { Prefer: 'return=minimal' });
    expect(answer.text).toContain('<d:getetag>');
    expect(answer.text).not.toContain('none');
    expect(answer.headers['preference-applied']).toBe('return=minimal');
  });

  test('an unmappable control character in a name is percent-encoded, never raw', async () => {
    await server.ask('PUT', `${dir}/a%01b`, { body: 'x' });
    expect(hrefs((await find(dir, '1', prop('<d:displayname/>'))).bytes)).toContain(`${dir}/a%01b`);
  });

  describe('of many entries', () => {
    const fill = async (count: number) => {
      const root = await server.rootOf('anna');
      await server.metadata.write(async (tx) => {
        const { node } = await tx.resolve(root, [dir as Name]);
        if (node === null) throw new Error('no collection');
        for (let i = 0; i < count; i++)
          await tx.create(node, `entry ${i}` as Name, { kind: i % 7 === 0 ? 'dir' : 'symlink', target: 't' });
      });
    };

    test.each([999, 1000, 1001, 2500])('%i members are each told once', async (count) => {
      await fill(count);
      for (const depth of ['1', 'infinity']) {
        const found = hrefs((await find(dir, depth, prop('<d:getetag/>'))).bytes);
        expect(found).toHaveLength(count + 1);
        expect(new Set(found).size).toBe(count + 1);
      }
    });

    test('gzip when the client takes it', async () => {
      await fill(1500);
      const answer = await find(dir, '1', prop('<d:getetag/>'), { 'Accept-Encoding': 'gzip, deflate' });
      expect(answer.headers['content-encoding']).toBe('gzip');
      expect(responses(gunzipSync(answer.bytes))).toHaveLength(1501);
      const plain = await find(dir, '1', prop('<d:getetag/>'), { 'Accept-Encoding': 'gzip;q=0, identity' });
      expect(plain.headers['content-encoding']).toBeUndefined();
    });

    test('depth infinity over the bound is refused as RFC 4918 says', async () => {
      await fill(3001);
      const answer = await find(dir, 'infinity');
      expect(answer.status).toBe(403);
      expect(answer.text).toContain('<d:propfind-finite-depth/>');
      expect((await find(dir, '1')).status).toBe(207);
    });
  });
});

describe('PROPPATCH', () => {
  test('keeps nested XML, attributes, xml:lang and white space exactly', async () => {
    const value = '<x:p xmlns:x="urn:x" a="1 &amp; &quot;2&quot;"><y:q xmlns:y="urn:y"> t &lt; </y:q><plain/></x:p>';
    await patch(dir, `<d:set xml:lang="de"><d:prop>${value}</d:prop></d:set>`);
    const found = await one(dir, '<x:p xmlns:x="urn:x"/>');
    const [element] = found.propstats[0]?.props ?? [];
    if (element === undefined) throw new Error('no property');
    expect(element.attributes.find(({ local }) => local === 'lang')?.value).toBe('de');
    expect(element.attributes.find(({ local }) => local === 'a')?.value).toBe('1 & "2"');
    const [q, plain] = elementsOf(element);
    expect(q).toMatchObject({ ns: 'urn:y', local: 'q', children: [' t < '] });
    expect(plain).toMatchObject({ ns: '', local: 'plain' });
  });

  test('in document order: the last one wins, removal included', async () => {
    const p = (v: string) => `<d:set><d:prop><x:p xmlns:x="u">${v}</x:p></d:prop></d:set>`;
    await patch(dir, `${p('1')}<d:remove><d:prop><x:p xmlns:x="u"/></d:prop></d:remove>${p('2')}`);
    expect(propertyText(await one(dir, '<x:p xmlns:x="u"/>'), 'u', 'p')).toBe('2');
    await patch(dir, `${p('3')}<d:remove><d:prop><x:p xmlns:x="u"/></d:prop></d:remove>`);
    expect(propertyText(await one(dir, '<x:p xmlns:x="u"/>'), 'u', 'p')).toBeNull();
  });

  test('all or nothing: a protected property refuses the others with 424', async () => {
    const answer = await patch(
      dir,
      '<d:set><d:prop><x:p xmlns:x="u">1</x:p><d:getetag>"x"</d:getetag></d:prop></d:set>',
    );
    expect(answer.status).toBe(207);
    const [response] = responses(answer.bytes);
    const status = (name: string) =>
      response?.propstats.find(({ props }) => props.some(({ local }) => local === name))?.status;
    expect([status('getetag'), status('p')]).toEqual([403, 424]);
    expect(answer.text).toContain('cannot-modify-protected-property');
    expect(propertyText(await one(dir, '<x:p xmlns:x="u"/>'), 'u', 'p')).toBeNull();
  });

  test.each([
    ['<d:getlastmodified>Sun, 09 Sep 2001 01:46:40 GMT</d:getlastmodified>', '1000000000.000000000'],
    ['<d:lastmodified>1000000001</d:lastmodified>', '1000000001.000000000'],
    ['<cm:mtime>1000000002.000000009</cm:mtime>', '1000000002.000000009'],
    ['<cm:mtime>-1.5</cm:mtime>', '-1.500000000'],
    [
      '<z:Win32LastModifiedTime xmlns:z="urn:schemas-microsoft-com:">Sun, 09 Sep 2001 01:46:43 GMT</z:Win32LastModifiedTime>',
      '1000000003.000000000',
    ],
  ])('%s sets the time', async (xml, mtime) => {
    const before = (await server.ask('PUT', `${dir}/f`, { body: 'x' })).headers.etag;
    const answer = await patch(`${dir}/f`, `<d:set><d:prop>${xml}</d:prop></d:set>`);
    expect(answer.text).toContain('200 OK');
    expect(propertyText(await one(`${dir}/f`, '<cm:mtime/>'), CM, 'mtime')).toBe(mtime);
    expect((await server.ask('HEAD', `${dir}/f`)).headers.etag).toBe(before);
  });

  test('sets mode, uid and gid; refuses what is none', async () => {
    const set =
      '<d:set><d:prop><cm:mode>1777</cm:mode><cm:uid>1000</cm:uid><cm:gid>4294967294</cm:gid></d:prop></d:set>';
    expect((await patch(dir, set)).text).not.toContain('409');
    const found = await one(dir, '<cm:mode/><cm:uid/><cm:gid/>');
    expect(['mode', 'uid', 'gid'].map((name) => propertyText(found, CM, name))).toEqual(['1777', '1000', '4294967294']);
    const bad = await patch(dir, '<d:set><d:prop><cm:mode>8</cm:mode><cm:uid>5</cm:uid></d:prop></d:set>');
    expect(bad.text).toContain('409 Conflict');
    expect(propertyText(await one(dir, '<cm:uid/>'), CM, 'uid')).toBe('1000');
    const symlink = await patch(
      dir,
      '<d:set><d:prop><cm:symlink>x</cm:symlink><cm:xattrs>{}</cm:xattrs></d:prop></d:set>',
    );
    expect(symlink.text).toContain('403 Forbidden');
  });

  test("Windows' properties, favourites and a display name are taken and given back", async () => {
    const set =
      '<d:set><d:prop><z:Win32FileAttributes xmlns:z="urn:schemas-microsoft-com:">00000020</z:Win32FileAttributes>' +
      '<oc:favorite>1</oc:favorite><d:displayname>Shown</d:displayname></d:prop></d:set>';
    expect((await patch(dir, set)).text).toContain('200 OK');
    const found = await one(dir, '<oc:favorite/><d:displayname/>');
    expect(propertyText(found, OC, 'favorite')).toBe('1');
    expect(propertyText(found, DAV, 'displayname')).toBe('Shown');
  });

  test('extended attributes are told together', async () => {
    await patch(
      dir,
      '<d:set><d:prop><xa:user.a_x20_b>aGVsbG8=</xa:user.a_x20_b><xa:user.empty></xa:user.empty></d:prop></d:set>',
    );
    const json = propertyText(await one(dir, '<cm:xattrs/>'), CM, 'xattrs') ?? '';
    expect(JSON.parse(json)).toEqual({ 'user.a b': 'aGVsbG8=', 'user.empty': '' });
    await patch(dir, '<d:remove><d:prop><xa:user.a_x20_b/></d:prop></d:remove>');
    expect(JSON.parse(propertyText(await one(dir, '<cm:xattrs/>'), CM, 'xattrs') ?? '')).toEqual({ 'user.empty': '' });
    await server.ask('PUT', `${dir}/none`, { body: 'x' });
    expect(propertyText(await one(`${dir}/none`, '<cm:xattrs/>'), CM, 'xattrs')).toBeNull();
  });

  test('a symlink tells its target bytes percent-encoded', async () => {
    await server.ask('PUT', `${dir}/l`, {
      body: Buffer.from('../a b\xff', 'latin1'),
      headers: { 'Content-Type': 'inode/symlink' },
    });
    expect(
      decodeURI((propertyText(await one(`${dir}/l`, '<cm:symlink/>'), CM, 'symlink') ?? '').replace('%FF', '')),
    ).toBe('..%2Fa b');
  });

  test('what a resource may hold of them has an end', async () => {
    const half = 'x'.repeat(900_000);
    const set = (i: number) => patch(dir, `<d:set><d:prop><x:p${i} xmlns:x="u">${half}</x:p${i}></d:prop></d:set>`);
    expect((await set(1)).status).toBe(207);
    expect((await set(2)).status).toBe(207);
    expect((await set(3)).status).toBe(507);
    expect(propertyText(await one(dir, '<x:p3 xmlns:x="u"/>'), 'u', 'p3')).toBeNull();
  });

  test('a long namespace in many names is refused, not written out with each of them', async () => {
    const names = Array.from({ length: 1000 }, (_, i) => `<x:p${i}/>`).join('');
    const xmlns = `xmlns:d="DAV:" xmlns:x="${'n'.repeat(20_000)}"`;
    for (const [method, body] of [
      ['PROPFIND', `<d:propfind ${xmlns}><d:prop>${names}</d:prop></d:propfind>`],
      ['PROPPATCH', `<d:propertyupdate ${xmlns}><d:set><d:prop>${names}</d:prop></d:set></d:propertyupdate>`],
    ] as const) {
      expect((await server.ask(method, dir, { body, headers: { Depth: '0' } })).status, method).toBe(413);
    }
  });

  test('a folder of files that hold much is told in pieces, whole', async () => {
    const much = 'x'.repeat(1_000_000);
    for (let i = 0; i < 10; i++) {
      await server.ask('PUT', `${dir}/f${i}`, { body: 'f' });
      await patch(`${dir}/f${i}`, `<d:set><d:prop><x:p xmlns:x="u">${much}${i}</x:p></d:prop></d:set>`);
    }
    const told = await find(dir, '1', prop('<x:p xmlns:x="u"/>'));
    // Gathered for its length, it would need all of the memory at once.
    expect(told.headers['content-length']).toBeUndefined();
    expect(responses(told.bytes).map((entry) => propertyText(entry, 'u', 'p')?.length ?? 0)).toEqual([
      0,
      ...Array.from({ length: 10 }, () => much.length + 1),
    ]);
    const sync = async (token: string) =>
      server.ask('REPORT', dir, {
        body: `<d:sync-collection xmlns:d="DAV:"><d:sync-token>${token}</d:sync-token><d:sync-level>1</d:sync-level><d:prop><x:p xmlns:x="u"/></d:prop></d:sync-collection>`,
      });
    const files = new Set<string>();
    for (let token = '', more = true; more; ) {
      const { text, bytes } = await sync(token);
      expect(text.length).toBeLessThan(9_000_000);
      for (const href of hrefs(bytes)) if (href !== undefined && href !== `${dir}/`) files.add(href);
      token = /<d:sync-token>([^<]*)</.exec(text)?.[1] ?? '';
      more = text.includes('507');
    }
    expect([...files].sort()).toEqual(Array.from({ length: 10 }, (_, i) => `${dir}/f${i}`));
  });

  test('nothing to do, or no body, is 400; nothing there is 404', async () => {
    expect((await patch(dir, '')).status).toBe(400);
    expect((await server.ask('PROPPATCH', dir)).status).toBe(400);
    expect((await patch(`${dir}/none`, '<d:set><d:prop><d:x/></d:prop></d:set>')).status).toBe(404);
  });
});
