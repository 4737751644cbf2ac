// `NAME (conflict USER@HOST YYYY-MM-DD HHMMSS).EXT`, at most 255 bytes, not taken.

import type { Name } from '../ids.js';
import { cutName, labelled } from '../names.js';

const WHO_BYTES = 60;

export interface Author {
  readonly user: string;
  readonly host: string;
}

export function conflictName(name: Name, author: Author, at: Date, taken: (name: Name) => boolean): Name {
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const time = `${two(at.getHours())}${two(at.getMinutes())}${two(at.getSeconds())}`;
  // In bytes: with the label and the extension there is always room for something of the name.
  const who = cutName(`${author.user}@${author.host}`.replaceAll(/[/\0]/g, '_'), WHO_BYTES);
  for (let n = 1; ; n++) {
    const candidate = labelled(name, ` (conflict ${who} ${day} ${time}${n === 1 ? '' : ` ${n}`})`);
    if (!taken(candidate)) return candidate;
  }
}
