// Dates of files as answers and listings write them: they repeat the same seconds, and writing one out costs more than
// finding it again.

import { formatCreationDate, formatHttpDate } from '../../remote/wire/http_date.js';

const MAX = 1000;

function remembering(format: (epoch_s: number) => string): (epoch_s: number) => string {
  const known = new Map<number, string>();
  return (epoch_s) => {
    let text = known.get(epoch_s);
    if (text === undefined) {
      text = format(epoch_s);
      if (known.size >= MAX) known.clear();
      known.set(epoch_s, text);
    }
    return text;
  };
}

/** RFC 9110 section 5.6.7. */
export const httpDate = remembering(formatHttpDate);

/** RFC 4918 section 15.1; whole seconds since the epoch. */
export const creationDate = remembering(formatCreationDate);
