// Random sequences of writes, deletions, copies, tags and changes of the versioning state, against a slow reference
// model: the complete listing in pages, and every read. And many writers at once on one name, after which what
// they were told must be there.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compareStored } from '../../../test/crash/orphans.ts';
import {
  bytesOf,
  openTestStore,
  plainAttributes,
  put,
  type TestStore,
} from '../../../test/support/test-store.ts';
import { type ModelVersion, VersionModel } from '../../../test/support/version-model.ts';
import { StoreError, type Versioning } from '../types.ts';

// One is the beginning of another, one sorts between a name and what is below it.
const names = ['a', 'a/b', 'a0', 'é'] as const;

type Step =
  | { readonly kind: 'put' | 'upload'; readonly name: string; readonly style: number }
  | { readonly kind: 'delete' | 'relabel'; readonly name: string }
  | {
      readonly kind: 'delete-version' | 'tag' | 'hold';
      readonly name: string;
      readonly pick: number;
    }
  | { readonly kind: 'copy'; readonly name: string; readonly from: string; readonly pick: number }
  | { readonly kind: 'set'; readonly versioning: Versioning }
  | { readonly kind: 'clock'; readonly aheadMs: number };

const name = fc.constantFrom(...names);
const pick = fc.nat(6);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant('put' as const), name, style: fc.nat(2) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('upload' as const), name, style: fc.nat(1) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('delete' as const), name }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('relabel' as const), name }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('delete-version' as const), name, pick }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('tag' as const), name, pick }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('hold' as const), name, pick }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('copy' as const), name, from: name, pick }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('set' as const),
      versioning: fc.constantFrom('Enabled' as const, 'Suspended' as const),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('clock' as const),
      aheadMs: fc.integer({ min: -1e8, max: 1e8 }),
    }),
  },
);

class Run {
  readonly #at: TestStore;
  readonly #model = new VersionModel();
  #count = 0;

  constructor(at: TestStore) {
    this.#at = at;
  }

