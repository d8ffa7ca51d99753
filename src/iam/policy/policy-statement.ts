// What a statement of a policy is once it is parsed.

import type { Condition } from './policy-condition.ts';
import type { Principals } from './policy-principal.ts';
import type { Pattern } from './wildcard.ts';

export type PolicyKind = 'identity' | 'bucket';

/** Patterns, and whether they name what is meant or all but that. */
export type Scope = { readonly patterns: readonly Pattern[]; readonly isNegated: boolean };

export type Statement = {
  readonly sid: string | undefined;
  readonly effect: 'allow' | 'deny';
  /** Undefined in policies of users. */
  readonly principals: Principals | undefined;
  /** In lower case. */
  readonly actions: Scope;
  /** The services that the actions name: `s3`, `admin`, `kms`. */
  readonly families: ReadonlySet<string>;
  /** Undefined: whatever the action is done to. */
  readonly resources: Scope | undefined;
  readonly conditions: readonly Condition[];
};

/** A member given in one of two forms, `Name` or `NotName`. */
export type OneOf = {
  readonly name: string;
  readonly value: unknown;
  readonly isNegated: boolean;
};
