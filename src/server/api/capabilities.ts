// What clients may expect of this server, in the words of Nextcloud's capabilities API. Only what is there is said:
// clients use what they read here without asking again.

import { SPOKEN_VERSION } from './status.js';

const CHUNK_BYTES = 10 * 1024 * 1024;

/** Capabilities document; `origin` is the server as the client reaches it. */
export function capabilitiesDocument(origin: string): object {
  return {
    version: { ...SPOKEN_VERSION, edition: '', extendedSupport: false },
    capabilities: {
      core: { pollinterval: 60, 'webdav-root': 'remote.php/webdav' },
      dav: { chunking: '1.0' },
      files: {
        bigfilechunking: true,
        blacklisted_files: [],
        chunked_upload: { max_size: CHUNK_BYTES * 10, max_parallel_count: 4 },
        locking: '1.0',
        undelete: false,
        versioning: false,
      },
      checksums: { supportedTypes: ['SHA256', 'SHA1', 'MD5'], preferredUploadType: 'SHA1' },
      notify_push: {
        type: ['files'],
        endpoints: {
          websocket: `${origin.replace(/^http/, 'ws')}/push/ws`,
          pre_auth: `${origin}/apps/notify_push/pre_auth`,
        },
      },
      files_sharing: {
        api_enabled: true,
        public: {
          enabled: true,
          password: { enforced: false, askForOptionalPassword: false },
          expire_date: { enabled: false },
          multiple_links: true,
          send_mail: false,
          upload: true,
          upload_files_drop: true,
        },
        resharing: true,
        default_permissions: 15,
        group_sharing: true,
        user: { send_mail: false, expire_date: { enabled: true } },
        group: { enabled: true, expire_date: { enabled: true } },
        federation: { outgoing: false, incoming: false, expire_date: { enabled: false } },
        sharebymail: { enabled: false },
        sharee: { query_lookup_default: false, always_show_unique: true },
      },
      activity: { apiv2: ['filters', 'filters-api'] },
      cloudmount: { version: 1 },
    },
  };
}
