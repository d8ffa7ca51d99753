// Random requests of several clients at once, and a slow reference of what they leave: plain maps and whole
// buffers. Each client has names of its own, so that the reference knows the order of what happens to one; what
// several do to one name at once is checked by itself.

import assert from 'node:assert/strict';
import {
  type Mode,
  requestedModes,
  settledMode,
  updatedMode,
  updateDocument,
  updatedModes,
} from '../conformance/matrix-modes.ts';
import { bodyOf, MatrixWriter, type Source, type Written } from '../conformance/matrix-writes.ts';
import type { Harness } from '../conformance/s3-harness.ts';
import { VersionModel } from './version-model.ts';

export type KnownVersion = Written & {
  readonly id: string;
  readonly isMarker: boolean;
  tagging: string;
};

/** One bucket: what it holds, and the default that its writes get. */
export type KnownBucket = {
  readonly name: string;
  readonly model: VersionModel<KnownVersion>;
  /** The row of the matrix whose default the bucket has; `plain` for none. */
  default: Mode;
};

const sizes = [0, 1, 300, 65_535, 65_536, 65_537, 131_072, 200_000];

export type ClientContext = {
  readonly at: Harness;
  readonly writer: MatrixWriter;
  readonly buckets: readonly KnownBucket[];
  readonly random: () => number;
  /** Counts what was done, by kind. */
  readonly counts: Map<string, number>;
};

type Step = (client: RandomClient, bucket: KnownBucket, name: string) => Promise<void>;

export class RandomClient {
  readonly #context: ClientContext;
  readonly names: readonly string[];

  constructor(context: ClientContext, id: number) {
    this.#context = context;
    this.names = [1, 2, 3].map((number) => `client-${id}/name-${number}`);
  }

