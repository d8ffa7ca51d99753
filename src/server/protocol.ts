// The messages between the supervisor and its workers, over the IPC channel of the child process.
// Connections travel beside the message `connection`. Messages of one direction keep their order, also
// around connections, so a worker told to drain has already received everything sent to it before.

/** All a worker needs to know; settings are the merged environment, parsed again by the worker. */
export type WorkerConfig = {
  readonly directory: string;
  readonly env: Readonly<Record<string, string>>;
  readonly certsDirectory: string;
  /** From 0; worker 0 does the background work of the directory. */
  readonly index: number;
  /** Counts restarts, from 1. */
  readonly generation: number;
  /** Opens the store alone: creates or migrates it, and makes root credentials when there are none. */
  readonly isFirst: boolean;
  /** Checks everything, reports `standby`, and opens the store only when told to. */
  readonly isStandby: boolean;
  readonly isJsonLog: boolean;
  readonly isQuiet: boolean;
  /** Where the supervisor listens, as clients on this machine reach it. */
  readonly address: { readonly host: string; readonly port: number };
  readonly startedMs: number;
  /** What the workers of this supervisor seal addresses of clients with when they pass requests on. */
  readonly forwardKey: string;
};

/** One metric in prom-client's JSON form, opaque here. */
export type MetricsJson = readonly unknown[];

export type ServiceAction = 'restart' | 'stop' | 'freeze' | 'unfreeze';

/** An administrator's wish. A restart is answered with `service-result`. */
export type ServiceCall = {
  readonly type: 'service';
  readonly id: number;
  readonly action: ServiceAction;
};

export type ToWorker =
  | { readonly type: 'start'; readonly config: WorkerConfig }
  /** With a connection. */
  | { readonly type: 'connection'; readonly id: number }
  /** After each `connection`; all there is of one that could not be received. */
  | { readonly type: 'handed'; readonly id: number }
  /** Opens the store now (after `standby`). */
  | { readonly type: 'open' }
  /** Answer to `open-request`: no other worker commits until `open-done`. */
  | { readonly type: 'open-granted' }
  /** Another worker is about to open the metadata; answered with `commits-held` when no commit is under way. */
  | { readonly type: 'hold-commits' }
  | { readonly type: 'release-commits' }
  /**
   * No new connections come. `replace`: close the store as soon as no request is under way, pass what
   * still arrives on to the successors, exit when no connection is left. `stop`: close idle connections
   * at once. `graceMs`: how long idle connections (`replace`) or requests under way (`stop`) may stay.
   */
  | { readonly type: 'drain'; readonly mode: 'replace' | 'stop'; readonly graceMs: number }
  | { readonly type: 'freeze'; readonly isFrozen: boolean }
  /** `refusal`: why the restart did not take place. */
  | { readonly type: 'service-result'; readonly id: number; readonly refusal?: string }
  | { readonly type: 'metrics-get'; readonly id: number }
  | { readonly type: 'metrics-text'; readonly id: number; readonly text: string };

export type FromWorker =
  /** The channel is set up: send `start`. */
  | { readonly type: 'hello' }
  /** Answer to a `connection`, before a byte of it is read. */
  | { readonly type: 'taken'; readonly id: number }
  /** Answer to `handed` when its connection did not arrive. */
  | { readonly type: 'missed'; readonly id: number }
  /** Settings are right and the key service answers; the store is not open yet. */
  | { readonly type: 'standby' }
  /** Serves liveness and refusals while the key service cannot be reached. */
  | { readonly type: 'waiting'; readonly reason: string }
  /** `isSealed`: the directory is under a backend key. */
  | { readonly type: 'ready'; readonly isSealed: boolean; readonly scheme: 'http' | 'https' }
  /** Cannot start with these settings; the worker exits. The message is for the operator. */
  | { readonly type: 'failed'; readonly message: string }
  /** Root credentials that were just made; shown once. */
  | { readonly type: 'announce'; readonly accessKey: string; readonly secretKey: string }
  /** Asks to open the metadata, which needs that nobody commits. */
  | { readonly type: 'open-request' }
  | { readonly type: 'open-done' }
  | { readonly type: 'commits-held' }
  /** The store is closed (in a drain of mode `replace`). */
  | { readonly type: 'released' }
  | ServiceCall
  | { readonly type: 'metrics-request'; readonly id: number }
  | { readonly type: 'metrics-json'; readonly id: number; readonly metrics: MetricsJson };
