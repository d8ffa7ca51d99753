// Object lock in headers and documents: what a write asks for, what a read tells.

import { findChildText, type XmlElement } from '../base/xml.ts';
import type { ObjectLock, Retention, RetentionMode } from '../store/types.ts';
import type { ReplyHeaders } from './call.ts';
import type { S3Headers } from './headers.ts';
import { invalidArgument, S3Error } from './errors.ts';

const modeHeader = 'x-amz-object-lock-mode';
const untilHeader = 'x-amz-object-lock-retain-until-date';
const holdHeader = 'x-amz-object-lock-legal-hold';
const isoTime = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:?\d{2})$/;

/** The protection that the headers of a write ask for, ready to be spread into a store call. Throws `S3Error`. */
export function lockOfWrite(headers: S3Headers): { readonly lock?: ObjectLock } {
  const mode = headers[modeHeader];
  const until = headers[untilHeader];
  const hold = headers[holdHeader];
  if (mode === undefined && until === undefined && hold === undefined) return {};
  if (hold !== undefined && hold !== 'ON' && hold !== 'OFF') {
    throw invalidArgument(holdHeader, hold, "Legal Hold must be either of 'ON' or 'OFF'");
  }
  const retention = retentionOfHeaders(mode, until);
  return {
    lock: {
      ...(retention === undefined ? {} : { retention }),
      ...(hold === undefined ? {} : { legalHold: hold === 'ON' }),
    },
  };
}

function retentionOfHeaders(
  mode: string | undefined,
  until: string | undefined,
): Retention | undefined {
  if (mode === undefined && until === undefined) return undefined;
  if (mode === undefined || until === undefined) {
    throw invalidArgument(
      mode === undefined ? modeHeader : untilHeader,
      '',
      `${modeHeader} and ${untilHeader} must both be supplied`,
    );
  }
  if (!isMode(mode)) throw invalidArgument(modeHeader, mode, 'Unknown wormMode directive.');
  const untilMs = parseTime(until);
  if (untilMs === undefined) {
    throw invalidArgument(
      untilHeader,
      until,
      'The retain until date must be provided in ISO 8601 format',
    );
  }
  return { mode, untilMs };
}

/** The headers that tell how a version is protected. */
export function addLockHeaders(headers: ReplyHeaders, lock: ObjectLock | undefined): void {
  if (lock === undefined) return;
  const { retention, legalHold } = lock;
  if (retention !== undefined) {
    headers.push(modeHeader, retention.mode, untilHeader, lockTime(retention.untilMs));
  }
  if (legalHold !== undefined) headers.push(holdHeader, legalHold ? 'ON' : 'OFF');
}

/** ISO 8601, with as much of a second as there is. */
export function lockTime(timeMs: number): string {
  return new Date(timeMs).toISOString();
}

/** Mode and date of a `Retention` element; undefined when it has neither. Throws `MalformedXML`. */
export function parseRetention(element: XmlElement): Retention | undefined {
  const mode = findChildText(element, 'Mode');
  const until = findChildText(element, 'RetainUntilDate');
  if (mode === undefined && until === undefined) return undefined;
  const untilMs = until === undefined ? undefined : parseTime(until);
  if (mode === undefined || !isMode(mode) || untilMs === undefined) {
    throw new S3Error('MalformedXML');
  }
  return { mode, untilMs };
}

export function isMode(text: string): text is RetentionMode {
  return text === 'GOVERNANCE' || text === 'COMPLIANCE';
}

/** Whether the caller asks to pass over GOVERNANCE; that it may was decided with the permission of the call. */
export function bypassesGovernance(headers: S3Headers): boolean {
  return headers['x-amz-bypass-governance-retention']?.toLowerCase() === 'true';
}

function parseTime(text: string): number | undefined {
  const ms = isoTime.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(ms) ? undefined : ms;
}
