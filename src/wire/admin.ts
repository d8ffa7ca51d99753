// The admin and KMS interfaces as data, shared by the store and its client: paths, queries and JSON
// messages. Field names are those of the protocol. Calls carry a Signature V4 header of service `s3` and
// the empty region; errors are JSON (`AdminErrorBody`).

/** Both versions lead to the same handlers. */
export const adminPrefixes = ['/minio/admin/v3', '/minio/admin/v4'] as const;
export const kmsPrefix = '/minio/kms/v1';
export const healthPrefix = '/minio/health';

/** A refusal. `Code` is stable; `Message` says what to do. */
export type AdminErrorBody = {
  readonly Code: string;
  readonly Message: string;
  readonly Resource: string;
  readonly RequestId: string;
  readonly HostId: string;
};

export type ServiceAction = 'restart' | 'stop' | 'freeze' | 'unfreeze';

/** Answer of `POST /service?action=…&type=2`. */
export type ServiceResult = {
  readonly action: ServiceAction;
  readonly dryRun: boolean;
  readonly results?: readonly { readonly host: string; readonly err?: string }[];
};

export type CountAnswer = { readonly count: number; readonly error?: string };

/** Answer of `GET /info`. A single node: one server, one drive, one pool of one set. */
export type InfoAnswer = {
  readonly mode: 'online' | 'initializing' | 'offline';
  readonly domain: readonly string[];
  readonly region: string;
  readonly sqsARN: readonly string[];
  readonly deploymentID: string;
  readonly buckets: CountAnswer;
  readonly objects: CountAnswer;
  readonly versions: CountAnswer;
  readonly deletemarkers: CountAnswer;
  readonly usage: { readonly size: number; readonly error?: string };
  readonly services: {
    readonly kms: Readonly<Record<string, string>>;
    readonly kmsStatus: readonly { readonly status: string; readonly endpoint: string }[];
    readonly ldap: Readonly<Record<string, string>>;
  };
  readonly backend: {
    readonly backendType: 'Erasure' | 'FS';
    readonly onlineDisks: number;
    readonly offlineDisks: number;
    readonly standardSCParity: number;
    readonly rrSCParity: number;
    readonly totalSets: readonly number[];
    readonly totalDrivesPerSet: readonly number[];
  };
  readonly servers: readonly ServerAnswer[];
  readonly pools: Readonly<Record<string, Readonly<Record<string, PoolAnswer>>>>;
};

export type ServerAnswer = {
  readonly state: 'online' | 'offline' | 'initializing';
  readonly endpoint: string;
  readonly scheme: string;
  /** Seconds. */
  readonly uptime: number;
  readonly version: string;
  readonly commitID: string;
  readonly network: Readonly<Record<string, 'online'>>;
  readonly drives: readonly DriveAnswer[];
  readonly poolNumber: number;
  readonly poolNumbers: readonly number[];
  readonly mem_stats: Readonly<Record<string, number>>;
  readonly go_max_procs: number;
  readonly num_cpu: number;
  readonly runtime_version: string;
};

export type DriveAnswer = {
  readonly endpoint: string;
  readonly path: string;
  readonly state: 'ok' | 'faulty';
  readonly uuid: string;
  readonly totalspace: number;
  readonly usedspace: number;
  readonly availspace: number;
  readonly used_inodes: number;
  readonly free_inodes: number;
  readonly local: boolean;
  readonly pool_index: number;
  readonly set_index: number;
  readonly disk_index: number;
};

export type PoolAnswer = {
  readonly id: number;
  readonly rawUsage: number;
  readonly rawCapacity: number;
  readonly usage: number;
  readonly objectsCount: number;
  readonly versionsCount: number;
  readonly deleteMarkersCount: number;
  readonly healDisks: number;
};

/** Answer of `GET /datausageinfo`. */
export type DataUsageAnswer = {
  readonly lastUpdate: string;
  readonly objectsCount: number;
  readonly versionsCount: number;
  readonly deleteMarkersCount: number;
  readonly objectsTotalSize: number;
  readonly bucketsCount: number;
  readonly bucketsUsageInfo: Readonly<Record<string, BucketUsageAnswer>>;
  readonly bucketsSizes: Readonly<Record<string, number>>;
  readonly capacity: number;
  readonly freeCapacity: number;
  readonly usedCapacity: number;
};

