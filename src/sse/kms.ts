// What encryption needs of a key management service. A master key never leaves it: it makes data keys,
// gives them out in plain and sealed form, and opens the sealed form again. Wrappers of this interface
// add retry, metrics and audit; callers never do.

/** The associated data of a KMS call: names and values bound to the ciphertext (spec: canonical JSON of 1.2). */
export type KmsContext = Readonly<Record<string, string>>;

export type DataKey = {
  /** 32 bytes. The receiver wipes it when done. */
  readonly plaintext: Uint8Array;
  /** Opaque; stored with the object. 76 bytes for KES and the static key. */
  readonly ciphertext: Uint8Array;
  /** The name of the master key that sealed it. */
  readonly keyName: string;
};

export type KmsKeyState = 'enabled' | 'disabled' | 'scheduled' | 'destroyed';

export type KmsKeyInfo = {
  readonly name: string;
  readonly state: KmsKeyState;
  readonly createdAt?: string;
  readonly createdBy?: string;
};

export type KmsEndpointState = 'online' | 'offline';

export type KmsStatus = {
  /** `MinIO KES` or `MinIO builtin`, as the admin API reports it. */
  readonly name: string;
  readonly defaultKeyName: string;
  readonly endpoints: Readonly<Record<string, KmsEndpointState>>;
};

/** One more object under a data key that was made or opened before, and is kept in memory. */
export type KmsUse = {
  readonly keyName: string;
  /** Names the object. */
  readonly context: KmsContext;
};

/** Every call throws `KmsError` and nothing else, and ends within the adapter's time limit. */
export interface Kms {
  /** The master key used when a request names none. */
  readonly defaultKeyName: string;
  generateKey(keyName: string, context: KmsContext): Promise<DataKey>;
  /** The plain data key, 32 bytes. */
  decrypt(keyName: string, ciphertext: Uint8Array, context: KmsContext): Promise<Uint8Array>;
  /**
   * Tells the key service of uses, for its audit log: each is authorised as a decrypt call. The answer has one
   * element for each use, a `KmsError` where it is refused. Absent where there is nobody to tell.
   */
  noteUses?(uses: readonly KmsUse[]): Promise<readonly (KmsError | undefined)[]>;
  createKey(keyName: string): Promise<void>;
  /** All keys whose name starts with the prefix, sorted by bytes; `''` means all. */
  listKeys(prefix: string): Promise<KmsKeyInfo[]>;
  describeKey(keyName: string): Promise<KmsKeyInfo>;
  status(): Promise<KmsStatus>;
  close(): Promise<void>;
}

export type KmsErrorCode =
  | 'key-not-found'
  | 'key-exists'
  | 'key-disabled'
  | 'not-authorized'
  | 'invalid-ciphertext'
  | 'invalid-key-name'
  | 'not-supported'
  | 'unreachable'
  | 'failed';

/** `unreachable`: no answer or 5xx, worth trying again later. `failed` is every other refusal. */
export class KmsError extends Error {
  readonly code: KmsErrorCode;
  /** The master key concerned, when the call named one. */
  readonly keyName: string | undefined;
  constructor(code: KmsErrorCode, message: string, options?: ErrorOptions & { keyName?: string }) {
    super(message, options);
    this.name = 'KmsError';
    this.code = code;
    this.keyName = options?.keyName;
  }
}
