// The policy language, for policies of users and of buckets: parsing, which refuses whatever it does not
// understand, and evaluation. A statement that matches and denies decides, whatever else allows. Messages of
// refusals are the ones that AWS sends where it has one.

import {
  type ConditionValues,
  isRecord,
  malformed,
  meetsConditions,
  parseConditions,
} from './policy-condition.ts';
import { findConditionKey } from './policy-names.ts';
import {
  includesPrincipal,
  type Principal,
  type Principals,
  parsePrincipals,
} from './policy-principal.ts';
import type { OneOf, PolicyKind, Scope, Statement } from './policy-statement.ts';
import { checkResourcesOfBucket, familyOf, parseActions, parseResources } from './policy-scope.ts';
import { matchesPattern, type VariableLookup, variablesOf } from './wildcard.ts';

/** A parsed policy. Immutable. */
export type Policy = {
  readonly kind: PolicyKind;
  readonly statements: readonly Statement[];
  /** Every condition key that its conditions and variables ask for, as named in `policy-names.ts`. */
  readonly conditionKeys: ReadonlySet<string>;
};

/** One question. Actions as in policies: `s3:GetObject`, `admin:ServerInfo`, `kms:CreateKey`. */
export type PolicyRequest = {
  readonly action: string;
  /** Absent for calls on the service as a whole. */
  readonly bucket?: string;
  /** The object; for `kms:` actions the master key. Absent for calls on a bucket as a whole. */
  readonly key?: string;
  /** Needed for bucket policies; without it the caller is anonymous. */
  readonly principal?: Principal;
  readonly conditions: ConditionValues;
};

/** The most bytes of a policy document. */
export const policyBytesMax = 20 * 1024;

/**
 * Parses a policy. For one of a bucket `bucket` is its name: every resource must be in it. Throws `IamError`
 * (`malformed-policy`) with a message that names the fault.
 */
export function parsePolicy(text: string, kind: PolicyKind, bucket?: string): Policy {
  if (Buffer.byteLength(text) > policyBytesMax) {
    throw malformed(
      `Normalized policy document exceeds the maximum allowed size of ${policyBytesMax} bytes`,
    );
  }
  const document = parseJson(text);
  checkMembers(document, kind === 'identity' ? identityMembers : documentMembers, 'policy');
  const { Version: version, Id: id, Statement: given } = document;
  if (version !== undefined && version !== '' && !versions.has(version)) {
    throw malformed('The policy must contain a valid version string');
  }
  if (id !== undefined && typeof id !== 'string') throw malformed('Id must be a string.');
  if (given === undefined) throw malformed('Missing required field Statement');
  const list: readonly unknown[] = Array.isArray(given) ? given : [given];
  if (list.length === 0) throw malformed('Could not parse the policy: Statement is empty!');
  // Bucket policies of the older version have no variables; neither have those without one.
  const variables = kind === 'identity' || version === currentVersion;
  const statements = list.map((item) => parseStatement(item, { kind, bucket, variables }));
  return { kind, statements, conditionKeys: new Set(statements.flatMap(conditionKeysOf)) };
}

/**
 * What the policies say: `deny` when any statement denies explicitly, else `allow` when any allows, else
 * `none`. Does not throw.
 */
export function evaluatePolicies(
  policies: readonly Policy[],
  request: PolicyRequest,
): 'allow' | 'deny' | 'none' {
  const question = prepare(request);
  let isAllowed = false;
  for (const { statements } of policies) {
    for (const statement of statements) {
      if (isAllowed && statement.effect === 'allow') continue;
      if (!matchesStatement(statement, question)) continue;
      if (statement.effect === 'deny') return 'deny';
      isAllowed = true;
    }
  }
  return isAllowed ? 'allow' : 'none';
}

const currentVersion = '2012-10-17';
const versions: ReadonlySet<unknown> = new Set([currentVersion, '2008-10-17']);
const documentMembers: ReadonlySet<string> = new Set(['Version', 'Id', 'Statement']);
/** Stored policies of MinIO spell the id so. */
const identityMembers: ReadonlySet<string> = new Set([...documentMembers, 'ID']);
const statementMembers: ReadonlySet<string> = new Set([
  'Sid',
  'Effect',
  'Principal',
  'NotPrincipal',
  'Action',
  'NotAction',
  'Resource',
  'NotResource',
  'Condition',
]);

type StatementOptions = {
  readonly kind: PolicyKind;
  readonly bucket: string | undefined;
  readonly variables: boolean;
};

type Json = Readonly<Record<string, unknown>>;

function parseJson(text: string): Json {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    throw malformed(notJson, { cause });
  }
  if (!isRecord(document)) throw malformed(notJson);
  // Of two members with one name the parser drops the first: it may have been the one that denies.
  if (countMembers(document) !== countNames(text)) {
    throw malformed('The policy has an object with two members of the same name.');
  }
  return document;
}

const notJson = "Policies must be valid JSON and the first byte must be '{'";

function countMembers(value: unknown): number {
  if (Array.isArray(value)) return value.reduce((sum: number, item) => sum + countMembers(item), 0);
  if (!isRecord(value)) return 0;
  const members = Object.values(value);
  return members.reduce((sum: number, item) => sum + countMembers(item), members.length);
}

/** Texts before a colon, in what is known to be JSON. */
function countNames(text: string): number {
  let count = 0;
  for (const match of text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?/g)) {
    if (match[1] !== undefined) count += 1;
  }
  return count;
}