export type BucketUsageAnswer = {
  readonly size: number;
  readonly objectsCount: number;
  readonly versionsCount: number;
  readonly deleteMarkersCount: number;
};

/** Answer of `GET /minio/kms/v1/status`. */
export type KmsStatusAnswer = {
  readonly name: string;
  readonly 'default-key-id': string;
  readonly endpoints: Readonly<Record<string, 'online' | 'offline'>>;
  readonly state: Readonly<Record<string, string | number | boolean>>;
};

/** Answer of `GET /minio/kms/v1/metrics`. `kms_resp_time`: cumulative counts by bound in nanoseconds. */
export type KmsMetricsAnswer = {
  readonly kms_req_success: number;
  readonly kms_req_error: number;
  readonly kms_req_failure: number;
  readonly kms_resp_time: Readonly<Record<string, number>>;
};

/** One element of the answer of `GET /minio/kms/v1/apis`. `Timeout` in seconds. */
export type KmsApiAnswer = {
  readonly Method: string;
  readonly Path: string;
  readonly MaxBody: number;
  readonly Timeout: number;
};

/** One element of the answer of `GET /minio/kms/v1/key/list`. `state` is ours: only of disabled keys. */
export type KmsKeyAnswer = {
  readonly name: string;
  readonly createdAt?: string;
  readonly createdBy?: string;
  readonly state?: 'disabled';
};

/** Answer of `GET /minio/kms/v1/key/status`: 200 also when the key does not work. */
export type KmsKeyStatusAnswer = {
  readonly 'key-id': string;
  readonly 'encryption-error'?: string;
  readonly 'decryption-error'?: string;
};

/**
 * Answer of `GET /minio/kms/v1/key/usage?key-id=K`, ours: what a master key protects here. `state` is
 * `absent` for a key that the key service does not have and `unknown` while it cannot be reached.
 */
export type KmsKeyUsageAnswer = {
  readonly keyId: string;
  readonly state: 'enabled' | 'disabled' | 'scheduled' | 'destroyed' | 'absent' | 'unknown';
  readonly objects: number;
  readonly bytes: number;
};

/** What `PUT /add-user` is told, sealed. `ownerId` and `displayName` are additions of this store. */
export type UserRequest = {
  readonly secretKey?: string;
  /** Names of policies with commas between them. */
  readonly policy?: string;
  readonly status?: string;
  readonly ownerId?: string;
  readonly displayName?: string;
};

/** Answer of `GET /user-info`, and a member of the one of `GET /list-users`. */
export type UserInfoAnswer = {
  readonly policyName?: string;
  readonly status: 'enabled' | 'disabled';
  readonly updatedAt: string;
  readonly ownerId?: string;
  readonly displayName?: string;
};

/** Answer of `GET /info-canned-policy?v=2`. Built-in policies have no dates. */
export type PolicyAnswer = {
  readonly PolicyName: string;
  readonly Policy: unknown;
  readonly CreateDate?: string;
  readonly UpdateDate?: string;
};

/** What attach and detach are told, sealed. */
export type PolicyChangeRequest = {
  readonly policies: readonly string[];
  readonly user?: string;
  readonly group?: string;
};

/** What attach and detach answer, sealed. */
export type PolicyChangeAnswer = {
  readonly policiesAttached?: readonly string[];
  readonly policiesDetached?: readonly string[];
  readonly updatedAt: string;
};

/** Answer of `GET /idp/builtin/policy-entities`, sealed. */
export type PolicyEntitiesAnswer = {
  readonly timestamp: string;
  readonly userMappings?: readonly {
    readonly user: string;
    readonly policies: readonly string[];
  }[];
  readonly policyMappings?: readonly {
    readonly policy: string;
    readonly users: readonly string[];
    readonly groups: readonly string[] | null;
  }[];
};

export type AccountBucketAnswer = {
  readonly name: string;
  readonly size: number;
  readonly objects: number;
  readonly created: string;
  readonly access: { readonly read: boolean; readonly write: boolean };
};

/** Answer of `GET /accountinfo`. */
export type AccountAnswer = {
  readonly AccountName: string;
  readonly Server: { readonly Type: number };
  readonly Policy: unknown;
  readonly Buckets: readonly AccountBucketAnswer[] | null;
};
