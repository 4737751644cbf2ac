// What may be done with a node, as the bitmask of the Open Collaboration Services sharing API, and the names people use.

import { CloudError } from '../../errors.js';

export const READ = 1;
export const UPDATE = 2;
export const CREATE = 4;
export const DELETE = 8;
export const SHARE = 16;

/** What an owner may. */
export const ALL_RIGHTS = READ | UPDATE | CREATE | DELETE | SHARE;
export const NO_RIGHTS = 0;

/** A file has no members: creating and deleting are rights on collections. */
export const FILE_RIGHTS = READ | UPDATE | SHARE;

export type RoleName = 'viewer' | 'uploader' | 'editor' | 'organiser' | 'collaborator';

/** From the least to the most. */
export const ROLES: ReadonlyMap<RoleName, number> = new Map<RoleName, number>([
  ['viewer', READ],
  ['uploader', READ | CREATE],
  ['editor', READ | UPDATE],
  ['organiser', READ | UPDATE | CREATE | DELETE],
  ['collaborator', ALL_RIGHTS],
]);

/** What a public link may be for. */
export type LinkRoleName = 'view' | 'upload' | 'edit' | 'drop';

export const LINK_ROLES: ReadonlyMap<LinkRoleName, number> = new Map<LinkRoleName, number>([
  ['view', READ],
  ['upload', READ | CREATE],
  ['edit', READ | UPDATE | CREATE | DELETE],
  ['drop', CREATE],
]);

/** The least role that gives exactly these rights, null if it is none of the named ones. On a file a role gives less. */
export function roleOf(rights: number, onFile: boolean): RoleName | null {
  return nameOf(ROLES, rights, onFile);
}

export function linkRoleOf(rights: number, onFile: boolean): LinkRoleName | null {
  return nameOf(LINK_ROLES, rights, onFile);
}

function nameOf<Name>(roles: ReadonlyMap<Name, number>, rights: number, onFile: boolean): Name | null {
  const there = onFile ? FILE_RIGHTS : ALL_RIGHTS;
  for (const [name, bits] of roles) if ((bits & there) === rights) return name;
  return null;
}

/** Throws `invalid` with the names there are. */
export function rightsOfRole(name: string): number {
  const bits = ROLES.get(name.toLowerCase() as RoleName);
  if (bits !== undefined) return bits;
  throw new CloudError('invalid', `role ${JSON.stringify(name)}: one of ${[...ROLES.keys()].join(', ')} is required`);
}

export function has(rights: number, wanted: number): boolean {
  return (rights & wanted) === wanted;
}
