// Kills a process before and after every durable step of a fixed sequence of operations, one step per run, and
// checks what is left: the acknowledged state or the one being made, whole, and nothing besides.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import path from 'node:path';
import { silentLog } from '../../src/base/log.ts';
import { openFileBlobStore } from '../../src/blob/files.ts';
import { openLmdbKv } from '../../src/kv/lmdb.ts';
import { openBackend } from '../../src/store/sealing/backend.ts';
import { type OpenedObjectStore, openObjectStore } from '../../src/store/object-store.ts';
import { type ListVersionsPage, StoreError } from '../../src/store/types.ts';
import { ExpectedStates, type ObjectState, stateOf } from './expected-state.ts';
import { findLeftovers } from './orphans.ts';
import { stepBucket, stepBytes, stepKms, stepOperations } from './step-child.ts';

const stepsMax = 800;

/** The name under which the versions of a key are expected and found. */
const versionsOf = (key: string): string => `versions of ${key}`;

function stateOfVersions(labels: readonly string[]): ObjectState {
  return stateOf(Buffer.from(labels.join(' ')), labels.join(' '), { etag: '' });
}

/** What the child said it did, as expectations. Parts make ETags of their own, so those are not compared here. */
function expectationsOf(stdout: string): ExpectedStates {
  const states = new ExpectedStates();
  for (const line of stdout.split('\n')) {
    const [word, index] = line.split(' ');
    const operation = stepOperations[Number(index)];
    if (operation === undefined || index === undefined) continue;
    const after =
      operation.after === undefined
        ? undefined
        : stateOf(
            stepBytes(operation.after.label, operation.after.sizeBytes),
            operation.after.label,
            { etag: '' },
          );
    const { key, versions } = operation;
    if (word === 'begin') states.begin(key, after);
    else states.acknowledge(key);
    if (versions === undefined) continue;
    if (word === 'begin') states.begin(versionsOf(key), stateOfVersions(versions));
    else states.acknowledge(versionsOf(key));
  }
  return states;
}

async function readStates(dir: string, keys: readonly string[]): Promise<Map<string, ObjectState>> {
  const engine = openLmdbKv(path.join(dir, 'meta'));
  const blobs = await openFileBlobStore(path.join(dir, 'blobs'));
  const kms = stepKms();
  const found = new Map<string, ObjectState>();
  try {
    const { kv } = await openBackend({ kv: engine, kms, log: silentLog });
    const store = await openObjectStore({
      kv,
      blobs,
      kms,
      log: silentLog,
      settings: { isAutoEncrypting: false },
    });
    for (const key of keys) {
      const isList = key === versionsOf('e');
      const state = isList ? readVersions(store, 'e') : readVersion(store, { key });
      found.set(key, await state);
    }
    await store.close();
  } finally {
    await blobs.close();
    await engine.close();
  }
  return found;
}

async function readVersion(
  store: OpenedObjectStore,
  ref: { readonly key: string; readonly versionId?: string },
): Promise<ObjectState> {
  try {
    const opened = await store.openObject({ bucket: stepBucket, ...ref });
    const body = await opened.read();
    const hash = createHash('md5');
    if (body instanceof Uint8Array) hash.update(body);
    else for await (const chunk of body) hash.update(chunk);
    const label = opened.info.attributes.userMetadata['label'] ?? '';
    const { sizeBytes } = opened.info;
    return { md5: hash.digest('hex'), etag: '', sizeBytes, label, encryption: '', tag: '' };
  } catch (error) {
    if (!(error instanceof StoreError) || !['NoSuchKey', 'NoSuchBucket'].includes(error.code))
      throw error;
    return undefined;
  }
}

/** The labels of all versions; a version whose bytes are not those of its label shows as damaged. */
async function readVersions(store: OpenedObjectStore, key: string): Promise<ObjectState> {
  const query = { bucket: stepBucket, prefix: key, delimiter: '', keyMarker: '' };
  let page: ListVersionsPage;
  try {
    page = await store.listVersions({ ...query, versionMarker: '', limit: 1000 });
  } catch (error) {
    if (error instanceof StoreError && error.code === 'NoSuchBucket') return undefined;
    throw error;
  }
  if (page.versions.length === 0) return undefined;
  const labels: string[] = [];
  for (const { info, isMarker } of page.versions) {
    const state = isMarker
      ? undefined
      : await readVersion(store, { key, versionId: info.versionId });
    const label = state?.label ?? '!';
    const md5 = createHash('md5').update(stepBytes(label, state?.sizeBytes ?? 0));
    const isWhole = state === undefined || md5.digest('hex') === state.md5;
    labels.push(isWhole ? label : `damaged ${label}`);
  }
  return stateOfVersions(labels);
}

/** Returns what was violated; empty when all is well. */
export async function runStepKills(options: { readonly dir: string }): Promise<string[]> {
  const violations: string[] = [];
  for (let step = 0; step < stepsMax; step += 1) {
    rmSync(options.dir, { recursive: true, force: true });
    const child = spawnSync(
      process.execPath,
      [
        '--disable-warning=ExperimentalWarning',
        path.join(import.meta.dirname, 'step-child.ts'),
        options.dir,
        String(step),
      ],
      { encoding: 'utf8' },
    );
    const isKilled = child.signal === 'SIGKILL';
    if (!isKilled && child.status !== 0)
      violations.push(`step ${step}: the child failed: ${child.stderr}`);
    const states = expectationsOf(child.stdout);
    if (existsSync(path.join(options.dir, 'meta'))) {
      const found = await readStates(options.dir, states.names());
      for (const name of states.names()) {
        const violation = states.findViolation(name, found.get(name));
        if (violation !== undefined) violations.push(`step ${step}: ${violation}`);
      }
      const leftovers = await findLeftovers(options.dir, stepKms());
      violations.push(...leftovers.map((text) => `step ${step}: ${text}`));
    }
    if (!isKilled) {
      console.log(
        `${step} durable steps, killed before and after each: ${violations.length} violations`,
      );
      return violations;
    }
  }
  return [...violations, `the sequence has more than ${stepsMax} durable steps`];
}
