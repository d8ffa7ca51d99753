// What a bucket policy lets everybody do below a prefix, in the four words of `anonymous`, and how one of
// these words is written into a policy. Statements that say anything else stay as they are: others are only
// changed by what belongs to the words, for everybody and without conditions.

import { isJsonObject, type Json, type JsonObject } from './error.ts';

/** How `anonymous list` calls them. */
export type Access = 'none' | 'readonly' | 'writeonly' | 'readwrite';

const locate = 's3:GetBucketLocation';
const list = 's3:ListBucket';
const listUploads = 's3:ListBucketMultipartUploads';
const read = 's3:GetObject';
const writes = [
  's3:AbortMultipartUpload',
  's3:DeleteObject',
  's3:ListMultipartUploadParts',
  's3:PutObject',
];
const arn = 'arn:aws:s3:::';
const prefixKey = 's3:prefix';

/** A statement that lets everybody do something, with its lists as lists. */
type Open = {
  readonly rest: JsonObject;
  readonly actions: readonly string[];
  readonly resources: readonly string[];
  /** `prefix`: the one condition is that exactly these prefixes are listed. */
  readonly condition: 'none' | 'other' | { readonly prefixes: readonly string[] };
};

type Place = { readonly bucket: string; readonly prefix: string };

/** What everybody may do with names that begin with the prefix: the most exact statement decides. */
export function findAccess(policy: JsonObject, place: Place): Access {
  const name = `${place.bucket}/${place.prefix}`;
  const named = listAccess(policy)
    .filter(({ resource, access }) => access !== 'none' && name.startsWith(resource.slice(0, -1)))
    .sort((left, right) => right.resource.length - left.resource.length);
  return named[0]?.access ?? 'none';
}

/** Every `bucket/prefix*` of the policy, sorted, with what everybody may do there. */
export function listAccess(
  policy: JsonObject,
): { readonly resource: string; readonly access: Access }[] {
  const open = statementsOf(policy).flatMap((statement) => openOf(statement) ?? []);
  const resources = new Set(
    open.flatMap((each) => each.resources.filter((resource) => resource.includes('/'))),
  );
  return [...resources].sort().map((resource) => ({
    resource: resource.slice(arn.length),
    access: accessOf(open, resource),
  }));
}

/** The policy with this access below the prefix; undefined when nothing is left of it. */
export function withAccess(
  policy: JsonObject,
  place: Place,
  access: Access,
): JsonObject | undefined {
  const whole = arn + place.bucket;
  const below = `${whole}/${place.prefix}*`;
  let statements = statementsOf(policy);
  statements = without(statements, below, [read, ...writes]);
  if (place.prefix === '') statements = without(statements, whole, [list]);
  else statements = withoutListed(statements, whole, place.prefix);
  const canRead = access === 'readonly' || access === 'readwrite';
  const canWrite = access === 'writeonly' || access === 'readwrite';
  statements = withoutUnneeded(statements, whole);
  const onBucket = [
    ...(access === 'none' ? [] : [locate]),
    ...(canRead && place.prefix === '' ? [list] : []),
    ...(canWrite ? [listUploads] : []),
  ];
  statements = withBucketActions(statements, whole, onBucket);
  if (canRead && place.prefix !== '') {
    const condition = { StringEquals: { [prefixKey]: [place.prefix] } };
    statements = [...statements, { Action: [list], Condition: condition, ...forAll(whole) }];
  }
  const onObjects = [...(canWrite ? writes : []), ...(canRead ? [read] : [])].sort();
  if (onObjects.length > 0) statements = [...statements, { Action: onObjects, ...forAll(below) }];
  if (statements.length === 0) return undefined;
  return { ...policy, Statement: statements, Version: policy['Version'] ?? '2012-10-17' };
}

/** The document with the members of every object in order, as the reference prints policies. */
export function sortMembers(value: Json): Json {
  if (Array.isArray(value)) return value.map(sortMembers);
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([left], [right]) => (left < right ? -1 : 1))
      .map(([name, member]) => [name, sortMembers(member ?? null)]),
  );
}

function accessOf(open: readonly Open[], resource: string): Access {
  const [whole, prefix] = split(resource);
  const onBucket = actionsOn(open, whole);
  const onObjects = actionsOn(open, resource);
  if (!onBucket.has(locate)) return 'none';
  const isListed = open.some(
    ({ actions, resources, condition }) =>
      typeof condition === 'object' &&
      condition.prefixes.includes(prefix) &&
      actions.includes(list) &&
      resources.includes(whole),
  );
  const canRead = onObjects.has(read) && (onBucket.has(list) || isListed);
  const canWrite = onBucket.has(listUploads) && writes.every((action) => onObjects.has(action));
  if (canRead) return canWrite ? 'readwrite' : 'readonly';
  return canWrite ? 'writeonly' : 'none';
}

/** The bucket and the prefix of `arn:aws:s3:::bucket/prefix*`. */
function split(resource: string): readonly [string, string] {
  const slash = resource.indexOf('/');
  return [resource.slice(0, slash), resource.slice(slash + 1).replace(/\*$/, '')];
}

