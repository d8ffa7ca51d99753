// Actions and resources of a statement: which texts are allowed, and that the two fit together.

import { malformed } from './policy-condition.ts';
import type { OneOf, PolicyKind, Scope, Statement } from './policy-statement.ts';
import { targetsOfAction } from './policy-names.ts';
import { PatternError, parsePattern } from './wildcard.ts';

const s3Arn = 'arn:aws:s3:::';
const kmsArn = 'arn:minio:kms:::';

/** Parses `Action` or `NotAction`. Throws `IamError` (`malformed-policy`). */
export function parseActions(given: OneOf, kind: PolicyKind): Scope {
  const { value, isNegated } = given;
  const names = listTexts(given);
  if (value === undefined || names.length === 0) throw malformed('Missing required field Action');
  // Only `s3:` actions can be done to a bucket.
  const family = kind === 'bucket' ? 's3' : undefined;
  for (const name of names) {
    if (targetsOfAction(name, family).length > 0) continue;
    throw malformed(
      kind === 'bucket' ? 'Policy has invalid action' : `unsupported action '${name}'`,
    );
  }
  const families = new Set(names.map(familyOf));
  if (families.size > 1 && !isNegated) {
    throw malformed('Actions of different services cannot be in one statement.');
  }
  const patterns = names.map((name) =>
    parsePattern(name.toLowerCase(), { wildcards: true, variables: false }),
  );
  return { patterns, isNegated };
}

/** Parses `Resource` or `NotResource`. Throws `IamError` (`malformed-policy`). */
export function parseResources(
  given: OneOf,
  actions: Scope,
  options: { readonly kind: PolicyKind; readonly variables: boolean },
): Scope | undefined {
  const names = listTexts(given);
  if (names.length === 0) {
    if (given.value === undefined && needsNoResource(actions, options.kind)) return undefined;
    throw malformed('Missing required field Resource');
  }
  const patterns = names.map((name) => parseResource(name, options));
  return { patterns, isNegated: given.isNegated };
}

/**
 * Checks that every resource is in the bucket, and that each action can be done to one of them. Throws
 * `IamError` (`malformed-policy`).
 */
export function checkResourcesOfBucket(statement: Statement, bucket: string): void {
  const { actions, resources } = statement;
  const texts = (resources?.patterns ?? []).map(({ source }) => source);
  if (!texts.every((text) => isOfBucket(text.slice(s3Arn.length), bucket))) {
    throw malformed('Policy has invalid resource');
  }
  if (actions.isNegated || resources?.isNegated === true) return;
  for (const { source } of actions.patterns) {
    const targets = targetsOfAction(source, 's3');
    const fits = texts.some((text) => {
      const rest = text.slice(s3Arn.length + bucket.length);
      // A star right behind the name reaches both the bucket and what is in it.
      if (rest.startsWith('*')) return targets.includes('bucket') || targets.includes('object');
      return targets.includes(rest === '' ? 'bucket' : 'object');
    });
    if (!fits) throw malformed('Action does not apply to any resource(s) in statement');
  }
}

function isOfBucket(text: string, bucket: string): boolean {
  if (bucket === '' || !text.startsWith(bucket)) return false;
  const next = text.charAt(bucket.length);
  return next === '' || next === '*' || (next === '/' && text.length > bucket.length + 1);
}

function listTexts(given: OneOf): string[] {
  const { name, value } = given;
  if (value === undefined) return [];
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  return list.map((item) => {
    if (typeof item !== 'string' || item === '') {
      throw malformed(`${name} must be a string or a list of strings.`);
    }
    return item;
  });
}

/** The service of an action or of a pattern, in lower case. */
export function familyOf(action: string): string {
  const colon = action.indexOf(':');
  const family = colon === -1 ? action : action.slice(0, colon).toLowerCase();
  return family === 's3express' ? 's3' : family;
}

/** Calls on the server and its keys are done to it as a whole. */
function needsNoResource(actions: Scope, kind: PolicyKind): boolean {
  if (kind === 'bucket') return false;
  return actions.patterns.every(({ source }) => /^(admin|kms):/.test(source));
}

function parseResource(
  text: string,
  options: { readonly kind: PolicyKind; readonly variables: boolean },
): Scope['patterns'][number] {
  const isAll = text === '*' && options.kind === 'identity';
  const isS3 = text.startsWith(s3Arn) && text.length > s3Arn.length && text[s3Arn.length] !== '/';
  const isKms = text.startsWith(kmsArn) && options.kind === 'identity';
  if (!isAll && !isS3 && !isKms) {
    throw malformed(
      options.kind === 'bucket' ? 'Policy has invalid resource' : `invalid resource '${text}'`,
    );
  }
  try {
    return parsePattern(text, { wildcards: true, variables: options.variables });
  } catch (error) {
    if (error instanceof PatternError) throw malformed(`Resource ${text}: ${error.message}.`);
    throw error;
  }
}
