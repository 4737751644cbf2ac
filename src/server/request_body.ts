// How a request's body is asked for and how it ends when nobody wants it.
//
// `Expect: 100-continue`: the go-ahead is sent when a handler first reads the body, so a refused upload is refused
// before it is sent. An answer that starts before the whole body is here says `Connection: close`, because the rest of
// the body would be taken for the next request; the connection is then closed for writing first and left open a
// moment for reading, or the answer would be lost in a reset while the client still sends (RFC 9112 section 9.6).

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { CloudError } from '../errors.js';

const LINGER_MS = 5_000;

/** Why a body cannot be read: it would be stored as something else than was sent. Null = it can. Node undoes chunks only,
 * and hands on what is under them as if it were the content (RFC 9112 section 6.1). */
export function unknownCoding({ headers }: IncomingMessage): string | null {
  const coding = headers['transfer-encoding'];
  if (coding === undefined || /^\s*chunked\s*$/i.test(coding)) return null;
  return `Transfer-Encoding: chunked is understood, found ${JSON.stringify(coding)}`;
}

export function bodyCut(cause?: unknown): CloudError {
  return new CloudError('network', 'receiving the request body: the client broke off before its end', { cause });
}

/** To be called just before the status line and headers go out. */
export function closeOverUnreadBody(request: IncomingMessage, response: ServerResponse): void {
  if (request.complete || !hasBody(request)) return;
  response.shouldKeepAlive = false;
  response.setHeader('Connection', 'close');
  // A request that was given up has no socket any more, whatever its type says.
  if ((request.socket as Socket | null) !== null) lingerOnClose(request.socket);
}

function hasBody(request: IncomingMessage): boolean {
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers;
  return encoding !== undefined || (length !== undefined && length !== '0');
}

export function sendContinueOnFirstRead(request: IncomingMessage, response: ServerResponse): void {
  const read = request._read;
  request._read = function (this: IncomingMessage, size: number): void {
    request._read = read;
    if (!response.headersSent) response.writeContinue();
    read.call(this, size);
  };
}

/** Node ends a finished connection with `destroySoon`, which resets it when unread data is there. */
function lingerOnClose(socket: Socket): void {
  const destroySoon = socket.destroySoon;
  socket.destroySoon = () => {
    socket.destroySoon = destroySoon;
    if (socket.destroyed) return;
    socket.end();
    socket.resume();
    const timer = setTimeout(() => socket.destroy(), LINGER_MS);
    timer.unref();
    socket.once('end', () => socket.destroy());
    socket.once('close', () => clearTimeout(timer));
  };
}
