// `{a...b}` in a list of servers stands for a range: `kes-{1...3}` is kes-1, kes-2, kes-3. Several ranges
// in one item give every combination, the last one changing fastest. Rule kept here: the number of
// results is bounded before any is made.

/** The expanded items, or why the text cannot be expanded. */
export type Ellipses =
  | { readonly kind: 'items'; readonly items: readonly string[] }
  | { readonly kind: 'invalid'; readonly reason: string };

const itemsMax = 1024;

/** Expands every range of the text; a text without one is its own only item. Numbers keep leading zeros. */
export function expandEllipses(text: string): Ellipses {
  const parts = text.split(/(\{[^{}]*\})/);
  let items: readonly string[] = [''];
  for (const part of parts) {
    const values = part.startsWith('{') ? expandRange(part.slice(1, -1)) : [part];
    if (typeof values === 'string') return { kind: 'invalid', reason: values };
    if (part !== '' && !part.startsWith('{') && /[{}]/.test(part)) {
      return { kind: 'invalid', reason: 'unbalanced braces' };
    }
    if (items.length * values.length > itemsMax) {
      return { kind: 'invalid', reason: `more than ${itemsMax} endpoints` };
    }
    items = items.flatMap((item) => values.map((value) => item + value));
  }
  return { kind: 'items', items };
}

/** The values of `a...b`: decimal numbers, or single letters. A text is the reason why not. */
function expandRange(range: string): string[] | string {
  const bounds = /^([0-9]+|[a-z])\.\.\.([0-9]+|[a-z])$/.exec(range);
  const [, first = '', last = ''] = bounds ?? [];
  if (!bounds) return 'invalid range: expected {a...b}';
  const isNumber = /[0-9]/.test(first);
  if (isNumber !== /[0-9]/.test(last)) return 'invalid range: mixes numbers and letters';
  const from = isNumber ? Number(first) : first.charCodeAt(0);
  const to = isNumber ? Number(last) : last.charCodeAt(0);
  if (from > to) return 'invalid range: the start is after the end';
  if (to - from >= itemsMax) return `more than ${itemsMax} endpoints`;
  const digits = first.startsWith('0') || last.startsWith('0') ? last.length : 0;
  return Array.from({ length: to - from + 1 }, (_, index) =>
    isNumber ? String(from + index).padStart(digits, '0') : String.fromCharCode(from + index),
  );
}
