// Checks an audit log line by line, whatever its size: every hash, every number, every signature. It stops
// at the first thing that is wrong and says where and what kind; docs/formats/audit-log.md says what that
// proves and what it cannot.

import type { KeyObject } from 'node:crypto';
import {
  type ChainedEntry,
  type ChainPoint,
  chainStart,
  fingerprintOf,
  hashAuditLine,
  isCheckpointOf,
  parseAuditLine,
  parseSigner,
} from './chain.ts';

export type AuditFindingKind = 'changed' | 'removed' | 'reordered' | 'truncated' | 'wrong-signer';

export type AuditFinding = {
  readonly kind: AuditFindingKind;
  readonly file: string;
  /** Counted from 1; of the line that shows it. */
  readonly line: number;
  readonly text: string;
};

export type AuditReport = {
  readonly isIntact: boolean;
  /** Lines that were checked and are right. */
  readonly lines: number;
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly firstTime: string;
  readonly lastTime: string;
  readonly checkpoints: number;
  /** Number of the last line under a signature; 0 when there is none. */
  readonly signedSeq: number;
  /** Right lines after the last checkpoint: only the hashes speak for them. */
  readonly unsignedLines: number;
  /** Lines cut off by a crash, each recorded. */
  readonly recovered: number;
  /** Calls that may have no line because the file could not be written. */
  readonly lostCalls: number;
  /** Fingerprints of the keys that signed. */
  readonly signers: readonly string[];
  readonly finding?: AuditFinding;
};

type Place = { readonly file: string; readonly line: number };
type Torn = Place & {
  readonly bytes: number;
  readonly sha256: string;
  readonly isWhole: boolean;
  hasStart: boolean;
};
/** A line that is a checkpoint from elsewhere: the log has to hold it. */
type Expected = ChainPoint & { readonly source: string };

/** Give it the lines of every file in order, then ask for the report. */
export class AuditVerifier {
  readonly #trusted = new Map<string, KeyObject>();
  readonly #isSignerGiven: boolean;
  readonly #signers = new Set<string>();
  #place: Place = { file: '', line: 0 };
  #point: ChainPoint | undefined;
  /** Where the chain was before the last line: that line may turn out to be torn. */
  #before: ChainPoint | undefined;
  #lastBytes = { bytes: 0, sha256: '' };
  #torn: Torn | undefined;
  #finding: AuditFinding | undefined;
  #hasReason = false;
  /** A number that was missing; if it comes later, lines were reordered. */
  #missingSeq = 0;
  readonly #expected = new Map<number, Expected>();
  #first = { seq: 0, time: '' };
  #lastTime = '';
  #counts = { lines: 0, checkpoints: 0, recovered: 0, lostCalls: 0 };
  #signedSeq = 0;

  /** Without keys, the one that the log names first is believed. */
  constructor(keys: readonly KeyObject[] = []) {
    for (const key of keys) this.#trusted.set(fingerprintOf(key), key);
    this.#isSignerGiven = keys.length > 0;
  }

  /** A signed checkpoint kept elsewhere, or several: the log must hold that very line, so a cut end shows. */
  expect(line: Uint8Array, source: string): void {
    const entry = parseAuditLine(line);
    if (entry?.kind !== 'checkpoint') {
      this.#place = { file: source, line: 1 };
      this.#find('changed', 'it holds no checkpoint of an audit log');
      return;
    }
    this.#expected.set(entry.seq, { seq: entry.seq, hash: hashAuditLine(line), source });
  }

  startFile(file: string): void {
    this.#place = { file, line: 0 };
  }

