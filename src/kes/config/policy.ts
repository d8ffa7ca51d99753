// The policies of a configuration: who is in which, and whether their patterns mean anything. A deny that
// cannot mean what its author meant is refused, because it would protect nothing; an allow of that kind
// only harms its author, who is told.

import { kesRoutes } from '../../wire/kes.ts';
import type { ConfigFile } from './schema.ts';
import { type ConfigPath, KesConfigError } from './yaml.ts';
import { type NamedPolicy, suspectPatterns, unmeantRoutes } from '../policy.ts';

const explain = "'*' is a wildcard only at the end, '?' and '[' never are";

/** Reads and checks the policies. Throws `KesConfigError`. */
export function readPolicies(
  file: ConfigFile,
  known: { readonly admin: string; readonly proxies: readonly string[] },
): NamedPolicy[] {
  const owners = new Map<string, string>();
  return Object.entries(file.policy ?? {}).map(([name, policy]) => {
    const written = policy?.identities ?? [];
    for (const [index, identity] of written.entries()) {
      if (identity === '') continue;
      const at = ['policy', name, 'identities', index];
      const taken = whyTaken(identity, { ...known, name, owner: owners.get(identity) });
      if (taken !== undefined) throw new KesConfigError(taken, { at });
      owners.set(identity, name);
    }
    const identities = written.filter((identity) => identity !== '');
    return { name, allow: policy?.allow ?? [], deny: policy?.deny ?? [], identities };
  });
}

function whyTaken(
  identity: string,
  by: {
    readonly admin: string;
    readonly proxies: readonly string[];
    readonly name: string;
    readonly owner: string | undefined;
  },
): string | undefined {
  const invalid = `kesconf: invalid policy '${by.name}': identity '${identity}'`;
  if (identity === by.admin) return `${invalid} is already admin`;
  if (by.proxies.includes(identity)) return `${invalid} is already a TLS proxy`;
  if (by.owner === undefined) return undefined;
  return `kes: cannot assign policy '${by.name}' to '${identity}': identity already has a policy`;
}

/** Refuses denies that look like globs: throws `KesConfigError`. */
export function refuseUselessDenies(policies: readonly NamedPolicy[]): void {
  for (const { name, deny } of policies) {
    const [pattern] = suspectPatterns({ allow: [], deny });
    if (pattern === undefined) continue;
    throw new KesConfigError(
      `kesconf: invalid policy '${name}': deny pattern '${pattern}' would protect nothing: ${explain}`,
      { at: ['policy', name, 'deny', deny.indexOf(pattern)] },
    );
  }
}

/** Something an operator must hear although the configuration is valid. */
export type ConfigRemark = { readonly message: string; readonly at: ConfigPath };

/** The patterns that match nothing, not what they seem to, or more than their author may have known. */
export function patternRemarks(policies: readonly NamedPolicy[]): ConfigRemark[] {
  return policies.flatMap((policy) =>
    (['allow', 'deny'] as const).flatMap((kind) =>
      policy[kind].flatMap((pattern, index): ConfigRemark[] => {
        const problem =
          patternProblem(pattern) ??
          (kind === 'allow' ? unmeantProblem(policy, pattern) : undefined);
        if (problem === undefined) return [];
        const message = `policy '${policy.name}': ${kind} pattern '${pattern}' ${problem}`;
        return [{ message, at: ['policy', policy.name, kind, index] }];
      }),
    ),
  );
}

function patternProblem(pattern: string): string | undefined {
  if (suspectPatterns({ allow: [pattern], deny: [] }).length > 0) {
    return `matches only itself: ${explain}`;
  }
  if (canMatchRoute(pattern)) return undefined;
  return 'matches no route of this service: GET /v1/api lists them';
}

function unmeantProblem(policy: NamedPolicy, pattern: string): string | undefined {
  const routes = unmeantRoutes(policy, pattern);
  const [first] = routes;
  if (first === undefined) return undefined;
  const names = routes.map((route) => route.split('/').at(-2)).join(', ');
  return `also allows ${names}: deny '${first}*' (and the others) if that is not meant, or allow it by name`;
}

/** Whether some request to a route could have a path that the pattern matches. */
export function canMatchRoute(pattern: string): boolean {
  const isPrefix = pattern.endsWith('*');
  const text = isPrefix ? pattern.slice(0, -1) : pattern;
  return (
    pattern !== '' &&
    kesRoutes.some(({ prefix }) => {
      if (prefix.endsWith('/') && text.startsWith(prefix)) return true;
      return isPrefix ? prefix.startsWith(text) : prefix === text;
    })
  );
}
