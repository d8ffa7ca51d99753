// Who a request comes from, and where the secret keys that prove it are found.

import { createHash } from 'node:crypto';

import type { Policy } from './policy/policy.ts';

/** Who owns buckets and objects: 64 hex digits that never change, and a name for people. */
export type Owner = { readonly ownerId: string; readonly displayName: string };

/**
 * The one behind a request. `anonymous` proved nothing; `root` is the operator named in the settings; a
 * `user` may do what the policies attached to it say.
 */
export type Identity =
  | { readonly kind: 'anonymous' }
  | ({ readonly kind: 'root'; readonly accessKey: string } & Owner)
  | ({
      readonly kind: 'user';
      readonly accessKey: string;
      readonly policies: readonly Policy[];
    } & Owner);

/** A request without any signature. */
export const anonymous: Identity = { kind: 'anonymous' };

/** An access key with its secret and the identity it proves. */
export type Credentials = {
  readonly accessKey: string;
  readonly secretKey: string;
  readonly identity: Identity;
};

/**
 * Finds the credentials of an access key: undefined for keys that are unknown, disabled or expired. Both
 * forms of the answer are allowed, so that what is in memory costs no wait.
 */
export interface CredentialsSource {
  find(accessKey: string): Credentials | undefined | Promise<Credentials | undefined>;
}

/**
 * The owner that root is, whatever its access key: that one may change with the settings. Records and decisions
 * know root by this id; what is shown may be another, by the settings.
 */
export const rootOwner: Owner = {
  ownerId: createHash('sha256').update('coffer').digest('hex'),
  displayName: 'coffer',
};

/** Root under its present access key, and as the settings show it. */
export function rootIdentity(accessKey: string, shown: Owner = rootOwner): Identity {
  return { kind: 'root', accessKey, ownerId: shown.ownerId, displayName: shown.displayName };
}

/**
 * What records of buckets, objects and uploads keep of the one who made them: the owner id of a user, `root`
 * for root, nothing for an anonymous caller, whose objects are the bucket owner's.
 */
export function recordedOwner(identity: Identity): string {
  if (identity.kind === 'user') return identity.ownerId;
  return identity.kind === 'root' ? 'root' : '';
}

/**
 * The owner id of what a record keeps. Whatever is no owner id is root's: earlier releases, which had no
 * users, kept root's access key there. `bucketOwner` is what the bucket's record keeps.
 */
export function ownerIdOf(recorded: string, bucketOwner = ''): string {
  const text = recorded === '' ? bucketOwner : recorded;
  return /^[0-9a-f]{64}$/.test(text) ? text : rootOwner.ownerId;
}
