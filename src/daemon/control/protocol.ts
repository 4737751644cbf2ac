// The control socket's language: one JSON object per line, UTF-8, both ways.
//
//   request   {"v":1,"id":"7","method":"pin","params":{"path":"Photos"}}
//   answers   {"id":"7","progress":{…}}   any number
//             {"id":"7","result":…}  or  {"id":"7","error":{"code":"not_found","message":"…"}}   exactly one
//
// Several requests may run at once on one connection; closing it ends them all. Paths are relative to the mount point,
// '' is its root. The socket is 0600 in a 0700 folder: who can connect is the user whose drive it is.

import { CloudError, type ErrorCode, type ErrorDetails } from '../../errors.js';

export const PROTOCOL_VERSION = 1;
/** A request is a method and a path or two. */
export const MAX_REQUEST_BYTES = 64 * 1024;
/** Answers are lists, which the daemon cuts at `MAX_LIST` entries. */
export const MAX_REPLY_BYTES = 32 * 1024 * 1024;
export const MAX_LIST = 10_000;
/** PATH_MAX is 4096 bytes per system call; a deeper path can still be named in one request. */
const MAX_PATH_CHARS = 16_384;

export interface ControlRequest {
  readonly id: string;
  readonly method: string;
  readonly params: Readonly<Record<string, unknown>>;
}

export interface WireError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details?: ErrorDetails;
}

export type ControlReply =
  | { readonly id: string; readonly progress: unknown }
  | { readonly id: string; readonly result: unknown }
  | { readonly id: string; readonly error: WireError };

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parseObject(line: string, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new CloudError(
      'protocol',
      `${what}: expected one JSON object per line, found ${line.length} characters of else`,
    );
  }
  if (!isRecord(value)) throw new CloudError('protocol', `${what}: expected a JSON object`);
  return value;
}

/** Throws `protocol`. */
export function parseRequest(line: string): ControlRequest {
  const { v, id, method, params } = parseObject(line, 'control request');
  if (v !== PROTOCOL_VERSION) {
    throw new CloudError(
      'protocol',
      `control request: this daemon speaks version ${PROTOCOL_VERSION}, the request is of version ${JSON.stringify(v)}. ` +
        'After an update, unmount and mount the drive again.',
    );
  }
  if (typeof id !== 'string' || id.length === 0 || id.length > 64) {
    throw new CloudError('protocol', 'control request: "id" must be a string of 1 to 64 characters');
  }
  if (typeof method !== 'string' || !/^[A-Za-z]{1,32}$/.test(method)) {
    throw new CloudError('protocol', 'control request: "method" must be 1 to 32 letters');
  }
  if (params !== undefined && !isRecord(params)) {
    throw new CloudError('protocol', 'control request: "params" must be an object');
  }
  return { id, method, params: params ?? {} };
}

/** Throws `protocol`. */
export function parseReply(line: string): ControlReply {
  const value = parseObject(line, 'control answer');
  const { id } = value;
  if (typeof id !== 'string') throw new CloudError('protocol', 'control answer: "id" is missing');
  if ('progress' in value) return { id, progress: value['progress'] };
  if ('result' in value) return { id, result: value['result'] };
  const { error } = value;
  if (!isRecord(error) || typeof error['message'] !== 'string' || typeof error['code'] !== 'string') {
    throw new CloudError('protocol', 'control answer: neither progress, result nor error');
  }
  return {
    id,
    error: {
      code: error['code'] as ErrorCode,
      message: error['message'],
      ...(isRecord(error['details']) ? { details: error['details'] as ErrorDetails } : {}),
    },
  };
}

export function formatRequest(request: ControlRequest): string {
  return `${JSON.stringify({ v: PROTOCOL_VERSION, ...request })}\n`;
}

export function formatReply(reply: ControlReply): string {
  return `${JSON.stringify('result' in reply ? { id: reply.id, result: reply.result ?? null } : reply)}\n`;
}

export function toWireError(error: CloudError): WireError {
  return { code: error.code, message: error.message, details: error.details };
}

// ---- parameters -----------------------------------------------------------------------------------------------------

type Params = ControlRequest['params'];

/** A path inside the drive: names joined with `/`, no `.`/`..`, no empty name. Throws `invalid`. */
export function pathParam(params: Params): string {
  const { path } = params;
  if (
    typeof path !== 'string' ||
    path.length > MAX_PATH_CHARS ||
    path.includes('\0') ||
    (path !== '' && path.split('/').some((name) => name === '' || name === '.' || name === '..'))
  ) {
    throw new CloudError(
      'invalid',
      'control request: "path" must be relative to the mount point, names joined with "/", without "." and ".."',
    );
  }
  return path;
}

export function flagParam(params: Params, name: string): boolean {
  const value = params[name] ?? false;
  if (typeof value === 'boolean') return value;
  throw new CloudError('invalid', `control request: "${name}" must be true or false`);
}

export function choiceParam<T extends string>(params: Params, name: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === params[name]);
  if (found !== undefined) return found;
  throw new CloudError('invalid', `control request: "${name}" must be one of ${choices.join(', ')}`);
}

export function secretParam(params: Params, name: string): string {
  const value = params[name];
  if (typeof value === 'string' && value.length > 0) return value;
  throw new CloudError('invalid', `control request: "${name}" must be a text that is not empty`);
}

/** Milliseconds, 0 up to a day. */
export function durationParam(params: Params, name: string): number {
  const value = params[name];
  if (typeof value === 'number' && value >= 0 && value <= 86_400_000) return value;
  throw new CloudError('invalid', `control request: "${name}" must be a number of milliseconds up to a day`);
}
