// Who a request comes from, and where the secret keys that prove it are found.

/** The one behind a request. `anonymous` proved nothing; `root` is the operator named in the settings. */
export type Identity =
  | { readonly kind: 'anonymous' }
  | { readonly kind: 'root'; readonly accessKey: string };

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

/** The name under which an identity owns buckets and objects. Empty for nobody. */
export function ownerOf(identity: Identity): string {
  return identity.kind === 'anonymous' ? '' : identity.accessKey;
}
