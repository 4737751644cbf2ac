// PROPPATCH (RFC 4918 section 9.2): all instructions or none, in the order of the document. What is not a live property is
// stored as it came, nested XML and xml:lang included. Settable live ones: the times, and the POSIX attributes of our
// own namespace. Windows' properties (Win32*) are stored like any other; its last-modified time also counts.

import { CloudError, isCloudError } from '../../../errors.js';
import { parseMode, parseOwnerId, parseTimestamp } from '../../../remote/wire/cloudmount_props.js';
import { parseHttpDate } from '../../../remote/wire/http_date.js';
import {
  emptyProperty,
  MULTISTATUS_START,
  MULTISTATUS_TYPE,
  multistatusEnd,
  type PropstatOut,
  propResponse,
} from '../../../remote/wire/multistatus.js';
import { CM, clark, DAV, type XmlName } from '../../../remote/wire/ns.js';
import {
  childrenOf,
  elementsOf,
  textOf,
  withInheritedLang,
  writeElement,
  type XmlElement,
} from '../../../remote/wire/xml.js';
import type { Attributes, MetadataRead, NodeRecord, PropertyChange } from '../../storage/metadata/metadata_store.js';
import { readXml } from '../body.js';
import type { DavRequest } from '../context.js';
import { mayChange } from '../lock_rules.js';
import { isLive } from '../properties.js';
import { sendBody } from '../reply.js';
import { hrefOf } from '../resource_path.js';
import { existing, holderOf, resolveChecked } from '../write_access.js';

const MAX_PROPERTIES_CHARS = 2 << 20;
const WIN32 = 'urn:schemas-microsoft-com:';

type Instruction = { readonly name: XmlName } & (
  | { readonly kind: 'dead'; readonly change: PropertyChange; readonly attributes?: Attributes }
  | { readonly kind: 'attributes'; readonly attributes: Attributes }
  | { readonly kind: 'refused'; readonly status: number; readonly why: string; readonly condition?: string }
);

/** Live properties that may be set, by their Clark name. Each throws `invalid` on a value it cannot read. */
const SETTABLE = new Map<string, (text: string) => Attributes>([
  [clark({ ns: DAV, local: 'getlastmodified' }), (text: string) => ({ mtime: { s: httpDate(text), ns: 0 } })],
  [clark({ ns: DAV, local: 'lastmodified' }), (text: string) => ({ mtime: parseTimestamp(text) })],
  [clark({ ns: DAV, local: 'creationdate' }), (text: string) => ({ created_ms: isoDate(text) })],
  [clark({ ns: CM, local: 'mtime' }), (text: string) => ({ mtime: parseTimestamp(text) })],
  [clark({ ns: CM, local: 'mode' }), (text: string) => ({ mode: parseMode(text) })],
  [clark({ ns: CM, local: 'uid' }), (text: string) => ({ uid: parseOwnerId(text) })],
  [clark({ ns: CM, local: 'gid' }), (text: string) => ({ gid: parseOwnerId(text) })],
]);

export async function proppatch(request: DavRequest): Promise<void> {
  const { services, ctx, path, res, req } = request;
  const instructions = read(await readXml(req, services.limits.xml));
  if (instructions.some((one) => one.kind === 'dead' && one.change.kind === 'set')) await services.blobs.demandRoom(0);
  const isRefused = instructions.some(({ kind }) => kind === 'refused');
  const node = await services.metadata.write(async (tx) => {
    const at = await resolveChecked(request, tx, 'write');
    let node = existing(at, path.slash);
    await mayChange(tx, holderOf(request), at);
    if (isRefused) return node;
    const changes: PropertyChange[] = [];
    let attributes: Attributes = {};
    for (const instruction of instructions) {
      if (instruction.kind === 'dead') changes.push(instruction.change);
      if (instruction.kind !== 'refused') attributes = { ...attributes, ...instruction.attributes };
    }
    if (changes.length > 0) {
      node = await tx.setProperties(node, changes);
      await mayHold(tx, node);
    }
    if (Object.keys(attributes).length > 0) node = await tx.setAttributes(node, attributes);
    return node;
  });
  const href = hrefOf(ctx.basePath, path.names, node.kind === 'dir');
  const body = MULTISTATUS_START + propResponse(href, answer(instructions, isRefused)) + multistatusEnd();
  sendBody(res, 207, MULTISTATUS_TYPE, body);
}

