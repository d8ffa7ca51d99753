// Turns rounds of figures into medians and ratios with their spread. Ratios are taken round by round,
// because on a shared machine only what ran side by side can be compared.

import type { BenchMode } from './modes.ts';

export type Figure = {
  readonly target: string;
  readonly mode: BenchMode;
  readonly work: string;
  readonly round: number;
  /** Requests, or listed objects, per second. */
  readonly perSecond: number;
  readonly mibPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly errors: number;
};

export type Spread = { readonly median: number; readonly min: number; readonly max: number };

export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const median =
    sorted.length % 2 === 1
      ? (sorted[middle] ?? 0)
      : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
  return { median, min: sorted[0] ?? 0, max: sorted.at(-1) ?? 0 };
}

type Side = { readonly target: string; readonly mode: string };

/** The ratio `a / b` of one work, round by round. Undefined when a round is missing on either side. */
export function ratio(
  figures: readonly Figure[],
  work: string,
  sides: { a: Side; b: Side },
): Spread | undefined {
  const of = (side: Side): Map<number, number> =>
    new Map(
      figures
        .filter((f) => f.work === work && f.target === side.target && f.mode === side.mode)
        .map((f) => [f.round, f.perSecond]),
    );
  const a = of(sides.a);
  const b = of(sides.b);
  const values = [...a].flatMap(([round, value]) => {
    const other = b.get(round);
    return other === undefined || other === 0 ? [] : [value / other];
  });
  return values.length === 0 ? undefined : spread(values);
}

export function formatSpread(value: Spread | undefined): string {
  if (value === undefined) return '–';
  return `${value.median.toFixed(2)} (${value.min.toFixed(2)}–${value.max.toFixed(2)})`;
}

function rate(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString('en-US') : value.toFixed(1);
}

/** One Markdown table: a row per work, a column per target and mode, then the ratios. */
export function formatTable(
  figures: readonly Figure[],
  targets: readonly string[],
  modes: readonly BenchMode[],
): string {
  const works = [...new Set(figures.map((f) => f.work))];
  const sealed = modes.filter((mode) => mode !== 'plain');
  const columns = targets.flatMap((target) => modes.map((mode) => ({ target, mode })));
  const peer = targets[1];
  const head = [
    'work',
    ...columns.map((c) => `${c.target} ${c.mode}`),
    ...sealed.map((mode) => `${targets[0]}: ${mode} / plain`),
    ...(peer === undefined ? [] : modes.map((mode) => `${mode}: ${targets[0]} / ${peer}`)),
  ];
  const rows = works.map((work) => {
    const cells = columns.map((c) => {
      const found = figures.filter(
        (f) => f.work === work && f.target === c.target && f.mode === c.mode,
      );
      if (found.length === 0) return '–';
      const perSecond = spread(found.map((f) => f.perSecond)).median;
      const mib = spread(found.map((f) => f.mibPerSecond)).median;
      const errors = found.reduce((sum, f) => sum + f.errors, 0);
      return `${rate(perSecond)}/s${work.endsWith('MiB') ? `, ${rate(mib)} MiB/s` : ''}${errors > 0 ? ` (${errors} errors)` : ''}`;
    });
    const own = targets[0] ?? '';
    const within = sealed.map((mode) =>
      ratio(figures, work, { a: { target: own, mode }, b: { target: own, mode: 'plain' } }),
    );
    const across =
      peer === undefined
        ? []
        : modes.map((mode) =>
            formatSpread(
              ratio(figures, work, { a: { target: own, mode }, b: { target: peer, mode } }),
            ),
          );
    return [work, ...cells, ...within.map(formatSpread), ...across];
  });
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
