// What office programs put beside a document while they have it open, and which document that is.
//
// LibreOffice: `.~lock.NAME#`. Microsoft's programs, and LibreOffice beside their formats: `~$NAME`; Word takes the place
// for it out of the name: of one with seven characters before the extension the first is left out, of a longer one the
// first two (LibreOffice, svl/source/misc/msodocumentlockfile.cxx, has the same from watching Word).

import type { Name } from '../ids.js';

const WORD = /\.(?:docx?|docm|dotx?|dotm|rtf|odt)$/i;

export function isLockFile(name: string): boolean {
  return /^(?:\.~lock\..+#|~\$.+)$/s.test(name);
}

/** The names of lock files there may be beside a document. */
export function lockFilesOf(name: string): readonly Name[] {
  const cut = name.slice(cutBy(name));
  return [`.~lock.${name}#`, `~$${name}`, ...(cut !== name && cut.isWellFormed() ? [`~$${cut}`] : [])] as Name[];
}

/** What the document of a lock file is called; `orEndsIn`: or is a name that ends so and has more in front. */
export function documentNameOf(lockFile: string): { readonly name: Name; readonly orEndsIn: Name | null } {
  if (!lockFile.startsWith('~$')) return { name: lockFile.slice('.~lock.'.length, -1) as Name, orEndsIn: null };
  const name = lockFile.slice('~$'.length) as Name;
  // Six characters are left of the shortest name that is cut.
  return { name, orEndsIn: WORD.test(name) && stemLength(name) >= 6 ? name : null };
}

function cutBy(name: string): 0 | 1 | 2 {
  const length = WORD.test(name) ? stemLength(name) : 0;
  return length >= 8 ? 2 : length === 7 ? 1 : 0;
}

/** In UTF-16 units, as Word counts. */
function stemLength(name: string): number {
  return name.lastIndexOf('.');
}
