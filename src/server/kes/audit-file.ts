// The audit log in a file: appends the chain of kes/audit/chain.ts, many lines per write and sync, signs
// checkpoints, and goes on across restarts, crashes and rotations. In strict mode `record` resolves when the
// line is durable. A write that fails is taken back, so that the file only ever holds a whole chain.

import type { FileHandle } from 'node:fs/promises';
import type { Log } from '../../base/log.ts';
import { type AuditEvent, type AuditLog, createTimeFormatter } from '../../kes/audit/audit.ts';
import {
  type AuditEntry,
  callEntry,
  type ChainPoint,
  chainCheckpoint,
  chainLine,
  fingerprintOf,
  formatSigner,
} from '../../kes/audit/chain.ts';
import type { KesAuditConfig } from '../../kes/config/extensions.ts';
import {
  AuditFileError,
  type AuditSigner,
  type AuditTail,
  cutError,
  findEarlierTail,
  followsPoint,
  keepHead,
  loadAuditSigner,
  openForAppend,
  readAuditTail,
  readHead,
  syncFolderOf,
  writeHead,
} from './audit-open.ts';

export type AuditFileDeps = {
  readonly log: Log;
  /** Milliseconds since 1970. */
  readonly nowMs: () => number;
  /** Opens the file for appending; the file system by default. */
  readonly open?: (file: string) => Promise<FileHandle>;
};

type Waiting = {
  readonly event: AuditEvent;
  readonly resolve?: () => void;
  readonly reject?: (error: AuditFileError) => void;
};

/** Lines under construction: nothing of it counts before it is written. `unsigned`: after the last checkpoint. */
type Draft = { point: ChainPoint; readonly lines: string[]; unsigned: number; checkpoint?: string };

const batchMax = 4_096;
/** Relaxed mode keeps so many lines while the file cannot be written; more are counted as lost. */
const waitingMax = 100_000;
const tickMs = 1_000;
const headEveryMs = 1_000;

/** Opens or goes on with an audit log. Rejects with `AuditFileError`, leaving nothing open. */
export async function openAuditFile(
  config: KesAuditConfig,
  deps: AuditFileDeps,
): Promise<AuditFile> {
  const file = new AuditFile(config, await loadAuditSigner(config.keyFile), deps);
  await file.open();
  return file;
}

/** Made by `openAuditFile`. */
export class AuditFile implements AuditLog {
  readonly #deps: AuditFileDeps;
  readonly #formatTime = createTimeFormatter();
  #config: KesAuditConfig;
  #signer: AuditSigner;
  #handle: FileHandle | undefined;
  /** Bytes of the file that count. */
  #size = 0;
  #point: ChainPoint | undefined;
  /** Tells a file that was emptied from one that was rotated. */
  #inode = 0;
  #waiting: Waiting[] = [];
  #lost = { calls: 0, reason: '' };
  #isScheduled = false;
  #isFailing = false;
  #isClosed = false;
  #isUnsynced = false;
  /** Whether bytes beyond `#size` are ours: an append that did not end well. */
  #isAppending = false;
  #unsignedLines = 0;
  #unsignedSinceMs = 0;
  #headAtMs = 0;
  #lastCheckpoint = '';
  #isHeadOld = false;
  /** One thing at a time happens to the file. */
  #work: Promise<unknown> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;

  constructor(config: KesAuditConfig, signer: AuditSigner, deps: AuditFileDeps) {
    this.#config = config;
    this.#signer = signer;
    this.#deps = deps;
  }

