import { isCloudError } from '../../src/errors.js';

/** Code of the CloudError that `run` throws. */
export function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (isCloudError(error)) return error.code;
    throw error;
  }
  return 'no error';
}
