// The `If` header (RFC 4918 section 10.4):
//   If        = 1*No-tag-list | 1*Tagged-list
//   Tagged    = "<" resource ">" 1*List
//   List      = "(" 1*( ["Not"] ( "<" state-token ">" | "[" entity-tag "]" ) ) ")"
// True when one list is true; a list is true when all its conditions are, for its resource.

import { CloudError } from '../../errors.js';
import { strongMatch } from './etag.js';

export type IfCondition =
  | { readonly kind: 'token'; readonly not: boolean; readonly token: string }
  | { readonly kind: 'etag'; readonly not: boolean; readonly etag: string };

export interface IfList {
  /** The tag, as sent (absolute URI or path); null = the request's own resource. */
  readonly resource: string | null;
  readonly conditions: readonly IfCondition[];
}

/** What a condition is judged against. */
export interface ResourceState {
  /** Null: unmapped, or no ETag. */
  readonly etag: string | null;
  /** Tokens of the locks that apply to the resource. */
  readonly tokens: readonly string[];
}

function bad(header: string, wanted: string, at: number): CloudError {
  const found = JSON.stringify(header.slice(at, at + 40));
  return new CloudError('invalid', `reading an If header: ${wanted} is required at ${at}, found ${found}`);
}

/** Throws `invalid` on anything the grammar does not allow. */
export function parseIfHeader(header: string): readonly IfList[] {
  const lists: IfList[] = [];
  let at = 0;
  const skip = () => {
    while (header[at] === ' ' || header[at] === '\t') at += 1;
  };
  const until = (close: string, what: string): string => {
    const end = header.indexOf(close, at + 1);
    if (end < 0) throw bad(header, what, at);
    const inner = header.slice(at + 1, end);
    at = end + 1;
    return inner;
  };
  const coded = (what: string): string => {
    const inner = until('>', what);
    if (inner === '' || /[\s<>]/.test(inner)) throw bad(header, what, at);
    return inner;
  };
  const list = (resource: string | null) => {
    at += 1; // "("
    const conditions: IfCondition[] = [];
    for (;;) {
      skip();
      if (header[at] === ')') break;
      let not = false;
      if (/^not(?=[\s<[])/i.test(header.slice(at, at + 4))) {
        not = true;
        at += 3;
        skip();
      }
      if (header[at] === '<') {
        conditions.push({ kind: 'token', not, token: coded('a state token') });
      } else if (header[at] === '[') {
        const start = at;
        const tag = /^\[\s*((?:W\/)?"[^"]*")\s*\]/.exec(header.slice(at));
        if (tag?.[1] === undefined) throw bad(header, 'an entity tag in brackets', start);
        conditions.push({ kind: 'etag', not, etag: tag[1] });
        at += tag[0].length;
      } else {
        throw bad(header, 'a state token, an entity tag or ")"', at);
      }
    }
    at += 1; // ")"
    if (conditions.length === 0) throw bad(header, 'a condition inside the list', at - 1);
    lists.push({ resource, conditions });
  };

  skip();
  const tagged = header[at] === '<';
  while (at < header.length) {
    let resource: string | null = null;
    if (tagged) {
      if (header[at] !== '<') throw bad(header, 'a resource tag', at);
      resource = coded('a resource tag');
      skip();
    }
    if (header[at] !== '(') throw bad(header, '"("', at);
    while (header[at] === '(') {
      list(resource);
      skip();
    }
  }
  if (lists.length === 0) throw bad(header, 'a list', 0);
  return lists;
}

/** Is the header true? `stateOf` is asked once per condition list with the list's tag. */
export async function evaluateIf(
  lists: readonly IfList[],
  stateOf: (resource: string | null) => ResourceState | Promise<ResourceState>,
): Promise<boolean> {
  for (const list of lists) {
    const state = await stateOf(list.resource);
    if (list.conditions.every((condition) => holds(condition, state))) return true;
  }
  return false;
}

function holds(condition: IfCondition, state: ResourceState): boolean {
  const matches =
    condition.kind === 'token'
      ? state.tokens.includes(condition.token)
      : state.etag !== null && strongMatch(condition.etag, state.etag);
  return matches !== condition.not;
}

/** Every state token the client says it knows, negated ones too (RFC 4918 section 10.4.1: submitted by appearing). */
export function submittedTokens(lists: readonly IfList[]): readonly string[] {
  const tokens = new Set<string>();
  for (const list of lists) {
    for (const condition of list.conditions) if (condition.kind === 'token') tokens.add(condition.token);
  }
  return [...tokens];
}

/** Writes the header back. */
export function formatIfHeader(lists: readonly IfList[]): string {
  let out = '';
  let last: string | null = null;
  for (const list of lists) {
    if (list.resource !== null && list.resource !== last) out += `${out === '' ? '' : ' '}<${list.resource}>`;
    last = list.resource;
    const inner = list.conditions.map(
      (condition) =>
        (condition.not ? 'Not ' : '') + (condition.kind === 'token' ? `<${condition.token}>` : `[${condition.etag}]`),
    );
    out += `${out === '' ? '' : ' '}(${inner.join(' ')})`;
  }
  return out;
}
