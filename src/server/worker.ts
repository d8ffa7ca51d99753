// A worker process: one event loop that serves connections the supervisor hands it. It builds everything
// from the settings it is sent, tells the supervisor how far it is, and ends when it is told to drain
// and nobody is connected any more, or when the supervisor is gone.

import { statfs } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { availableParallelism } from 'node:os';

import { createAdminHandler } from '../admin/admin-handler.ts';
import type { AdminParts, ServerFacts } from '../admin/call.ts';
import { createHealthHandler } from '../admin/health.ts';
import { createMetricsHandler } from '../admin/metrics-handler.ts';
import type { Log } from '../base/log.ts';
import { isDenied, mayAdminister } from '../iam/admin-access.ts';
import { type CredentialsSource, rootIdentity } from '../iam/identity.ts';
import type { ConditionValues } from '../iam/policy/policy-condition.ts';
import { CommitGate } from '../kv/commit-gate.ts';
import { parseKmsConfig } from '../kms/config.ts';
import { type OpenedKms, openKms } from '../kms/open-kms.ts';
import { createAdminAuthenticator } from './admin-auth.ts';
import { createApp, type App } from './app.ts';
import { Connections, type RequestHandler } from './connections.ts';
import { joinDirectory } from './directory-lock.ts';
import { createForwarder } from './forward.ts';
import { createLog } from './log.ts';
import { ServerMetrics } from './metrics.ts';
import { StoreNode } from './node.ts';
import {
  createS3Edge,
  findSealingKey,
  type MetadataAccess,
  openStore,
  type OpenedStore,
} from './open-store.ts';
import type { FromWorker, ToWorker, WorkerConfig } from './protocol.ts';
import { parseSettings, type ServerSettings } from './settings.ts';
import { findCaDirectory, readTlsFiles } from './tls.ts';
import { readVersion } from './version.ts';

/** Runs this process as a worker of the supervisor that started it; resolves with the exit code. */
export async function runWorker(): Promise<number> {
  if (!process.send) {
    process.stderr.write("coffer: 'worker' is started by 'coffer server', not by hand\n");
    return 1;
  }
  // Signals of a terminal reach the whole group; the supervisor alone decides what they mean.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
  process.on('disconnect', () => process.exit(1));
  const { promise, resolve } = Promise.withResolvers<number>();
  let started: Promise<Worker | undefined> | undefined;
  process.on('message', (message: ToWorker, handle?: unknown) => {
    if (message.type === 'start') started = startWorker(message.config, resolve);
    // Only `connection` comes with a handle, and it is a socket of the supervisor's server.
    else if (started) void started.then((it) => it?.receive(message, handle as Socket | undefined));
    // Nothing was started that would have to end in order.
    else if (message.type === 'drain') resolve(0);
  });
  tell({ type: 'hello' });
  return promise;
}

async function startWorker(
  config: WorkerConfig,
  end: (exitCode: number) => void,
): Promise<Worker | undefined> {
  try {
    const worker = await Worker.create(config, end);
    void worker.start();
    return worker;
  } catch (error) {
    await fail(error, end);
    return undefined;
  }
}

async function fail(error: unknown, end: (exitCode: number) => void): Promise<void> {
  const message = error instanceof Error ? error.message : String(error);
  await new Promise<void>((resolve) => tell({ type: 'failed', message }, resolve));
  end(1);
}

function tell(message: FromWorker, sent?: () => void): void {
  if (process.connected) process.send?.(message, undefined, {}, () => sent?.());
  else sent?.();
}

/** How long a question to the supervisor may take, and what counts as its answer then. */
type QuestionLimit = { readonly timeoutMs: number; readonly answer: string };

const metricsLimit: QuestionLimit = { timeoutMs: 10_000, answer: '' };
const restartLimit: QuestionLimit = {
  timeoutMs: 15 * 60_000,
  answer: 'The restart has not ended yet: the log of the server tells how it ends.',
};

