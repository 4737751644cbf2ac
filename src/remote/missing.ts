// What stands before a server may answer 404 to everything while the server is away (Traefik, or nginx with its site taken
// out). Believed, that would empty the drive: it counts only where the folder of the account is there all the same.

import { CloudError, isCloudError } from '../errors.js';

/** Throws what `error` means: itself, unless it says `not_found` and so does `askForRoot`. */
export async function throwTruly(error: unknown, askForRoot: () => Promise<void>): Promise<never> {
  if (!isCloudError(error, 'not_found')) throw error;
  try {
    await askForRoot();
  } catch (rootError) {
    if (!isCloudError(rootError, 'not_found')) throw rootError;
    throw new CloudError(
      'server',
      `${rootError.message}: nothing is at the address of the account (is what answers there the server?)`,
      { ...rootError.details, cause: error },
    );
  }
  throw error;
}
