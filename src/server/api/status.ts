// `/status.php`: how Nextcloud and ownCloud clients find out that this is a server they know, before they log in.

/** The Nextcloud release whose protocol we speak; clients refuse versions that are too old. */
export const SPOKEN_VERSION = { major: 28, minor: 0, micro: 0, string: '28.0.0' } as const;

export function statusDocument(): object {
  return {
    installed: true,
    maintenance: false,
    needsDbUpgrade: false,
    version: `${SPOKEN_VERSION.string}.0`,
    versionstring: SPOKEN_VERSION.string,
    edition: '',
    productname: 'cloudmount',
    extendedSupport: false,
  };
}
