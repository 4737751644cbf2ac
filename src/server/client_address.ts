// Where a request came from and under which name the client reached us. Behind a proxy both are what the proxy says,
// but only if the operator said that there is one (`--trust-proxy`): anybody can send these headers.

import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { TLSSocket } from 'node:tls';

const HOST = /^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/;

function lastOf(header: string | string[] | undefined): string | null {
  const text = Array.isArray(header) ? header.join(',') : header;
  return text?.split(',').at(-1)?.trim() || null;
}

/** IP address of the client. The proxy next to us appended the last entry; the ones before are hearsay. */
export function clientAddress(request: IncomingMessage, trustProxy: boolean): string {
  const peer = request.socket.remoteAddress ?? '';
  if (!trustProxy) return peer;
  const forwarded = withoutPort(lastOf(request.headers['x-forwarded-for']) ?? '');
  return isIP(forwarded) !== 0 ? forwarded : peer;
}

/** Some proxies (IIS, Azure's) say the port too: `192.0.2.1:5678`, `[2001:db8::1]:5678`. */
function withoutPort(address: string): string {
  const [, bracketed, plain] = /^(?:\[([^\]]*)\]|([\d.]+))(?::\d{1,5})?$/.exec(address) ?? [];
  return bracketed ?? plain ?? address;
}

/** Scheme and authority as the client sees them; what is no plain host falls back to our own address. */
export function clientOrigin(request: IncomingMessage, trustProxy: boolean): string {
  const own = request.socket instanceof TLSSocket ? 'https' : 'http';
  const forwardedProto = trustProxy ? lastOf(request.headers['x-forwarded-proto']) : null;
  const scheme = forwardedProto === 'http' || forwardedProto === 'https' ? forwardedProto : own;
  const forwardedHost = trustProxy ? lastOf(request.headers['x-forwarded-host']) : null;
  const host = [forwardedHost, request.headers.host].find((name) => typeof name === 'string' && HOST.test(name));
  if (host) return `${scheme}://${host}`;
  const { localAddress = 'localhost', localPort = 0 } = request.socket;
  return `${scheme}://${localAddress.includes(':') ? `[${localAddress}]` : localAddress}:${localPort}`;
}

export function isLoopback(address: string): boolean {
  return address === '::1' || /^(?:::ffff:)?127\./.test(address);
}
