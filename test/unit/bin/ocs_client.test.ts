// Where the server and the files are, out of an account's address.

import { expect, test } from 'vitest';
import { serverOf, subfolderOf } from '../../../bin/cli/ocs_client.js';

test.each([
  ['https://cloud.example.org', 'https://cloud.example.org', ''],
  ['https://cloud.example.org/nextcloud/', 'https://cloud.example.org/nextcloud', ''],
  ['https://c.org/remote.php/dav/files/anna/', 'https://c.org', ''],
  ['https://c.org/nc/remote.php/dav/files/anna/Some%20Folder/', 'https://c.org/nc', '/Some Folder'],
  ['http://127.0.0.1:8080/dav/files/anna', 'http://127.0.0.1:8080', ''],
  ['https://c.org/remote.php/webdav/Plans', 'https://c.org', '/Plans'],
])('%s', (url, server, folder) => {
  expect(serverOf(url)).toBe(server);
  expect(subfolderOf(url)).toBe(folder);
});
