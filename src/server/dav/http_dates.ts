// HTTP dates of files: answers and listings repeat the same seconds, and writing one out costs more than finding it again.

import { formatHttpDate } from '../../remote/wire/http_date.js';

const MAX = 1000;
const known = new Map<number, string>();

export function httpDate(epoch_s: number): string {
  let text = known.get(epoch_s);
  if (text === undefined) {
    text = formatHttpDate(epoch_s);
    if (known.size >= MAX) known.clear();
    known.set(epoch_s, text);
  }
  return text;
}
