// Where a server that listens on all addresses of the machine can be reached: what to type on another one.

import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import { hostInUrl, listensOnAll } from '../../src/server/listen_address.js';

type Interfaces = Readonly<
  Record<string, readonly Pick<NetworkInterfaceInfo, 'address' | 'family' | 'internal'>[] | undefined>
>;

/** The addresses other machines may use, IPv4 first; none where it listens on one address, which its `url` names. */
export function addressesElsewhere(
  url: string,
  host: string,
  interfaces: Interfaces = networkInterfaces(),
): readonly string[] {
  if (!listensOnAll(host)) return [];
  const { protocol, port } = new URL(url);
  const found = Object.values(interfaces).flatMap((list) => list ?? []);
  const shown = port === '' ? '' : `:${port}`;
  const of = (family: string) => found.filter((one) => !one.internal && one.family === family);
  return [
    ...of('IPv4').map(({ address }) => `${protocol}//${address}${shown}`),
    // Link-local ones need the name of an interface beside them, which no client of ours takes.
    ...(host === '::' ? of('IPv6') : [])
      .filter(({ address }) => !/^fe[89ab]/i.test(address))
      .map(({ address }) => `${protocol}//${hostInUrl(address)}${shown}`),
  ];
}

/** With TLS only the names in the certificate are of use. */
function namesInCertificate(certFile: string): readonly string[] {
  const names = new X509Certificate(readFileSync(certFile)).subjectAltName ?? '';
  return [...names.matchAll(/DNS:([^,\s]+)/g)].map(([, name = '']) => name);
}

/** `http://localhost:8080 and on all addresses of this machine: http://192.168.1.5:8080`. */
export function describeAddresses(url: string, host: string, certFile: string | null): string {
  if (!listensOnAll(host)) return url;
  if (certFile === null) {
    const elsewhere = addressesElsewhere(url, host);
    const list = elsewhere.length === 0 ? '' : `: ${elsewhere.join(', ')}`;
    return `${url}, on all addresses of this machine${list}`;
  }
  const { port } = new URL(url);
  const names = namesInCertificate(certFile)
    .filter((name) => !name.startsWith('*'))
    .map((name) => `https://${name}${port === '' ? '' : `:${port}`}`);
  const others = names.filter((name) => name !== new URL(url).origin);
  const hasNoOther = others.length === 0 && names.length > 0;
  const how = hasNoOther
    ? 'its certificate has no other name'
    : `by a name that its certificate has${others.length === 0 ? '' : `: ${others.join(', ')}`}`;
  return `${url}, on all addresses of this machine; ${how}`;
}
