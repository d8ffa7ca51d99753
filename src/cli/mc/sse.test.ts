import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { parseArguments } from './args.ts';
import type { McContext } from './context.ts';
import { Failure, formatFailure } from './failure.ts';
import { encryptionFlags } from './flags.ts';
import { parseSse } from './sse.ts';

const hex = '0123456789abcdef'.repeat(4);

async function rules(argv: readonly string[], targets: readonly string[]) {
  const { flags } = parseArguments(argv, encryptionFlags, { env: {} });
  const aliases = { find: async (name: string) => (name === 's' ? {} : undefined) };
  // Only these two members are read.
  return parseSse({ flags, aliases } as unknown as McContext, targets);
}

describe('--enc-s3, --enc-kms and --enc-c', () => {
  it('gives each object the headers of its longest prefix', async () => {
    const sse = await rules(
      ['--enc-s3', 's/a', '--enc-kms', 's/k=key-1', '--enc-c', `s/c=${hex}`],
      ['s/a/x', 's/k', 's/c/y'],
    );
    assert.deepEqual(sse.forWrite('s/a/x'), { 'x-amz-server-side-encryption': 'AES256' });
    assert.deepEqual(sse.forPart('s/a/x'), {});
    assert.deepEqual(sse.forRead('s/a/x'), {});
    assert.equal(sse.forWrite('s/k/x')['x-amz-server-side-encryption-aws-kms-key-id'], 'key-1');
    assert.deepEqual(sse.forWrite('s/other'), {});
    assert.deepEqual(Object.keys(sse.forCopySource('s/c/y')), [
      'x-amz-copy-source-server-side-encryption-customer-algorithm',
      'x-amz-copy-source-server-side-encryption-customer-key',
      'x-amz-copy-source-server-side-encryption-customer-key-md5',
    ]);
  });

  it('derives the key headers of SSE-C from raw base64 too', async () => {
    const raw = Buffer.from('01234567890123456789012345678900');
    const sse = await rules(['--enc-c', `s=${raw.toString('base64').slice(0, 43)}`], ['s/b/o']);
    assert.deepEqual(Object.values(sse.forRead('s/b/o')), [
      'AES256',
      'MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDA=',
      'e4IDL0Ua653T1KIokBEAuw==',
    ]);
  });

  for (const [argv, line] of [
    [['--enc-kms', 's/a='], 'SSE Error. SSE key is missing.'],
    [['--enc-kms', 's/a=a:b'], 'SSE Error. SSE key format error. Key (a:b) is badly formatted.'],
    [['--enc-s3', 's/z'], 'SSE Error. SSE prefixes do not match any object paths.'],
    [['--enc-s3', 'q/a'], 'SSE Error. SSE prefixes do not match any object paths.'],
    [['--enc-s3', 's/a', '--enc-kms', 's/a/b=k'], 'SSE Error. SSE prefix s/a overlaps with s/a/b.'],
    [
      ['--encrypt', 's/a'],
      "a deprecated Flag: '--encrypt' has been deprecated, please use --enc-s3 or --enc-kms instead.",
    ],
  ] as const) {
    it(`refuses ${argv.join(' ')}`, async () => {
      await assert.rejects(
        rules(argv, ['s/a/x', 's/a/b']),
        (error) => error instanceof Failure && formatFailure(error) === line,
      );
    });
  }

  it('does not repeat a key that is refused', async () => {
    await assert.rejects(
      rules(['--enc-c', 's/a=dGhpcyBpcyBhIHNlY3JldA'], ['s/a/x']),
      (error) =>
        error instanceof Failure &&
        formatFailure(error).includes('should be 32 bytes') &&
        !formatFailure(error).includes('dGhpcyBpcyBhIHNlY3JldA'),
    );
  });
});
