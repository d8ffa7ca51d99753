// The KES protocol as data, shared by the key service and its clients: paths, bodies and error texts
// (docs/formats/kes-protocol.md). Byte strings are padded standard base64 in JSON.

/** Every route of the service. `prefix` ends in `/` when the last path element names a resource. */
export type KesRouteSpec = {
  readonly name: KesRouteName;
  readonly method: 'GET' | 'PUT' | 'DELETE';
  readonly prefix: string;
  readonly maxBodyBytes: number;
  /** Seconds; 0 for none. */
  readonly timeoutSeconds: number;
  readonly auth: 'none' | 'identify' | 'policy';
};

export type KesRouteName =
  | 'version'
  | 'ready'
  | 'status'
  | 'metrics'
  | 'api'
  | 'key-create'
  | 'key-import'
  | 'key-describe'
  | 'key-list'
  | 'key-delete'
  | 'key-generate'
  | 'key-encrypt'
  | 'key-decrypt'
  | 'key-hmac'
  | 'key-bulk-decrypt'
  | 'key-disable'
  | 'key-enable'
  | 'key-batch'
  | 'key-rotate'
  | 'key-rewrap'
  | 'key-destroy'
  | 'key-cancel'
  | 'key-accept'
  | 'peer-changed'
  | 'policy-describe'
  | 'policy-read'
  | 'policy-list'
  | 'identity-describe'
  | 'identity-list'
  | 'identity-self'
  | 'log-error'
  | 'log-audit';

const mb = 1_000_000;

export const kesRoutes: readonly KesRouteSpec[] = [
  {
    name: 'version',
    method: 'GET',
    prefix: '/version',
    maxBodyBytes: 0,
    timeoutSeconds: 10,
    auth: 'none',
  },
  {
    name: 'ready',
    method: 'GET',
    prefix: '/v1/ready',
    maxBodyBytes: 0,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'status',
    method: 'GET',
    prefix: '/v1/status',
    maxBodyBytes: 0,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'metrics',
    method: 'GET',
    prefix: '/v1/metrics',
    maxBodyBytes: 0,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'api',
    method: 'GET',
    prefix: '/v1/api',
    maxBodyBytes: 0,
    timeoutSeconds: 10,
    auth: 'policy',
  },
  {
    name: 'key-create',
    method: 'PUT',
    prefix: '/v1/key/create/',
    maxBodyBytes: 0,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'key-import',
    method: 'PUT',
    prefix: '/v1/key/import/',
    maxBodyBytes: mb,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'key-describe',
    method: 'GET',
    prefix: '/v1/key/describe/',
    maxBodyBytes: 0,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'key-list',
    method: 'GET',
    prefix: '/v1/key/list/',
    maxBodyBytes: 0,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'key-delete',
    method: 'DELETE',
    prefix: '/v1/key/delete/',
    maxBodyBytes: 0,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'key-generate',
    method: 'PUT',
    prefix: '/v1/key/generate/',
    maxBodyBytes: mb,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'key-encrypt',
    method: 'PUT',
    prefix: '/v1/key/encrypt/',
    maxBodyBytes: mb,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'key-decrypt',
    method: 'PUT',
    prefix: '/v1/key/decrypt/',
    maxBodyBytes: mb,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'key-hmac',
    method: 'PUT',
    prefix: '/v1/key/hmac/',
    maxBodyBytes: mb,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'key-bulk-decrypt',
    method: 'PUT',
    prefix: '/v1/key/bulk/decrypt/',
    maxBodyBytes: 1_048_576,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'key-disable',
    method: 'PUT',
    prefix: '/v1/key/disable/',
    maxBodyBytes: 0,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'key-enable',
    method: 'PUT',
    prefix: '/v1/key/enable/',
    maxBodyBytes: 0,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'key-batch',
    method: 'PUT',
    prefix: '/v1/batch/key',
    maxBodyBytes: mb,
    timeoutSeconds: 15,
    auth: 'identify',
  },
  {
    name: 'key-rotate',
    method: 'PUT',
    prefix: '/v1/key/rotate/',
    maxBodyBytes: 0,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'key-rewrap',
    method: 'PUT',
    prefix: '/v1/key/rewrap/',
    maxBodyBytes: mb,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'key-destroy',
    method: 'PUT',
    prefix: '/v1/key/destroy/',
    maxBodyBytes: 1000,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'key-cancel',
    method: 'PUT',
    prefix: '/v1/key/cancel/',
    maxBodyBytes: 0,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'key-accept',
    method: 'PUT',
    prefix: '/v1/key/accept/',
    maxBodyBytes: 0,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'peer-changed',
    method: 'PUT',
    prefix: '/v1/peer/changed/',
    maxBodyBytes: 0,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'policy-describe',
    method: 'GET',
    prefix: '/v1/policy/describe/',
    maxBodyBytes: 0,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'policy-read',
    method: 'GET',
    prefix: '/v1/policy/read/',
    maxBodyBytes: 0,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'policy-list',
    method: 'GET',
    prefix: '/v1/policy/list/',
    maxBodyBytes: 0,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'identity-describe',
    method: 'GET',
    prefix: '/v1/identity/describe/',
    maxBodyBytes: 0,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'identity-list',
    method: 'GET',
    prefix: '/v1/identity/list/',
    maxBodyBytes: 0,
    timeoutSeconds: 15,
    auth: 'policy',
  },
  {
    name: 'identity-self',
    method: 'GET',
    prefix: '/v1/identity/self/describe',
    maxBodyBytes: 0,
    timeoutSeconds: 15,
    auth: 'identify',
  },
  {
    name: 'log-error',
    method: 'GET',
    prefix: '/v1/log/error',
    maxBodyBytes: 0,
    timeoutSeconds: 0,
    auth: 'policy',
  },
  {
    name: 'log-audit',
    method: 'GET',
    prefix: '/v1/log/audit',
    maxBodyBytes: 0,
    timeoutSeconds: 0,
    auth: 'policy',
  },
];

