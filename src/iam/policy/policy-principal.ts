// Whom a statement of a bucket policy speaks of. Every user of this server is an account of its own, named by
// its access key or its canonical id. The account number in the ARN of a user is not compared.

import { isRecord, malformed } from './policy-condition.ts';

/** The caller of a request. `root` is the operator. */
export type Principal =
  | { readonly kind: 'anonymous' }
  | {
      readonly kind: 'root' | 'user';
      readonly accessKey: string;
      /** The canonical id. */
      readonly ownerId: string;
    };

type Matcher =
  | { readonly kind: 'everyone' }
  /** An access key or a canonical id. */
  | { readonly kind: 'account'; readonly name: string }
  | { readonly kind: 'canonical'; readonly ownerId: string }
  /** The operator, whatever its names are. */
  | { readonly kind: 'root' };

export type Principals = {
  readonly matchers: readonly Matcher[];
  /** True for NotPrincipal: everybody but those. */
  readonly isNegated: boolean;
};

/** Parses the value of `Principal` or `NotPrincipal`. Throws `IamError` (`malformed-policy`). */
export function parsePrincipals(value: unknown, isNegated: boolean): Principals {
  if (value === '*') return { matchers: [{ kind: 'everyone' }], isNegated };
  if (!isRecord(value) || Object.keys(value).length === 0) throw invalidPrincipal();
  const matchers = Object.entries(value).flatMap(([kind, names]) => {
    const list: readonly unknown[] = Array.isArray(names) ? names : [names];
    if (list.length === 0) throw invalidPrincipal();
    return list.map((name) => parsePrincipal(kind, name));
  });
  return { matchers, isNegated };
}

/** Whether the statement speaks of this caller. */
export function includesPrincipal(principals: Principals, caller: Principal): boolean {
  return (
    principals.matchers.some((matcher) => matchesPrincipal(matcher, caller)) !==
    principals.isNegated
  );
}

/** Whether it speaks of everybody, callers without a signature included. */
export function includesEveryone(principals: Principals): boolean {
  return principals.isNegated || principals.matchers.some(({ kind }) => kind === 'everyone');
}

function parsePrincipal(kind: string, name: unknown): Matcher {
  if (typeof name !== 'string' || name === '' || /\s/.test(name)) throw invalidPrincipal();
  if (kind === 'AWS' && name === '*') return { kind: 'everyone' };
  if (/[*?]/.test(name)) throw invalidPrincipal();
  if (kind === 'CanonicalUser') return { kind: 'canonical', ownerId: name };
  if (kind !== 'AWS') throw invalidPrincipal();
  return name.startsWith('arn:') ? parseArn(name) : { kind: 'account', name };
}

/** `arn:aws:iam::ACCOUNT:user/PATH/NAME`, `arn:aws:iam::ACCOUNT:root`. */
function parseArn(arn: string): Matcher {
  const match =
    /^arn:(?:aws|aws-cn|aws-us-gov|minio):iam::([^:]*):(?:(root)|user\/(?:.*\/)?([^/]+))$/.exec(
      arn,
    );
  if (match === null) throw invalidPrincipal();
  const [, account = '', root, user] = match;
  if (root === undefined) return { kind: 'account', name: user ?? '' };
  return account === '' ? { kind: 'root' } : { kind: 'account', name: account };
}

function matchesPrincipal(matcher: Matcher, caller: Principal): boolean {
  if (matcher.kind === 'everyone') return true;
  if (caller.kind === 'anonymous') return false;
  switch (matcher.kind) {
    case 'root':
      return caller.kind === 'root';
    case 'canonical':
      return matcher.ownerId === caller.ownerId;
    case 'account':
      return matcher.name === caller.accessKey || matcher.name === caller.ownerId;
  }
}

function invalidPrincipal(): Error {
  return malformed('Invalid principal in policy');
}
