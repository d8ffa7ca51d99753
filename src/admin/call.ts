// What a handler of the admin interface gets and gives back. A handler reads one call and returns one
// reply or throws; it never touches the connection.

import type { Log } from '../base/log.ts';
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

/** The parts of the server that handlers use. `store` and `kms` may be absent, see `handlers/`. */
export type AdminParts = {
  readonly log: Log;
  /** Undefined while the server is not ready. */
  readonly store: ObjectStore | undefined;
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
  /** True when the caller may do this, on this master key if one is named. */
  isAllowed(identity: Identity, action: AdminAction, keyName?: string): boolean;
  now(): number;
};

export type AdminCall = {
  readonly parts: AdminParts;
  readonly identity: Identity;
  readonly query: URLSearchParams;
  /** The `Host` of the request. */
  readonly host: string;
};

/** `json` undefined: an empty 200. `afterwards` runs once the answer is on its way. */
export type AdminReply = { readonly json?: unknown; afterwards?(): void };

export type AdminHandler = (call: AdminCall) => Promise<AdminReply>;
