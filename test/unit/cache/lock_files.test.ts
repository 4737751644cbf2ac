import fc from 'fast-check';
import { expect, test } from 'vitest';
import { documentNameOf, isLockFile, lockFilesOf } from '../../../src/cache/lock_files.js';

test.each([
  // What Word makes of names of six, seven, eight and more characters before the extension.
  ['report.docx', '~$report.docx'],
  ['reports.docx', '~$eports.docx'],
  ['my report.docx', '~$ report.docx'],
  ['OfficeReport.DOC', '~$ficeReport.DOC'],
  ['a.b.c.d.e.odt', '~$b.c.d.e.odt'],
  // Excel and PowerPoint leave names as they are.
  ['A long budget.xlsx', '~$A long budget.xlsx'],
  ['A long talk.pptx', '~$A long talk.pptx'],
  ['report.odt', '.~lock.report.odt#'],
  ['A long report.odt', '.~lock.A long report.odt#'],
])('%s has the lock file %s', (name, lockFile) => {
  expect(lockFilesOf(name)).toContain(lockFile);
  expect(isLockFile(lockFile)).toBe(true);
});

test.each([
  ['report.docx', '~$port.docx'],
  ['reports.docx', '~$ports.docx'],
  ['A long budget.xlsx', '~$long budget.xlsx'],
  ['report.odt', '.~lock.other.odt#'],
])('%s has no lock file %s', (name, lockFile) => {
  expect(lockFilesOf(name)).not.toContain(lockFile);
});

test('what is no lock file is not taken for one', () => {
  for (const name of ['~$', '~report.docx', '.~lock.#', '.~lock.report.odt', 'report.docx', '$~x'])
    expect(isLockFile(name)).toBe(false);
});

test('every document is found again by each of its lock files', () => {
  const name = fc
    .tuple(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }), fc.constantFrom('.docx', '.odt', '.xlsx', ''))
    .map(([stem, extension]) => stem + extension);
  fc.assert(
    fc.property(name, (document) => {
      for (const lockFile of lockFilesOf(document)) {
        expect(isLockFile(lockFile)).toBe(true);
        const found = documentNameOf(lockFile);
        const isLonger = found.orEndsIn !== null && document !== found.orEndsIn && document.endsWith(found.orEndsIn);
        expect(found.name === document || isLonger, `${document}: ${lockFile}`).toBe(true);
      }
    }),
  );
});
