// Conditions of policies: operators over the values that a request has for a condition key. Every policy value
// is checked and prepared when the policy is parsed, so that evaluating cannot fail. A key the request does not
// have fails every operator but the negated ones, `…IfExists`, `Null` and `ForAllValues:`.

import { BlockList, isIP } from 'node:net';
import { IamError } from '../iam-error.ts';
import { findConditionKey } from './policy-names.ts';
import {
  matchesPattern,
  PatternError,
  parsePattern,
  textOfPattern,
  type VariableLookup,
  variablesOf,
} from './wildcard.ts';

/**
 * What a request has for condition keys (`s3:prefix`, `aws:SourceIp`, …), by the names of
 * `policy-names.ts`. A key without values is absent.
 */
export type ConditionValues = Readonly<Record<string, readonly string[]>>;

/** Whether one value of the request satisfies one value of the policy. */
type Test = (value: string, lookup: VariableLookup) => boolean;

type Quantifier = 'any-value' | 'all-values' | undefined;

export type Condition = {
  readonly key: string;
  readonly tests: readonly Test[];
  readonly isNegated: boolean;
  readonly ifExists: boolean;
  readonly quantifier: Quantifier;
  /** Set for `Null`: the values it was given. */
  readonly nulls?: ReadonlySet<boolean>;
  /** Operator as written without qualifiers, and the values, for those who reason about the policy. */
  readonly operator: string;
  readonly values: readonly string[];
  readonly variables: readonly string[];
};

export type ConditionOptions = { readonly variables: boolean };

type Operator = {
  readonly prepare: (value: string, options: ConditionOptions) => Test;
  readonly isNegated?: boolean;
};

/** Operators by name, `Null` apart. */
const operators: Readonly<Record<string, Operator>> = {
  StringEquals: { prepare: equalText },
  StringNotEquals: { prepare: equalText, isNegated: true },
  StringEqualsIgnoreCase: { prepare: equalTextIgnoringCase },
  StringNotEqualsIgnoreCase: { prepare: equalTextIgnoringCase, isNegated: true },
  StringLike: { prepare: likeText },
  StringNotLike: { prepare: likeText, isNegated: true },
  NumericEquals: numeric((a, b) => a === b),
  NumericNotEquals: { ...numeric((a, b) => a === b), isNegated: true },
  NumericLessThan: numeric((a, b) => a < b),
  NumericLessThanEquals: numeric((a, b) => a <= b),
  NumericGreaterThan: numeric((a, b) => a > b),
  NumericGreaterThanEquals: numeric((a, b) => a >= b),
  DateEquals: date((a, b) => a === b),
  DateNotEquals: { ...date((a, b) => a === b), isNegated: true },
  DateLessThan: date((a, b) => a < b),
  DateLessThanEquals: date((a, b) => a <= b),
  DateGreaterThan: date((a, b) => a > b),
  DateGreaterThanEquals: date((a, b) => a >= b),
  Bool: { prepare: equalBoolean },
  BinaryEquals: { prepare: equalBytes },
  IpAddress: { prepare: withinAddresses },
  NotIpAddress: { prepare: withinAddresses, isNegated: true },
  ArnEquals: { prepare: likeArn },
  ArnLike: { prepare: likeArn },
  ArnNotEquals: { prepare: likeArn, isNegated: true },
  ArnNotLike: { prepare: likeArn, isNegated: true },
};

/**
 * Parses the `Condition` member of a statement: operator → key → value or list of values. Throws `IamError`
 * (`malformed-policy`).
 */
export function parseConditions(block: unknown, options: ConditionOptions): Condition[] {
  if (!isRecord(block)) throw malformed('Condition must be an object.');
  const conditions: Condition[] = [];
  for (const [operator, keys] of Object.entries(block)) {
    if (!isRecord(keys)) throw malformed(`Condition ${operator} must be an object.`);
    for (const [key, values] of Object.entries(keys)) {
      conditions.push(parseCondition(operator, { key, values }, options));
    }
  }
  return conditions;
}

/** Whether the request meets all conditions. */
export function meetsConditions(
  conditions: readonly Condition[],
  values: ConditionValues,
  lookup: VariableLookup,
): boolean {
  return conditions.every((condition) => meets(condition, values[condition.key] ?? [], lookup));
}