/** Where there is no quota, they must not grow without end either: all of a resource's are read at a time. */
async function mayHold(tx: MetadataRead, node: NodeRecord): Promise<void> {
  let size = 0;
  for (const { xml } of (await tx.properties([node.id])).get(node.id) ?? []) size += xml.length;
  if (size <= MAX_PROPERTIES_CHARS) return;
  throw new CloudError(
    'no_space',
    `setting properties: a resource may hold ${MAX_PROPERTIES_CHARS} characters of them, these would be ${size}`,
  );
}

function answer(instructions: readonly Instruction[], isRefused: boolean): readonly PropstatOut[] {
  const good = new Map<string, string>();
  const refused: PropstatOut[] = [];
  for (const instruction of instructions) {
    const prop = emptyProperty(instruction.name);
    if (instruction.kind !== 'refused') good.set(clark(instruction.name), prop);
    else {
      const { status, why, condition } = instruction;
      refused.push({
        status,
        props: [prop],
        description: why,
        ...(condition === undefined ? {} : { error: condition }),
      });
    }
  }
  return [...refused, { status: isRefused ? 424 : 200, props: [...good.values()] }];
}

function read(body: XmlElement | null): readonly Instruction[] {
  if (body === null || body.ns !== DAV || body.local !== 'propertyupdate') {
    throw new CloudError('invalid', 'reading PROPPATCH: {DAV:}propertyupdate is required');
  }
  const out: Instruction[] = [];
  for (const action of elementsOf(body)) {
    if (action.ns !== DAV || (action.local !== 'set' && action.local !== 'remove')) continue;
    for (const prop of childrenOf(action, DAV, 'prop')) {
      for (const property of elementsOf(prop)) {
        out.push(
          action.local === 'remove' ? toRemove(property) : toSet(withInheritedLang(property, [prop, action, body])),
        );
      }
    }
  }
  if (out.length === 0) throw new CloudError('invalid', 'reading PROPPATCH: at least one property is required');
  return out;
}

function toRemove(name: XmlName): Instruction {
  if (isLive(name) || SETTABLE.has(clark(name))) return protectedProperty(name);
  return { name, kind: 'dead', change: { kind: 'remove', ns: name.ns, name: name.local } };
}

function toSet(property: XmlElement): Instruction {
  const settable = SETTABLE.get(clark(property));
  if (settable !== undefined) {
    try {
      return { name: property, kind: 'attributes', attributes: settable(textOf(property).trim()) };
    } catch (error) {
      if (!isCloudError(error)) throw error;
      return { name: property, kind: 'refused', status: 409, why: error.message };
    }
  }
  if (isLive(property)) return protectedProperty(property);
  const { ns, local } = property;
  const change = { kind: 'set' as const, ns, name: local, xml: writeElement(property) };
  if (ns === WIN32 && local === 'Win32LastModifiedTime') {
    const s = parseHttpDate(textOf(property));
    if (s !== null) return { name: property, kind: 'dead', change, attributes: { mtime: { s, ns: 0 } } };
  }
  return { name: property, kind: 'dead', change };
}

function protectedProperty(name: XmlName): Instruction {
  return {
    name,
    kind: 'refused',
    status: 403,
    why: `${clark(name)} is computed by the server`,
    condition: '<d:cannot-modify-protected-property/>',
  };
}

function httpDate(text: string): number {
  const s = parseHttpDate(text) ?? (/^\d{1,12}$/.test(text) ? Number(text) : null);
  if (s === null)
    throw new CloudError('invalid', `reading a time: an HTTP date is required, found ${JSON.stringify(text)}`);
  return s;
}

function isoDate(text: string): number {
  const ms = Date.parse(text);
  if (!/^\d{4}-/.test(text) || Number.isNaN(ms)) {
    throw new CloudError('invalid', `reading a time: an ISO 8601 date is required, found ${JSON.stringify(text)}`);
  }
  return ms;
}