function actionsOn(open: readonly Open[], resource: string): Set<string> {
  return new Set(
    open
      .filter(({ resources, condition }) => condition === 'none' && resources.includes(resource))
      .flatMap(({ actions }) => actions),
  );
}

function statementsOf(policy: JsonObject): JsonObject[] {
  const { Statement: given } = policy;
  const all: readonly Json[] = Array.isArray(given)
    ? given
    : given === undefined
      ? []
      : [given as Json];
  return all.filter(isJsonObject);
}

function openOf(statement: JsonObject): Open | undefined {
  const { Action: actions, Resource: resources, Condition: condition, ...rest } = statement;
  if (rest['Effect'] !== 'Allow' || !isEverybody(rest['Principal'])) return undefined;
  if (actions === undefined || resources === undefined) return undefined;
  return {
    rest,
    actions: textsOf(actions),
    resources: textsOf(resources),
    condition: conditionOf(condition),
  };
}

function isEverybody(principal: Json | undefined): boolean {
  if (principal === '*') return true;
  return isJsonObject(principal) && textsOf(principal['AWS']).includes('*');
}

function conditionOf(condition: Json | undefined): Open['condition'] {
  if (condition === undefined) return 'none';
  if (!isJsonObject(condition)) return 'other';
  const operators = Object.keys(condition);
  if (operators.length === 0) return 'none';
  const equals = condition['StringEquals'];
  if (operators.length !== 1 || !isJsonObject(equals)) return 'other';
  if (Object.keys(equals).length !== 1 || equals[prefixKey] === undefined) return 'other';
  return { prefixes: textsOf(equals[prefixKey]) };
}

function textsOf(value: Json | undefined): string[] {
  const all: readonly Json[] = Array.isArray(value)
    ? value
    : value === undefined
      ? []
      : [value as Json];
  return all.filter((each) => typeof each === 'string');
}

/** Takes actions on one resource from statements without conditions; one of several resources is split off. */
function without(
  statements: readonly JsonObject[],
  resource: string,
  actions: readonly string[],
): JsonObject[] {
  return statements.flatMap((statement) => {
    const open = openOf(statement);
    if (open?.condition !== 'none' || !open.resources.includes(resource)) return [statement];
    if (!open.actions.some((action) => actions.includes(action))) return [statement];
    const others = open.resources.filter((each) => each !== resource);
    const kept = open.actions.filter((action) => !actions.includes(action));
    return [
      ...(others.length === 0 ? [] : [{ ...statement, Resource: others }]),
      ...(kept.length === 0 ? [] : [{ ...statement, Action: kept, Resource: [resource] }]),
    ];
  });
}

/** Takes a prefix from the statements that let it be listed. */
function withoutListed(
  statements: readonly JsonObject[],
  whole: string,
  prefix: string,
): JsonObject[] {
  return statements.flatMap((statement) => {
    const open = openOf(statement);
    const isMeant =
      open !== undefined &&
      typeof open.condition === 'object' &&
      open.condition.prefixes.includes(prefix) &&
      open.resources.every((resource) => resource === whole) &&
      open.actions.every((action) => action === list);
    if (!isMeant || typeof open.condition !== 'object') return [statement];
    const others = open.condition.prefixes.filter((each) => each !== prefix);
    if (others.length === 0) return [];
    return [{ ...statement, Condition: { StringEquals: { [prefixKey]: others } } }];
  });
}

/** Takes from the bucket what no statement about objects needs any more. */
function withoutUnneeded(statements: readonly JsonObject[], whole: string): JsonObject[] {
  const open = statements.flatMap((statement) => openOf(statement) ?? []);
  const onObjects = open.filter(({ resources }) =>
    resources.some((resource) => resource.startsWith(`${whole}/`)),
  );
  const isWritten = onObjects.some(({ actions }) => writes.some((each) => actions.includes(each)));
  const isRead = onObjects.some(({ actions }) => actions.includes(read));
  return without(statements, whole, [
    ...(onObjects.length === 0 ? [locate] : []),
    ...(isRead ? [] : [list]),
    ...(isWritten ? [] : [listUploads]),
  ]);
}

/** Adds actions on the bucket to the statement that is about it alone, or to a new one. */
function withBucketActions(
  statements: readonly JsonObject[],
  whole: string,
  actions: readonly string[],
): JsonObject[] {
  const open = statements.flatMap((statement) => openOf(statement) ?? []);
  const present = actionsOn(open, whole);
  const missing = actions.filter((action) => !present.has(action));
  if (missing.length === 0) return [...statements];
  const index = statements.findIndex((statement) => {
    const each = openOf(statement);
    return each?.condition === 'none' && each.resources.join('\n') === whole;
  });
  if (index < 0) return [{ Action: missing, ...forAll(whole) }, ...statements];
  return statements.map((statement, at) =>
    at === index
      ? { ...statement, Action: [...textsOf(statement['Action']), ...missing].sort() }
      : statement,
  );
}

function forAll(resource: string): JsonObject {
  return { Effect: 'Allow', Principal: { AWS: ['*'] }, Resource: [resource] };
}
