// The scan that carries lifecycle rules out: it goes through the buckets that have rules, a page at a time with a rest
// after each, and removes what is due. What it reads only says what to try: every removal is decided again within
// its own commit. So a scan can break off anywhere, and any number of them can run at once. It needs no key.

import { setTimeout as delay } from 'node:timers/promises';
import type { Log } from '../../base/log.ts';
import {
  findExpiration,
  isBeyond,
  isLoneMarkerExpired,
  isUploadExpired,
  type LifecycleTime,
  noncurrentLimits,
  subjectOf,
} from './lifecycle.ts';
import {
  type BucketInfo,
  type LifecycleRule,
  type ListVersionsPage,
  type ObjectInfo,
  type ObjectStore,
  StoreError,
  type StoreErrorCode,
  type VersionInfo,
} from '../types.ts';

/** What a scan removes: current objects, older versions, delete markers, uploads that were not completed. */
export type LifecycleKind = 'object' | 'version' | 'marker' | 'upload';

/** What one scan did. */
export type LifecycleReport = Readonly<Record<LifecycleKind, number>> & {
  /** What was due and could not be removed, and buckets that could not be read. */
  readonly failures: number;
};

export type LifecycleScanDeps = {
  readonly store: Pick<
    ObjectStore,
    | 'abortUpload'
    | 'deleteObject'
    | 'getBucket'
    | 'listBuckets'
    | 'listObjects'
    | 'listUploads'
    | 'listVersions'
  >;
  readonly log: Log;
  readonly now: () => number;
  /** How long a day of the rules is. */
  readonly dayMs: number;
  /** Told of every removal. */
  readonly count?: (kind: LifecycleKind) => void;
  /** Ends the scan early: nothing more is begun. */
  readonly signal?: AbortSignal;
  /** Rests between two pages. Default: real time. */
  readonly rest?: (ms: number) => Promise<void>;
  /** Most names of a page. Default 500. */
  readonly pageLimit?: number;
};

const pageLimitDefault = 500;
const restMinMs = 10;
/** Names of a page that are worked on at once, so that their commits can share a write to the disk. */
const namesAtOnce = 8;

/** Somebody was faster, or it is not due any more: nothing to speak of. */
const expectedCodes: ReadonlySet<StoreErrorCode> = new Set([
  'ConditionalRequestConflict',
  'NoSuchBucket',
  'NoSuchKey',
  'NoSuchUpload',
  'NoSuchVersion',
  'ObjectLocked',
  'PreconditionFailed',
]);

/** Removes everything that is due, once. Rejects only when the buckets cannot be listed. */
export async function scanLifecycle(deps: LifecycleScanDeps): Promise<LifecycleReport> {
  const scan = new Scan(deps);
  let after = '';
  for (;;) {
    const page = await deps.store.listBuckets({ prefix: '', after, limit: 1000 });
    for (const bucket of page.buckets) {
      if (bucket.settings.lifecycle !== undefined) await scan.bucket(bucket);
    }
    after = page.buckets.at(-1)?.name ?? after;
    if (!page.isTruncated || deps.signal?.aborted === true) return scan.report;
  }
}

/** One name with what is known of its versions, of which a page may have shown only the first. */
type NameState = {
  readonly key: string;
  head: VersionInfo | undefined;
  /** The version read last: the next newer one of whatever follows. */
  newer: VersionInfo | undefined;
  /** Older versions read so far, and those of them that stay. */
  noncurrent: number;
  kept: number;
  unread: VersionInfo[];
  isComplete: boolean;
};

/** The rules as they are now, for one page. */
type PageContext = {
  readonly bucket: BucketInfo;
  readonly rules: readonly LifecycleRule[];
  readonly time: LifecycleTime;
};

class Scan {
  readonly #deps: LifecycleScanDeps;
  readonly #counts = { object: 0, version: 0, marker: 0, upload: 0, failures: 0 };
  /** In the bucket at hand. */
  #failures = 0;
  #firstError: unknown;

  constructor(deps: LifecycleScanDeps) {
    this.#deps = deps;
  }

