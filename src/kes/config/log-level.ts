// Log levels of the configuration: numbers with names, so that `WARN+1` and plain integers work too.

const levels: Readonly<Record<string, number>> = { DEBUG: -4, INFO: 0, WARN: 4, ERROR: 8 };

/** What `off` means: above every level that is logged. */
export const logLevelOff = 9;

/** The number of a level text; undefined when it is none. Any case; empty and `on` mean INFO. */
export function parseLogLevel(text: string): number | undefined {
  const upper = text.trim().toUpperCase();
  if (upper === '' || upper === 'ON') return 0;
  if (upper === 'OFF') return logLevelOff;
  if (/^[+-]?\d+$/.test(upper)) return Number(upper);
  const match = /^([A-Z]+)([+-]\d+)?$/.exec(upper);
  const base = levels[match?.[1] ?? ''];
  return base === undefined ? undefined : base + Number(match?.[2] ?? 0);
}

/** The shortest text of a level: `INFO`, `WARN+1`, `ERROR+1`. */
export function formatLogLevel(level: number): string {
  const named = Object.entries(levels).findLast(([, base]) => base <= level) ?? ['DEBUG', -4];
  const rest = level - named[1];
  return rest === 0 ? named[0] : `${named[0]}${rest > 0 ? '+' : ''}${rest}`;
}