class Worker {
  readonly #config: WorkerConfig;
  /** Held until the process ends. */
  readonly #membership: Disposable;
  readonly #settings: ServerSettings;
  readonly #log: Log;
  readonly #kms: OpenedKms | undefined;
  readonly #node: StoreNode;
  readonly #metrics: ServerMetrics;
  readonly #app: App;
  readonly #connections: Connections;
  readonly #end: (exitCode: number) => void;
  readonly #isTls: boolean;
  /** Questions to the supervisor that it has not answered. */
  readonly #questions = new Map<number, (answer: string | undefined) => void>();
  readonly #access: MetadataAccess = {
    gate: new CommitGate(),
    alone: (open) => this.#openAlone(open),
  };
  #openGranted: PromiseWithResolvers<void> | undefined;
  /** The number of the connection that arrived last. */
  #lastTaken = 0;
  #nextQuestion = 1;
  #isDraining = false;
  #s3: RequestHandler | undefined;

  /** Reads settings and files. Throws errors for the operator. */
  static async create(config: WorkerConfig, end: (exitCode: number) => void): Promise<Worker> {
    const membership = joinDirectory(config.directory);
    const settings = parseSettings(config.env);
    const log = createLog({
      level: settings.logLevel,
      isJson: config.isJsonLog,
      fields: { worker: `${config.generation}.${config.index}` },
    });
    const kmsConfig = parseKmsConfig(settings.env);
    // The metrics read what is built after them.
    const parts: { kms?: OpenedKms; worker?: Worker } = {};
    const metrics = new ServerMetrics({
      startedMs: config.startedMs,
      isKmsOnline: async () => (parts.kms ? isKmsOnline(parts.kms) : undefined),
      readCluster: async () => {
        const space = await statfs(config.directory);
        return {
          isHealthy: parts.worker?.isReady ?? false,
          totalBytes: space.blocks * space.bsize,
          freeBytes: space.bavail * space.bsize,
        };
      },
      bytes: () => parts.worker?.bytes ?? { received: 0, sent: 0 },
    });
    const caPath = findCaDirectory(config.certsDirectory);
    const kms =
      kmsConfig &&
      (await openKms(kmsConfig, {
        log,
        registry: metrics.registry,
        calls: metrics.kmsCalls,
        ...(caPath === undefined ? {} : { caPath }),
      }));
    if (kms) parts.kms = kms;
    const worker = new Worker({ config, membership, settings, log, metrics, kms, end });
    parts.worker = worker;
    return worker;
  }

  private constructor(made: {
    config: WorkerConfig;
    membership: Disposable;
    settings: ServerSettings;
    log: Log;
    metrics: ServerMetrics;
    kms: OpenedKms | undefined;
    end: (exitCode: number) => void;
  }) {
    const { config, settings, log, metrics, kms } = made;
    this.#config = config;
    this.#membership = made.membership;
    this.#settings = settings;
    this.#log = log;
    this.#kms = kms;
    this.#metrics = metrics;
    this.#end = made.end;
    this.#node = new StoreNode({
      log,
      kms,
      kmsConfig: parseKmsConfig(settings.env),
      findSealingKey: () => findSealingKey(config, this.#access),
      openStore: () => openStore({ config, access: this.#access, settings, kms, log, metrics }),
      onStandby: () => tell({ type: 'standby' }),
      onWaiting: (reason) => tell({ type: 'waiting', reason }),
    });
    this.#app = this.#createApp();
    const tls = readTlsFiles(config.certsDirectory);
    this.#isTls = tls !== undefined;
    this.#connections = new Connections((req, res) => this.#app.handle(req, res), tls);
  }

  get isReady(): boolean {
    return this.#s3 !== undefined;
  }

  get bytes(): Connections['bytes'] {
    return this.#connections.bytes;
  }

  /** Opens the store; never rejects: a failure is told to the supervisor and ends the worker. */
  async start(): Promise<void> {
    try {
      const opened = await this.#node.start({ isStandby: this.#config.isStandby });
      this.#s3 = createS3Edge({
        opened,
        settings: this.#settings,
        log: this.#log,
        metrics: this.#metrics,
        forwardKey: this.#config.forwardKey,
      });
      const { madeCredentials } = opened;
      if (madeCredentials) tell({ type: 'announce', ...madeCredentials });
      const scheme = this.#isTls ? 'https' : 'http';
      tell({ type: 'ready', isSealed: opened.isSealed, scheme });
    } catch (error) {
      // A drain also ends the waiting for a key service.
      if (!this.#isDraining) await fail(error, this.#end);
    }
  }

  receive(message: ToWorker, socket: Socket | undefined): void {
    switch (message.type) {
      case 'connection':
        this.#lastTaken = message.id;
        tell({ type: 'taken', id: message.id });
        // Undefined when the client was gone before the connection arrived here.
        if (socket) this.#connections.adopt(socket);
        break;
      case 'handed':
        if (message.id !== this.#lastTaken) tell({ type: 'missed', id: message.id });
        break;
      case 'open':
        this.#node.allowOpen();
        break;
      case 'open-granted':
        this.#openGranted?.resolve();
        break;
      case 'hold-commits':
        void this.#access.gate.hold().then(() => tell({ type: 'commits-held' }));
        break;
      case 'release-commits':
        this.#access.gate.release();
        break;
      case 'drain':
        void this.#drain(message.mode, message.graceMs);
        break;
      case 'freeze':
        this.#app.setFrozen(message.isFrozen);
        break;
      case 'metrics-get':
        void this.#sendMetrics(message.id);
        break;
      case 'metrics-text':
        this.#settle(message.id, message.text);
        break;
      case 'service-result':
        this.#settle(message.id, message.refusal);
        break;
      case 'start':
        break;
      default:
        message satisfies never;
    }
  }

  async #drain(mode: 'replace' | 'stop', graceMs: number): Promise<void> {
    this.#isDraining = true;
    this.#app.setFrozen(false);
    if (mode === 'replace') {
      const { host, port } = this.#config.address;
      const forward = createForwarder({
        host,
        port,
        isTls: this.#isTls,
        forwardKey: this.#config.forwardKey,
      });
      this.#connections.setHandler(forward);
      const quiet = this.#connections.quiet();
      const emptied = this.#connections.drain('late', graceMs);
      await quiet;
      await this.#node.close();
      tell({ type: 'released' });
      await emptied;
    } else {
      await this.#connections.drain('soon', graceMs);
      await this.#node.close();
    }
    await this.#kms?.close();
    this.#membership[Symbol.dispose]();
    this.#end(0);
  }

  async #openAlone<T>(open: () => Promise<T>): Promise<T> {
    this.#openGranted = Promise.withResolvers<void>();
    tell({ type: 'open-request' });
    await this.#openGranted.promise;
    try {
      return await open();
    } finally {
      tell({ type: 'open-done' });
    }
  }

  async #sendMetrics(id: number): Promise<void> {
    tell({ type: 'metrics-json', id, metrics: await this.#metrics.registry.getMetricsAsJSON() });
  }

  #createApp(): App {
    const now = (): number => Date.now();
    const credentials: CredentialsSource = { find: (accessKey) => this.#find(accessKey) };
    return createApp({
      log: this.#log,
      logsRequests: this.#settings.logLevel === 'debug',
      health: createHealthHandler({
        log: this.#log,
        parts: () => ({ isReady: this.#s3 !== undefined, kms: this.#kms }),
        now,
      }),
      showMetrics: createMetricsHandler({
        access: this.#settings.metricsAccess,
        log: this.#log,
        findSecretKey: async (accessKey) => (await credentials.find(accessKey))?.secretKey,
        mayRead: async (accessKey) => {
          const found = await credentials.find(accessKey);
          if (!found) return false;
          const { identity } = found;
          return mayAdminister({ identity, action: 'admin:Prometheus', conditions: {} });
        },
        readPage: async () =>
          (await this.#ask((id) => ({ type: 'metrics-request', id }), metricsLimit)) ?? '',
        now,
      }),
      admin: createAdminHandler({
        parts: (conditions) => this.#adminParts(conditions),
        authenticate: createAdminAuthenticator({
          credentials,
          isReady: () => this.#node.opened !== undefined,
          now,
        }),
      }),
      s3: () => this.#s3 ?? { reason: this.#node.reason },
    });
  }

  #find(accessKey: string): ReturnType<CredentialsSource['find']> {
    const { opened } = this.#node;
    if (opened) return opened.credentials.find(accessKey);
    const root = this.#settings.rootCredentials;
    if (root?.accessKey !== accessKey) return undefined;
    return { ...root, identity: rootIdentity(accessKey, this.#settings.rootOwner) };
  }

  #adminParts(conditions: ConditionValues): AdminParts {
    const { opened } = this.#node;
    return {
      log: this.#log,
      store: opened?.store,
      accounts: opened?.accounts,
      kms: this.#kms,
      facts: () => this.#readFacts(opened),
      kmsMetrics: () => this.#metrics.kmsAnswer(),
      restart: () => this.#ask((id) => ({ type: 'service', id, action: 'restart' }), restartLimit),
      act: (action) => tell({ type: 'service', id: 0, action }),
      isAllowed: (identity, action, resource) =>
        mayAdminister({ identity, action, resource, conditions }),
      isDenied: (identity, action) => isDenied({ identity, action, conditions }),
      isRoot: (accessKey) => accessKey === opened?.root.accessKey,
      now: () => Date.now(),
    };
  }

  async #readFacts(opened: OpenedStore | undefined): Promise<ServerFacts> {
    const space = await statfs(this.#config.directory);
    const { rss, heapUsed } = process.memoryUsage();
    return {
      version: readVersion(),
      runtimeVersion: `node ${process.version}`,
      deploymentId: opened?.deploymentId ?? '',
      region: this.#settings.region,
      domains: this.#settings.domains,
      scheme: this.#isTls ? 'https' : 'http',
      startedMs: this.#config.startedMs,
      processors: availableParallelism(),
      memory: { residentBytes: rss, heapBytes: heapUsed },
      drive: {
        path: this.#config.directory,
        totalBytes: space.blocks * space.bsize,
        availableBytes: space.bavail * space.bsize,
        inodesTotal: space.files,
        inodesFree: space.ffree,
      },
    };
  }

  async #ask(
    question: (id: number) => FromWorker,
    limit: QuestionLimit,
  ): Promise<string | undefined> {
    const id = this.#nextQuestion++;
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    this.#questions.set(id, resolve);
    const timer = setTimeout(() => resolve(limit.answer), limit.timeoutMs);
    try {
      tell(question(id));
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#questions.delete(id);
    }
  }

  #settle(id: number, answer: string | undefined): void {
    this.#questions.get(id)?.(answer);
  }
}

async function isKmsOnline(kms: OpenedKms): Promise<boolean> {
  try {
    const { endpoints } = await kms.status();
    return Object.values(endpoints).includes('online');
  } catch {
    // Whatever keeps the key service from telling its status, it is of no use at the moment.
    return false;
  }
}
