// Random buckets, rules and times against a slow reference that knows no tables, no pages and no commits: after a
// scan the store holds exactly what the reference says. With small pages, where the versions of a name come in
// several, it may hold more, which the next scan sees to, but nothing may be missing.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compareStored } from '../../../test/crash/orphans.ts';
import { plainAttributes } from '../../../test/support/test-store.ts';
import { silentLog } from '../../base/log.ts';
import { openMemoryBlobStore } from '../../blob/memory.ts';
import { openMemoryKv } from '../../kv/memory.ts';
import { scanLifecycle } from './lifecycle-scan.ts';
import { type OpenedObjectStore, openObjectStore } from '../object-store.ts';
import type { LifecycleRule, Versioning } from '../types.ts';

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const startMs = Date.UTC(2026, 3, 1);
const names = ['a', 'ab', 'b/1'] as const;

type Step =
  | {
      readonly kind: 'put';
      readonly name: string;
      readonly sizeBytes: number;
      readonly tag: boolean;
    }
  | { readonly kind: 'delete' | 'upload'; readonly name: string }
  | { readonly kind: 'delete-version' | 'tag'; readonly name: string; readonly pick: number }
  | { readonly kind: 'wait'; readonly hours: number }
  | { readonly kind: 'set'; readonly versioning: Versioning }
  | { readonly kind: 'rules'; readonly rules: readonly LifecycleRule[] }
  | { readonly kind: 'scan'; readonly pageLimit: number };

const optional = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(arbitrary, { nil: undefined });

const days = fc.integer({ min: 1, max: 4 });
const expiration: fc.Arbitrary<NonNullable<LifecycleRule['expiration']>> = fc.oneof(
  days.map((count) => ({ kind: 'days' as const, days: count })),
  fc.integer({ min: 0, max: 12 }).map((day) => ({
    kind: 'date' as const,
    dateMs: startMs + day * dayMs,
  })),
  fc.constant({ kind: 'lone-marker' as const }),
);
const rule: fc.Arbitrary<LifecycleRule> = fc
  .record({
    isEnabled: fc.nat(5).map((one) => one > 0),
    prefix: fc.constantFrom('', '', 'a', 'ab', 'b/', 'none'),
    tag: fc.nat(3).map((one) => one === 0),
    sizeGreaterThan: optional(fc.nat(2)),
    sizeLessThan: optional(fc.integer({ min: 2, max: 4 })),
    expiration: optional(expiration),
    noncurrent: optional(
      fc.record({ days: fc.nat(3), newerVersions: optional(fc.integer({ min: 1, max: 3 })) }),
    ),
    abortUploadDays: optional(days),
  })
  .map(({ prefix, tag, sizeGreaterThan, sizeLessThan, ...rest }) => ({
    id: 'rule',
    isEnabled: rest.isEnabled,
    filterForm: 'filter' as const,
    filter: {
      prefix,
      tags: tag ? [{ key: 't', value: '1' }] : [],
      ...(sizeGreaterThan === undefined ? {} : { sizeGreaterThan }),
      ...(sizeLessThan === undefined ? {} : { sizeLessThan }),
    },
    ...(rest.expiration === undefined ? {} : { expiration: rest.expiration }),
    ...(rest.abortUploadDays === undefined ? {} : { abortUploadDays: rest.abortUploadDays }),
    ...(rest.noncurrent === undefined
      ? {}
      : {
          noncurrent: {
            days: rest.noncurrent.days,
            ...(rest.noncurrent.newerVersions === undefined
              ? {}
              : { newerVersions: rest.noncurrent.newerVersions }),
          },
        }),
  }));

const name = fc.constantFrom(...names);
const pick = fc.nat(5);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('put' as const),
      name,
      sizeBytes: fc.nat(4),
      tag: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('delete' as const), name }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('upload' as const), name }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('delete-version' as const), name, pick }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('tag' as const), name, pick }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('wait' as const),
      hours: fc.integer({ max: 60, min: 1 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('set' as const),
      versioning: fc.constantFrom('Enabled' as const, 'Enabled' as const, 'Suspended' as const),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('rules' as const),
      rules: fc.array(rule, { minLength: 1, maxLength: 3 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('scan' as const),
      pageLimit: fc.constantFrom(1, 2, 3, 1000, 1000, 1000),
    }),
  },
);

type Version = {
  /** As the store named it; the markers of a scan have none yet. */
  id: string | undefined;
  readonly isMarker: boolean;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
  isTagged: boolean;
};

/** The reference. */
class Model {
  versioning: Versioning | undefined;
  rules: readonly LifecycleRule[] = [];
  /** Newest first. */
  readonly names = new Map<string, Version[]>();
  uploads: { readonly name: string; readonly id: string; readonly madeMs: number }[] = [];

  of(key: string): Version[] {
    return this.names.get(key) ?? [];
  }

  add(key: string, version: Version): void {
    if (this.versioning === undefined) this.names.set(key, version.isMarker ? [] : [version]);
    else if (this.versioning === 'Enabled') this.names.set(key, [version, ...this.of(key)]);
    else this.names.set(key, [version, ...this.of(key).filter(({ id }) => id !== 'null')]);
  }

