// What the network's libraries throw, as people are told of it.

import { expect, test } from 'vitest';
import { transportError } from '../../../src/remote/transport_error.js';

test.each([
  ['UND_ERR_CONNECT_TIMEOUT', 'timeout', 'asking: no connection in time'],
  ['UND_ERR_HEADERS_TIMEOUT', 'timeout', 'asking: no answer in time'],
  ['UND_ERR_BODY_TIMEOUT', 'timeout', 'asking: no answer in time'],
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'protocol', /certificate is for other names than the one in the address/],
  ['SELF_SIGNED_CERT_IN_CHAIN', 'protocol', /certificate or TLS is not accepted/],
  ['UND_ERR_INVALID_ARG', 'protocol', /no valid HTTP/],
])('%s', (code, as, message) => {
  const error = transportError(Object.assign(new Error('why'), { code }), 'asking');
  expect(error.code).toBe(as);
  expect(error.message).toMatch(message);
});