// ---- messages -------------------------------------------------------------------------------------

export type KesErrorBody = { readonly message: string };
export type KesGenerateRequest = { readonly context?: string };
export type KesGenerateResponse = { readonly plaintext: string; readonly ciphertext: string };
export type KesEncryptRequest = { readonly plaintext: string; readonly context?: string };
export type KesEncryptResponse = { readonly ciphertext: string };
export type KesDecryptRequest = { readonly ciphertext: string; readonly context?: string };
export type KesDecryptResponse = { readonly plaintext: string };
export type KesImportRequest = { readonly key: string; readonly cipher: string };

export type KesKeyState = 'enabled' | 'disabled' | 'scheduled' | 'destroyed';

/**
 * What comes after `created_by` is ours. `state` is sent only when it is not `enabled`, so that old clients
 * see what they know; `algorithm` is left out for a destroyed key.
 */
export type KesKeyInfo = {
  readonly name: string;
  readonly algorithm?: string;
  readonly created_at: string;
  readonly created_by?: string;
  readonly state?: Exclude<KesKeyState, 'enabled'>;
  /** 32 hex digits, random, made with the key; absent for keys from before ids. */
  readonly id?: string;
  /** 32 hex digits, derived from the secret of the first version; old servers send none. */
  readonly fingerprint?: string;
  /** The newest version; new ciphertexts are sealed under it. */
  readonly version?: number;
  /** All of them, oldest first; only in describe, only when there is more than one. */
  readonly versions?: readonly KesKeyVersionInfo[];
  /** Only while scheduled, and once destroyed. */
  readonly destroy_at?: string;
};

export type KesKeyVersionInfo = {
  readonly version: number;
  readonly fingerprint: string;
  readonly created_at: string;
  readonly created_by?: string;
};

export type KesRotateResponse = { readonly version: number };
export type KesRewrapRequest = { readonly ciphertext: string; readonly context?: string };
export type KesRewrapResponse = { readonly ciphertext: string; readonly version: number };

/** `after`: seconds until it happens, 604,800 (a week) when absent; 0 destroys at once. */
export type KesDestroyRequest = { readonly after?: number };
/** `note` says what the provider of the key store keeps nevertheless. */
export type KesDestroyResponse = {
  readonly state: 'scheduled' | 'destroyed';
  readonly destroy_at: string;
  readonly note?: string;
};

/** The last three are ours: the listed names in that state, each left out when there are none. */
export type KesKeyList = {
  readonly names: readonly string[];
  readonly continue_at?: string;
  readonly disabled?: readonly string[];
  readonly scheduled?: readonly string[];
  readonly destroyed?: readonly string[];
};

/**
 * Ours: several generate and decrypt calls in one request. Each call is authorised, audited and answered
 * by itself, exactly as if it had come alone to its own route: `result` is that route's answer.
 */
export type KesBatchRequest = { readonly calls: readonly (KesBatchCall | KesUseCall)[] };
/**
 * Ours, in batches only: a data key of that key, made or opened before, served one more object. Authorised
 * as a decrypt call, and refused when the key cannot be used; the answer is a status.
 */
export type KesUseCall = { readonly op: 'use'; readonly name: string; readonly context: string };
/** What a batch answers to one of its calls: `KesBatchResult`, or the bare 200 of a use. */
export type KesUseResult = { readonly status: number; readonly message?: string };
export type KesBatchCall =
  | { readonly op: 'generate'; readonly name: string; readonly context?: string }
  | {
      readonly op: 'decrypt';
      readonly name: string;
      readonly ciphertext: string;
      readonly context?: string;
    };
export type KesBatchResponse = { readonly results: readonly KesBatchResult[] };
export type KesBatchResult =
  | { readonly status: 200; readonly plaintext: string; readonly ciphertext?: string }
  | { readonly status: number; readonly message: string };

/** Most calls in one batch. */
export const kesBatchCallsMax = 256;

/** Error texts that clients compare, by status and exact text. */
export const kesErrors = {
  notAllowed: { status: 403, message: 'not authorized: insufficient permissions' },
  keyNotFound: { status: 404, message: 'key does not exist' },
  keyExists: { status: 400, message: 'key already exists' },
  policyNotFound: { status: 404, message: 'policy does not exist' },
  identityNotFound: { status: 404, message: 'identity does not exist' },
  decrypt: { status: 400, message: 'decryption failed: ciphertext is not authentic' },
  keyDisabled: { status: 403, message: 'key is disabled: enable it to use it again' },
  keyScheduled: {
    status: 403,
    message: 'key is scheduled for destruction: cancel that to use it again',
  },
  keyDestroyed: { status: 403, message: 'key is destroyed: what it protected is gone for good' },
  keyReplaced: {
    status: 409,
    message: 'key is not the one this name had: restore the key store, or accept the new key',
  },
  nameDestroyed: {
    status: 409,
    message: 'key name is taken by a destroyed key: choose another name',
  },
} as const;
