// Combinations of the values of several factors: all of them, or few that still hold every combination of any
// two (or three) of the factors. Always the same ones for the same table.

export type Factors = Readonly<Record<string, readonly unknown[]>>;
export type Row<Table extends Factors> = { readonly [Name in keyof Table]: Table[Name][number] };

/** Every combination. */
export function allRows<Table extends Factors>(table: Table): Row<Table>[] {
  let rows: Record<string, unknown>[] = [{}];
  for (const [name, values] of Object.entries(table)) {
    rows = rows.flatMap((row) => values.map((value) => ({ ...row, [name]: value })));
  }
  // Every name of the table was given one of its values.
  return rows as Row<Table>[];
}

/**
 * Rows in which any `strength` factors take all their combinations of values. Greedy: each row begins with a
 * combination that is still missing and takes those values for the rest that bring the most missing ones.
 */
export function coveringRows<Table extends Factors>(table: Table, strength = 2): Row<Table>[] {
  const sizes = Object.values(table).map((values) => values.length);
  const groups = choose(sizes.length, strength);
  const missing = new Set(groups.flatMap((group) => tuplesOf(group, sizes)));
  const rows: number[][] = [];
  while (missing.size > 0) {
    const [first = ''] = missing;
    const row: number[] = sizes.map(() => -1);
    for (const [factor, value] of parseTuple(first)) row[factor] = value;
    for (const [factor, size] of sizes.entries()) {
      if (row[factor] === -1) row[factor] = bestValue({ row, factor, size, groups, missing });
    }
    for (const group of groups) missing.delete(tupleOf(group, row));
    rows.push(row);
  }
  const entries = Object.entries(table);
  return rows.map(
    (row) =>
      // Every name of the table was given one of its values.
      Object.fromEntries(
        entries.map(([name, values], factor) => [name, values[row[factor] ?? 0]]),
      ) as Row<Table>,
  );
}

function bestValue(input: {
  readonly row: readonly number[];
  readonly factor: number;
  readonly size: number;
  readonly groups: readonly (readonly number[])[];
  readonly missing: ReadonlySet<string>;
}): number {
  const { row, factor, size, groups, missing } = input;
  const ready = groups.filter(
    (group) =>
      group.includes(factor) && group.every((other) => other === factor || row[other] !== -1),
  );
  let best = 0;
  let bestCount = -1;
  for (let value = 0; value < size; value += 1) {
    const tried = row.with(factor, value);
    const count = ready.filter((group) => missing.has(tupleOf(group, tried))).length;
    if (count > bestCount) [best, bestCount] = [value, count];
  }
  return best;
}

function choose(count: number, size: number): number[][] {
  if (size === 0) return [[]];
  return choose(count, size - 1).flatMap((start) => {
    const from = (start.at(-1) ?? -1) + 1;
    return Array.from({ length: count - from }, (_, index) => [...start, from + index]);
  });
}

function tuplesOf(group: readonly number[], sizes: readonly number[]): string[] {
  let tuples = [''];
  for (const factor of group) {
    const values = Array.from({ length: sizes[factor] ?? 0 }, (_, value) => value);
    tuples = tuples.flatMap((tuple) => values.map((value) => `${tuple}${factor}:${value} `));
  }
  return tuples;
}

function tupleOf(group: readonly number[], row: readonly number[]): string {
  return group.map((factor) => `${factor}:${row[factor]} `).join('');
}

function parseTuple(tuple: string): (readonly [number, number])[] {
  return tuple
    .trim()
    .split(' ')
    .map((item) => {
      const [factor, value] = item.split(':').map(Number);
      return [factor ?? 0, value ?? 0] as const;
    });
}
