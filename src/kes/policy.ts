// Who may do what: policies of path patterns, given to identities. A pattern that ends in `*` matches every
// path that starts with what comes before it; any other matches that very path. A `*` elsewhere, `?` and
// `[` are ordinary characters (they were wildcards long ago: `suspectPatterns` finds them).
//
// A policy may be older than a route. What its author denied must stay denied when a newer route does the
// same to a key, so a deny reaches from an elder route to the younger ones that `elders` names.

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

/** Whether the patterns of a policy allow a path. `Authorizer` decides; it refuses a little more. */
export function allows(policy: Policy, path: string): boolean {
  if (policy.deny.some((pattern) => matchesPattern(pattern, path))) return false;
  return policy.allow.some((pattern) => matchesPattern(pattern, path));
}

type Elders = {
  readonly younger: string;
  readonly elders: readonly string[];
  /** Whether it changes what a key is or whether it can be used. */
  readonly changesKeys: boolean;
};

/** Routes that KES does not have, and the ones whose denial denies them too. */
const elders: readonly Elders[] = [
  // Both take the key away, for good or until somebody gives it back.
  { younger: '/v1/key/destroy/', elders: ['/v1/key/delete/'], changesKeys: true },
  { younger: '/v1/key/disable/', elders: ['/v1/key/delete/'], changesKeys: true },
  // Both make usable again what somebody has locked.
  { younger: '/v1/key/enable/', elders: [], changesKeys: true },
  { younger: '/v1/key/cancel/', elders: ['/v1/key/enable/'], changesKeys: true },
  // Both bring new key bytes to a name.
  {
    younger: '/v1/key/rotate/',
    elders: ['/v1/key/create/', '/v1/key/import/'],
    changesKeys: true,
  },
  {
    younger: '/v1/key/accept/',
    elders: ['/v1/key/create/', '/v1/key/import/'],
    changesKeys: true,
  },
  { younger: '/v1/key/bulk/decrypt/', elders: ['/v1/key/decrypt/'], changesKeys: false },
  // Opens and seals.
  {
    younger: '/v1/key/rewrap/',
    elders: ['/v1/key/decrypt/', '/v1/key/encrypt/'],
    changesKeys: false,
  },
];

/** Whether a policy denies a path because it denies an elder route for the same key. */
function isDeniedByElder(policy: Policy, path: string): boolean {
  const route = elders.find(({ younger }) => path.startsWith(younger));
  if (route === undefined) return false;
  const rest = path.slice(route.younger.length);
  return route.elders.some((elder) =>
    policy.deny.some((pattern) => matchesPattern(pattern, elder + rest)),
  );
}

const keyRoutes = '/v1/key/';

/**
 * The routes that change keys, are unknown to KES, and are allowed by a pattern as wide as `/v1/key/*` only:
 * whoever wrote that for KES did not mean them. None of those that are denied for every key.
 */
export function unmeantRoutes(policy: Policy, pattern: string): string[] {
  if (!pattern.endsWith('*') || !keyRoutes.startsWith(pattern.slice(0, -1))) return [];
  const isDenied = (prefix: string) =>
    policy.deny.some((deny) => deny.endsWith('*') && matchesPattern(deny, prefix));
  return elders
    .filter(
      (route) =>
        route.changesKeys &&
        ![route.younger, ...route.elders].some(isDenied) &&
        !policy.allow.some((allow) => allow.startsWith(route.younger)),
    )
    .map(({ younger }) => younger);
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
    const isAllowed = allows(policy, path) && !isDeniedByElder(policy, path);
    const decision = { isAllowed, reason: `policy ${policy.name}` };
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
