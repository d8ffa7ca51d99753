// The supervisor owns the listening socket and the workers, and touches no data. A restart reads the
// settings again, starts new workers, and only when they are ready lets the old ones finish: no
// connection is refused and no request cut. If the new ones cannot get ready, the old ones stay.
// When a restart turns encryption on, the old workers give the store up first (new connections wait),
// because sealing a directory wants it alone.

import { randomBytes } from 'node:crypto';
import { type AddressInfo, createServer, type Server } from 'node:net';

import type { Log } from '../base/log.ts';
import { ConnectionRouter } from './connection-router.ts';
import { Generation } from './generation.ts';
import { MetricsCollector } from './metrics-collector.ts';
import { OpenGate } from './open-gate.ts';
import type { FromWorker, ServiceCall } from './protocol.ts';
import type { ServerSettings } from './settings.ts';
import type { WorkerHandle } from './worker-handle.ts';

/**
 * How long requests under way may take before a restart that needs the store alone cuts them off. New requests
 * wait for that long, so it stays below what clients wait for an answer.
 */
const releaseTimeoutMs = 30_000;

/** How long a restart waits for a key service that cannot be used. */
const waitingTimeoutMs = 5_000;

export type SupervisorOptions = {
  readonly directory: string;
  readonly certsDirectory: string;
  /** Empty: all addresses. */
  readonly host: string;
  readonly port: number;
  readonly isJsonLog: boolean;
  readonly isQuiet: boolean;
};

export type LoadedSettings = { readonly settings: ServerSettings; readonly hasKms: boolean };

export type SupervisorDeps = {
  readonly log: Log;
  readonly mainFile: string;
  /** Reads environment and file again. Throws when a setting is wrong. */
  loadSettings(): Promise<LoadedSettings>;
  /** Shows new root credentials, once. */
  announce(credentials: { readonly accessKey: string; readonly secretKey: string }): void;
};

export type SupervisorErrorCode = 'listen' | 'start' | 'restart';

export class SupervisorError extends Error {
  readonly code: SupervisorErrorCode;
  constructor(code: SupervisorErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'SupervisorError';
    this.code = code;
  }
}

