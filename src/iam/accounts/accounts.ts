// Users and named policies: reading and changing them. Every change is one commit that checks that no
// other change came between its reading and its writing, whatever process made it, and moves the
// generation, by which every worker sees at its next request that something changed.

import { randomBytes } from 'node:crypto';

import type { EntryVersion, Kv, KvCommit, KvEntry } from '../../store/kv.ts';
import {
  type Account,
  type AccountStatus,
  accessKeyBytesMax,
  decodeAccount,
  decodePolicy,
  encodeAccount,
  encodeOwner,
  encodePolicy,
  generationKey,
  generationValue,
  nameOfKey,
  type NamedPolicy,
  ownerKey,
  policyKey,
  policyNameBytesMax,
  rangeOfKind,
  secretKeyBytesMax,
  userKey,
} from './account.ts';
import { builtInPolicies, formatPolicy } from './built-in-policies.ts';
import { IamError } from '../iam-error.ts';
import { rootOwner } from '../identity.ts';
import { parsePolicy } from '../policy/policy.ts';

const attemptsMax = 32;
const pageEntries = 1000;

export type AccountsDeps = {
  readonly kv: Kv;
  /** The access key of root as it is now: no user may have it. */
  rootAccessKey(): string;
  /** The owner id under which root is shown, beside the one it always has. */
  readonly rootOwnerId?: string;
  now(): number;
};

/** A new user, or what changes of one that is there: then what is undefined stays as it is. */
export type UserInput = {
  readonly accessKey: string;
  readonly secretKey: string;
  readonly status: AccountStatus;
  /** 64 hex digits; random unless given. */
  readonly ownerId?: string;
  /** The access key unless given. */
  readonly displayName?: string;
};

/** The writes of a change, or undefined when there is nothing to change. */
type Change = Pick<KvCommit, 'puts' | 'deletes'>;

/**
 * Users and policies of one store. Everything throws `KvError`, `IamError` with `corrupt`, and what its own
 * comment says; changes also `busy`. A change is durable, and in force everywhere, when its call resolves.
 */
export class Accounts {
  readonly #deps: AccountsDeps;

  constructor(deps: AccountsDeps) {
    this.#deps = deps;
  }

  /** The user, or undefined. */
  async findUser(accessKey: string): Promise<Account | undefined> {
    if (!isName(accessKey, accessKeyBytesMax)) return undefined;
    const entry = await this.#deps.kv.get(userKey(accessKey));
    return entry && decodeAccount(accessKey, entry.value);
  }

  /** The user. Throws `no-such-user`. */
  async getUser(accessKey: string): Promise<Account> {
    const account = await this.findUser(accessKey);
    if (!account) throw noSuchUser();
    return account;
  }

  /** All users, sorted by access key. */
  async listUsers(): Promise<Account[]> {
    const entries = await this.#list('user');
    return entries.map(({ entryKey, value }) => decodeAccount(nameOfKey(entryKey), value));
  }

  /**
   * Creates a user, or gives one that is there another secret key and status. Throws `invalid-access-key`,
   * `invalid-secret-key`, `invalid-owner`, `root-access-key`.
   */
  async putUser(input: UserInput): Promise<void> {
    const { accessKey, secretKey, status, ownerId } = input;
    checkAccessKey(accessKey);
    this.#refuseRoot(accessKey);
    checkSecretKey(secretKey);
    if (ownerId !== undefined) checkOwnerId(ownerId);
    if (ownerId !== undefined && ownerId === this.#deps.rootOwnerId) throw ownerTaken();
    await this.#change(async () => {
      const before = await this.findUser(accessKey);
      const updatedMs = this.#deps.now();
      const after: Account = {
        accessKey,
        secretKey,
        status,
        policies: before?.policies ?? [],
        ownerId: ownerId ?? before?.ownerId ?? randomBytes(32).toString('hex'),
        displayName: input.displayName ?? before?.displayName ?? accessKey,
        createdMs: before?.createdMs ?? updatedMs,
        updatedMs,
      };
      if (after.ownerId === before?.ownerId) return { puts: [putOf(after)] };
      const owner = ownerKey(after.ownerId);
      if (await this.#deps.kv.get(owner)) throw ownerTaken();
      return {
        puts: [putOf(after), { entryKey: owner, value: encodeOwner(accessKey) }],
        deletes: before ? [ownerKey(before.ownerId)] : [],
      };
    });
  }

