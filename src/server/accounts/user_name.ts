// What a user may be called. The name stands in URLs, in Basic credentials (no colon), in log lines and in file names
// of backups, so it is plain ASCII and cannot be mistaken for a path.

import { CloudError } from '../../errors.js';

const ALLOWED = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/;

export const USER_NAME_RULE =
  '1 to 64 characters out of a-z, A-Z, 0-9, ".", "_", "@" and "-", the first a letter or a digit, no ".." in it';

export function isUserName(name: string): boolean {
  return ALLOWED.test(name) && !name.includes('..');
}

/** Throws `invalid` with the rule. */
export function checkUserName(name: string): string {
  if (isUserName(name)) return name;
  throw new CloudError('invalid', `user name ${JSON.stringify(name)}: it must be ${USER_NAME_RULE}`);
}

const GROUP_ALLOWED = /^[\p{L}\p{N}][\p{L}\p{N} ._@-]{0,63}$/u;

/** Groups are named by people for people: letters of any script and spaces. Throws `invalid` with the rule. */
export function checkGroupName(name: string): string {
  const trimmed = name.trim().normalize('NFC');
  if (GROUP_ALLOWED.test(trimmed)) return trimmed;
  throw new CloudError(
    'invalid',
    `group name ${JSON.stringify(name)}: it must be 1 to 64 letters, digits, spaces, ".", "_", "@" or "-", the first a letter or a digit`,
  );
}

/** The same for groups, whose names are written in more than one way. */
export function groupIdOf(name: string): string {
  return name.trim().normalize('NFC').toLowerCase();
}

/** Two names that differ in case only are the same user. */
export function userIdOf(name: string): string {
  return name.toLowerCase();
}