  /** To be called once. */
  async open(): Promise<void> {
    await this.#inTurn(() => this.#openFile());
    this.#timer = setInterval(() => void this.tick(), tickMs).unref();
    this.#deps.log.info('audit log is open', {
      file: this.#config.file,
      mode: this.#config.mode,
      signer: fingerprintOf(this.#signer.publicKey),
    });
  }

  /** Strict: resolves when the line is durable, rejects with `AuditFileError` when it cannot be. */
  record(event: AuditEvent): void | Promise<void> {
    if (this.#isClosed) {
      return Promise.reject(new AuditFileError('failed', 'audit log: it is closed'));
    }
    if (this.#config.mode === 'strict') {
      return new Promise((resolve, reject) => this.#push({ event, resolve, reject }));
    }
    if (this.#waiting.length >= waitingMax) this.#lost.calls += 1;
    else this.#push({ event });
    return undefined;
  }

  /** Opens the file again under its name: after a rotation, or with another configuration. */
  async reopen(config: KesAuditConfig): Promise<void> {
    const signer = await loadAuditSigner(config.keyFile);
    await this.#inTurn(async () => {
      await this.#drain();
      const past = { config: this.#config, signer: this.#signer, point: this.#point };
      await this.#finish();
      if (config.file !== past.config.file) this.#point = undefined;
      this.#config = config;
      this.#signer = signer;
      try {
        await this.#openFile();
      } catch (error) {
        this.#config = past.config;
        this.#signer = past.signer;
        this.#point = past.point;
        throw error;
      }
    });
  }

  /** Syncs, signs and tries again what is due; runs once a second. */
  async tick(): Promise<void> {
    await this.#inTurn(async () => {
      if (this.#isFailing || this.#lost.calls > 0) await this.#drain();
      if (this.#handle === undefined) return;
      const now = this.#deps.nowMs();
      const isDue = now - this.#unsignedSinceMs >= this.#config.checkpointMs;
      if (this.#unsignedLines > 0 && isDue) await this.#commit([], { isSigned: true });
      else if (this.#isUnsynced) await this.#attempt(() => this.#sync());
      if (this.#isHeadOld) await this.#saveHead();
    });
  }

  /** Writes, signs and syncs what there is. Calls recorded later are refused. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#timer);
    await this.#inTurn(async () => {
      await this.#drain();
      await this.#finish();
    });
  }

  #push(waiting: Waiting): void {
    this.#waiting.push(waiting);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      void this.#inTurn(() => {
        this.#isScheduled = false;
        return this.#drain();
      });
    });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#work.then(work);
    this.#work = result.catch(() => undefined);
    return result;
  }

  /** Writes what waits; stops when the file cannot be written. */
  async #drain(): Promise<void> {
    do {
      const batch = this.#waiting.splice(0, batchMax);
      if (batch.length === 0 && this.#lost.calls === 0 && !this.#isFailing) return;
      if (!(await this.#commit(batch))) return;
    } while (this.#waiting.length > 0);
  }

  /** Appends the lines of a batch. Resolves with whether that worked; never rejects. */
  async #commit(batch: Waiting[], options: { readonly isSigned?: boolean } = {}): Promise<boolean> {
    const isDone = await this.#attempt(async () => {
      if (this.#handle === undefined) await this.#openFile();
      const draft = this.#draft(batch, options.isSigned === true);
      await this.#append(draft);
      if (this.#config.mode === 'strict' || draft.checkpoint !== undefined) await this.#sync();
      this.#settle(draft);
    });
    if (isDone) {
      for (const { resolve } of batch) resolve?.();
      await this.#saveHead();
    } else {
      this.#giveUp(batch);
    }
    return isDone;
  }

  #draft(batch: readonly Waiting[], isSigned: boolean): Draft {
    const draft = this.#newDraft(this.#pointNow());
    const { calls, reason } = this.#lost;
    if (calls > 0) this.#add(draft, { kind: 'lost', time: this.#now(), calls, reason });
    for (const { event } of batch) {
      this.#add(draft, callEntry(event, this.#formatTime(event.timeMs)));
      if (draft.unsigned >= this.#config.checkpointLines) this.#addCheckpoint(draft);
    }
    if (isSigned && draft.unsigned > 0) this.#addCheckpoint(draft);
    return draft;
  }

  #newDraft(point: ChainPoint): Draft {
    return { point, lines: [], unsigned: this.#unsignedLines };
  }

  #add(draft: Draft, entry: AuditEntry): void {
    const { line, point } = chainLine(draft.point, entry);
    draft.lines.push(line);
    draft.point = point;
    draft.unsigned += 1;
  }

  #addCheckpoint(draft: Draft): void {
    const by = { privateKey: this.#signer.privateKey, time: this.#now() };
    const { line, point } = chainCheckpoint(draft.point, by);
    draft.lines.push(line);
    draft.point = point;
    draft.unsigned = 0;
    draft.checkpoint = line;
  }

  /** Throws when somebody else has written, or cut, the file. */
  async #append(draft: Draft, before = ''): Promise<void> {
    const handle = this.#openHandle();
    if ((await handle.stat()).size !== this.#size) {
      throw new AuditFileError('failed', 'another program has changed the file');
    }
    if (draft.lines.length === 0) return;
    this.#isAppending = true;
    await handle.appendFile(`${before}${draft.lines.join('\n')}\n`, 'latin1');
    this.#isUnsynced = true;
  }

  async #sync(): Promise<void> {
    await this.#openHandle().datasync();
    this.#isUnsynced = false;
  }

  /** What was written counts from here on. */
  #settle(draft: Draft, before = ''): void {
    const lineBytes = draft.lines.reduce((sum, line) => sum + line.length + 1, before.length);
    this.#size += lineBytes;
    this.#isAppending = false;
    this.#point = draft.point;
    this.#lost = { calls: 0, reason: '' };
    const isFirst = this.#unsignedLines === 0 || draft.checkpoint !== undefined;
    if (isFirst) this.#unsignedSinceMs = this.#deps.nowMs();
    this.#unsignedLines = draft.unsigned;
    if (draft.checkpoint === undefined) return;
    this.#lastCheckpoint = draft.checkpoint;
    this.#isHeadOld = true;
  }

  /** Runs work on the file; a failure takes back what was half done and closes the file. */
  async #attempt(work: () => Promise<void>): Promise<boolean> {
    try {
      await work();
      if (this.#isFailing) this.#deps.log.info('audit log is written again', this.#fileField());
      this.#isFailing = false;
      return true;
    } catch (error) {
      const reason = (error as Error).message;
      if (!this.#isFailing) {
        this.#deps.log.error('audit log cannot be written', {
          ...this.#fileField(),
          error: reason,
        });
      }
      this.#isFailing = true;
      this.#lost.reason = reason;
      await this.#drop();
      return false;
    }
  }

  /** Closes the file without what was not acknowledged; the next commit opens it anew. */
  async #drop(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle === undefined) return;
    try {
      if (this.#isAppending) await handle.truncate(this.#size);
    } catch {
      // Whatever stays is found, and told, when the file is opened again.
    } finally {
      this.#isAppending = false;
      await handle.close().catch(() => undefined);
    }
  }

  #giveUp(batch: readonly Waiting[]): void {
    if (this.#config.mode === 'relaxed') {
      this.#waiting = [...batch, ...this.#waiting];
      return;
    }
    this.#lost.calls += batch.length;
    const error = new AuditFileError('failed', `audit log: ${this.#lost.reason}`);
    for (const { reject } of batch) reject?.(error);
  }

  /** Opens the file and writes the line that says so, unless it is just where it was. */
  async #openFile(): Promise<void> {
    const { file } = this.#config;
    const handle = await (this.#deps.open ?? openForAppend)(file);
    this.#handle = handle;
    try {
      const { size, ino } = await handle.stat();
      this.#size = size;
      const own = await readAuditTail(handle, file);
      const isSame = own.point?.hash === this.#point?.hash && own.torn === undefined;
      if (own.point === undefined || !isSame) {
        await this.#writeStart(own, await this.#findCut(own, { handle, ino }));
      }
      this.#inode = ino;
    } catch (error) {
      await this.#drop();
      throw error instanceof AuditFileError
        ? error
        : new AuditFileError(
            'failed',
            `cannot open the audit log ${file}: ${(error as Error).message}`,
            { cause: error },
          );
    }
  }

  /**
   * The point from which to go on when the file, while it was ours, lost lines that it had; undefined when
   * it holds all. Throws `damaged` when it did so while the service was stopped. A checkpoint is durable
   * before it is a head, so no crash leaves a file behind its head.
   */
  async #findCut(
    own: AuditTail,
    opened: { readonly handle: FileHandle; readonly ino: number },
  ): Promise<ChainPoint | undefined> {
    const { file } = this.#config;
    const known = this.#point ?? (await readHead(file));
    if (known === undefined) return undefined;
    if (own.point === undefined) {
      if (this.#point === undefined || opened.ino !== this.#inode) return undefined;
    } else if (await followsPoint(opened.handle, known)) {
      return undefined;
    }
    if (this.#point !== undefined) return known;
    throw await cutError(file, { own: own.point ?? known, proven: known });
  }

  /** What is gone shows for ever: the chain goes on after the last line that was written, not that is there. */
  async #addCut(draft: Draft, own: AuditTail, cut: ChainPoint): Promise<void> {
    const lines = Math.max(1, cut.seq - (own.point?.seq ?? 0));
    const reason = `the file was cut or replaced while the service ran: up to ${lines} lines are gone`;
    const head = await keepHead(this.#config.file);
    this.#deps.log.error('audit log has lost lines: it was cut or replaced; put the file back', {
      ...this.#fileField(),
      lastSeq: cut.seq,
      foundSeq: own.point?.seq ?? 0,
      ...(head !== undefined && { head }),
    });
    this.#add(draft, { kind: 'lost', time: this.#now(), calls: lines, reason });
  }

  async #writeStart(own: AuditTail, cut?: ChainPoint): Promise<void> {
    const { file } = this.#config;
    const isNew = own.point === undefined;
    const known = this.#point === undefined ? await findEarlierTail(file) : { point: this.#point };
    const tail = isNew || cut !== undefined ? known : own;
    const torn = own.torn ?? tail.torn;
    const draft = this.#newDraft(tail.point ?? this.#pointNow());
    this.#add(draft, {
      kind: 'start',
      time: this.#now(),
      file: isNew ? 'new' : 'continued',
      signer: formatSigner(this.#signer.publicKey),
    });
    if (torn !== undefined) {
      this.#add(draft, { kind: 'recovered', time: this.#now(), ...torn });
      this.#deps.log.warn('audit log had a line cut off by a crash', this.#fileField());
    }
    if (cut !== undefined) await this.#addCut(draft, own, cut);
    this.#addCheckpoint(draft);
    const before = own.torn === undefined ? '' : '\n';
    const { calls, reason } = this.#lost;
    await this.#append(draft, before);
    await this.#sync();
    if (isNew) await syncFolderOf(file);
    this.#settle(draft, before);
    this.#lost = { calls, reason };
    await this.#saveHead({ isForced: true });
  }

  /** Signs what is unsigned, and closes the file. */
  async #finish(): Promise<void> {
    if (this.#handle === undefined) return;
    if (this.#unsignedLines > 0) await this.#commit([], { isSigned: true });
    await this.#attempt(() => this.#sync());
    await this.#saveHead({ isForced: true });
    await this.#handle?.close();
    this.#handle = undefined;
  }

  async #saveHead(options: { readonly isForced?: boolean } = {}): Promise<void> {
    const now = this.#deps.nowMs();
    const isDue = options.isForced === true || Math.abs(now - this.#headAtMs) >= headEveryMs;
    if (!this.#isHeadOld || !isDue) return;
    this.#headAtMs = now;
    this.#isHeadOld = false;
    try {
      await writeHead(this.#config.file, this.#lastCheckpoint);
    } catch (error) {
      this.#isHeadOld = true;
      this.#deps.log.warn('audit log: the head file cannot be written', {
        ...this.#fileField(),
        error: (error as Error).message,
      });
    }
  }

  #openHandle(): FileHandle {
    if (this.#handle === undefined) throw new AuditFileError('failed', 'the file is closed');
    return this.#handle;
  }

  #pointNow(): ChainPoint {
    if (this.#point === undefined) throw new AuditFileError('failed', 'the file is not open');
    return this.#point;
  }

  #now(): string {
    return new Date(this.#deps.nowMs()).toISOString();
  }

  #fileField(): { readonly file: string } {
    return { file: this.#config.file };
  }
}