  async take(step: Step): Promise<void> {
    const { clock } = this.#at;
    switch (step.kind) {
      case 'set':
        await setVersioning(this.#at, step.versioning);
        this.#model.versioning = step.versioning;
        return;
      case 'clock':
        clock.aheadMs = step.aheadMs;
        return;
      case 'put':
        return this.#put(step.name, `${'x'.repeat(step.style * 900)}${this.#nextLabel()}`, {
          isEncrypted: step.style === 1,
          tagging: '',
        });
      case 'upload':
        return this.#upload(step.name, step.style === 1);
      case 'delete':
        return this.#delete(step.name);
      case 'delete-version':
        return this.#deleteVersion(step.name, this.#idOf(step.name, step.pick));
      case 'tag':
        return this.#tag(step.name, this.#idOf(step.name, step.pick));
      case 'hold':
        return this.#hold(step.name, this.#idOf(step.name, step.pick));
      case 'copy':
        return this.#copy(step.name, step.from, this.#idOf(step.from, step.pick));
      case 'relabel':
        return this.#relabel(step.name);
      default:
        throw new Error(`unknown step ${String(step satisfies never)}`);
    }
  }

  /** A version of the name, or an id that it does not have. */
  #idOf(name: string, pick: number): string {
    const versions = this.#model.versions(name);
    return versions[pick]?.id ?? (pick % 2 === 0 ? 'null' : 'ab'.repeat(16));
  }

  #nextLabel(): string {
    this.#count += 1;
    return String(this.#count);
  }

  async #put(
    name: string,
    body: string,
    how: { readonly isEncrypted: boolean; readonly tagging: string },
  ): Promise<void> {
    const writing = put(this.#at.store, name, Buffer.from(body), {
      encryption: { kind: how.isEncrypted ? 'sse-s3' : 'default' },
      attributes: { ...plainAttributes, tagging: how.tagging },
    });
    if (await this.#isRefused(writing, this.#model.replaced(name))) return;
    const { versionId: id } = await writing;
    assert.equal(id === 'null', this.#model.versioning !== 'Enabled');
    this.#model.add(name, { id, isMarker: false, body, tagging: how.tagging });
  }

  async #upload(key: string, isEncrypted: boolean): Promise<void> {
    const { store } = this.#at;
    const body = this.#nextLabel();
    const encryption = { kind: isEncrypted ? 'sse-s3' : 'default' } as const;
    const place = { bucket: 'bucket', key };
    const input = { ...place, attributes: plainAttributes, encryption, owner: 'o' } as const;
    const { uploadId } = await store.createUpload(input);
    const bytes = Buffer.from(body);
    const ref = { ...place, uploadId };
    const part = await store.putPart({
      ...ref,
      partNumber: 1,
      body: bytes,
      sizeBytes: bytes.length,
    });
    const completing = store.completeUpload({ ...ref, parts: [{ number: 1, etag: part.etag }] });
    if (await this.#isRefused(completing, this.#model.replaced(key))) {
      return store.abortUpload(ref);
    }
    const info = await completing;
    this.#model.add(key, { id: info.versionId, isMarker: false, body, tagging: '' });
  }

  async #delete(name: string): Promise<void> {
    const deleting = this.#at.store.deleteObject({ bucket: 'bucket', key: name });
    if (await this.#isRefused(deleting, this.#model.replaced(name))) return;
    const outcome = await deleting;
    if (this.#model.versioning === undefined) {
      assert.deepEqual(outcome, { isMarker: false });
      this.#model.remove(name, 'null');
      return;
    }
    const { versionId: id = '' } = outcome;
    assert.equal(outcome.isMarker, true);
    this.#model.add(name, { id, isMarker: true, body: '', tagging: '' });
  }

  async #deleteVersion(key: string, versionId: string): Promise<void> {
    const deleting = this.#at.store.deleteObject({ bucket: 'bucket', key, versionId });
    if (await this.#isRefused(deleting, this.#model.find(key, versionId))) return;
    const outcome = await deleting;
    const isMarker = this.#model.find(key, versionId)?.isMarker ?? false;
    if (this.#model.versioning !== undefined) assert.deepEqual(outcome, { versionId, isMarker });
    this.#model.remove(key, versionId);
  }

  async #tag(key: string, versionId: string): Promise<void> {
    const tagging = `n=${this.#nextLabel()}`;
    const version = this.#model.find(key, versionId);
    const change = this.#at.store.putTagging({ bucket: 'bucket', key, versionId }, tagging);
    const code = await codeOf(change);
    assert.equal(code, this.#expectedCode(key, version, versionId));
    if (version && !version.isMarker) version.tagging = tagging;
  }

  async #hold(key: string, versionId: string): Promise<void> {
    const version = this.#model.find(key, versionId);
    const isHeld = version?.isHeld !== true;
    const change = this.#at.store.putLegalHold({ bucket: 'bucket', key, versionId }, isHeld);
    assert.equal(await codeOf(change), this.#expectedCode(key, version, versionId));
    if (version && !version.isMarker) version.isHeld = isHeld;
  }

  /** True when the version is under legal hold: then, and only then, it must stay. */
  async #isRefused(change: Promise<unknown>, version: ModelVersion | undefined): Promise<boolean> {
    const isHeld = version?.isHeld === true;
    assert.equal(await codeOf(change), isHeld ? 'ObjectLocked' : undefined);
    return isHeld;
  }

  async #copy(to: string, from: string, versionId: string): Promise<void> {
    const source = this.#model.find(from, versionId);
    if (!source || source.isMarker) return;
    const body = await this.#read(from, versionId);
    await this.#put(to, body, { isEncrypted: true, tagging: source.tagging });
  }

  /** In place without versioning; else it must be refused. */
  async #relabel(key: string): Promise<void> {
    const current = this.#model.current(key);
    if (!current) return;
    const { store } = this.#at;
    const { info } = await store.openObject({ bucket: 'bucket', key });
    const attributes = { ...info.attributes, tagging: 'relabelled=1' };
    const code = await codeOf(store.replaceAttributes({ expected: info, attributes }));
    assert.equal(code, this.#model.versioning === undefined ? undefined : 'PreconditionFailed');
    if (code === undefined) current.tagging = attributes.tagging;
  }

  #expectedCode(
    key: string,
    version: ModelVersion | undefined,
    versionId: string,
  ): string | undefined {
    if (version) return version.isMarker ? 'DeleteMarker' : undefined;
    const isPlain = this.#model.versioning === undefined && versionId === 'null';
    return isPlain && key !== '' ? 'NoSuchKey' : 'NoSuchVersion';
  }

  async #read(key: string, versionId?: string): Promise<string> {
    const ref = { bucket: 'bucket', key, ...(versionId === undefined ? {} : { versionId }) };
    const opened = await this.#at.store.openObject({ ...ref, willRead: true });
    return (await bytesOf(await opened.read())).toString();
  }

  /** The store and the model say the same. */
  async compare(limit: number): Promise<void> {
    const { store } = this.#at;
    assert.deepEqual(await listAll(this.#at, limit), this.#model.list());
    const query = { bucket: 'bucket', prefix: '', delimiter: '', after: '', limit: 1000 };
    const { objects } = await store.listObjects(query);
    const current = names.filter((name) => this.#model.current(name)).sort(byBytes);
    assert.deepEqual(
      objects.map(({ key }) => key),
      current,
    );
    for (const key of names) {
      const expected = this.#model.current(key);
      if (expected) assert.equal(await this.#read(key), expected.body);
      else assert.equal(await codeOf(this.#read(key)), 'NoSuchKey');
      for (const { id, isMarker, body } of this.#model.versions(key)) {
        if (isMarker) assert.equal(await codeOf(this.#read(key, id)), 'DeleteMarker');
        else assert.equal(await this.#read(key, id), body);
      }
    }
    const usage = await store.totals();
    const listed = this.#model.list();
    const markers = listed.filter((text) => text.startsWith('!')).length;
    assert.equal(usage.deleteMarkers, markers);
    assert.equal(usage.versions, listed.length - markers);
  }
}

function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

async function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    if (error instanceof StoreError) return error.code;
    throw error;
  }
}

async function setVersioning({ store }: TestStore, versioning: Versioning): Promise<void> {
  await store.updateBucketSettings('bucket', (settings) => ({ ...settings, versioning }));
}

async function listAll({ store }: TestStore, limit: number): Promise<string[]> {
  const found: string[] = [];
  let marker: { key: string; versionMarker: string } | undefined = { key: '', versionMarker: '' };
  while (marker) {
    const { key: keyMarker, versionMarker } = marker;
    const query = { bucket: 'bucket', prefix: '', delimiter: '', limit, keyMarker, versionMarker };
    const page = await store.listVersions(query);
    for (const { info, isLatest, isMarker } of page.versions) {
      const { key, versionId, attributes } = info;
      found.push(
        `${isMarker ? '!' : ''}${key}:${versionId}${isLatest ? '*' : ''} ${attributes.tagging}`,
      );
    }
    marker = page.next;
  }
  return found;
}

const settings = { garbageGraceMs: 0, inlineMaxBytes: 1000 };

async function assertNothingLeft(at: TestStore): Promise<void> {
  at.clock.aheadMs = 3e8;
  await at.store.sweep();
  assert.deepEqual(await compareStored(at.kv, at.blobs), []);
}

for (const engine of ['memory', 'durable'] as const) {
  void test(`any sequence leaves what the model says (${engine})`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 1, maxLength: 40 }),
        fc.integer({ min: 1, max: 7 }),
        async (steps, limit) => {
          const at = await openTestStore({ engine, settings });
          try {
            await at.store.updateBucketSettings('bucket', (before) => ({
              ...before,
              objectLock: {},
            }));
            const run = new Run(at);
            for (const each of steps) await run.take(each);
            await run.compare(limit);
            await assertNothingLeft(at);
          } finally {
            await at.close();
          }
        },
      ),
      { numRuns: engine === 'memory' ? 150 : 25 },
    );
  });

  void test(`of many writers on one name each gets what it was told (${engine})`, async () => {
    for (let round = 0; round < 3; round += 1) {
      const at = await openTestStore({ engine, settings });
      try {
        await put(at.store, 'a', Buffer.from('before'));
        await setVersioning(at, 'Enabled');
        await race(at);
      } finally {
        await at.close();
      }
    }
  });
}

/** Writers, deleters and taggers at once, while versioning is suspended and enabled again. */
async function race(at: TestStore): Promise<void> {
  const { store } = at;
  const bodies = new Map<string, string>();
  const markers = new Set<string>();
  const deleted = new Set<string>();
  const write = async (label: string): Promise<void> => {
    const info = await put(store, 'a', Buffer.from(label), {
      encryption: { kind: label.endsWith('1') ? 'sse-s3' : 'default' },
    });
    if (info.versionId !== 'null') bodies.set(info.versionId, label);
    if (label.endsWith('3')) {
      deleted.add(info.versionId);
      await store.deleteObject({ bucket: 'bucket', key: 'a', versionId: info.versionId });
    }
  };
  const hide = async (): Promise<void> => {
    const { versionId = '' } = await store.deleteObject({ bucket: 'bucket', key: 'a' });
    if (versionId !== 'null') markers.add(versionId);
  };
  const look = async (): Promise<void> => {
    for (const text of await listAll(at, 3)) assert.match(text, /^!?a:/);
    await codeOf(store.putTagging({ bucket: 'bucket', key: 'a' }, 't=1'));
  };
  const workers = Array.from({ length: 8 }, async (_, worker) => {
    for (let turn = 0; turn < 6; turn += 1) {
      await write(`${worker}-${turn}`);
      if (turn % 3 === worker % 3) await hide();
      if (worker === 0) await setVersioning(at, turn % 2 === 0 ? 'Suspended' : 'Enabled');
      if (worker === 1) await look();
    }
  });
  await Promise.all(workers);
  const listed = (await listAll(at, 5)).map((text) => text.split(' ')[0] ?? '');
  const ids = listed.map((text) => text.replace(/^!?a:/, '').replace('*', ''));
  assert.equal(new Set(ids).size, ids.length, 'every version is listed once');
  assert.deepEqual(
    listed.filter((text) => text.endsWith('*')),
    listed.slice(0, 1),
  );
  const expected = [...bodies.keys(), ...markers].filter((id) => !deleted.has(id));
  assert.deepEqual(ids.filter((id) => id !== 'null').sort(), expected.sort());
  for (const id of expected) {
    const body = bodies.get(id);
    const ref = { bucket: 'bucket', key: 'a', versionId: id };
    if (body === undefined) {
      assert.equal(await codeOf(store.openObject(ref)), 'DeleteMarker');
      continue;
    }
    const opened = await store.openObject({ ...ref, willRead: true });
    assert.equal((await bytesOf(await opened.read())).toString(), body);
  }
  await assertNothingLeft(at);
}
