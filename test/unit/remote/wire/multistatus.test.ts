import { describe, expect, it } from 'vitest';
import {
  emptyProperty,
  errorBody,
  MULTISTATUS_START,
  MultistatusReader,
  type MultistatusResponse,
  multistatusEnd,
  parseStatusLine,
  propertyOf,
  propertyText,
  propResponse,
  rawProperty,
  statusResponse,
  textProperty,
} from '../../../../src/remote/wire/multistatus.js';
import { CM_XATTR, DAV, OC, SABRE } from '../../../../src/remote/wire/ns.js';
import { childOf, parseXml, textOf } from '../../../../src/remote/wire/xml.js';
import { codeOf } from '../../../support/code_of.js';

function read(text: string, chunk = 7): { responses: MultistatusResponse[]; syncToken: string | null } {
  const reader = new MultistatusReader();
  const bytes = Buffer.from(text);
  const responses: MultistatusResponse[] = [];
  for (let i = 0; i < bytes.length; i += chunk) responses.push(...reader.write(bytes.subarray(i, i + chunk)));
  const end = reader.end();
  responses.push(...end.responses);
  return { responses, syncToken: end.syncToken };
}

describe('multistatus', () => {
  it('reads what it writes', () => {
    const { responses, syncToken } = read(
      MULTISTATUS_START +
        propResponse('/dav/files/u/a%20b', [
          {
            status: 200,
            props: [
              textProperty({ ns: DAV, local: 'getetag' }, '"x&y"'),
              textProperty({ ns: OC, local: 'fileid' }, '7'),
              rawProperty({ ns: DAV, local: 'resourcetype' }, '<d:collection/>'),
              textProperty({ ns: CM_XATTR, local: 'user.a' }, 'AQ=='),
            ],
          },
          { status: 404, props: [emptyProperty({ ns: 'urn:"<&', local: 'none' })] },
        ]) +
        statusResponse(['/a', '/b'], 423, { error: '<d:lock-token-submitted/>', description: 'locked' }) +
        multistatusEnd('urn:token:5'),
    );
    expect(syncToken).toBe('urn:token:5');
    const [first, second] = responses;
    if (first === undefined || second === undefined) throw new Error('two responses expected');
    expect(first.hrefs).toEqual(['/dav/files/u/a%20b']);
    expect(propertyText(first, DAV, 'getetag')).toBe('"x&y"');
    expect(propertyText(first, OC, 'fileid')).toBe('7');
    expect(propertyText(first, CM_XATTR, 'user.a')).toBe('AQ==');
    expect(propertyOf(first, 'urn:"<&', 'none')).toBeNull();
    expect(first.propstats[1]?.props[0]?.ns).toBe('urn:"<&');
    expect(second).toMatchObject({ hrefs: ['/a', '/b'], status: 423, description: 'locked' });
    expect(second.error[0]?.local).toBe('lock-token-submitted');
  });

  it('takes a property from the 2xx propstat, not from the first', () => {
    const { responses } = read(
      `<multistatus xmlns="DAV:"><response><href>/a</href>
        <propstat><prop><getetag/><displayname/></prop><status>HTTP/1.1 404 Not Found</status></propstat>
        <propstat><prop><getetag>"1"</getetag></prop><status>HTTP/1.1 200 OK</status></propstat>
      </response></multistatus>`,
    );
    const [response] = responses;
    if (response === undefined) throw new Error('one response expected');
    expect(propertyText(response, DAV, 'getetag')).toBe('"1"');
    expect(propertyOf(response, DAV, 'displayname')).toBeNull();
  });

  it('does not take a name from another namespace', () => {
    const { responses } = read(
      `<d:multistatus xmlns:d="DAV:"><d:response><d:href>/a</d:href><d:propstat><d:prop>
       <getetag xmlns="urn:fake">"1"</getetag></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response></d:multistatus>`,
    );
    expect(responses[0] && propertyOf(responses[0], DAV, 'getetag')).toBeNull();
  });

  it.each([
    ['a captive portal', '<html><body>Sign in</body></html>'],
    ['an answer cut short', `${MULTISTATUS_START}${statusResponse('/a', 404)}`],
    [
      'a response without an href',
      '<multistatus xmlns="DAV:"><response><status>HTTP/1.1 200 OK</status></response></multistatus>',
    ],
    ['a response without a status', '<multistatus xmlns="DAV:"><response><href>/</href></response></multistatus>'],
    ['nothing', ''],
    ['no XML', '{"ok":true}'],
    ['a DTD', '<!DOCTYPE html><html></html>'],
  ])('refuses %s', (_, text) => {
    expect(codeOf(() => read(text))).toBe('protocol');
  });

  it('reads status lines strictly', () => {
    expect(parseStatusLine('HTTP/1.1 207 Multi-Status')).toBe(207);
    expect(parseStatusLine(' HTTP/2 404')).toBe(404);
    expect(codeOf(() => parseStatusLine('200 OK'))).toBe('protocol');
  });

  it('writes error bodies with the condition and the message', () => {
    const root = parseXml(
      errorBody({ condition: '<d:valid-sync-token/>', exception: 'Forbidden', message: 'token <unknown>' }),
    );
    expect(root).toMatchObject({ ns: DAV, local: 'error' });
    expect(childOf(root, DAV, 'valid-sync-token')).not.toBeNull();
    const message = childOf(root, SABRE, 'message');
    expect(message && textOf(message)).toBe('token <unknown>');
  });
});