/** Where the server can be reached, and whether it serves yet. */
export type Started = {
  readonly host: string;
  readonly port: number;
  readonly scheme: 'http' | 'https';
  /** False: the key service cannot be reached yet. */
  readonly isReady: boolean;
};

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #deps: SupervisorDeps;
  readonly #router = new ConnectionRouter();
  readonly #metrics = new MetricsCollector();
  readonly #openGate = new OpenGate();
  readonly #retired = new Set<Generation>();
  readonly #stopped = Promise.withResolvers<void>();
  readonly #startedMs = Date.now();
  readonly #forwardKey = randomBytes(32).toString('hex');
  #server: Server | undefined;
  #address: { host: string; port: number } = { host: '127.0.0.1', port: 0 };
  #current: Generation | undefined;
  #generations = 0;
  #freezes = 0;
  #isHeld = false;
  #isStopping = false;
  #isRestarting = false;
  #restartsAsked: PromiseWithResolvers<string | undefined>[] = [];

  constructor(options: SupervisorOptions, deps: SupervisorDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** Resolves when the server has ended, whoever asked for it. */
  get stopped(): Promise<void> {
    return this.#stopped.promise;
  }

  /** Listens and starts the first workers. Throws `SupervisorError` and leaves nothing running. */
  async start(loaded: LoadedSettings): Promise<Started> {
    await this.#listen();
    const generation = this.#makeGeneration(loaded.settings);
    this.#current = generation;
    const first = generation.startFirst({ isStandby: false });
    const state = await first.reached(['ready', 'waiting']);
    if (state === 'exited') {
      generation.kill();
      this.#server?.close();
      this.#router.close();
      throw new SupervisorError(
        'start',
        first.failure ?? 'the first worker ended before it was ready: see the log above',
      );
    }
    await generation.filled(state === 'ready' ? loaded.settings.restartTimeoutMs : 0);
    return { ...this.#address, scheme: first.scheme, isReady: state === 'ready' };
  }

  /**
   * Replaces the workers by new ones with settings read anew. Resolves as soon as every new request is
   * answered under the new settings: undefined, or why the restart was refused (also logged).
   */
  async restart(): Promise<string | undefined> {
    const asked = Promise.withResolvers<string | undefined>();
    this.#restartsAsked.push(asked);
    if (!this.#isRestarting) void this.#restartWhileAsked();
    return asked.promise;
  }

  /** Lets requests under way finish (bounded), ends the workers, and resolves `stopped`. */
  async stop(): Promise<void> {
    if (this.#isStopping) return this.stopped;
    this.#isStopping = true;
    this.#server?.close();
    this.#router.close();
    const generations = [...this.#retired, ...(this.#current ? [this.#current] : [])];
    const graceMs = this.#current?.settings.drainMs ?? 0;
    for (const generation of generations) {
      generation.retire();
      generation.send({ type: 'drain', mode: 'stop', graceMs });
    }
    const workers = generations.flatMap((generation) => generation.workers);
    await Promise.all(workers.map((worker) => worker.reached([], graceMs + 1_000)));
    for (const generation of generations) generation.kill();
    this.#stopped.resolve();
  }

  async #listen(): Promise<void> {
    const server = createServer({ pauseOnConnect: true, noDelay: true }, (socket) => {
      socket.on('error', () => socket.destroy());
      this.#router.route(socket);
    });
    this.#server = server;
    const { host, port } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once('error', reject);
    server.listen({ port, backlog: 4096, ...(host === '' ? {} : { host }) }, resolve);
    try {
      await promise;
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'failed';
      throw new SupervisorError(
        'listen',
        `cannot listen on ${host}:${port} (${code}): free the address, or choose another with --address`,
        { cause: error },
      );
    }
    server.off('error', reject);
    server.on('error', (error: NodeJS.ErrnoException) => {
      this.#deps.log.error('cannot accept a connection', { code: error.code });
    });
    // The address of a TCP server is never text.
    const bound = server.address() as AddressInfo;
    const isAny = bound.address === '::' || bound.address === '0.0.0.0';
    this.#address = { host: isAny ? '127.0.0.1' : bound.address, port: bound.port };
  }

  #makeGeneration(settings: ServerSettings): Generation {
    this.#generations += 1;
    const generation: Generation = new Generation(
      settings,
      {
        directory: this.#options.directory,
        env: settings.env,
        certsDirectory: this.#options.certsDirectory,
        generation: this.#generations,
        isJsonLog: this.#options.isJsonLog,
        isQuiet: this.#options.isQuiet,
        address: this.#address,
        startedMs: this.#startedMs,
        forwardKey: this.#forwardKey,
      },
      {
        log: this.#deps.log,
        mainFile: this.#deps.mainFile,
        onMessage: (worker, message) => this.#receive(generation, worker, message),
        onChange: () => this.#changed(generation),
        onExit: (worker) => this.#openGate.exited(worker),
      },
    );
    return generation;
  }

  #changed(generation: Generation): void {
    if (generation === this.#current && !this.#isHeld && !this.#isStopping) {
      this.#router.setTargets(generation.targets);
    }
    if (generation.workers.length === 0) this.#retired.delete(generation);
  }

  async #restartWhileAsked(): Promise<void> {
    this.#isRestarting = true;
    while (this.#restartsAsked.length > 0) {
      const asked = this.#restartsAsked.splice(0);
      const settle = (reason?: string): void => {
        for (const each of asked) each.resolve(reason);
      };
      try {
        await this.#replaceCurrent(settle);
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        settle(reason);
        this.#deps.log.error('restart refused: the workers that run go on with the old settings', {
          reason,
        });
      }
    }
    this.#isRestarting = false;
  }

  async #replaceCurrent(onSwitched: () => void): Promise<void> {
    const old = this.#current;
    if (!old || this.#isStopping) throw new SupervisorError('restart', 'the server is stopping');
    const loaded = await this.#deps.loadSettings();
    const next = this.#makeGeneration(loaded.settings);
    const wantsStoreAlone = !old.isReady || (loaded.hasKms && !old.isSealed);
    const replace = { old, next, onSwitched };
    try {
      await (wantsStoreAlone ? this.#replaceAlone(replace) : this.#replaceBeside(replace));
    } catch (error) {
      if (this.#current !== next) next.kill();
      throw error;
    }
    this.#freezes = 0;
    this.#deps.log.info('restarted', { generation: this.#generations });
  }

  /** Old and new workers share the directory for a while: connections move when the new ones are ready. */
  async #replaceBeside({ old, next, onSwitched }: Replacement): Promise<void> {
    const timeoutMs = next.settings.restartTimeoutMs;
    const first = next.startFirst({ isStandby: false });
    await this.#expect(first, ['ready'], timeoutMs);
    await next.filled(timeoutMs);
    this.#switchTo(next, old);
    this.#changed(next);
    old.send({ type: 'drain', mode: 'replace', graceMs: next.settings.drainMs });
    onSwitched();
  }

  /** The old workers give the store up before the first new one opens it. */
  async #replaceAlone({ old, next, onSwitched }: Replacement): Promise<void> {
    const first = next.startFirst({ isStandby: true });
    const goals = old.isReady ? (['standby'] as const) : (['standby', 'waiting'] as const);
    await this.#expect(first, goals, next.settings.restartTimeoutMs);
    this.#isHeld = true;
    try {
      this.#router.setTargets([]);
      old.retire();
      old.send({ type: 'drain', mode: 'replace', graceMs: next.settings.drainMs });
      // What is asked from now on waits for the new workers.
      onSwitched();
      // Also those of earlier restarts that still finish their requests have the store open.
      const others = [old, ...this.#retired].flatMap((generation) => generation.workers);
      const releases = others.map(async (worker) => {
        const state = await worker.reached(['released'], releaseTimeoutMs);
        if (state === 'timeout') worker.kill();
        return worker.reached(['released'], releaseTimeoutMs);
      });
      await Promise.all(releases);
      this.#switchTo(next, old);
      next.open();
    } finally {
      this.#isHeld = false;
    }
    await first.reached(['ready', 'waiting']);
    this.#changed(next);
  }

  #switchTo(next: Generation, old: Generation): void {
    this.#current = next;
    old.retire();
    if (old.workers.length > 0) this.#retired.add(old);
  }

  async #expect(
    worker: WorkerHandle,
    goals: readonly ('standby' | 'waiting' | 'ready')[],
    timeoutMs: number,
  ): Promise<void> {
    let state = await worker.reached([...goals, 'waiting'], timeoutMs);
    if (state === 'waiting' && !goals.includes('waiting')) {
      state = await worker.reached(goals, Math.min(timeoutMs, waitingTimeoutMs));
    }
    if (goals.some((goal) => goal === state)) return;
    const reason =
      worker.failure ?? worker.waitingReason ?? 'a new worker did not get ready in time';
    throw new SupervisorError('restart', reason);
  }

  #receive(generation: Generation, worker: WorkerHandle, message: FromWorker): void {
    switch (message.type) {
      case 'announce':
        this.#deps.announce(message);
        break;
      case 'service':
        void this.#act(worker, message);
        break;
      case 'metrics-request':
        void this.#answerMetrics(worker, message.id);
        break;
      case 'open-request':
        this.#openGate.ask(worker);
        break;
      case 'commits-held':
        this.#openGate.held(worker);
        break;
      case 'open-done':
        this.#openGate.done();
        break;
      case 'metrics-json':
        this.#metrics.receive(message.id, message.metrics);
        break;
      case 'ready':
        if (generation === this.#current && this.#freezes > 0) {
          worker.send({ type: 'freeze', isFrozen: true });
        }
        break;
      default:
        break;
    }
  }

  /** A page that cannot be made is empty, so that the worker need not wait for it. */
  async #answerMetrics(worker: WorkerHandle, id: number): Promise<void> {
    try {
      await this.#metrics.answer(worker, id, this.#current?.targets ?? [worker]);
    } catch (error) {
      this.#deps.log.error('the metrics could not be gathered', { error: String(error) });
      worker.send({ type: 'metrics-text', id, text: '' });
    }
  }

  async #act(worker: WorkerHandle, call: ServiceCall): Promise<void> {
    this.#deps.log.info(`${call.action} was asked for by an administrator`);
    switch (call.action) {
      case 'restart': {
        const refusal = await this.restart();
        const result = { type: 'service-result', id: call.id } as const;
        worker.send(refusal === undefined ? result : { ...result, refusal });
        break;
      }
      case 'stop':
        await this.stop();
        break;
      case 'freeze':
      case 'unfreeze':
        this.#freezes = Math.max(0, this.#freezes + (call.action === 'freeze' ? 1 : -1));
        this.#current?.send({ type: 'freeze', isFrozen: this.#freezes > 0 });
        break;
      default:
        call.action satisfies never;
    }
  }
}

type Replacement = {
  readonly old: Generation;
  readonly next: Generation;
  /** Called when requests that arrive from now on are answered by `next`. */
  onSwitched(): void;
};
