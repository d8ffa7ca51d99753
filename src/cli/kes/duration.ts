// Durations as people write them in flags: `168h`, `1h30m`, `500ms`; days (`7d`) as an extension.

import { KesCommandError } from './command-error.ts';

const unitMs: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Milliseconds, above 0. Throws `KesCommandError` (`usage`); `example` is shown in it. */
export function parseDuration(text: string, example: string): number {
  const ms = sumOf(text);
  if (ms === undefined) throw usage(`invalid duration '${text}': expected for example ${example}`);
  if (ms <= 0) throw usage(`invalid duration '${text}': not positive`);
  return ms;
}

function sumOf(text: string): number | undefined {
  if (!/^(\d+(\.\d+)?(ms|[smhd]))+$/.test(text)) return undefined;
  const parts = text.matchAll(/(\d+(?:\.\d+)?)(ms|[smhd])/g);
  return [...parts].reduce((sum, [, n, unit]) => sum + Number(n) * (unitMs[unit ?? ''] ?? 0), 0);
}

function usage(text: string): KesCommandError {
  return new KesCommandError('usage', text);
}
