import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { McError } from './error.ts';
import { Failure, formatFailure } from './failure.ts';
import { formatJson } from './output.ts';

const cause = (text: string) => new McError('server', text);

describe('formatFailure', () => {
  for (const [message, reason, isFatal, line] of [
    ['Unable to x', 'Cause', true, 'Unable to x. Cause.'],
    ['Unable to x', 'cause', true, 'Unable to x: cause.'],
    ['Unable to x.', 'cause', true, 'Unable to x. cause.'],
    ['Unable to x.', 'Cause.', true, 'Unable to x. Cause.'],
    ['Unable to x.', 'Cause', false, 'Unable to x. Cause'],
    ['Unable to x', 'Cause', false, 'Unable to x Cause'],
    ['Whole sentence.', '', true, 'Whole sentence. '],
    ['', 'Cause', false, 'Cause'],
  ] as const) {
    it(`joins "${message}" and "${reason}"${isFatal ? '' : ' of an item'}`, () => {
      const failure = new Failure(message, reason === '' ? undefined : cause(reason), { isFatal });
      assert.equal(formatFailure(failure), line);
    });
  }
});

describe('formatJson', () => {
  it('escapes what HTML would take as markup', () => {
    assert.equal(formatJson({ a: '<b>&\u2028' }), '{"a":"\\u003cb\\u003e\\u0026\\u2028"}');
  });
});
