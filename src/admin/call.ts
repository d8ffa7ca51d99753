// What a handler of the admin interface gets and gives back. A handler reads one call and returns one
// reply or throws; it never touches the connection.

import type { Log } from '../base/log.ts';
import type { Accounts } from '../iam/accounts/accounts.ts';
import type { Identity } from '../iam/identity.ts';
import type { Kms } from '../sse/kms.ts';
import type { ObjectStore } from '../store/types.ts';
import type { KmsMetricsAnswer, ServiceAction } from '../wire/admin.ts';

/** What the server knows about itself, asked for anew with every call. */
export type ServerFacts = {
  readonly version: string;
  readonly runtimeVersion: string;
  readonly deploymentId: string;
  readonly region: string;
  readonly domains: readonly string[];
  readonly scheme: 'http' | 'https';
  readonly startedMs: number;
  readonly processors: number;
  readonly memory: { readonly residentBytes: number; readonly heapBytes: number };
  readonly drive: {
    readonly path: string;
    readonly totalBytes: number;
    readonly availableBytes: number;
    readonly inodesTotal: number;
    readonly inodesFree: number;
  };
};

/** Permissions as policies name them: `admin:…` and `kms:…`. */
export type AdminAction = `admin:${string}` | `kms:${string}`;

/** What may be asked for: also what an account may do with a bucket. */
export type AllowableAction = AdminAction | `s3:${string}`;

/** The parts of the server that handlers use. `store` and `kms` may be absent, see `handlers/`. */
export type AdminParts = {
  readonly log: Log;
  /** Undefined while the server is not ready. */
  readonly store: ObjectStore | undefined;
  /** Undefined while the server is not ready. */
  readonly accounts: Accounts | undefined;
  /** Undefined when none is configured. */
  readonly kms: Kms | undefined;
  facts(): Promise<ServerFacts>;
  kmsMetrics(): KmsMetricsAnswer;
  /**
   * Restarts the server and resolves when requests are answered under the new settings: undefined, or
   * why the restart was refused. The request that asked for it may be answered afterwards.
   */
  restart(): Promise<string | undefined>;
  /** Stops, freezes or unfreezes the server. */
  act(action: Exclude<ServiceAction, 'restart'>): void;
  /** True when the caller may do this: with the master key that is named, in the bucket or with the object. */
  isAllowed(identity: Identity, action: AllowableAction, resource?: string): boolean;
  /** True for the access key of root. */
  isRoot(accessKey: string): boolean;
  /** True when a policy of the caller denies this explicitly: for what everybody may do to themselves. */
  isDenied(identity: Identity, action: AdminAction): boolean;
  now(): number;
};

export type AdminCall = {
  readonly parts: AdminParts;
  readonly identity: Identity;
  readonly query: URLSearchParams;
  /** The `Host` of the request. */
  readonly host: string;
  /** The body as it was sent: it matches the hash that was signed. */
  readonly body: Uint8Array;
  /** What is in a body that was sealed under the caller's secret key. Throws `XMinioAdminConfigBadJSON`. */
  openBody(): Promise<Buffer>;
};

/**
 * `json` undefined: an empty 200. With `isSealed` the answer is sealed under the caller's secret key. `text`
 * is JSON already, sent as it is. `afterwards` runs once the answer is on its way.
 */
export type AdminReply = {
  readonly json?: unknown;
  readonly text?: string;
  readonly isSealed?: boolean;
  afterwards?(): void;
};

export type AdminHandler = (call: AdminCall) => Promise<AdminReply>;