  /** Removes a user and its attachments. Throws `no-such-user`. */
  async removeUser(accessKey: string): Promise<void> {
    await this.#change(async () => {
      const { ownerId } = await this.getUser(accessKey);
      return { deletes: [userKey(accessKey), ownerKey(ownerId)] };
    });
  }

  /** Enables or disables a user. Throws `no-such-user`. */
  async setStatus(accessKey: string, status: AccountStatus): Promise<void> {
    await this.#change(async () => {
      const before = await this.getUser(accessKey);
      return { puts: [putOf({ ...before, status, updatedMs: this.#deps.now() })] };
    });
  }

  /** The policy: the stored one, else the built-in one, else undefined. */
  async findPolicy(name: string): Promise<NamedPolicy | undefined> {
    if (!isName(name, policyNameBytesMax)) return undefined;
    const entry = await this.#deps.kv.get(policyKey(name));
    return entry ? decodePolicy(name, entry.value) : builtIn(name);
  }

  /** The policy. Throws `no-such-policy`. */
  async getPolicy(name: string): Promise<NamedPolicy> {
    const policy = await this.findPolicy(name);
    if (!policy) throw noSuchPolicy();
    return policy;
  }

  /** All policies, sorted by name. */
  async listPolicies(): Promise<NamedPolicy[]> {
    const stored = (await this.#list('policy')).map(({ entryKey, value }) =>
      decodePolicy(nameOfKey(entryKey), value),
    );
    const names = new Set(stored.map(({ name }) => name));
    const others = [...builtInPolicies.keys()].filter((name) => !names.has(name));
    const all = [...stored, ...others.map((name) => builtIn(name) as NamedPolicy)]; // names of the table
    return all.sort((left, right) => (left.name < right.name ? -1 : 1));
  }

  /**
   * Creates or replaces a policy; one of a built-in name stands in front of that. Throws
   * `malformed-policy` and `invalid-policy-name`.
   */
  async putPolicy(name: string, document: string): Promise<void> {
    checkPolicyName(name);
    parsePolicy(document, 'identity');
    const text = formatPolicy(document);
    const entryKey = policyKey(name);
    await this.#change(async () => {
      const entry = await this.#deps.kv.get(entryKey);
      const before = entry && decodePolicy(name, entry.value);
      const updatedMs = this.#deps.now();
      const createdMs = before?.times?.createdMs ?? updatedMs;
      return { puts: [{ entryKey, value: encodePolicy(text, { createdMs, updatedMs }) }] };
    });
  }

  /**
   * Removes a policy; of a name that there is not, too. Throws `policy-in-use` while a user has it, and
   * `built-in-policy`.
   */
  async removePolicy(name: string): Promise<void> {
    if (!isName(name, policyNameBytesMax)) return;
    await this.#change(async () => {
      const users = await this.listUsers();
      if (users.some(({ policies }) => policies.includes(name))) {
        throw new IamError('policy-in-use', 'The policy is attached to a user: detach it first.');
      }
      const entryKey = policyKey(name);
      const entry = await this.#deps.kv.get(entryKey);
      if (entry) return { deletes: [entryKey] };
      if (builtInPolicies.has(name)) throw new IamError('built-in-policy', builtInText(name));
      return undefined;
    });
  }

  /**
   * Attaches policies to a user and returns the names of those that it did not have. Throws
   * `no-such-user`, `no-such-policy`, and `no-change` when it has them all.
   */
  async attach(accessKey: string, names: readonly string[]): Promise<readonly string[]> {
    return this.#update(accessKey, async ({ policies }) => {
      await this.#requirePolicies(names);
      const added = unique(names).filter((name) => !policies.includes(name));
      return { changed: added, after: [...policies, ...added] };
    });
  }

  /**
   * Detaches policies from a user and returns the names of those that it had. Throws `no-such-user`, and
   * `no-change` when it has none of them.
   */
  async detach(accessKey: string, names: readonly string[]): Promise<readonly string[]> {
    return this.#update(accessKey, async ({ policies }) => ({
      changed: unique(names).filter((name) => policies.includes(name)),
      after: policies.filter((name) => !names.includes(name)),
    }));
  }

  /** Gives a user these policies and no others. Throws `no-such-user`, `no-such-policy`. */
  async setPolicies(accessKey: string, names: readonly string[]): Promise<void> {
    await this.#change(async () => {
      const before = await this.getUser(accessKey);
      await this.#requirePolicies(names);
      return { puts: [this.#withPolicies(before, unique(names))] };
    });
  }

  async #update(
    accessKey: string,
    decide: (
      before: Account,
    ) => Promise<{ readonly changed: readonly string[]; readonly after: readonly string[] }>,
  ): Promise<readonly string[]> {
    let result: readonly string[] = [];
    await this.#change(async () => {
      const before = await this.getUser(accessKey);
      const { changed, after } = await decide(before);
      if (changed.length === 0) throw new IamError('no-change', 'It is so already.');
      result = changed;
      return { puts: [this.#withPolicies(before, after)] };
    });
    return result;
  }

  #withPolicies(account: Account, names: readonly string[]): NonNullable<KvCommit['puts']>[number] {
    return putOf({ ...account, policies: [...names].sort(), updatedMs: this.#deps.now() });
  }

  async #requirePolicies(names: readonly string[]): Promise<void> {
    for (const name of names) await this.getPolicy(name);
  }

  #refuseRoot(accessKey: string): void {
    if (accessKey !== this.#deps.rootAccessKey()) return;
    throw new IamError('root-access-key', 'The access key is that of root.');
  }

  async #list(kind: 'user' | 'policy'): Promise<KvEntry[]> {
    const { start, end } = rangeOfKind(kind);
    const found: KvEntry[] = [];
    let from = start;
    for (;;) {
      const page = await this.#deps.kv.list({ start: from, end, limit: pageEntries });
      found.push(...page);
      const last = page.at(-1);
      if (page.length < pageEntries || !last) return found;
      from = Buffer.concat([last.entryKey, Buffer.alloc(1)]);
    }
  }

  /** Reads and writes under one generation. What `decide` read is what was there when it is written. */
  async #change(decide: () => Promise<Change | undefined>): Promise<void> {
    const { kv } = this.#deps;
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      const version: EntryVersion | 'absent' = (await kv.get(generationKey))?.version ?? 'absent';
      const change = await decide();
      if (!change) return;
      const outcome = await kv.commit({
        checks: [{ entryKey: generationKey, version }],
        puts: [...(change.puts ?? []), { entryKey: generationKey, value: generationValue }],
        deletes: change.deletes ?? [],
      });
      if (outcome === 'committed') return;
    }
    throw new IamError('busy', 'Users and policies are being changed by others: try again.');
  }
}