  remove(key: string, gone: readonly Version[]): void {
    this.names.set(
      key,
      this.of(key).filter((version) => !gone.includes(version)),
    );
  }

  /** Everything at once, on the state before. */
  scan(nowMs: number): void {
    for (const key of names) {
      const before = this.of(key);
      const gone = before.filter(
        (version, at) => at > 0 && this.#isOldDue(key, at, nowMs, version),
      );
      this.remove(key, gone);
      const [head] = before;
      if (head && !head.isMarker && this.#isExpired(key, head, nowMs)) {
        this.add(key, {
          ...marker(nowMs),
          id: this.versioning === 'Suspended' ? 'null' : undefined,
        });
      }
      if (head?.isMarker && this.of(key).length === 1 && this.#isMarkerDue(key, head, nowMs)) {
        this.remove(key, [head]);
      }
    }
    this.uploads = this.uploads.filter(
      ({ name: key, madeMs }) =>
        !this.rules.some(
          ({ isEnabled, abortUploadDays, filter }) =>
            isEnabled &&
            abortUploadDays !== undefined &&
            key.startsWith(filter.prefix) &&
            endOf(madeMs, abortUploadDays) <= nowMs,
        ),
    );
  }

  #applying(key: string, version: Version): readonly LifecycleRule[] {
    return this.rules.filter(({ isEnabled, filter }) => {
      if (!isEnabled || !key.startsWith(filter.prefix)) return false;
      if (filter.tags.length > 0 && !version.isTagged) return false;
      if (version.sizeBytes <= (filter.sizeGreaterThan ?? -1)) return false;
      return version.sizeBytes < (filter.sizeLessThan ?? 100);
    });
  }

  #isExpired(key: string, version: Version, nowMs: number): boolean {
    return this.#applying(key, version).some((one) => {
      if (one.expiration?.kind === 'date') return one.expiration.dateMs <= nowMs;
      if (one.expiration?.kind !== 'days') return false;
      return endOf(version.modifiedMs, one.expiration.days) <= nowMs;
    });
  }

  #isMarkerDue(key: string, version: Version, nowMs: number): boolean {
    const isAtOnce = this.#applying(key, version).some(
      (one) => one.expiration?.kind === 'lone-marker',
    );
    return isAtOnce || this.#isExpired(key, version, nowMs);
  }

  #isOldDue(key: string, at: number, nowMs: number, version: Version): boolean {
    const sinceMs = this.of(key)[at - 1]?.modifiedMs ?? nowMs;
    return this.#applying(key, version).some(({ noncurrent }) => {
      if (noncurrent === undefined || at - 1 < (noncurrent.newerVersions ?? 0)) return false;
      return noncurrent.days === 0 || endOf(sinceMs, noncurrent.days) <= nowMs;
    });
  }

  list(): string[] {
    return names.flatMap((key) =>
      this.of(key).map(
        (version) => `${key} ${version.id} ${version.isMarker} ${version.modifiedMs}`,
      ),
    );
  }
}

/** The first midnight when so many days have passed. */
function endOf(fromMs: number, count: number): number {
  let midnight = startMs;
  while (midnight < fromMs + count * dayMs) midnight += dayMs;
  return midnight;
}

function marker(modifiedMs: number): Version {
  return { id: undefined, isMarker: true, sizeBytes: 0, modifiedMs, isTagged: false };
}

class Run {
  readonly #store: OpenedObjectStore;
  readonly #clock: { ms: number };
  readonly #model = new Model();

  constructor(store: OpenedObjectStore, clock: { ms: number }) {
    this.#store = store;
    this.#clock = clock;
  }