function parseStatement(item: unknown, options: StatementOptions): Statement {
  if (!isRecord(item)) throw malformed('Statement must be an object or a list of objects.');
  checkMembers(item, statementMembers, 'statement');
  const { Sid: sid, Effect: effect } = item;
  if (sid !== undefined && typeof sid !== 'string') throw malformed('Sid must be a string.');
  if (effect === undefined) throw malformed('Missing required field Effect');
  if (effect !== 'Allow' && effect !== 'Deny') {
    throw malformed(`Invalid effect: ${typeof effect === 'string' ? effect : typeof effect}`);
  }
  const principals = parseStatementPrincipals(item, options.kind);
  const actions = parseActions(oneOf(item, 'Action'), options.kind);
  const resources = parseResources(oneOf(item, 'Resource'), actions, options);
  const conditions =
    item['Condition'] === undefined ? [] : parseConditions(item['Condition'], options);
  const statement: Statement = {
    sid,
    effect: effect === 'Allow' ? 'allow' : 'deny',
    principals,
    actions,
    families: new Set(actions.patterns.map(({ source }) => familyOf(source))),
    resources,
    conditions,
  };
  if (options.kind === 'bucket') checkResourcesOfBucket(statement, options.bucket ?? '');
  return statement;
}

function parseStatementPrincipals(item: Json, kind: PolicyKind): Principals | undefined {
  const { value, isNegated } = oneOf(item, 'Principal');
  if (kind === 'identity') {
    if (value !== undefined) throw malformed('Policy document should not specify a principal.');
    return undefined;
  }
  if (value === undefined) throw malformed('Missing required field Principal');
  if (isNegated && item['Effect'] === 'Allow') {
    throw malformed('Allow with NotPrincipal is not allowed.');
  }
  return parsePrincipals(value, isNegated);
}

function oneOf(item: Json, name: string): OneOf {
  const plain = item[name];
  const negated = item[`Not${name}`];
  if (plain !== undefined && negated !== undefined) {
    throw malformed(`A statement has either ${name} or Not${name}, not both.`);
  }
  return { name, value: plain ?? negated, isNegated: plain === undefined && negated !== undefined };
}

function checkMembers(item: Json, known: ReadonlySet<string>, what: string): void {
  const unknown = Object.keys(item).find((name) => !known.has(name));
  if (unknown !== undefined) throw malformed(`Unknown field ${unknown} in the ${what}`);
}

function conditionKeysOf(statement: Statement): string[] {
  const inResources = (statement.resources?.patterns ?? []).flatMap(variablesOf);
  const inConditions = statement.conditions.flatMap((condition) => condition.variables);
  const variables = [...inResources, ...inConditions].map((name) => {
    const key = findConditionKey(name);
    if (key === undefined) throw malformed(`Unknown policy variable: ${name}`);
    return key;
  });
  return [...statement.conditions.map(({ key }) => key), ...variables];
}

/** A request with everything that is the same for all statements. */
type Question = {
  readonly action: string;
  /** What the resource patterns are held against, in each kind of policy. */
  readonly resources: Readonly<Record<PolicyKind, readonly string[]>> | undefined;
  readonly principal: Principal;
  readonly conditions: ConditionValues;
  readonly lookup: VariableLookup;
};

function prepare(request: PolicyRequest): Question {
  const { conditions } = request;
  return {
    action: request.action.toLowerCase(),
    resources: resourcesOf(request),
    principal: request.principal ?? { kind: 'anonymous' },
    conditions,
    lookup: (name) => {
      const key = findConditionKey(name);
      const values = key === undefined ? undefined : conditions[key];
      return values?.length === 1 ? values[0] : undefined;
    },
  };
}

function resourcesOf(request: PolicyRequest): Question['resources'] {
  const { action, bucket = '', key } = request;
  if (action.startsWith('kms:')) {
    const resource = [`arn:minio:kms:::${key ?? ''}`];
    return { identity: resource, bucket: resource };
  }
  if (!action.startsWith('s3')) return undefined;
  const arn = `arn:aws:s3:::${bucket}`;
  if (key !== undefined && key !== '') {
    const resource = [`${arn}/${key}`];
    return { identity: resource, bucket: resource };
  }
  // To users' policies a bucket is what is in it too: `bucket/*` speaks of the bucket as well.
  return { identity: bucket === '' ? [arn] : [arn, `${arn}/`], bucket: [arn] };
}

function matchesStatement(statement: Statement, question: Question): boolean {
  const { principals, resources } = statement;
  if (principals !== undefined && !includesPrincipal(principals, question.principal)) return false;
  if (!includesText(statement.actions, question.action, question.lookup)) return false;
  if (!speaksOfService(statement, familyOf(question.action))) return false;
  if (resources !== undefined && question.resources !== undefined) {
    const kind = principals === undefined ? 'identity' : 'bucket';
    if (!includesResource(resources, question.resources[kind], question.lookup)) return false;
  }
  return meetsConditions(statement.conditions, question.conditions, question.lookup);
}

/**
 * Whether a statement that includes an action was meant for its service. Calls on the server have no resource
 * that could tell: `*` with the resources of a bucket, and all but some action of S3, are not about the server.
 */
function speaksOfService(statement: Statement, family: string): boolean {
  const { actions, effect, families, resources } = statement;
  if (families.has(family)) return true;
  if (actions.isNegated && effect === 'allow') return false;
  if (family === 's3') return true;
  if (resources?.isNegated === true) return effect === 'deny';
  return family === 'kms' || resources?.patterns.some(({ source }) => source === '*') === true;
}

function includesText(scope: Scope, text: string, lookup: VariableLookup): boolean {
  return (
    scope.patterns.some((pattern) => matchesPattern(pattern, text, lookup)) !== scope.isNegated
  );
}

function includesResource(scope: Scope, names: readonly string[], lookup: VariableLookup): boolean {
  const isNamed = names.some((name) =>
    scope.patterns.some((pattern) => matchesPattern(pattern, name, lookup)),
  );
  return isNamed !== scope.isNegated;
}
