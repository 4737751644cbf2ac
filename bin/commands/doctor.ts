import { runningMounts } from '../../src/daemon/mount_registry.js';
import { isDrive, readMountTable } from '../../src/daemon/mount_table.js';
import { type Command, jsonOption } from '../cli/command.js';
import { commandContext } from '../cli/context.js';
import {
  checkClock,
  checkDeadMounts,
  checkFreeSpace,
  checkInhibitor,
  checkKeyring,
  checkNative,
  checkServers,
} from '../cli/doctor_checks.js';
import { EXIT } from '../cli/exit_codes.js';
import { printable, printJson, printLine } from '../cli/output.js';
import { checkAllowOther, checkPassthrough, mountRequirements } from '../cli/requirements.js';

const MARK = { ok: '✔', warning: '!', missing: '✘' } as const;

export const doctor: Command<{ readonly json: boolean }> = {
  command: 'doctor',
  describe: 'Say what is missing on this machine, and how to get it',
  builder: (yargs) => yargs.options(jsonOption).example('$0 doctor', ''),
  handler: async ({ json }) => {
    const { dirs, accounts } = commandContext();
    const list = await accounts.list().catch(() => []);
    const findings = [
      ...mountRequirements(),
      ...(await checkNative()),
      checkPassthrough(),
      checkAllowOther(),
      await checkKeyring(),
      checkInhibitor(),
      await checkFreeSpace(dirs.data),
      checkClock(),
      ...(await checkServers(list)),
      ...(await checkDeadMounts(readMountTable().filter(isDrive), await runningMounts(dirs))),
    ];
    if (json) printJson(findings);
    else {
      for (const { state, id, found, fix } of findings) {
        printLine(`${MARK[state]} ${id}: ${printable(found)}`);
        if (fix !== undefined) printLine(`    → ${printable(fix)}`);
      }
      const missing = findings.filter((finding) => finding.state === 'missing').length;
      printLine(missing === 0 ? '\nDrives can be mounted.' : '\nWithout what is marked ✘ no drive can be mounted.');
    }
    return findings.some((finding) => finding.state === 'missing') ? EXIT.problems : EXIT.ok;
  },
};
