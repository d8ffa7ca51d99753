// What counts as base64, and what does not.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { decodeBase64, decodeBase64Sized } from './strict-base64.ts';

void describe('strict base64', () => {
  void it('is decoded, also over several lines and with loose last bits', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        const text = Buffer.from(bytes).toString('base64');
        assert.deepEqual(decodeBase64(text), Buffer.from(bytes));
        assert.deepEqual(decodeBase64Sized(text, bytes.length), Buffer.from(bytes));
        assert.equal(decodeBase64Sized(text, bytes.length + 1), undefined);
      }),
    );
    assert.equal(decodeBase64('Zm9v\r\nYmFy\n')?.toString(), 'foobar');
    assert.equal(decodeBase64('Zh==')?.toString(), 'f');
    assert.equal(decodeBase64('')?.length, 0);
  });

  void it('is all that is decoded', () => {
    for (const text of [
      'Zg',
      'Zg=',
      'Z===',
      '====',
      'Zm9v ',
      'Zm-_',
      'Zg==Zg==',
      'Zm9v!',
      '=Zg=',
    ]) {
      assert.equal(decodeBase64(text), undefined, text);
    }
  });
});
