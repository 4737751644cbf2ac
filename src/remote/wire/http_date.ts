// HTTP dates (RFC 9110 section 5.6.7): the one form to write, three to read. Seconds since the epoch.

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const IMF = /^[A-Za-z]{3}, (\d{1,2}) ([A-Za-z]{3}) (\d{4}) (\d\d):(\d\d):(\d\d) (?:GMT|UTC|\+0000)$/;
const RFC850 = /^[A-Za-z]{6,9}, (\d\d)-([A-Za-z]{3})-(\d\d) (\d\d):(\d\d):(\d\d) GMT$/;
const ASCTIME = /^[A-Za-z]{3} ([A-Za-z]{3}) ([ \d]\d) (\d\d):(\d\d):(\d\d) (\d{4})$/;

/** The years of four digits: files may have other times. */
const FIRST_s = -62_167_219_200;
const LAST_s = 253_402_300_799;

export function formatHttpDate(epoch_s: number): string {
  return new Date(Math.floor(Math.min(Math.max(epoch_s, FIRST_s), LAST_s)) * 1000).toUTCString();
}

/** Null when it is no HTTP date. */
export function parseHttpDate(text: string): number | null {
  const value = text.trim();
  const imf = IMF.exec(value);
  if (imf !== null) return epoch(imf[3], imf[2], imf[1], imf[4], imf[5], imf[6]);
  const asctime = ASCTIME.exec(value);
  if (asctime !== null) return epoch(asctime[6], asctime[1], asctime[2], asctime[3], asctime[4], asctime[5]);
  const old = RFC850.exec(value);
  if (old === null) return null;
  // Two digits: more than 50 years ahead means the past (RFC 9110).
  const century = Math.floor(new Date().getUTCFullYear() / 100) * 100;
  const year = century + Number(old[3]);
  const meant = year > new Date().getUTCFullYear() + 50 ? year - 100 : year;
  return epoch(String(meant), old[2], old[1], old[4], old[5], old[6]);
}

function epoch(year?: string, month?: string, day?: string, h?: string, m?: string, s?: string): number | null {
  const name = (month ?? '').toLowerCase();
  const index = MONTHS.findIndex((candidate) => candidate.toLowerCase() === name);
  const [dayOfMonth, hour, minute, second] = [Number(day), Number(h), Number(m), Number(s)];
  if (index < 0 || dayOfMonth < 1 || dayOfMonth > 31 || hour > 23 || minute > 59 || second > 60) return null;
  const date = new Date(0);
  date.setUTCFullYear(Number(year), index, dayOfMonth);
  date.setUTCHours(hour, minute, second);
  return date.getUTCDate() === dayOfMonth || hour === 23 ? Math.floor(date.getTime() / 1000) : null;
}

/** ISO 8601 as in DAV:creationdate (RFC 4918 section 15.1). */
export function formatCreationDate(epoch_s: number): string {
  return new Date(Math.floor(epoch_s) * 1000).toISOString().replace('.000Z', 'Z');
}
