// Durations as configuration files write them: `5m0s`, `1h30m`, `250ms`.

import { type ConfigPath, KesConfigError } from './yaml.ts';

const unitMs: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** Milliseconds of a duration text; undefined when it is none. A bare number other than 0 is none. */
export function parseDurationMs(text: string): number | undefined {
  const sign = text.startsWith('-') ? -1 : 1;
  const rest = text.replace(/^[+-]/, '');
  if (rest === '0') return 0;
  if (!/^(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/.test(rest)) return undefined;
  let total = 0;
  for (const [, number, unit] of rest.matchAll(/([\d.]+)([a-zµμ]+)/g)) {
    total += Number(number) * (unitMs[unit ?? ''] ?? 0);
  }
  return sign * total;
}

/** Milliseconds of a duration in a configuration. Throws `KesConfigError`, blaming the member `at`. */
export function readDuration(text: string, at: ConfigPath): number {
  const ms = parseDurationMs(text.trim());
  if (ms !== undefined) return ms;
  throw new KesConfigError(`kesconf: '${text}' is not a duration: write it like 30s or 5m0s`, {
    at,
  });
}

/** A duration as text, the way it appears in messages: `-1s`, `1m30s`, `1.5s`, `300ms`. */
export function formatDuration(ms: number): string {
  if (ms === 0) return '0s';
  const sign = ms < 0 ? '-' : '';
  const whole = Math.abs(ms);
  if (whole < 1000) return `${sign}${whole}ms`;
  const hours = Math.floor(whole / 3_600_000);
  const minutes = Math.floor((whole % 3_600_000) / 60_000);
  const seconds = (whole % 60_000) / 1000;
  const upper = hours > 0 ? `${hours}h${minutes}m` : minutes > 0 ? `${minutes}m` : '';
  return `${sign}${upper}${seconds}s`;
}
