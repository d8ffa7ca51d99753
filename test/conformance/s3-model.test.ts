// Random requests of concurrent clients on a durable store, in every encryption mode, with versions, tags, changes of
// key, defaults and versioning, and restarts in between: what the store lists and reads is what a slow reference of
// plain maps says. COFFER_MODEL_SEED repeats a run, COFFER_MODEL_ROUNDS makes it longer.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { type KnownBucket, type KnownVersion, RandomClient } from '../support/random-clients.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { VersionModel } from '../support/version-model.ts';
import {
  defaultDocument,
  defaultModes,
  type Mode,
  requestedModes,
  settledMode,
} from './matrix-modes.ts';
import { MatrixReader } from './matrix-reads.ts';
import { bodyOf, MatrixWriter, type Written } from './matrix-writes.ts';
import { type Harness, otherKeyName, startHarness, textsOf, xmlOf } from './s3-harness.ts';

const seed = Number(process.env['COFFER_MODEL_SEED'] ?? Date.now() % 1_000_000);
const rounds = Number(process.env['COFFER_MODEL_ROUNDS'] ?? 8);
const clientCount = 4;
const stepsPerRound = 10;

const plain = requestedModes[0] as Mode; // the list is not empty
const defaults = [plain, ...defaultModes.filter(({ prefix }) => prefix === undefined)];
const shared = 'shared';

class ModelRun {
  readonly #dir: string;
  readonly #random = seededRandom(seed);
  readonly #buckets: KnownBucket[] = ['model-a', 'model-b'].map((name) => ({
    name,
    model: new VersionModel<KnownVersion>(),
    default: plain,
  }));
  readonly counts = new Map<string, number>();
  comparisons = 0;
  #at!: Harness; // set by `start`, before anything else
  #writer!: MatrixWriter; // likewise

  constructor(dir: string) {
    this.#dir = dir;
  }

  async start(): Promise<void> {
    this.#at = await startHarness({ dir: this.#dir, dsseKeyName: otherKeyName });
    this.#writer = new MatrixWriter(this.#at);
  }

  async createBuckets(): Promise<void> {
    for (const { name } of this.#buckets) await this.#at.send('PUT', `/${name}`);
  }

  async stop(): Promise<void> {
    await this.#at.close();
  }

  async round(): Promise<void> {
    await this.#changeSomething();
    const context = {
      at: this.#at,
      writer: this.#writer,
      buckets: this.#buckets,
      random: this.#random,
      counts: this.counts,
    };
    const clients = Array.from({ length: clientCount }, (_, id) => new RandomClient(context, id));
    await Promise.all(clients.map((client) => client.run(stepsPerRound)));
    for (const bucket of this.#buckets) await this.#contend(bucket);
    for (const bucket of this.#buckets) await this.#check(bucket);
  }

  #pick<Item>(items: readonly Item[]): Item {
    // The number is below the length, and no list here is empty.
    return items[Math.floor(this.#random() * items.length)] as Item;
  }

  /** What concerns a whole bucket, or the process, happens between the rounds. */
  async #changeSomething(): Promise<void> {
    const bucket = this.#pick(this.#buckets);
    const change = this.#random();
    if (change < 0.3) {
      await this.stop();
      await this.start();
      this.#count('restart');
    } else if (change < 0.6) {
      const status = this.#random() < 0.6 ? 'Enabled' : 'Suspended';
      const body = `<VersioningConfiguration><Status>${status}</Status></VersioningConfiguration>`;
      assert.equal(await this.#at.outcome('PUT', `/${bucket.name}?versioning`, { body }), '200');
      bucket.model.versioning = status;
      this.#count(status);
    } else {
      const mode = this.#pick(defaults);
      const target = `/${bucket.name}?encryption`;
      const outcome =
        mode === plain
          ? await this.#at.outcome('DELETE', target)
          : await this.#at.outcome('PUT', target, { body: defaultDocument(mode) });
      assert.match(outcome, /^20[04]$/);
      bucket.default = mode;
      this.#count('default');
    }
  }

  #count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  /** All clients write one name at once: one wins, and where there are versions all are there. */
  async #contend(bucket: KnownBucket): Promise<void> {
    const mode = settledMode(this.#pick(requestedModes), bucket.default);
    const target = `/${bucket.name}/${shared}`;
    const written = await Promise.all(
      Array.from({ length: clientCount }, () => this.#writer.put(target, mode, bodyOf(100))),
    );
    const winner = (await this.#at.send('HEAD', target, { headers: mode.read })).headers;
    const { model } = bucket;
    const ordered =
      model.versioning === 'Enabled'
        ? await this.#inOrder(bucket, written)
        : written.filter(({ label }) => label === winner['x-amz-meta-label']);
    assert.equal(ordered.length, model.versioning === 'Enabled' ? clientCount : 1);
    for (const one of ordered) {
      model.add(shared, { ...one, id: one.versionId, isMarker: false, tagging: '' });
    }
  }

  /** The oldest first, as the store lists them. */
  async #inOrder(bucket: KnownBucket, written: readonly Written[]): Promise<Written[]> {
    const listed = await this.#at.send('GET', `/${bucket.name}?versions&prefix=${shared}`);
    const ids = textsOf(xmlOf(listed), 'VersionId').toReversed();
    return ids.flatMap((id) => written.filter(({ versionId }) => versionId === id));
  }

  async #check({ name, model }: KnownBucket): Promise<void> {
    const reader = new MatrixReader(this.#at);
    const listed = xmlOf(await this.#at.send('GET', `/${name}?versions`));
    const names = model.names().toSorted();
    const all = names.flatMap((key) => model.versions(key).map((version) => ({ key, version })));
    assert.deepEqual(
      textsOf(listed, 'VersionId'),
      all.map(({ version }) => version.id),
    );
    assert.deepEqual(
      textsOf(listed, 'Key'),
      all.map(({ key }) => key),
    );
    const current = xmlOf(await this.#at.send('GET', `/${name}?list-type=2`));
    const shown = names.flatMap((key) => model.current(key) ?? []);
    assert.deepEqual(
      textsOf(current, 'ETag'),
      shown.map(({ etag }) => `"${etag}"`),
    );
    assert.deepEqual(
      textsOf(current, 'Size'),
      shown.map(({ bytes }) => String(bytes.length)),
    );
    for (const { key, version } of all) {
      if (version.isMarker) continue;
      const isCurrent = model.current(key) === version;
      // Old versions are many; each is looked at now and then.
      if (!isCurrent && this.#random() > 0.3) continue;
      const isVersioned = model.versioning !== undefined;
      const shownId = isVersioned ? version.id : undefined;
      const suffix = isCurrent ? {} : { suffix: `versionId=${version.id}` };
      const target = `/${name}/${key}`;
      await reader.check(target, version, { ...suffix, shownId });
      const tags = await this.#at.send('GET', `${target}?tagging&versionId=${version.id}`);
      assert.equal(textsOf(xmlOf(tags), 'Value')[0] ?? '', version.tagging);
    }
    this.comparisons += reader.comparisons;
  }
}

void test(`random requests of ${clientCount} clients, ${rounds} rounds, seed ${seed}`, async () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'coffer-model-'));
  const run = new ModelRun(dir);
  try {
    await run.start();
    await run.createBuckets();
    for (let round = 0; round < rounds; round += 1) await run.round();
    await run.stop();
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  const done = [...run.counts].map(([what, count]) => `${what} ${count}`).join(', ');
  console.log(`seed ${seed}: ${done}; ${run.comparisons} answers compared`);
});
