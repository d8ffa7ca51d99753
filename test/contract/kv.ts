// The contract of every `Kv` engine, as tests: what `src/store/kv.ts` promises and nothing else.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { entryKeyBytesMax, type Kv, valueBytesMax } from '../../src/store/kv.ts';

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');

/** Declares the suite. `open` gives a fresh, empty store; `shared` opens the same store a second time. */
export function testKv(
  name: string,
  open: () => Promise<Kv>,
  reopen?: (kv: Kv) => Promise<Kv>,
): void {
  const withKv = (title: string, run: (kv: Kv) => Promise<void>): void => {
    void test(`${name}: ${title}`, async () => {
      const kv = await open();
      try {
        await run(kv);
      } finally {
        await kv.close();
      }
    });
  };

  withKv('gives back what was committed, byte for byte', async (kv) => {
    const entryKey = bytes('a\x00\xff');
    const values = [0, 1, 100, 4096, 40_000, 1_000_000].map((size) => randomBytes(size));
    for (const value of values) {
      assert.equal(await kv.commit({ puts: [{ entryKey, value }] }), 'committed');
      const entry = await kv.get(entryKey);
      assert.deepEqual(Buffer.from(entry?.value ?? ''), value);
      assert.deepEqual(Buffer.from(entry?.entryKey ?? ''), entryKey);
    }
  });

  withKv('stores the largest value', async (kv) => {
    const value = randomBytes(valueBytesMax - 64);
    await kv.commit({ puts: [{ entryKey: bytes('big'), value }] });
    const entry = await kv.get(bytes('big'));
    assert.ok(value.equals(entry?.value ?? Buffer.alloc(0)));
  });

  withKv('answers undefined for an absent entry', async (kv) => {
    assert.equal(await kv.get(bytes('nothing')), undefined);
    await kv.commit({ puts: [{ entryKey: bytes('b'), value: bytes('2') }] });
    const found = await kv.getMany([bytes('a'), bytes('b'), bytes('c')]);
    assert.deepEqual(
      found.map((entry) => entry && Buffer.from(entry.value).toString()),
      [undefined, '2', undefined],
    );
  });

  withKv(
    'knows that nothing has a name longer than the longest, and takes any bound',
    async (kv) => {
      const long = Buffer.alloc(entryKeyBytesMax, 'm');
      await kv.commit({ puts: [{ entryKey: long, value: bytes('long') }] });
      await kv.commit({ puts: [{ entryKey: bytes('n'), value: bytes('n') }] });
      const beyond = Buffer.alloc(5000, 'm');
      assert.equal(await kv.get(beyond), undefined);
      assert.equal(await kv.get(Buffer.alloc(0)), undefined);
      const names = async (start: Buffer, end: Buffer): Promise<number[]> =>
        (await kv.list({ start, end, limit: 10 })).map((entry) => entry.entryKey.length);
      assert.deepEqual(await names(bytes('a'), beyond), [entryKeyBytesMax]);
      assert.deepEqual(await names(beyond, bytes('z')), [1]);
      const down = await kv.list({ start: bytes('a'), end: beyond, limit: 10, isReverse: true });
      assert.equal(down.length, 1);
    },
  );

  withKv('keeps values apart from the buffers of the caller', async (kv) => {
    const value = bytes('value');
    await kv.commit({ puts: [{ entryKey: bytes('a'), value }] });
    value.fill(0);
    const first = await kv.get(bytes('a'));
    assert.equal(Buffer.from(first?.value ?? '').toString(), 'value');
    first?.value.fill(1);
    await kv.commit({ puts: [{ entryKey: bytes('b'), value: bytes('other') }] });
    const second = await kv.get(bytes('a'));
    assert.equal(Buffer.from(second?.value ?? '').toString(), 'value');
  });

  withKv('changes the version with every write, also after a deletion', async (kv) => {
    const entryKey = bytes('a');
    const seen = new Set<number>();
    for (let round = 0; round < 20; round += 1) {
      await kv.commit({ puts: [{ entryKey, value: bytes('same') }] });
      seen.add((await kv.get(entryKey))?.version ?? -1);
      await kv.commit({ deletes: [entryKey] });
    }
    assert.equal(seen.size, 20);
  });

  withKv('commits only when every check holds', async (kv) => {
    await kv.commit({ puts: [{ entryKey: bytes('a'), value: bytes('1') }] });
    await kv.commit({ puts: [{ entryKey: bytes('b'), value: bytes('1') }] });
    const [a, b] = await kv.getMany([bytes('a'), bytes('b')]);
    assert.ok(a && b);
    const checkA = { entryKey: bytes('a'), version: a.version };
    const checkB = { entryKey: bytes('b'), version: b.version };
    const absent = (key: string) => ({ entryKey: bytes(key), version: 'absent' as const });
    const wrongA = { entryKey: bytes('a'), version: a.version + 1 };
    const refused = [
      [wrongA, checkB],
      [checkB, wrongA],
      [absent('a')],
      [wrongA, absent('x')],
      [absent('x'), wrongA],
      [wrongA, absent('x'), checkB],
      [wrongA, absent('x'), absent('y'), checkB],
      [absent('x'), absent('a'), absent('y')],
      [{ entryKey: bytes('missing'), version: a.version }],
      [checkA, { entryKey: bytes('missing'), version: a.version }, absent('x')],
    ];
    for (const checks of refused) {
      const change = {
        checks,
        puts: [{ entryKey: bytes('c'), value: bytes('1') }],
        deletes: [bytes('b')],
      };
      assert.equal(await kv.commit(change), 'conflict');
      assert.equal(await kv.get(bytes('c')), undefined);
      assert.ok(await kv.get(bytes('b')));
    }
    const good = {
      checks: [checkA, checkB, absent('x')],
      puts: [{ entryKey: bytes('c'), value: bytes('1') }],
      deletes: [bytes('b'), bytes('never')],
    };
    assert.equal(await kv.commit(good), 'committed');
    assert.ok(await kv.get(bytes('c')));
    assert.equal(await kv.get(bytes('b')), undefined);
    assert.equal(await kv.commit(good), 'conflict');
  });

  withKv('takes a commit with hundreds of checks', async (kv) => {
    const keys = Array.from({ length: 300 }, (_, index) => bytes(`k${index}`));
    await kv.commit({ puts: keys.map((entryKey) => ({ entryKey, value: bytes('v') })) });
    const entries = await kv.getMany(keys);
    const checks = entries.map((entry, index) => ({
      entryKey: keys[index] ?? bytes(''),
      version: entry?.version ?? 0,
    }));
    const puts = [{ entryKey: bytes('done'), value: bytes('1') }];
    assert.equal(await kv.commit({ checks, puts, deletes: keys }), 'committed');
    assert.equal(await kv.commit({ checks, puts }), 'conflict');
    assert.equal((await kv.list({ start: bytes('k'), end: bytes('l'), limit: 10 })).length, 0);
  });

  withKv('lets exactly one of many concurrent writers win', async (kv) => {
    const entryKey = bytes('counter');
    await kv.commit({ puts: [{ entryKey, value: bytes('0') }] });
    const add = async (): Promise<void> => {
      for (;;) {
        const entry = await kv.get(entryKey);
        assert.ok(entry);
        const value = bytes(String(Number(Buffer.from(entry.value).toString()) + 1));
        const checks = [{ entryKey, version: entry.version }];
        if ((await kv.commit({ checks, puts: [{ entryKey, value }] })) === 'committed') return;
      }
    };
    await Promise.all(Array.from({ length: 20 }, add));
    assert.equal(Buffer.from((await kv.get(entryKey))?.value ?? '').toString(), '20');
    const create = () =>
      kv.commit({
        checks: [{ entryKey: bytes('new'), version: 'absent' }],
        puts: [{ entryKey: bytes('new'), value: bytes('1') }],
      });
    const outcomes = await Promise.all(Array.from({ length: 20 }, create));
    assert.equal(outcomes.filter((outcome) => outcome === 'committed').length, 1);
  });

  withKv('lists in byte order, forwards and backwards, by half-open ranges', async (kv) => {
    const keys: Buffer[] = Array.from({ length: 200 }, () =>
      randomBytes(1 + Math.floor(Math.random() * 20)),
    );
    keys.push(bytes('\x01'), bytes('\xff'), bytes('\xff\xff'), bytes('m'), bytes('m\x00'));
    const unique = [...new Map(keys.map((key) => [key.toString('hex'), key])).values()];
    await kv.commit({ puts: unique.map((entryKey) => ({ entryKey, value: entryKey })) });
    unique.sort((a, b) => Buffer.compare(a, b));
    const names = (list: readonly { readonly entryKey: Uint8Array }[]): string[] =>
      list.map((entry) => Buffer.from(entry.entryKey).toString('hex'));
    for (const [start, end] of [
      [bytes('\x00'), bytes('\xff\xff\xff')],
      [bytes('m'), bytes('\xff')],
      [Buffer.from(unique[50] ?? []), Buffer.from(unique[150] ?? [])],
      [bytes('m'), bytes('m\x00')],
      [bytes('m'), bytes('m')],
      [bytes('z'), bytes('a')],
    ] as const) {
      const expected = unique.filter(
        (key) => Buffer.compare(key, start) >= 0 && Buffer.compare(key, end) < 0,
      );
      for (const limit of [1, 7, 10_000]) {
        const forwards = await kv.list({ start, end, limit });
        assert.deepEqual(names(forwards), names(expected.slice(0, limit).map(asEntry)));
        const backwards = await kv.list({ start, end, limit, isReverse: true });
        assert.deepEqual(
          names(backwards),
          names(expected.toReversed().slice(0, limit).map(asEntry)),
        );
      }
    }
    const listed = await kv.list({ start: bytes('m'), end: bytes('m\x00'), limit: 10 });
    const single = await kv.get(bytes('m'));
    assert.equal(listed[0]?.version, single?.version);
    assert.deepEqual(Buffer.from(listed[0]?.value ?? ''), bytes('m'));
  });

  withKv('lists large values intact', async (kv) => {
    const values = Array.from({ length: 20 }, (_, index) => randomBytes(index * 9001));
    const puts = values.map((value, index) => ({ entryKey: Buffer.from([1, index]), value }));
    await kv.commit({ puts });
    const listed = await kv.list({ start: Buffer.from([1]), end: Buffer.from([2]), limit: 100 });
    await kv.list({ start: Buffer.from([1]), end: Buffer.from([2]), limit: 100 });
    assert.deepEqual(
      listed.map((entry) => Buffer.from(entry.value)),
      values,
    );
  });

  withKv('takes entry keys up to the longest', async (kv) => {
    const entryKey = Buffer.alloc(1400, 0xfe);
    await kv.commit({ puts: [{ entryKey, value: bytes('long') }] });
    assert.equal(Buffer.from((await kv.get(entryKey))?.value ?? '').toString(), 'long');
    assert.equal(await kv.get(entryKey.subarray(1)), undefined);
  });

  withKv('refuses wrong use without harming others', async (kv) => {
    const twice = [
      { entryKey: bytes('a'), value: bytes('1') },
      { entryKey: bytes('a'), value: bytes('2') },
    ];
    await assert.rejects(kv.commit({ puts: twice }));
    await assert.rejects(kv.commit({ puts: [{ entryKey: Buffer.alloc(2000), value: bytes('') }] }));
    await assert.rejects(kv.list({ start: bytes('a'), end: bytes('b'), limit: 0 }));
    assert.equal(await kv.get(bytes('a')), undefined);
  });

  if (!reopen) return;
  withKv('keeps everything across close and open', async (kv) => {
    await kv.commit({ puts: [{ entryKey: bytes('a'), value: bytes('kept') }] });
    const version = (await kv.get(bytes('a')))?.version;
    const again = await reopen(kv);
    try {
      const entry = await again.get(bytes('a'));
      assert.equal(Buffer.from(entry?.value ?? '').toString(), 'kept');
      assert.equal(entry?.version, version);
    } finally {
      await again.close();
    }
  });
}

const asEntry = (entryKey: Uint8Array): { entryKey: Uint8Array } => ({ entryKey });
