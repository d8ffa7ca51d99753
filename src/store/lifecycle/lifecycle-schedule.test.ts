// When the lifecycle scan runs, and how it is stopped.

import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'node:test';
import { type Log, type LogFields, silentLog } from '../../base/log.ts';
import type { LifecycleScanDeps } from './lifecycle-scan.ts';
import { type LifecycleScheduleDeps, startLifecycle } from './lifecycle-schedule.ts';
import { StoreError } from '../types.ts';

type Lines = (readonly [string, LogFields | undefined])[];

function logInto(lines: Lines): Log {
  const take = (message: string, fields?: LogFields): void => void lines.push([message, fields]);
  return { ...silentLog, info: take, warn: take };
}

/** A store of one bucket whose objects have all expired. */
function storeOf(change: Partial<LifecycleScanDeps['store']>): LifecycleScanDeps['store'] {
  const filter = { prefix: '', tags: [] };
  const expiration = { kind: 'date', dateMs: 0 } as const;
  const rule = { id: 'r', isEnabled: true, filter, filterForm: 'filter', expiration } as const;
  const settings = { lifecycle: [rule] };
  const bucket = { name: 'b', createdMs: 0, owner: 'o', location: '', settings };
  const attributes = { headers: {}, userMetadata: {}, tagging: '', storageClass: 'STANDARD' };
  const info = {
    bucket: 'b',
    key: 'k',
    versionId: 'null',
    etag: '',
    sizeBytes: 1,
    modifiedMs: 0,
    attributes,
    owner: 'o',
  };
  const never = (): never => assert.fail('not to be called');
  return {
    listBuckets: async () => ({ buckets: [bucket], isTruncated: false }),
    getBucket: async () => bucket,
    listObjects: async () => ({
      objects: [info],
      commonPrefixes: [],
      isTruncated: false,
      next: undefined,
    }),
    deleteObject: async () => ({ isMarker: false }),
    listVersions: never,
    listUploads: never,
    abortUpload: never,
    ...change,
  };
}

function start(change: Partial<LifecycleScheduleDeps>): { stop(): Promise<void> } {
  return startLifecycle({
    store: storeOf({}),
    log: silentLog,
    now: () => 1,
    dayMs: 1000,
    intervalMs: 1,
    rest: () => Promise.resolve(),
    ...change,
  });
}

/** Keeps the process alive: the timers of the schedule do not. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await turn();
}

void test('scans follow one another, and each that removed something is told', async () => {
  const lines: Lines = [];
  let scans = 0;
  const lifecycle = start({ log: logInto(lines), finished: () => (scans += 1) });
  await until(() => scans >= 2);
  await lifecycle.stop();
  const told = [
    'lifecycle rules removed what was due',
    { objects: 1, versions: 0, markers: 0, uploads: 0, seconds: 0 },
  ];
  assert.deepEqual(
    lines,
    Array.from({ length: scans }, () => told),
  );
  const after = scans;
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(scans, after);
});

void test('a scan that removed nothing is not told', async () => {
  const lines: Lines = [];
  let scans = 0;
  const deleteObject = async (): Promise<never> => {
    throw new StoreError('PreconditionFailed', 'not due');
  };
  const store = storeOf({ deleteObject });
  const lifecycle = start({ store, log: logInto(lines), finished: () => (scans += 1) });
  await until(() => scans >= 1);
  await lifecycle.stop();
  assert.deepEqual(lines, []);
});

void test('a scan that fails is told and tried again', async () => {
  const lines: Lines = [];
  const error = new StoreError('StorageUnavailable', 'not now');
  let calls = 0;
  const store = storeOf({
    listBuckets: async () => {
      calls += 1;
      if (calls === 1) throw error;
      return { buckets: [], isTruncated: false };
    },
  });
  const lifecycle = start({ store, log: logInto(lines) });
  await until(() => calls >= 2);
  await lifecycle.stop();
  assert.deepEqual(lines, [['the lifecycle scan failed and will be tried again', { error }]]);
});

void test('stopping waits for what was begun, and the scan does not count as done', async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  let hasBegun = false;
  let hasEnded = false;
  const store = storeOf({
    deleteObject: async () => {
      hasBegun = true;
      await promise;
      hasEnded = true;
      return { isMarker: false };
    },
  });
  const lifecycle = start({ store, finished: () => assert.fail('not finished') });
  await until(() => hasBegun);
  const stopped = lifecycle.stop();
  resolve();
  await stopped;
  assert.ok(hasEnded);
});
