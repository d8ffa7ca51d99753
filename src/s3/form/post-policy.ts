// The policy of a browser form (specification 1.10): what its signer allows to be uploaded. A JSON document with
// an expiration and conditions; every submitted field must be covered by a condition, so a form cannot carry
// more than its signer had in mind.

import { S3Error } from '../errors.ts';

/** Field names are lower case; `eq` compares the whole value. */
export type PostCondition = {
  readonly kind: 'eq' | 'starts-with';
  readonly field: string;
  readonly value: string;
};

/** Bytes, both ends included. */
export type PostSizeRange = { readonly min: number; readonly max: number };

export type PostPolicy = {
  /** Milliseconds since 1970. */
  readonly expirationMs: number;
  readonly conditions: readonly PostCondition[];
  readonly sizeRange?: PostSizeRange;
};

const policyBytesMax = 64 * 1024;
const conditionsMax = 500;

/** Fields that need no condition: they are the signature, or no part of what is stored. */
const exemptFields: ReadonlySet<string> = new Set([
  'awsaccesskeyid',
  'file',
  'policy',
  'signature',
  'x-amz-algorithm',
  'x-amz-credential',
  'x-amz-date',
  'x-amz-security-token',
  'x-amz-signature',
]);

/** Reads the base64 text of a form's `policy` field. Throws `InvalidPolicyDocument`. */
export function parsePostPolicy(base64: string): PostPolicy {
  const text = Buffer.from(base64, 'base64').toString('utf8');
  if (text.length === 0) throw invalid('it is empty');
  if (text.length > policyBytesMax) throw invalid(`it is longer than ${policyBytesMax} bytes`);
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    throw invalid('it is not JSON', { cause });
  }
  if (!isRecord(document)) throw invalid('it is not a JSON object');
  const { expiration, conditions } = document;
  if (!Array.isArray(conditions)) throw invalid('it has no list of conditions');
  if (conditions.length > conditionsMax) throw invalid('it has too many conditions');
  const expirationMs = parseExpiration(expiration);
  const found: PostCondition[] = [];
  let sizeRange: PostSizeRange | undefined;
  for (const condition of conditions as readonly unknown[]) {
    if (isSizeRange(condition)) sizeRange = narrow(sizeRange, parseSizeRange(condition));
    else found.push(...parseCondition(condition));
  }
  return { expirationMs, conditions: found, ...(sizeRange === undefined ? {} : { sizeRange }) };
}

/**
 * Throws `AccessDenied` when the policy has expired, a condition does not hold, or a field has none. `fields` are
 * all submitted fields by lower-case name, with `bucket` added.
 */
export function checkPostPolicy(
  policy: PostPolicy,
  fields: ReadonlyMap<string, string>,
  nowMs: number,
): void {
  if (!(nowMs < policy.expirationMs)) throw denied('Policy expired.');
  const covered = new Set<string>();
  for (const { kind, field, value } of policy.conditions) {
    const sent = fields.get(field) ?? '';
    const isMet = kind === 'eq' ? sent === value : sent.startsWith(value);
    if (!isMet) throw denied(`Policy Condition failed: ["${kind}", "$${field}", "${value}"]`);
    covered.add(field);
  }
  for (const field of fields.keys()) {
    if (field === 'bucket' || covered.has(field) || exemptFields.has(field)) continue;
    if (field.startsWith('x-ignore-')) continue;
    throw denied(`Extra input fields: ${field}`);
  }
}

function parseExpiration(value: unknown): number {
  const pattern = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z$/;
  const timeMs = typeof value === 'string' && pattern.test(value) ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(timeMs)) {
    throw invalid('its expiration is not a time like 2030-01-02T03:04:05.000Z');
  }
  return timeMs;
}

function parseCondition(condition: unknown): readonly PostCondition[] {
  if (isRecord(condition)) {
    const entries = Object.entries(condition);
    if (entries.length === 0) throw invalid('it has an empty condition');
    return entries.map(([name, value]) => {
      if (typeof value !== 'string') throw invalid(`the condition on ${name} is not a text`);
      return { kind: 'eq', field: name.toLowerCase(), value };
    });
  }
  if (!Array.isArray(condition) || condition.length !== 3) {
    throw invalid('a condition is neither {"field": "value"} nor ["operator", "$field", "value"]');
  }
  const [operator, name, value] = condition as readonly unknown[];
  const kind = typeof operator === 'string' ? operator.toLowerCase() : '';
  if (kind !== 'eq' && kind !== 'starts-with') throw invalid('a condition has an unknown operator');
  if (typeof name !== 'string' || !name.startsWith('$') || typeof value !== 'string') {
    throw invalid('a condition must be ["operator", "$field", "value"]');
  }
  return [{ kind, field: name.slice(1).toLowerCase(), value }];
}

function isSizeRange(condition: unknown): condition is readonly unknown[] {
  if (!Array.isArray(condition)) return false;
  const [operator] = condition as readonly unknown[];
  return typeof operator === 'string' && operator.toLowerCase() === 'content-length-range';
}

function parseSizeRange(condition: readonly unknown[]): PostSizeRange {
  const [min, max] = condition.slice(1).map((value) => {
    const isNumber =
      typeof value === 'number' || (typeof value === 'string' && /^\d+$/.test(value));
    return isNumber ? Number(value) : Number.NaN;
  });
  if (condition.length !== 3 || min === undefined || max === undefined) {
    throw invalid('content-length-range needs a least and a greatest size');
  }
  if (!Number.isSafeInteger(min) || !Number.isSafeInteger(max) || min < 0 || max < min) {
    throw invalid('content-length-range needs two whole numbers, the smaller one first');
  }
  return { min, max };
}

/** Of two ranges both must hold. */
function narrow(before: PostSizeRange | undefined, range: PostSizeRange): PostSizeRange {
  if (before === undefined) return range;
  return { min: Math.max(before.min, range.min), max: Math.min(before.max, range.max) };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function invalid(why: string, options?: ErrorOptions): S3Error {
  return new S3Error('InvalidPolicyDocument', `The policy of the form is not valid: ${why}.`, {
    ...options,
  });
}

function denied(why: string): S3Error {
  return new S3Error('AccessDenied', `Invalid according to Policy: ${why}`);
}
