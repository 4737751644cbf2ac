// The dialects by name.

import type { RemoteCapabilities } from '../remote.js';
import { cloudmount } from './cloudmount.js';
import type { Dialect } from './dialect.js';
import { generic } from './generic.js';
import { nextcloud } from './nextcloud.js';
import { owncloud } from './owncloud.js';

const DIALECTS: Readonly<Record<RemoteCapabilities['dialect'], Dialect>> = { cloudmount, nextcloud, owncloud, generic };

export function dialectOf(name: RemoteCapabilities['dialect']): Dialect {
  return DIALECTS[name];
}