  /** So many random requests, one after the other. */
  async run(count: number): Promise<void> {
    for (let done = 0; done < count; done += 1) {
      const [name, step] = this.#pick(steps);
      this.#context.counts.set(name, (this.#context.counts.get(name) ?? 0) + 1);
      await step(this, this.#pick(this.#context.buckets), this.#pick(this.names));
    }
  }

  async write(bucket: KnownBucket, name: string): Promise<void> {
    const { writer } = this.#context;
    const mode = this.#settled(bucket);
    const how = this.#pick(['put', 'put', 'form', 'multipart 1'] as const);
    const target = `/${bucket.name}/${name}`;
    this.#add(bucket, name, await writer.write(how, target, mode, this.#pick(sizes)), '');
  }

  /** From any name of the client, any version of it, to any other. */
  async copy(bucket: KnownBucket, name: string): Promise<void> {
    const { writer, buckets } = this.#context;
    const from = this.#pick(buckets);
    const fromName = this.#pick(this.names);
    const version = this.#pickVersion(from, fromName);
    if (version === undefined || version.isMarker) return;
    const query = from.model.versioning === undefined ? '' : `?versionId=${version.id}`;
    const source = sourceOf(`/${from.name}/${fromName}${query}`, version);
    const more = this.#context.random() < 0.5 || from === bucket ? writer.newLabel() : {};
    const target = `/${bucket.name}/${name}`;
    const written = await writer.copyObject(target, this.#settled(bucket), source, more);
    this.#addCopy(bucket, name, written, version);
  }

  /** A copy onto itself: another mode, another key. */
  async changeKey(bucket: KnownBucket, name: string): Promise<void> {
    const { writer } = this.#context;
    const version = bucket.model.current(name);
    if (version === undefined) return;
    const target = `/${bucket.name}/${name}`;
    const source = sourceOf(target, version);
    const mode = this.#settled(bucket);
    const written = await writer.copyObject(target, mode, source, writer.newLabel());
    this.#addCopy(bucket, name, written, version);
  }

  async updateEncryption(bucket: KnownBucket, name: string): Promise<void> {
    const version = this.#pickVersion(bucket, name);
    if (version === undefined || version.isMarker) return;
    const { method } = version.mode.shown;
    const isPlain = Object.keys(version.mode.shown).length === 0;
    if (!isPlain && method !== 'AES256' && method !== 'aws:kms') return;
    const to = this.#pick(updatedModes);
    const query = bucket.model.versioning === undefined ? '' : `&versionId=${version.id}`;
    const target = `/${bucket.name}/${name}?encryption${query}`;
    const { at } = this.#context;
    assert.equal(await at.outcome('PUT', target, { body: updateDocument(to) }), '200', target);
    bucket.model.change(name, version.id, { ...version, mode: updatedMode(version.mode, to) });
  }

  async remove(bucket: KnownBucket, name: string): Promise<void> {
    const { model } = bucket;
    const answer = await this.#context.at.send('DELETE', `/${bucket.name}/${name}`);
    assert.equal(answer.status, 204, answer.body.toString());
    if (model.versioning === undefined) return model.remove(name, 'null');
    assert.equal(answer.headers['x-amz-delete-marker'], 'true');
    model.add(name, markerOf(String(answer.headers['x-amz-version-id'])));
  }

  async removeVersion(bucket: KnownBucket, name: string): Promise<void> {
    const version = this.#pickVersion(bucket, name);
    if (version === undefined) return;
    const target = `/${bucket.name}/${name}?versionId=${version.id}`;
    assert.equal(await this.#context.at.outcome('DELETE', target), '204', target);
    bucket.model.remove(name, version.id);
  }

  async tag(bucket: KnownBucket, name: string): Promise<void> {
    const version = this.#pickVersion(bucket, name);
    if (version === undefined || version.isMarker) return;
    const query = bucket.model.versioning === undefined ? '' : `&versionId=${version.id}`;
    const target = `/${bucket.name}/${name}?tagging${query}`;
    const { at, random } = this.#context;
    if (random() < 0.3) {
      assert.equal(await at.outcome('DELETE', target), '204', target);
      version.tagging = '';
      return;
    }
    const value = String(Math.floor(random() * 1e6));
    const body = `<Tagging><TagSet><Tag><Key>tag</Key><Value>${value}</Value></Tag></TagSet></Tagging>`;
    assert.equal(await at.outcome('PUT', target, { body }), '200', target);
    version.tagging = value;
  }

  /** `If-None-Match: *` writes where there is nothing, and nowhere else. */
  async create(bucket: KnownBucket, name: string): Promise<void> {
    if (bucket.model.current(name) !== undefined) {
      const condition = { headers: { 'if-none-match': '*' }, body: 'x' };
      const outcome = await this.#context.at.outcome('PUT', `/${bucket.name}/${name}`, condition);
      assert.equal(outcome, '412 PreconditionFailed');
      return;
    }
    await this.write(bucket, name);
  }

  /** An upload that is given up leaves nothing. */
  async abort(bucket: KnownBucket, name: string): Promise<void> {
    const { at } = this.#context;
    const target = `/${bucket.name}/${name}`;
    const created = await at.send('POST', `${target}?uploads`);
    const uploadId = /<UploadId>([^<]+)/.exec(created.body.toString())?.[1] ?? '';
    const part = { body: bodyOf(70_000) };
    assert.equal(
      await at.outcome('PUT', `${target}?partNumber=1&uploadId=${uploadId}`, part),
      '200',
    );
    assert.equal(await at.outcome('DELETE', `${target}?uploadId=${uploadId}`), '204');
  }

  #settled(bucket: KnownBucket): Mode {
    return settledMode(this.#pick(requestedModes), bucket.default);
  }

  #add(bucket: KnownBucket, name: string, written: Written, tagging: string): void {
    bucket.model.add(name, { ...written, id: written.versionId, isMarker: false, tagging });
  }

  /** A copy keeps the tags; one in place keeps the parts too. */
  #addCopy(bucket: KnownBucket, name: string, written: Written, from: KnownVersion): void {
    const isInParts = written.etag.includes('-');
    const parts = isInParts ? from.parts : undefined;
    this.#add(bucket, name, { ...written, parts }, from.tagging);
  }

  #pickVersion({ model }: KnownBucket, name: string): KnownVersion | undefined {
    const versions = model.versions(name);
    return versions.length === 0 ? undefined : this.#pick(versions);
  }

  #pick<Item>(items: readonly Item[]): Item {
    // The number is below the length, and no list here is empty.
    return items[Math.floor(this.#context.random() * items.length)] as Item;
  }
}

function sourceOf(name: string, { bytes, label, mode }: KnownVersion): Source {
  return { name, bytes, label, headers: mode.source };
}

export function markerOf(id: string): KnownVersion {
  return {
    bytes: Buffer.alloc(0),
    parts: undefined,
    etag: '',
    label: '',
    versionId: id,
    mode: requestedModes[0] as Mode, // the list is not empty
    id,
    isMarker: true,
    tagging: '',
  };
}

const steps: readonly (readonly [string, Step])[] = [
  ['write', (client, bucket, name) => client.write(bucket, name)],
  ['write', (client, bucket, name) => client.write(bucket, name)],
  ['write', (client, bucket, name) => client.write(bucket, name)],
  ['copy', (client, bucket, name) => client.copy(bucket, name)],
  ['copy', (client, bucket, name) => client.copy(bucket, name)],
  ['change key', (client, bucket, name) => client.changeKey(bucket, name)],
  ['update encryption', (client, bucket, name) => client.updateEncryption(bucket, name)],
  ['delete', (client, bucket, name) => client.remove(bucket, name)],
  ['delete version', (client, bucket, name) => client.removeVersion(bucket, name)],
  ['tag', (client, bucket, name) => client.tag(bucket, name)],
  ['create', (client, bucket, name) => client.create(bucket, name)],
  ['abort', (client, bucket, name) => client.abort(bucket, name)],
];
