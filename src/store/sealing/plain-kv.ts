// A `Kv` whose values are not sealed: `00 | value`. It depends on the directory staying so: every commit checks
// the format entry, and a sealed value is recognised, so that from the moment another process begins to seal the
// directory, nothing plain is written into it any more.

import {
  type Kv,
  type KvCheck,
  type KvCommit,
  type KvEntry,
  KvError,
  type KvRange,
} from '../kv.ts';

/** First byte of a plain value. */
export const plainMark = 0x00;

const mark = Buffer.from([plainMark]);

export class PlainKv implements Kv {
  readonly #kv: Kv;
  readonly #formatCheck: KvCheck;

  /** `formatCheck` holds as long as the directory is not sealed. */
  constructor(kv: Kv, formatCheck: KvCheck) {
    this.#kv = kv;
    this.#formatCheck = formatCheck;
  }

  async get(entryKey: Uint8Array): Promise<KvEntry | undefined> {
    const entry = await this.#kv.get(entryKey);
    return entry && unmarked(entry);
  }

  async getMany(entryKeys: readonly Uint8Array[]): Promise<(KvEntry | undefined)[]> {
    const entries = await this.#kv.getMany(entryKeys);
    return entries.map((entry) => entry && unmarked(entry));
  }

  async list(range: KvRange): Promise<KvEntry[]> {
    return (await this.#kv.list(range)).map(unmarked);
  }

  async commit(commit: KvCommit): Promise<'committed' | 'conflict'> {
    const outcome = await this.#kv.commit({
      ...commit,
      checks: [this.#formatCheck, ...(commit.checks ?? [])],
      puts: (commit.puts ?? []).map(({ entryKey, value }) => ({
        entryKey,
        value: Buffer.concat([mark, value]),
      })),
    });
    if (outcome === 'conflict') await this.#assertStillPlain();
    return outcome;
  }

  close(): Promise<void> {
    return this.#kv.close();
  }

  async #assertStillPlain(): Promise<void> {
    const entry = await this.#kv.get(this.#formatCheck.entryKey);
    if ((entry?.version ?? 'absent') !== this.#formatCheck.version) throw wasSealed();
  }
}

function unmarked({ entryKey, value, version }: KvEntry): KvEntry {
  if (value[0] === plainMark) return { entryKey, value: value.subarray(1), version };
  if (value[0] === undefined) throw new KvError('corrupt', 'an entry of the metadata is empty');
  throw wasSealed();
}

function wasSealed(): KvError {
  return new KvError(
    'unavailable',
    'the data directory has been sealed by a process with a key service; restart this process with its configuration',
  );
}
