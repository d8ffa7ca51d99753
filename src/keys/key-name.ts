// Which texts are names, and which are list patterns: one rule for keys, policies and identities
// (docs/formats/kes-protocol.md, "Names and patterns").

/** Longest name or pattern, in bytes. */
export const nameLengthMax = 80;

const nameShape = /^[0-9A-Za-z_-]{1,80}$/;

/** Whether `text` is a valid name: 1 to 80 of `[0-9A-Za-z_-]`, no `-` at either end, not just `_`. */
export function isName(text: string): boolean {
  return nameShape.test(text) && text !== '_' && !text.startsWith('-') && !text.endsWith('-');
}

/** Whether `text` is a valid list pattern: empty, `*`, a name, or the start of a name and `*`. */
export function isListPattern(text: string): boolean {
  if (text === '' || text === '*') return true;
  if (text.length > nameLengthMax) return false;
  if (!text.endsWith('*')) return isName(text);
  const prefix = text.slice(0, -1);
  return nameShape.test(prefix) && !prefix.startsWith('-');
}

/** The prefix a valid pattern asks for: the pattern without its final `*`. */
export function patternPrefix(pattern: string): string {
  return pattern.endsWith('*') ? pattern.slice(0, -1) : pattern;
}