  get report(): LifecycleReport {
    return { ...this.#counts };
  }

  /** Never rejects. */
  async bucket({ name, settings }: BucketInfo): Promise<void> {
    this.#failures = 0;
    const rules = (settings.lifecycle ?? []).filter(({ isEnabled }) => isEnabled);
    const forNames = rules.filter((rule) => rule.expiration ?? rule.noncurrent);
    const forUploads = rules.filter((rule) => rule.abortUploadDays !== undefined);
    const walk = settings.versioning === undefined ? this.#objects : this.#versions;
    for (const prefix of disjoint(forNames)) {
      await this.#attempt(() => walk.call(this, name, prefix));
    }
    for (const prefix of disjoint(forUploads)) {
      await this.#attempt(() => this.#uploads(name, prefix));
    }
    if (this.#failures === 0) return;
    this.#counts.failures += this.#failures;
    this.#deps.log.warn('lifecycle rules could not remove all that is due', {
      bucket: name,
      count: this.#failures,
      error: this.#firstError,
    });
  }

  /** Where there never was versioning. */
  async #objects(name: string, prefix: string): Promise<void> {
    let after = '';
    await this.#pages(name, async (context) => {
      const query = { bucket: name, prefix, delimiter: '', after, limit: this.#pageLimit };
      const page = await this.#deps.store.listObjects(query);
      await this.#each(page.objects, (info) => this.#expire(context, info));
      after = page.next ?? '';
      return page.isTruncated;
    });
  }

  async #versions(name: string, prefix: string): Promise<void> {
    let marker = { keyMarker: '', versionMarker: '' };
    let open: NameState | undefined;
    await this.#pages(name, async (context) => {
      const query = { bucket: name, prefix, delimiter: '', ...marker, limit: this.#pageLimit };
      const page = await this.#deps.store.listVersions(query);
      const states = gather(page, open);
      open = page.isTruncated ? states.at(-1) : undefined;
      await this.#each(states, (state) => this.#workOff(context, state));
      const { next } = page;
      marker = { keyMarker: next?.key ?? '', versionMarker: next?.versionMarker ?? '' };
      return page.isTruncated;
    });
  }

  async #uploads(name: string, prefix: string): Promise<void> {
    let marker = { keyMarker: '', uploadIdMarker: '' };
    await this.#pages(name, async ({ rules, time }) => {
      const { dayMs } = time;
      const query = { bucket: name, prefix, delimiter: '', ...marker, limit: this.#pageLimit };
      const page = await this.#deps.store.listUploads(query);
      await this.#each(page.uploads, async (upload) => {
        if (!isUploadExpired(rules, upload, time)) return;
        await this.#remove('upload', () => this.#deps.store.abortUpload(upload, { dayMs }));
      });
      const { next } = page;
      marker = { keyMarker: next?.key ?? '', uploadIdMarker: next?.uploadId ?? '' };
      return page.isTruncated;
    });
  }

  /** Goes on as long as a page says that there are more, with the rules as they are at each. */
  async #pages(name: string, page: (context: PageContext) => Promise<boolean>): Promise<void> {
    const { store, signal, dayMs, now } = this.#deps;
    const rest = this.#deps.rest ?? ((ms: number) => pause(ms, signal));
    while (!this.#isStopped) {
      const startedMs = performance.now();
      const bucket = await store.getBucket(name);
      const rules = bucket.settings.lifecycle;
      if (rules === undefined) return;
      const hasMore = await page({ bucket, rules, time: { nowMs: now(), dayMs } });
      // As long as the page took: at least half of the time is left to others.
      await rest(Math.max(restMinMs, performance.now() - startedMs));
      if (!hasMore) return;
    }
  }

  /** The oldest first, because what goes is the neighbour by which an older one is judged. */
  async #workOff(context: PageContext, state: NameState): Promise<void> {
    const steps: (() => Promise<void>)[] = [];
    for (const version of state.unread.splice(0)) {
      const { newer } = state;
      state.newer = version;
      if (version.isLatest) {
        state.head = version;
        if (!version.isMarker) steps.push(() => this.#expire(context, version.info));
        continue;
      }
      const newerVersions = state.noncurrent;
      state.noncurrent += 1;
      state.kept += 1;
      if (newer === undefined) continue;
      steps.push(async () => {
        const isGone = await this.#expireOld(context, { version, newer, newerVersions });
        if (isGone) state.kept -= 1;
      });
    }
    for (const step of steps.toReversed()) await step();
    if (state.isComplete && state.kept === 0) await this.#expireMarker(context, state.head);
  }

  async #expire({ bucket, rules, time }: PageContext, info: ObjectInfo): Promise<void> {
    const { nowMs, dayMs } = time;
    const { key, modifiedMs } = info;
    const found = findExpiration(rules, subjectOf(key, info), { modifiedMs, dayMs });
    if (found === undefined || found.dateMs > nowMs) return;
    const { name, owner } = bucket;
    const target = { bucket: name, key, owner, byRules: { dayMs } };
    await this.#remove('object', () => this.#deps.store.deleteObject(target));
  }

  /** True when the version is gone. */
  async #expireOld(
    { rules, time }: PageContext,
    old: {
      readonly version: VersionInfo;
      readonly newer: VersionInfo;
      readonly newerVersions: number;
    },
  ): Promise<boolean> {
    const { version, newer, newerVersions } = old;
    const { info, isMarker } = version;
    const limits = noncurrentLimits(rules, subjectOf(info.key, info), time);
    const noncurrentSinceMs = newer.info.modifiedMs;
    if (!isBeyond(limits, { noncurrentSinceMs, newerVersions })) return false;
    if (isLocked(info, time.nowMs)) return false;
    return this.#removeVersion(isMarker ? 'marker' : 'version', info, time);
  }

  async #expireMarker({ rules, time }: PageContext, head: VersionInfo | undefined): Promise<void> {
    if (head?.isMarker !== true) return;
    const { info } = head;
    const times = { ...time, modifiedMs: info.modifiedMs };
    if (!isLoneMarkerExpired(rules, subjectOf(info.key, info), times)) return;
    await this.#removeVersion('marker', info, time);
  }

  #removeVersion(
    kind: LifecycleKind,
    info: ObjectInfo,
    { dayMs }: LifecycleTime,
  ): Promise<boolean> {
    const { bucket, key, versionId } = info;
    const target = { bucket, key, versionId, byRules: { dayMs } };
    return this.#remove(kind, () => this.#deps.store.deleteObject(target));
  }

  /** True when it was removed. */
  async #remove(kind: LifecycleKind, run: () => Promise<unknown>): Promise<boolean> {
    try {
      await run();
    } catch (error) {
      if (!(error instanceof StoreError && expectedCodes.has(error.code))) this.#fail(error);
      return false;
    }
    this.#counts[kind] += 1;
    this.#deps.count?.(kind);
    return true;
  }

  async #attempt(run: () => Promise<void>): Promise<void> {
    try {
      await run();
    } catch (error) {
      // Deleted since it was listed.
      if (!(error instanceof StoreError && error.code === 'NoSuchBucket')) this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    if (this.#failures === 0) this.#firstError = error;
    this.#failures += 1;
  }

  /** A few at a time. `work` does not reject. */
  async #each<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
    for (let at = 0; at < items.length; at += namesAtOnce) {
      if (this.#isStopped) return;
      await Promise.all(items.slice(at, at + namesAtOnce).map(work));
    }
  }

  get #isStopped(): boolean {
    return this.#deps.signal?.aborted === true;
  }

  get #pageLimit(): number {
    return this.#deps.pageLimit ?? pageLimitDefault;
  }
}

