// The canonical JSON of a context, byte for byte, and the paths that go into it.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { hex, readVectors } from '../../test/support/vectors.ts';
import { encodeContext, encodeContextBytes, objectContext, objectPath } from './context.ts';
import type { KmsContext } from './kms.ts';

type ContextVector = { context: KmsContext; json: string; json_hex?: string };
const vectors = readVectors('sse-kms-context.json') as {
  upstream: ContextVector[];
  derived: ContextVector[];
  derived_invalid_utf8: { key: string; value_hex: string; json: string }[];
};
const staticKey = readVectors('sse-kms-static-key.json') as {
  derived_binary: { context: KmsContext; associated_data: string }[];
};

function entriesOf(context: KmsContext): [Buffer, Buffer][] {
  return Object.entries(context).map(([name, value]) => [Buffer.from(name), Buffer.from(value)]);
}

void describe('the canonical JSON of a context', () => {
  void it('is that of other implementations, from text and from bytes', () => {
    for (const { context, json, json_hex } of [...vectors.upstream, ...vectors.derived]) {
      assert.equal(encodeContext(context).toString(), json);
      assert.equal(encodeContextBytes(entriesOf(context)).toString(), json);
      if (json_hex) assert.equal(encodeContext(context).toString('hex'), json_hex);
    }
    for (const { context, associated_data } of staticKey.derived_binary) {
      assert.equal(encodeContext(context).toString(), associated_data);
    }
  });

  void it('replaces each byte that is not UTF-8', () => {
    const bad = (bytes: string) =>
      encodeContextBytes([[Buffer.from('k'), hex(bytes)]])
        .toString()
        .slice('{"k":"'.length, -'"}'.length);
    for (const vector of vectors.derived_invalid_utf8) {
      const entry: [Buffer, Buffer] = [Buffer.from(vector.key), hex(vector.value_hex)];
      assert.equal(encodeContextBytes([entry]).toString(), vector.json);
    }
    const mark = String.raw`\ufffd`;
    for (const [bytes, text] of [
      ['ff', mark],
      ['c0af', mark + mark],
      ['e28261', `${mark}${mark}a`],
      ['e2', mark],
      ['f0808080', mark.repeat(4)],
      ['f4908080', mark.repeat(4)],
      ['f5808080', mark.repeat(4)],
      ['eda080', mark.repeat(3)],
      ['e08080', mark.repeat(3)],
      ['efbfbd', '\ufffd'],
      ['c3a9', 'é'],
      ['f09f9880', '😀'],
      ['e282ac80', `€${mark}`],
      ['ed9fbf', '\ud7ff'],
    ] as const) {
      assert.equal(bad(bytes), text, bytes);
    }
    assert.equal(encodeContext({ k: 'a\ud800b' }).toString(), `{"k":"a${mark}b"}`);
  });

  void it('is JSON of the same entries, sorted, whatever they are', () => {
    const text = fc.string({ unit: 'binary' });
    fc.assert(
      fc.property(fc.dictionary(text, text), (context) => {
        const encoded = encodeContext(context);
        assert.deepEqual(JSON.parse(encoded.toString()), { ...context });
        assert(encodeContextBytes(entriesOf(context)).equals(encoded));
        const reversed = Object.fromEntries(Object.entries(context).reverse());
        assert(encodeContext(reversed).equals(encoded));
      }),
    );
  });
});

void describe('the path of an object', () => {
  void it('is lexically clean', () => {
    for (const [bucket, key, path] of [
      ['bucket', 'object', 'bucket/object'],
      ['b', 'dir/', 'b/dir'],
      ['b', 'a//b', 'b/a/b'],
      ['b', '', 'b'],
      ['b', '/', 'b'],
      ['b', './a/./b', 'b/a/b'],
      ['b', 'x/../y', 'b/y'],
      ['b', '../../c', '../c'],
      ['b', '...', 'b/...'],
      ['b', 'a/..', 'b'],
      ['b', 'ünï/😀', 'b/ünï/😀'],
    ] as const) {
      assert.equal(objectPath(bucket, key), path);
    }
    assert.deepEqual(objectContext('b', 'dir/'), { b: 'b/dir' });
  });
});
