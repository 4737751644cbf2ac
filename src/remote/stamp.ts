// The version of a file on a server that names none in its listings (nginx): when it was changed, to the second, and how
// long it is. No entity tag, so never in a header: what must not change is looked at before and after. Two versions of the
// same second and length look alike; a lock keeps others out while we change one.

/** Null where the server does not say both. Files may be of 1970 or before: what reproducible archives hold is. */
export function stampOf(changed_s: number | null, size_bytes: number | null): string | null {
  return changed_s !== null && size_bytes !== null ? `T${changed_s}-${size_bytes}` : null;
}

export function isStamp(version: string | null): version is string {
  return version?.startsWith('T') === true;
}