/** The versions of a page by name; those of `open` go on where the last page ended. */
function gather(page: ListVersionsPage, open: NameState | undefined): NameState[] {
  const states = open === undefined ? [] : [open];
  for (const version of page.versions) {
    const { key } = version.info;
    let state = states.at(-1);
    if (state?.key !== key) {
      if (state) state.isComplete = true;
      state = newState(key);
      states.push(state);
    }
    state.unread.push(version);
  }
  const last = states.at(-1);
  if (last && !page.isTruncated) last.isComplete = true;
  return states;
}

function newState(key: string): NameState {
  return {
    key,
    head: undefined,
    newer: undefined,
    noncurrent: 0,
    kept: 0,
    unread: [],
    isComplete: false,
  };
}

/** The prefixes of rules, without those that another one covers: nothing is read twice. */
function disjoint(rules: readonly LifecycleRule[]): readonly string[] {
  const prefixes = [...new Set(rules.map(({ filter }) => filter.prefix))];
  return prefixes.filter(
    (prefix) => !prefixes.some((other) => other !== prefix && prefix.startsWith(other)),
  );
}

/** Asking would be in vain, and would be told as a failure. */
function isLocked({ lock }: ObjectInfo, nowMs: number): boolean {
  if (lock === undefined) return false;
  return lock.legalHold === true || (lock.retention?.untilMs ?? 0) > nowMs;
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await delay(ms, undefined, { ref: false, ...(signal === undefined ? {} : { signal }) });
  } catch {
    // Stopped meanwhile, which the loop sees.
  }
}
