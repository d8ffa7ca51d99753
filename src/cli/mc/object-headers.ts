// Headers of a new object from the flags `--attr`, `--tags`, `--storage-class`, `--retention-…` and
// `--legal-hold`.

import type { Flags } from './args.ts';
import { McError } from './error.ts';
import { Failure } from './failure.ts';
import type { ChecksumAlgorithm } from '../../base/checksums.ts';
import { checksumAlgorithms } from '../../base/checksums.ts';

const standardHeaders: ReadonlySet<string> = new Set([
  'cache-control',
  'content-disposition',
  'content-encoding',
  'content-language',
  'content-type',
  'expires',
  'x-amz-website-redirect-location',
]);

/** Throws `argument` in a `Failure`. */
export function objectHeaders(flags: Flags, nowMs: number): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const pair of (flags.find('attr') ?? '').split(';')) {
    if (pair.trim() === '') continue;
    const equals = pair.indexOf('=');
    if (equals < 1) {
      throw new Failure(
        'Unable to parse attribute',
        new McError('argument', `Attribute \`${pair}\` is not of the form key=value.`),
      );
    }
    const name = pair.slice(0, equals).trim().toLowerCase();
    const isStandard = standardHeaders.has(name) || name.startsWith('x-amz-');
    headers[isStandard ? name : `x-amz-meta-${name}`] = pair.slice(equals + 1);
  }
  const storageClass = flags.find('storage-class');
  if (storageClass !== undefined) headers['x-amz-storage-class'] = storageClass.toUpperCase();
  const tags = flags.find('tags');
  if (tags !== undefined) headers['x-amz-tagging'] = new URLSearchParams(tags).toString();
  const legalHold = flags.find('legal-hold');
  if (legalHold !== undefined) headers['x-amz-object-lock-legal-hold'] = legalHold.toUpperCase();
  Object.assign(headers, retention(flags, nowMs));
  return headers;
}

function retention(flags: Flags, nowMs: number): Record<string, string> {
  const mode = flags.find('retention-mode');
  const duration = flags.find('retention-duration');
  if (mode === undefined && duration === undefined) return {};
  const match = /^(\d+)([dy])$/i.exec(duration ?? '');
  if (mode === undefined || match === null || !/^(governance|compliance)$/i.test(mode)) {
    throw new Failure(
      'Unable to set retention',
      new McError(
        'argument',
        'Give both --retention-mode governance|compliance and --retention-duration such as 30d or 1y.',
      ),
    );
  }
  const days = Number(match[1]) * ((match[2] ?? 'd').toLowerCase() === 'y' ? 365 : 1);
  return {
    'x-amz-object-lock-mode': mode.toUpperCase(),
    'x-amz-object-lock-retain-until-date': new Date(nowMs + days * 86_400_000).toISOString(),
  };
}

/** `--checksum`, or undefined. */
export function checksumFlag(flags: Flags): ChecksumAlgorithm | undefined {
  const text = flags.find('checksum')?.toUpperCase().replace(/-FO$/, '');
  if (text === undefined) return undefined;
  const known = checksumAlgorithms.find((name) => name === text);
  if (known === undefined) {
    throw new Failure(
      'Unable to parse checksum',
      new McError('argument', `\`${text}\` is none of ${checksumAlgorithms.join(', ')}.`),
    );
  }
  return known;
}
