// How a connection to the server is made: what the user said about TLS, in the words of node and undici.

export interface TlsOptions {
  /** PEM of the authorities to trust instead of the system's. */
  readonly ca?: string | Buffer;
  /** PEM of a client certificate and its key. */
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
  readonly passphrase?: string;
  /** True only when the user asked not to check certificates. */
  readonly insecure?: boolean;
}

/** What `tls.connect` takes, and whatever hands its options on to that: undici, ws. */
export function connectOptions(tls: TlsOptions) {
  return {
    rejectUnauthorized: tls.insecure !== true,
    ...(tls.ca === undefined ? {} : { ca: tls.ca }),
    ...(tls.cert === undefined ? {} : { cert: tls.cert }),
    ...(tls.key === undefined ? {} : { key: tls.key }),
    ...(tls.passphrase === undefined ? {} : { passphrase: tls.passphrase }),
  };
}
