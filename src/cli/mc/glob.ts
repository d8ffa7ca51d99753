// Wildcards as the reference matches them: `*` any characters, `/` included, and `?` any one.

/** Whether the whole text matches. */
export function matchesGlob(pattern: string, text: string): boolean {
  return new RegExp(
    `^${pattern
      .split(/([*?])/)
      .map((piece) => {
        if (piece === '*') return '.*';
        return piece === '?' ? '.' : RegExp.escape(piece);
      })
      .join('')}$`,
    's',
  ).test(text);
}