  async take(step: Step): Promise<void> {
    const model = this.#model;
    const bucket = 'bucket';
    switch (step.kind) {
      case 'wait':
        this.#clock.ms += step.hours * hourMs;
        return;
      case 'set':
      case 'rules':
        if (step.kind === 'set') model.versioning = step.versioning;
        else model.rules = step.rules;
        await this.#store.updateBucketSettings(bucket, (settings) => ({
          ...settings,
          ...(step.kind === 'set' ? { versioning: step.versioning } : { lifecycle: step.rules }),
        }));
        return;
      case 'put':
        return this.#put(step);
      case 'delete': {
        const { versionId } = await this.#store.deleteObject({ bucket, key: step.name });
        model.add(step.name, { ...marker(this.#clock.ms), id: versionId });
        return;
      }
      case 'upload': {
        const attributes = plainAttributes;
        const encryption = { kind: 'default' } as const;
        const input = { bucket, key: step.name, attributes, encryption, owner: 'owner' };
        const { uploadId } = await this.#store.createUpload(input);
        model.uploads.push({ name: step.name, id: uploadId, madeMs: this.#clock.ms });
        return;
      }
      case 'delete-version':
      case 'tag':
        return this.#change(step.kind, step.name, step.pick);
      case 'scan':
        return this.#scan(step.pageLimit);
    }
  }

  async #put({ name: key, sizeBytes, tag }: Extract<Step, { kind: 'put' }>): Promise<void> {
    const { versionId, modifiedMs } = await this.#store.putObject({
      bucket: 'bucket',
      key,
      body: Buffer.alloc(sizeBytes),
      sizeBytes,
      attributes: { ...plainAttributes, tagging: tag ? 'x=2&t=1' : '' },
      encryption: { kind: 'default' },
      owner: 'owner',
    });
    this.#model.add(key, { id: versionId, isMarker: false, sizeBytes, modifiedMs, isTagged: tag });
  }

  async #change(kind: 'delete-version' | 'tag', key: string, pick: number): Promise<void> {
    const versions = this.#model.of(key);
    const version = versions[pick % Math.max(1, versions.length)];
    if (version?.id === undefined) return;
    const ref = { bucket: 'bucket', key, versionId: version.id };
    if (kind === 'delete-version') {
      await this.#store.deleteObject(ref);
      this.#model.remove(key, [version]);
    } else if (!version.isMarker) {
      version.isTagged = !version.isTagged;
      await this.#store.putTagging(ref, version.isTagged ? 't=1' : 't=2');
    }
  }

  async #scan(pageLimit: number): Promise<void> {
    const before = await this.#listed();
    await this.#scanOnce(pageLimit);
    this.#model.scan(this.#clock.ms);
    if (pageLimit < 1000) {
      const kept = new Set(await this.#listed());
      const missing = this.#model.list().filter((one) => before.includes(one) && !kept.has(one));
      assert.deepEqual(missing, []);
      return this.#adopt();
    }
    await this.#nameMarkers();
    assert.deepEqual(await this.#listed(), this.#model.list());
    assert.deepEqual(await this.#uploads(), this.#model.uploads.map(({ id }) => id).sort());
  }

  async #scanOnce(pageLimit: number): Promise<void> {
    const now = (): number => this.#clock.ms;
    const rest = (): Promise<void> => Promise.resolve();
    const store = this.#store;
    const report = await scanLifecycle({ store, log: silentLog, now, dayMs, rest, pageLimit });
    assert.equal(report.failures, 0);
  }

  /** The reference goes on with what the store has. */
  async #adopt(): Promise<void> {
    const before = new Map(this.#model.names);
    for (const key of names) this.#model.names.set(key, []);
    for (const { info, isMarker } of await this.#versions()) {
      const { key, versionId: id, sizeBytes, modifiedMs } = info;
      const isTagged = /(^|&)t=1$/.test(info.attributes.tagging);
      this.#model.names.set(key, [
        ...this.#model.of(key),
        { id, isMarker, sizeBytes, modifiedMs, isTagged },
      ]);
    }
    assert.ok(before.size <= names.length);
    const left = await this.#uploads();
    this.#model.uploads = this.#model.uploads.filter(({ id }) => left.includes(id));
    assert.equal(this.#model.uploads.length, left.length);
  }

  /** The ids of the markers that the scan made. */
  async #nameMarkers(): Promise<void> {
    for (const { info, isMarker, isLatest } of await this.#versions()) {
      const [head] = this.#model.of(info.key);
      if (isMarker && isLatest && head?.isMarker) head.id ??= info.versionId;
    }
  }

  async #versions() {
    const query = { bucket: 'bucket', prefix: '', delimiter: '', keyMarker: '', versionMarker: '' };
    return (await this.#store.listVersions({ ...query, limit: 1000 })).versions;
  }

  async #listed(): Promise<string[]> {
    return (await this.#versions()).map(
      ({ info, isMarker }) => `${info.key} ${info.versionId} ${isMarker} ${info.modifiedMs}`,
    );
  }

  async #uploads(): Promise<string[]> {
    const query = {
      bucket: 'bucket',
      prefix: '',
      delimiter: '',
      keyMarker: '',
      uploadIdMarker: '',
    };
    const { uploads } = await this.#store.listUploads({ ...query, limit: 1000 });
    return uploads.map(({ uploadId }) => uploadId).sort();
  }
}

void test('a scan leaves exactly what the reference leaves', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60 }), async (steps) => {
      const clock = { ms: startMs + 9 * hourMs };
      const now = (): number => clock.ms;
      const kv = openMemoryKv();
      const blobs = openMemoryBlobStore(now);
      const settings = { isAutoEncrypting: false, garbageGraceMs: 0, inlineMaxBytes: 2 };
      const store = await openObjectStore({
        kv,
        blobs,
        kms: undefined,
        log: silentLog,
        settings,
        now,
      });
      await store.createBucket({ name: 'bucket', owner: 'owner', location: '' });
      const run = new Run(store, clock);
      for (const one of steps) await run.take(one);
      await run.take({ kind: 'scan', pageLimit: 1000 });
      clock.ms += 10 * dayMs;
      await store.sweep();
      assert.deepEqual(await compareStored(kv, blobs), []);
      await store.close();
    }),
    { numRuns: Number(process.env['COFFER_RUNS'] ?? 300) },
  );
});
