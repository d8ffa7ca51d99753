// Times as Signature V4 writes them: `20060102T150405Z`, and as HTTP does: `Mon, 02 Jan 2006 15:04:05 GMT`.

/** `20060102T150405Z` of a time in milliseconds since 1970. */
export function formatAmzDate(timeMs: number): string {
  const iso = new Date(timeMs).toISOString();
  return `${iso.slice(0, 4)}${iso.slice(5, 7)}${iso.slice(8, 13)}${iso.slice(14, 16)}${iso.slice(17, 19)}Z`;
}

/** Milliseconds since 1970 of `20060102T150405Z`, or undefined if the text is anything else. */
export function parseAmzDate(text: string): number | undefined {
  if (text.length !== 16 || text.charAt(8) !== 'T' || text.charAt(15) !== 'Z') return undefined;
  for (let at = 0; at < 15; at++) {
    const code = text.charCodeAt(at);
    if (at !== 8 && (code < 0x30 || code > 0x39)) return undefined;
  }
  const digits = (start: number, end: number) => Number(text.slice(start, end));
  const [month, day] = [digits(4, 6), digits(6, 8)];
  const [hour, minute, second] = [digits(9, 11), digits(11, 13), digits(13, 15)];
  if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60) {
    return undefined;
  }
  const timeMs = Date.UTC(digits(0, 4), month - 1, day, hour, minute, second);
  return new Date(timeMs).getUTCDate() === day || second === 60 ? timeMs : undefined;
}

const httpDate =
  /^[A-Za-z]{3,9},? \d{1,2}[ -][A-Za-z]{3}[ -]\d{2,4} \d{2}:\d{2}:\d{2} (GMT|UTC|[+-]\d{4})$/;

/** Milliseconds since 1970 of an HTTP date, or undefined if the text is anything else. */
export function parseHttpDate(text: string): number | undefined {
  if (text.length > 40 || !httpDate.test(text)) return undefined;
  const timeMs = Date.parse(text);
  return Number.isNaN(timeMs) ? undefined : timeMs;
}