function meets(condition: Condition, values: readonly string[], lookup: VariableLookup): boolean {
  if (condition.nulls !== undefined) return condition.nulls.has(values.length === 0);
  if (values.length === 0) return meetsWithoutValue(condition);
  const matches = (value: string): boolean =>
    condition.tests.some((test) => test(value, lookup)) !== condition.isNegated;
  switch (condition.quantifier) {
    case 'all-values':
      return values.every(matches);
    case 'any-value':
      return values.some(matches);
    case undefined:
      // Of several values each must be clear of what a negated operator names.
      return condition.isNegated ? values.every(matches) : values.some(matches);
  }
}

function meetsWithoutValue(condition: Condition): boolean {
  if (condition.ifExists || condition.quantifier === 'all-values') return true;
  return condition.quantifier === undefined && condition.isNegated;
}

function parseCondition(
  name: string,
  given: { readonly key: string; readonly values: unknown },
  options: ConditionOptions,
): Condition {
  const { operator, quantifier, ifExists } = splitOperator(name);
  const key = findConditionKey(given.key);
  if (key === undefined) throw malformed(`Policy has an invalid condition key: ${given.key}`);
  const values = listValues(name, given.values);
  const shared = { key, operator, values, quantifier, ifExists };
  if (operator === 'Null') {
    if (quantifier !== undefined || ifExists) throw unknownOperator(name);
    const nulls = new Set(values.map((value) => parseBoolean(name, value)));
    return { ...shared, tests: [], isNegated: false, nulls, variables: [] };
  }
  const { prepare, isNegated } = Object.hasOwn(operators, operator)
    ? (operators[operator] ?? failUnknown(name))
    : failUnknown(name);
  try {
    const tests = values.map((value) => prepare(value, options));
    const variables = values.flatMap((value) =>
      options.variables && takesVariables(operator)
        ? variablesOf(parsePattern(value, { wildcards: false, variables: true }))
        : [],
    );
    return { ...shared, tests, isNegated: isNegated ?? false, variables };
  } catch (error) {
    if (error instanceof PatternError) throw malformed(`Condition ${name}: ${error.message}.`);
    throw error;
  }
}

function takesVariables(operator: string): boolean {
  return operator.startsWith('String') || operator.startsWith('Arn');
}

function splitOperator(name: string): {
  operator: string;
  quantifier: Quantifier;
  ifExists: boolean;
} {
  let operator = name;
  let quantifier: Quantifier;
  if (operator.startsWith('ForAnyValue:')) quantifier = 'any-value';
  else if (operator.startsWith('ForAllValues:')) quantifier = 'all-values';
  if (quantifier !== undefined) operator = operator.slice(operator.indexOf(':') + 1);
  const ifExists = operator.endsWith('IfExists');
  if (ifExists) operator = operator.slice(0, -'IfExists'.length);
  return { operator, quantifier, ifExists };
}

function listValues(operator: string, values: unknown): string[] {
  const list: readonly unknown[] = Array.isArray(values) ? values : [values];
  if (list.length === 0) throw malformed(`Condition ${operator} has no value.`);
  return list.map((value) => {
    if (typeof value === 'string') return value;
    if (typeof value === 'boolean' || typeof value === 'number') return String(value);
    throw malformed(`Condition ${operator} has a value that is not a string.`);
  });
}

function equalText(value: string, options: ConditionOptions): Test {
  const pattern = parsePattern(value, { wildcards: false, variables: options.variables });
  return (text, lookup) => textOfPattern(pattern, lookup) === text;
}

function equalTextIgnoringCase(value: string, options: ConditionOptions): Test {
  const pattern = parsePattern(value, { wildcards: false, variables: options.variables });
  return (text, lookup) => textOfPattern(pattern, lookup)?.toLowerCase() === text.toLowerCase();
}

function likeText(value: string, options: ConditionOptions): Test {
  const pattern = parsePattern(value, { wildcards: true, variables: options.variables });
  return (text, lookup) => matchesPattern(pattern, text, lookup);
}

const arnParts = 6;