function putOf(account: Account): NonNullable<KvCommit['puts']>[number] {
  return { entryKey: userKey(account.accessKey), value: encodeAccount(account) };
}

function builtIn(name: string): NamedPolicy | undefined {
  const text = builtInPolicies.get(name);
  return text === undefined ? undefined : { name, text, times: undefined };
}

function unique(names: readonly string[]): readonly string[] {
  return [...new Set(names)];
}

function checkAccessKey(accessKey: string): void {
  if (/[=,]/.test(accessKey)) {
    throw new IamError(
      'invalid-access-key',
      "access key contains one of reserved characters '=' or ','",
    );
  }
  if (accessKey.length < 3 || !isName(accessKey, accessKeyBytesMax)) {
    throw new IamError(
      'invalid-access-key',
      `access key length should be between 3 and ${accessKeyBytesMax}`,
    );
  }
}

function checkSecretKey(secretKey: string): void {
  if (secretKey.length >= 8 && isName(secretKey, secretKeyBytesMax)) return;
  throw new IamError(
    'invalid-secret-key',
    `secret key length should be between 8 and ${secretKeyBytesMax}`,
  );
}

function checkPolicyName(name: string): void {
  if (name.includes(',')) {
    throw new IamError('invalid-policy-name', 'Policy name may not contain comma');
  }
  if (isName(name, policyNameBytesMax)) return;
  throw new IamError(
    'invalid-policy-name',
    `Policy name may have 1 to ${policyNameBytesMax} bytes, no control characters`,
  );
}

function checkOwnerId(ownerId: string): void {
  if (!/^[0-9a-f]{64}$/.test(ownerId)) {
    throw new IamError('invalid-owner', 'an owner id has 64 lower-case hexadecimal digits');
  }
  if (ownerId === rootOwner.ownerId) throw ownerTaken();
}

/** Without control characters, which no protocol could carry. */
function isName(text: string, bytesMax: number): boolean {
  const isPlain = text.isWellFormed() && !/\p{Cc}/u.test(text);
  return text !== '' && isPlain && Buffer.byteLength(text) <= bytesMax;
}

function ownerTaken(): IamError {
  return new IamError('invalid-owner', 'another account has this owner id');
}

function noSuchUser(): IamError {
  return new IamError('no-such-user', 'The specified user does not exist.');
}

function noSuchPolicy(): IamError {
  return new IamError('no-such-policy', 'The canned policy does not exist.');
}

function builtInText(name: string): string {
  return `inbuilt policy \`${name}\` not allowed to be deleted`;
}
