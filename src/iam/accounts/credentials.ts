// Finds who an access key belongs to, for every request, on every worker. What was read is kept in memory,
// but only while the generation in the `Kv` is the same, which each look-up asks for first: so nothing is
// used for a single request after a change was answered, whichever process made it. Root is in memory and
// pays nothing.

import type { EntryVersion, Kv } from '../../store/kv.ts';
import { type Account, decodeOwner, generationKey, ownerKey } from './account.ts';
import type { Accounts } from './accounts.ts';
import { IamError } from '../iam-error.ts';
import {
  type Credentials,
  type CredentialsSource,
  type Owner,
  rootIdentity,
  rootOwner,
} from '../identity.ts';
import { type Policy, parsePolicy } from '../policy/policy.ts';
import type { RootCredentials } from './root-credentials.ts';

/** Accounts that one worker keeps at hand. */
const keptMax = 10_000;
/** Readings of a user whose policies go away meanwhile. */
const readingsMax = 8;

/** What is known under one generation. A new generation gets a new one, so late answers reach only their own. */
type Snapshot = {
  readonly generation: EntryVersion | 'absent';
  readonly credentials: Map<string, Credentials>;
  readonly policies: Map<string, Policy>;
  readonly owners: Map<string, Owner>;
};

export type CredentialsDeps = {
  readonly kv: Kv;
  readonly accounts: Accounts;
  root(): RootCredentials;
  /** How root is shown as an owner. Default: as nothing is set. */
  readonly rootOwner?: Owner;
};

/** Root and the enabled users. Throws `IamError` (`corrupt`) and `KvError`. */
export class AccountCredentials implements CredentialsSource {
  readonly #deps: CredentialsDeps;
  #snapshot: Snapshot = emptySnapshot('absent');

  constructor(deps: CredentialsDeps) {
    this.#deps = deps;
  }

  find(accessKey: string): Credentials | undefined | Promise<Credentials | undefined> {
    const { accessKey: rootKey, secretKey } = this.#deps.root();
    if (accessKey !== rootKey) return this.#findUser(accessKey);
    return { accessKey, secretKey, identity: rootIdentity(accessKey, this.#deps.rootOwner) };
  }

  /** The owner with this id, as it is shown. One whose account is gone has no name. */
  describeOwner(ownerId: string): Owner | Promise<Owner> {
    if (ownerId !== rootOwner.ownerId) return this.#describeUser(ownerId);
    return this.#deps.rootOwner ?? rootOwner;
  }

  async #findUser(accessKey: string): Promise<Credentials | undefined> {
    const snapshot = await this.#current();
    const known = snapshot.credentials.get(accessKey);
    if (known) return known;
    const found = await this.#read(accessKey, snapshot);
    // Unknown access keys are not kept: anybody can send any number of them.
    if (found && snapshot.credentials.size < keptMax) snapshot.credentials.set(accessKey, found);
    return found;
  }

  async #read(accessKey: string, snapshot: Snapshot): Promise<Credentials | undefined> {
    for (let reading = 0; reading < readingsMax; reading++) {
      const account = await this.#deps.accounts.findUser(accessKey);
      if (account?.status !== 'enabled') return undefined;
      const policies = await this.#readPolicies(account, snapshot);
      if (!policies) continue;
      const { secretKey, ownerId, displayName } = account;
      const owner = { ownerId, displayName };
      return { accessKey, secretKey, identity: { kind: 'user', accessKey, policies, ...owner } };
    }
    throw new IamError('corrupt', 'A user has a policy that does not exist.');
  }

  /** Undefined when one is gone: it was detached and removed since the user was read. */
  async #readPolicies(account: Account, snapshot: Snapshot): Promise<Policy[] | undefined> {
    const policies: Policy[] = [];
    for (const name of account.policies) {
      const known = snapshot.policies.get(name);
      const named = known ? undefined : await this.#deps.accounts.findPolicy(name);
      const policy = known ?? (named && parseStored(named.text));
      if (!policy) return undefined;
      snapshot.policies.set(name, policy);
      policies.push(policy);
    }
    return policies;
  }

  async #describeUser(ownerId: string): Promise<Owner> {
    const snapshot = await this.#current();
    const known = snapshot.owners.get(ownerId);
    if (known) return known;
    const entry = await this.#deps.kv.get(ownerKey(ownerId));
    const account = entry && (await this.#deps.accounts.findUser(decodeOwner(entry.value)));
    const owner = { ownerId, displayName: account?.displayName ?? '' };
    if (snapshot.owners.size < keptMax) snapshot.owners.set(ownerId, owner);
    return owner;
  }

  async #current(): Promise<Snapshot> {
    const generation = (await this.#deps.kv.get(generationKey))?.version ?? 'absent';
    // Of two look-ups the later may have read the older generation: it only costs a fresh snapshot.
    if (this.#snapshot.generation !== generation) this.#snapshot = emptySnapshot(generation);
    return this.#snapshot;
  }
}

function emptySnapshot(generation: Snapshot['generation']): Snapshot {
  return { generation, credentials: new Map(), policies: new Map(), owners: new Map() };
}

/** A stored policy was accepted once; one that no longer parses must not let its denials be forgotten. */
function parseStored(text: string): Policy {
  try {
    return parsePolicy(text, 'identity');
  } catch (cause) {
    throw new IamError('corrupt', 'A stored policy is not accepted any more.', { cause });
  }
}
