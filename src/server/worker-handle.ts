// One worker process as the supervisor sees it: its state, the messages to it, and the connections
// handed to it. The state only moves forward; `reached` waits for it.

import { type ChildProcess, fork } from 'node:child_process';
import type { Socket } from 'node:net';

import type { FromWorker, ToWorker, WorkerConfig } from './protocol.ts';

/**
 * Threads of a worker for files and ciphers, unless the environment says otherwise. Node's own number, 4, lets
 * a few slow reads hold up everything else.
 */
const threadsDefault = '16';

export type WorkerState = 'starting' | 'standby' | 'waiting' | 'ready' | 'released' | 'exited';

export type WorkerHandleDeps = {
  /** The file that `node` runs with the argument `worker`. */
  readonly mainFile: string;
  onMessage(worker: WorkerHandle, message: FromWorker): void;
  onExit(worker: WorkerHandle): void;
};

type Handing = { readonly socket: Socket; readonly giveBack: (socket: Socket) => void };

/** How waiting for a worker ended. */
export type ReachedState = WorkerState | 'timeout';

export class WorkerHandle {
  readonly config: WorkerConfig;
  readonly #child: ChildProcess;
  readonly #deps: WorkerHandleDeps;
  #state: WorkerState = 'starting';
  #failure: string | undefined;
  #waitingReason: string | undefined;
  #isSealed = false;
  #scheme: 'http' | 'https' = 'http';
  #isDraining = false;
  #isHeld: boolean;
  #hasGreeted = false;
  #watchers: (() => void)[] = [];
  /** Connections on their way to the process, by their number. */
  readonly #handing = new Map<number, Handing>();
  #connectionCount = 0;

  /** A held worker loads the program and then waits for `release`. */
  constructor(config: WorkerConfig, deps: WorkerHandleDeps, options: { readonly isHeld: boolean }) {
    this.#isHeld = options.isHeld;
    this.config = config;
    this.#deps = deps;
    this.#child = fork(deps.mainFile, ['worker'], {
      execArgv: ['--disable-warning=ExperimentalWarning'],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      serialization: 'json',
      env: {
        ...process.env,
        UV_THREADPOOL_SIZE: process.env['UV_THREADPOOL_SIZE'] || threadsDefault,
      },
    });
    this.#child.on('message', (message) => this.#receive(message as FromWorker));
    this.#child.on('error', () => {
      this.#giveBack();
      this.#end();
    });
    // Not `disconnect`, which does not come when the process left messages unread.
    this.#child.on('close', () => this.#giveBack());
    this.#child.on('exit', () => this.#end());
  }

  get state(): WorkerState {
    return this.#state;
  }

  /** Why the worker could not start, in the operator's words. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** Why the worker last could not reach its key service. */
  get waitingReason(): string | undefined {
    return this.#waitingReason;
  }

  get isSealed(): boolean {
    return this.#isSealed;
  }

  get scheme(): 'http' | 'https' {
    return this.#scheme;
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Sends a message; one to a process that is gone is dropped. */
  send(message: ToWorker): void {
    if (message.type === 'drain') this.#isDraining = true;
    if (this.#child.connected) this.#child.send(message, () => {});
  }

  /**
   * Hands a connection over; this process has no part in it once the worker has told that it took it. False when
   * the worker is gone. One that ends before it took the connection gives it back, through `giveBack`: no byte
   * of it was read. One that the worker could not receive is closed.
   */
  accept(socket: Socket, giveBack: (socket: Socket) => void): boolean {
    if (!this.#child.connected) return false;
    this.#connectionCount += 1;
    const id = this.#connectionCount;
    this.#handing.set(id, { socket, giveBack });
    // An error is no help: it does not tell of every message that got lost.
    const message = { type: 'connection', id } satisfies ToWorker;
    this.#child.send(message, socket, { keepOpen: true }, () => {});
    // Comes after it, or without it when the worker has no descriptor left to receive a connection.
    this.send({ type: 'handed', id });
    return true;
  }

  /** After the last message that the worker sent. */
  #giveBack(): void {
    const handing = [...this.#handing.values()];
    this.#handing.clear();
    for (const { socket, giveBack } of handing) giveBack(socket);
  }

  /** Resolves as soon as the state is one of `states` or `exited`, or the time is over. */
  async reached(states: readonly WorkerState[], timeoutMs?: number): Promise<ReachedState> {
    const isThere = (): boolean => this.#state === 'exited' || states.includes(this.#state);
    if (isThere()) return this.#state;
    const { promise, resolve } = Promise.withResolvers<ReachedState>();
    const timer =
      timeoutMs === undefined ? undefined : setTimeout(() => resolve('timeout'), timeoutMs);
    const watcher = (): void => {
      if (isThere()) resolve(this.#state);
    };
    this.#watchers.push(watcher);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#watchers = this.#watchers.filter((each) => each !== watcher);
    }
  }

  /** Lets a held worker start. */
  release(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    if (this.#hasGreeted) this.send({ type: 'start', config: this.config });
  }

  /** Ends the process without further ado. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }

  #receive(message: FromWorker): void {
    switch (message.type) {
      case 'hello':
        this.#hasGreeted = true;
        if (!this.#isHeld) this.send({ type: 'start', config: this.config });
        break;
      case 'taken':
      case 'missed':
        // Of one that was taken this is only this process's part.
        this.#handing.get(message.id)?.socket.destroy();
        this.#handing.delete(message.id);
        return;
      case 'failed':
        this.#failure = message.message;
        break;
      case 'waiting':
        this.#waitingReason = message.reason;
        this.#move('waiting');
        break;
      case 'standby':
      case 'released':
        this.#move(message.type);
        break;
      case 'ready':
        this.#isSealed = message.isSealed;
        this.#scheme = message.scheme;
        this.#move('ready');
        break;
      default:
        break;
    }
    this.#deps.onMessage(this, message);
  }

  #end(): void {
    if (this.#state === 'exited') return;
    this.#move('exited');
    this.#deps.onExit(this);
  }

  #move(state: WorkerState): void {
    this.#state = state;
    for (const watcher of this.#watchers) watcher();
  }
}