/** Each of the six parts of an ARN by itself, so that no star reaches over a colon. */
function likeArn(value: string, options: ConditionOptions): Test {
  const parts = splitArn(value);
  if (parts === undefined) throw malformed(`Invalid ARN in a condition: ${value}`);
  const patterns = parts.map((part) =>
    parsePattern(part, { wildcards: true, variables: options.variables }),
  );
  return (text, lookup) => {
    const given = splitArn(text);
    if (given === undefined) return false;
    return patterns.every((pattern, at) => matchesPattern(pattern, given[at] ?? '', lookup));
  };
}

function splitArn(text: string): string[] | undefined {
  const parts = text.split(':');
  if (parts.length < arnParts || parts[0] !== 'arn') return undefined;
  return [...parts.slice(0, arnParts - 1), parts.slice(arnParts - 1).join(':')];
}

function numeric(compare: (request: number, policy: number) => boolean): Operator {
  return {
    prepare: (value) => {
      const limit = parseNumber(value);
      if (limit === undefined) throw malformed(`Invalid number in a condition: ${value}`);
      return (text) => {
        const number = parseNumber(text);
        return number !== undefined && compare(number, limit);
      };
    },
  };
}

function parseNumber(text: string): number | undefined {
  return /^[+-]?\d{1,20}(\.\d{1,20})?$/.test(text) ? Number(text) : undefined;
}

function date(compare: (request: number, policy: number) => boolean): Operator {
  return {
    prepare: (value) => {
      const limit = parseDate(value);
      if (limit === undefined) throw malformed(`Invalid date in a condition: ${value}`);
      return (text) => {
        const time = parseDate(text);
        return time !== undefined && compare(time, limit);
      };
    },
  };
}

/** A date of ISO 8601, or seconds since 1970; as milliseconds. */
function parseDate(text: string): number | undefined {
  if (/^\d{1,12}(\.\d{1,9})?$/.test(text) && !/^\d{4}$/.test(text)) return Number(text) * 1000;
  if (!/^\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?)?)?)?$/.test(text)) {
    return undefined;
  }
  // A time without a zone is universal time.
  const isLocal = text.includes('T') && !/(Z|[+-]\d\d:?\d\d)$/.test(text.slice(10));
  const time = Date.parse(isLocal ? `${text}Z` : text);
  return Number.isNaN(time) ? undefined : time;
}

function equalBoolean(value: string): Test {
  const wanted = parseBoolean('Bool', value);
  return (text) => text.toLowerCase() === String(wanted);
}

function parseBoolean(operator: string, value: string): boolean {
  const lower = value.toLowerCase();
  if (lower !== 'true' && lower !== 'false') {
    throw malformed(`Condition ${operator} needs true or false, not ${value}`);
  }
  return lower === 'true';
}

function equalBytes(value: string): Test {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(value)) {
    throw malformed(`Invalid base64 in a condition: ${value}`);
  }
  const wanted = Buffer.from(value, 'base64');
  return (text) => Buffer.from(text, 'base64').equals(wanted);
}

/** An address or a network of either family. Mapped IPv4 addresses are the same as plain ones. */
function withinAddresses(value: string): Test {
  const slash = value.indexOf('/');
  const address = plainAddress(slash === -1 ? value : value.slice(0, slash));
  const family = isIP(address);
  const bits = slash === -1 ? String(family === 4 ? 32 : 128) : value.slice(slash + 1);
  const isNumber = /^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128);
  if (family === 0 || !isNumber) throw malformed(`Invalid IP address or network: ${value}`);
  const network = new BlockList();
  network.addSubnet(address, Number(bits), family === 4 ? 'ipv4' : 'ipv6');
  return (text) => {
    const given = plainAddress(text);
    const givenFamily = isIP(given);
    // `check` would hold a plain address against a network of mapped ones.
    return givenFamily === family && network.check(given, family === 4 ? 'ipv4' : 'ipv6');
  };
}

/** `::ffff:192.0.2.1` as `192.0.2.1`; without the zone of a link-local address. */
export function plainAddress(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  return mapped?.[1] ?? address.split('%', 1)[0] ?? '';
}

function failUnknown(name: string): never {
  throw unknownOperator(name);
}

function unknownOperator(name: string): IamError {
  return malformed(`Invalid Condition type : ${name}`);
}

/** A refusal of a policy document. */
export function malformed(message: string, options?: ErrorOptions): IamError {
  return new IamError('malformed-policy', message, options);
}

/** Whether parsed JSON is an object. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