  /** The next line, without its line break; `isWhole` tells whether it had one. */
  add(bytes: Uint8Array, isWhole: boolean): void {
    this.#place = { ...this.#place, line: this.#place.line + 1 };
    const entry = parseAuditLine(bytes);
    if (this.#finding !== undefined) {
      if (entry !== undefined && entry.seq === this.#missingSeq) this.#foundLater();
      else if (entry?.kind === 'lost') this.#addReason(entry.reason);
      return;
    }
    const sha256 = hashAuditLine(bytes);
    if (entry === undefined || !isWhole) this.#holdTorn({ bytes: bytes.length, sha256 }, isWhole);
    else this.#check(entry, { bytes: bytes.length, sha256 });
  }

  /** After the last line. */
  report(): AuditReport {
    this.#checkEnd();
    const finding = this.#finding;
    const lastSeq = this.#point?.seq ?? 0;
    return {
      isIntact: finding === undefined,
      ...this.#counts,
      firstSeq: this.#first.seq,
      lastSeq,
      firstTime: this.#first.time,
      lastTime: this.#lastTime,
      signedSeq: this.#signedSeq,
      unsignedLines:
        this.#counts.lines === 0 ? 0 : lastSeq - Math.max(this.#signedSeq, this.#first.seq - 1),
      signers: [...this.#signers],
      ...(finding && { finding }),
    };
  }

  /** It may be what a crash left: then a `start` and a `recovered` line follow. */
  #holdTorn(line: { readonly bytes: number; readonly sha256: string }, isWhole: boolean): void {
    if (this.#torn !== undefined) {
      this.#findTorn(this.#torn);
      return;
    }
    this.#torn = { ...this.#place, ...line, isWhole, hasStart: false };
  }

  #check(entry: ChainedEntry, raw: { readonly bytes: number; readonly sha256: string }): void {
    const torn = this.#tornBefore(entry);
    if (torn !== undefined && !this.#isRecovery(entry, torn)) {
      this.#findTorn(torn);
      return;
    }
    if (torn === undefined && entry.kind === 'recovered') {
      this.#find('changed', 'it speaks of a line that a crash cut off, and there is none');
      return;
    }
    if (!this.#isInPlace(entry) || !this.#isSigned(entry)) return;
    this.#before = this.#point ?? { seq: entry.seq - 1, hash: entry.prev };
    this.#point = { seq: entry.seq, hash: raw.sha256 };
    this.#lastBytes = raw;
    this.#count(entry);
    this.#compareExpected();
  }

  /** The torn line before this one, if any: also a whole line whose line break was missing. */
  #tornBefore(entry: ChainedEntry): Torn | undefined {
    if (this.#torn !== undefined) return this.#torn;
    const before = this.#before;
    const isStart = entry.kind === 'start' && before !== undefined;
    if (!isStart || entry.seq !== before.seq + 1 || entry.prev !== before.hash) return undefined;
    this.#point = before;
    this.#before = undefined;
    this.#signedSeq = Math.min(this.#signedSeq, before.seq);
    this.#counts.lines -= 1;
    const line = this.#place.line - 1;
    this.#torn = { ...this.#place, line, ...this.#lastBytes, isWhole: true, hasStart: false };
    return this.#torn;
  }

  /** Whether the entry is one of the two that explain a torn line. */
  #isRecovery(entry: ChainedEntry, torn: Torn): boolean {
    if (!torn.hasStart) {
      torn.hasStart = entry.kind === 'start';
      return torn.hasStart;
    }
    if (entry.kind !== 'recovered') return false;
    if (entry.bytes !== torn.bytes || entry.sha256 !== torn.sha256) return false;
    this.#torn = undefined;
    return true;
  }

  #isInPlace(entry: ChainedEntry): boolean {
    const isFirstOfFile =
      this.#place.line === 1 || (this.#torn?.line === 1 && this.#place.line === 2);
    if (isFirstOfFile && !(entry.kind === 'start' && entry.file === 'new')) {
      return this.#find('removed', 'the file does not begin with its start line');
    }
    const { seq, prev } = entry;
    if (this.#point === undefined) {
      this.#first = { seq, time: entry.time };
      if (seq !== chainStart.seq + 1 || prev === chainStart.hash) return true;
      return this.#find('changed', 'the first line of all has a predecessor');
    }
    const expected = this.#point.seq + 1;
    if (seq > expected) {
      this.#missingSeq = expected;
      return this.#find('removed', `line ${seq} of the chain comes where ${expected} should be`);
    }
    if (seq < expected) {
      return this.#find('reordered', `line ${seq} of the chain comes after ${this.#point.seq}`);
    }
    if (prev === this.#point.hash) return true;
    return this.#find('changed', `it, or the line before it (number ${seq - 1} of the chain)`);
  }

