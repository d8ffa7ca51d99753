// Who may do what: policies of path patterns, given to identities. A pattern that ends in `*` matches every
// path that starts with what comes before it; any other matches that very path. A `*` elsewhere, `?` and
// `[` are ordinary characters (they were wildcards long ago: `suspectPatterns` finds them).

/** `allow` and `deny` are path patterns; a deny that matches wins. */
export type Policy = { readonly allow: readonly string[]; readonly deny: readonly string[] };

export type NamedPolicy = Policy & {
  readonly name: string;
  readonly identities: readonly string[];
};

/** Whether one pattern matches a percent-decoded path without query. */
export function matchesPattern(pattern: string, path: string): boolean {
  if (pattern === '') return false;
  return pattern.endsWith('*') ? path.startsWith(pattern.slice(0, -1)) : pattern === path;
}

/** Whether a policy allows a path. */
export function allows(policy: Policy, path: string): boolean {
  if (policy.deny.some((pattern) => matchesPattern(pattern, path))) return false;
  return policy.allow.some((pattern) => matchesPattern(pattern, path));
}

/** Whether everything `inner` allows is allowed by `outer` too, as far as patterns can tell. */
export function isSubset(inner: Policy, outer: Policy): boolean {
  const covers = (patterns: readonly string[], text: string) =>
    patterns.some((pattern) => matchesPattern(pattern, text));
  return (
    inner.allow.every((pattern) => covers(outer.allow, pattern)) &&
    outer.deny
      .filter((pattern) => covers(inner.allow, pattern))
      .every((pattern) => covers(inner.deny, pattern))
  );
}

/** The patterns of a policy that look like globs and therefore match nothing the author meant. */
export function suspectPatterns(policy: Policy): string[] {
  return [...policy.allow, ...policy.deny].filter((pattern) => /\*(?!$)|[?[]/.test(pattern));
}

export type Decision = { readonly isAllowed: boolean; readonly reason: string };

const decisionsMax = 10_000;
/** Longer than any path of a route with a valid name. */
const rememberedPathMax = 128;
/** What other nodes of the same key store may do without a policy. */
const peerPrefix = '/v1/peer/changed/';

/** Decides for identities; remembers what it decided. Immutable: a reload makes a new one. */
export class Authorizer {
  readonly #admin: string;
  readonly #peers: ReadonlySet<string>;
  readonly #policies = new Map<string, NamedPolicy>();
  /** By policy, then by path: no text of one can pass for a part of the other. */
  readonly #decisions = new Map<NamedPolicy, Map<string, Decision>>();
  #remembered = 0;

  /** `peers` are the other nodes: besides what a policy gives them, they may say that keys changed. */
  constructor(options: {
    readonly admin: string;
    readonly policies: Iterable<NamedPolicy>;
    readonly peers?: Iterable<string>;
  }) {
    this.#admin = options.admin;
    this.#peers = new Set(options.peers ?? []);
    for (const policy of options.policies) {
      for (const identity of policy.identities) this.#policies.set(identity, policy);
    }
  }

  /** The policy of an identity, if it has one. */
  policyOf(identity: string): NamedPolicy | undefined {
    return this.#policies.get(identity);
  }

  decide(identity: string, path: string): Decision {
    if (identity === '') return { isAllowed: false, reason: 'no identity' };
    if (identity === this.#admin) return { isAllowed: true, reason: 'admin' };
    if (path.startsWith(peerPrefix) && this.#peers.has(identity)) {
      return { isAllowed: true, reason: 'peer' };
    }
    const policy = this.#policies.get(identity);
    if (policy === undefined) return { isAllowed: false, reason: 'identity has no policy' };
    return this.#decideBy(policy, path);
  }

  #decideBy(policy: NamedPolicy, path: string): Decision {
    const decisions = this.#decisions.get(policy);
    const known = decisions?.get(path);
    if (known !== undefined) return known;
    const decision = { isAllowed: allows(policy, path), reason: `policy ${policy.name}` };
    if (path.length > rememberedPathMax) return decision;
    this.#remember(policy, path, decision);
    return decision;
  }

  #remember(policy: NamedPolicy, path: string, decision: Decision): void {
    if (this.#remembered >= decisionsMax) {
      this.#decisions.clear();
      this.#remembered = 0;
    }
    const decisions = this.#decisions.get(policy) ?? new Map<string, Decision>();
    decisions.set(path, decision);
    this.#decisions.set(policy, decisions);
    this.#remembered += 1;
  }
}
