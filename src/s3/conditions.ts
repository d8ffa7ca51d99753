// Conditional requests: RFC 9110 precedence for reads, the same headers with a prefix for copy sources
// (where any failure is 412), and the two write conditions that the store checks in its commit.

import type { DeleteConditions, WriteConditions } from '../store/types.ts';
import type { S3Headers } from './headers.ts';
import { invalidArgument, S3Error } from './errors.ts';

/** The state of the object that conditions are compared with. `etag` bare. */
export type Validators = { readonly etag: string; readonly modifiedMs: number };

export type ConditionOutcome = 'pass' | 'not-modified' | 'failed';

/** Evaluates If-Match, If-Unmodified-Since, If-None-Match and If-Modified-Since. Unparsable dates are ignored. */
export function evaluateConditions(headers: S3Headers, object: Validators): ConditionOutcome {
  return evaluate(object, {
    match: headers['if-match'],
    noneMatch: headers['if-none-match'],
    modifiedSince: headers['if-modified-since'],
    unmodifiedSince: headers['if-unmodified-since'],
  });
}

/** Throws `PreconditionFailed` when a copy-source condition does not hold. */
export function checkCopySourceConditions(headers: S3Headers, source: Validators): void {
  const outcome = evaluate(source, {
    match: headers['x-amz-copy-source-if-match'],
    noneMatch: headers['x-amz-copy-source-if-none-match'],
    modifiedSince: headers['x-amz-copy-source-if-modified-since'],
    unmodifiedSince: headers['x-amz-copy-source-if-unmodified-since'],
  });
  if (outcome !== 'pass') throw new S3Error('PreconditionFailed');
}

/** If-Match and If-None-Match of a write; undefined when there are none. */
export function writeConditions(headers: S3Headers): WriteConditions | undefined {
  const match = headers['if-match'];
  const noneMatch = headers['if-none-match'];
  if (match === undefined && noneMatch === undefined) return undefined;
  return {
    ...(match === undefined ? {} : { ifMatch: unquoteEtag(match) }),
    ...(noneMatch === undefined ? {} : { ifNoneMatch: unquoteEtag(noneMatch) }),
  };
}

const modifiedHeader = 'x-amz-if-match-last-modified-time';
const sizeHeader = 'x-amz-if-match-size';

/** True when a DELETE depends on what is there. */
export function hasDeleteConditions(headers: S3Headers): boolean {
  return ['if-match', modifiedHeader, sizeHeader].some((name) => headers[name] !== undefined);
}

/** The conditions of a DELETE. Throws `InvalidArgument` for a time or size that is none. */
export function deleteConditions(headers: S3Headers): DeleteConditions {
  return parseDeleteConditions(
    { etag: headers['if-match'], modified: headers[modifiedHeader], size: headers[sizeHeader] },
    { modified: modifiedHeader, size: sizeHeader },
  );
}

/** Conditions of a deletion from their texts; `names` are told when one is not valid. */
export function parseDeleteConditions(
  texts: {
    readonly etag: string | undefined;
    readonly modified: string | undefined;
    readonly size: string | undefined;
  },
  names: { readonly modified: string; readonly size: string },
): DeleteConditions {
  const { etag, modified, size } = texts;
  const ifModifiedMs = modified === undefined ? undefined : Date.parse(modified);
  if (ifModifiedMs !== undefined && Number.isNaN(ifModifiedMs)) {
    throw invalidArgument(names.modified, modified ?? '', 'The time is not a valid date');
  }
  if (size !== undefined && !/^\d{1,15}$/.test(size)) {
    throw invalidArgument(names.size, size, 'The size is not a number of bytes');
  }
  return {
    ...(etag === undefined ? {} : { ifMatch: unquoteEtag(etag) }),
    // Times of objects are whole seconds, those of requests may have more.
    ...(ifModifiedMs === undefined ? {} : { ifModifiedMs: Math.floor(ifModifiedMs / 1000) * 1000 }),
    ...(size === undefined ? {} : { ifSizeBytes: Number(size) }),
  };
}

/** An ETag without quotes, XML-quoted quotes and weakness mark. */
export function unquoteEtag(text: string): string {
  const bare = text.trim().replaceAll('&#34;', '"').replaceAll('&quot;', '"').replace(/^W\//, '');
  return bare.replace(/^"/, '').replace(/"$/, '');
}

type Conditions = {
  readonly match: string | undefined;
  readonly noneMatch: string | undefined;
  readonly modifiedSince: string | undefined;
  readonly unmodifiedSince: string | undefined;
};

function evaluate(object: Validators, conditions: Conditions): ConditionOutcome {
  const { match, noneMatch, modifiedSince, unmodifiedSince } = conditions;
  if (match !== undefined) {
    if (!matches(match, object.etag)) return 'failed';
  } else if (unmodifiedSince !== undefined) {
    const since = Date.parse(unmodifiedSince);
    if (object.modifiedMs > since) return 'failed';
  }
  if (noneMatch !== undefined) return matches(noneMatch, object.etag) ? 'not-modified' : 'pass';
  if (modifiedSince !== undefined) {
    const since = Date.parse(modifiedSince);
    if (object.modifiedMs <= since) return 'not-modified';
  }
  return 'pass';
}

function matches(list: string, etag: string): boolean {
  return list.split(',').some((item) => {
    const candidate = unquoteEtag(item);
    return candidate === '*' || candidate === etag;
  });
}
