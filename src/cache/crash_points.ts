// Named places where a test lets the process die as if the power went. In production every call is one comparison.

export const CRASH_POINTS = [
  'journal.before_commit',
  'journal.after_commit',
  'write.after_dirty_mark',
  'write.after_data',
  'content.before_extents',
  'writeback.before_put',
  'writeback.after_put',
  'writeback.after_move',
  'writeback.after_delete',
  'writeback.after_mkdir',
  'apply.before_commit',
  'apply.after_page',
  'rename.before_commit',
  'rename.after_commit',
  'conflict.before_commit',
  'conflict.after_commit',
  'evict.before_record',
  'evict.after_record',
] as const;

export type CrashPoint = (typeof CRASH_POINTS)[number];

const armed = process.env['NODE_ENV'] === 'test' ? process.env['CLOUDMOUNT_CRASH_AT'] : undefined;
const [armedName, armedPass] = (armed ?? '').split(':');
let passesLeft = Number(armedPass ?? 1);

/** Kills the process at the n-th pass of the armed point (`CLOUDMOUNT_CRASH_AT=name[:n]`, only with NODE_ENV=test). */
export function crashPoint(name: CrashPoint): void {
  if (armedName !== name) return;
  passesLeft -= 1;
  if (passesLeft <= 0) process.kill(process.pid, 'SIGKILL');
}