  #isSigned(entry: ChainedEntry): boolean {
    if (entry.kind === 'start') return this.#isSignerKnown(entry.signer);
    if (entry.kind !== 'checkpoint') return true;
    const key = this.#trusted.get(entry.signer);
    if (key === undefined) {
      return this.#find('wrong-signer', `the checkpoint is by another key, ${entry.signer}`);
    }
    if (!isCheckpointOf(key, entry)) {
      return this.#find('wrong-signer', 'the signature of the checkpoint is wrong');
    }
    this.#signers.add(entry.signer);
    return true;
  }

  #isSignerKnown(signer: string): boolean {
    const key = parseSigner(signer);
    const fingerprint = key === undefined ? '' : fingerprintOf(key);
    if (key !== undefined && this.#trusted.size === 0) this.#trusted.set(fingerprint, key);
    if (this.#trusted.has(fingerprint)) return true;
    const whose = this.#isSignerGiven
      ? 'none of the given ones'
      : 'not the one of the lines before';
    return this.#find('wrong-signer', `the key from here on is ${whose}: ${fingerprint}`);
  }

  #count(entry: ChainedEntry): void {
    this.#counts.lines += 1;
    this.#lastTime = entry.time;
    if (entry.kind === 'recovered') this.#counts.recovered += 1;
    if (entry.kind === 'lost') this.#counts.lostCalls += entry.calls;
    if (entry.kind !== 'checkpoint') return;
    this.#counts.checkpoints += 1;
    this.#signedSeq = entry.seq;
  }

  #compareExpected(): void {
    const point = this.#point;
    const expected = this.#expected.get(point?.seq ?? 0);
    if (expected === undefined) return;
    if (point?.hash === expected.hash) return;
    this.#find('changed', `the checkpoint in ${expected.source} has the same number, and differs`);
  }

  #checkEnd(): void {
    if (this.#finding !== undefined) return;
    if (this.#torn !== undefined) {
      this.#findTorn(this.#torn);
      return;
    }
    const lastSeq = this.#point?.seq ?? 0;
    const [expected] = [...this.#expected.values()].sort((one, other) => other.seq - one.seq);
    if (expected !== undefined && expected.seq > lastSeq) {
      const { source, seq } = expected;
      this.#find('truncated', `it ends at number ${lastSeq}; ${source} proves that ${seq} existed`);
    } else if (this.#counts.lines === 0) {
      this.#find('truncated', 'there is no line');
    }
  }

  #findTorn(torn: Torn): void {
    this.#place = torn;
    const lastSeq = this.#point?.seq ?? 0;
    if (torn.isWhole) this.#find('changed', 'it is no line that the service writes');
    else this.#find('truncated', `the file ends within a line; ${lastSeq} is the last whole one`);
  }

  #foundLater(): void {
    const found = this.#finding;
    if (found?.kind !== 'removed') return;
    const text = `${found.text}, which comes later, in line ${this.#place.line} of ${this.#place.file}`;
    this.#finding = { ...found, kind: 'reordered', text };
    this.#missingSeq = 0;
  }

  /** The service itself may have seen what happened: its first word about it. */
  #addReason(reason: string): void {
    const found = this.#finding;
    if (found === undefined || this.#hasReason) return;
    this.#hasReason = true;
    this.#finding = { ...found, text: `${found.text} (the service noted: ${reason})` };
  }

  /** Keeps the first one; always false, for the caller to return. */
  #find(kind: AuditFindingKind, text: string): false {
    const { file, line } = this.#place;
    this.#finding ??= { kind, file, line, text };
    return false;
  }
}
