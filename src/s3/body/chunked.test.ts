// The decoder of aws-chunked bodies: published examples whole and byte by byte, the endings of all clients
// in use, and the refusal of every change.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { collect, readVectors } from '../../../test/support/vectors.ts';
import { AuthError, type AuthErrorCode } from '../../sigv4/errors.ts';
import { encodeSignedChunks, encodeUnsignedChunks, signRequest } from '../../sigv4/sign.ts';
import {
  type SigningContext,
  deriveSigningKey,
  formatScope,
  trailerSignature,
} from '../../sigv4/signing-key.ts';
import { parseAmzDate } from '../../sigv4/time.ts';
import { ChunkDecoder, type ChunkedOptions } from './chunked.ts';

type Vectors = {
  readonly credentials: {
    readonly aws: { readonly accessKey: string; readonly secretKey: string };
  };
  readonly bodies: readonly {
    readonly name: string;
    readonly timestamp: string;
    readonly region: string;
    readonly data: { readonly repeat: string; readonly sizeBytes: number };
    readonly seedSignature: string;
    readonly chunkSignatures: readonly [string, string, string];
    readonly trailer?: {
      readonly name: string;
      readonly value: string;
      readonly signature: string;
    };
  }[];
  readonly trailerEndings: {
    readonly signed: readonly string[];
    readonly unsigned: readonly string[];
  };
};

const vectors = readVectors('sigv4-chunks.json') as Vectors;
const trailerName = 'x-amz-checksum-crc32c';

function decode(options: ChunkedOptions, body: Uint8Array, step = body.length || 1) {
  const decoder = new ChunkDecoder(options);
  const data: Uint8Array[] = [];
  for (let at = 0; at < body.length; at += step) {
    // A copy, so that what is kept by mistake would show.
    const piece = Buffer.from(body.subarray(at, at + step));
    for (const part of decoder.push(piece)) data.push(Buffer.from(part));
    if (step < 100) piece.fill(0xff);
  }
  decoder.end();
  return { data: Buffer.concat(data), trailers: decoder.trailers };
}

function refused(options: ChunkedOptions, body: string | Uint8Array, code: AuthErrorCode): void {
  const bytes = typeof body === 'string' ? Buffer.from(body, 'latin1') : body;
  for (const step of [bytes.length || 1, 1]) {
    assert.throws(
      () => decode(options, bytes, step),
      (error) => {
        assert.ok(error instanceof AuthError, String(error));
        assert.equal(error.code, code, error.message);
        return true;
      },
    );
  }
}

function contextOf(body: Vectors['bodies'][number]): SigningContext {
  const scope = { date: body.timestamp.slice(0, 8), region: body.region, service: 's3' };
  return {
    signingKey: deriveSigningKey(vectors.credentials.aws.secretKey, scope),
    timestamp: body.timestamp,
    scope: formatScope(scope),
  };
}

for (const body of vectors.bodies) {
  const { sizeBytes, repeat } = body.data;
  const [first, second, last] = body.chunkSignatures;
  const framed = Buffer.from(
    `10000;chunk-signature=${first}\r\n${repeat.repeat(65536)}\r\n` +
      `400;chunk-signature=${second}\r\n${repeat.repeat(sizeBytes - 65536)}\r\n` +
      `0;chunk-signature=${last}\r\n`,
  );
  const options: ChunkedOptions = {
    signing: { context: contextOf(body), seedSignature: body.seedSignature },
    hasTrailer: body.trailer !== undefined,
    trailerNames: body.trailer === undefined ? [] : [body.trailer.name],
    sizeBytes,
  };
  const tails =
    body.trailer === undefined
      ? ['\r\n', '', '\r\n\r\n']
      : vectors.trailerEndings.signed.map((ending) =>
          ending
            .replace('NAME', body.trailer?.name ?? '')
            .replace('VALUE', body.trailer?.value ?? '')
            .replace('SIG', body.trailer?.signature ?? ''),
        );

  void test(`the published body decodes whole, in pieces and byte by byte: ${body.name}`, () => {
    for (const tail of tails) {
      const bytes = Buffer.concat([framed, Buffer.from(tail)]);
      for (const step of [bytes.length, 65536, 1000, 7]) {
        const { data, trailers } = decode(options, bytes, step);
        assert.ok(data.equals(Buffer.alloc(sizeBytes, repeat)));
        assert.deepEqual({ ...trailers }, trailersOf(body.trailer));
      }
    }
    const { data } = decode(options, Buffer.concat([framed, Buffer.from(tails[0] ?? '')]), 1);
    assert.equal(data.length, sizeBytes);
  });
}

function trailersOf(trailer: { name: string; value: string } | undefined): Record<string, string> {
  return trailer === undefined ? {} : { [trailer.name]: trailer.value };
}

const unsigned: ChunkedOptions = { hasTrailer: true, trailerNames: [trailerName], sizeBytes: 12 };

void test('unsigned bodies decode with the trailer endings of all clients', () => {
  for (const ending of vectors.trailerEndings.unsigned) {
    const tail = ending.replace('NAME', 'X-Amz-Checksum-Crc32c').replace('VALUE', 'yZRlqg==');
    const bytes = Buffer.from(`C\r\nhello world!\r\n0\r\n${tail}`);
    for (const step of [bytes.length, 1, 5]) {
      const { data, trailers } = decode(unsigned, bytes, step);
      assert.equal(data.toString(), 'hello world!');
      assert.deepEqual({ ...trailers }, { [trailerName]: 'yZRlqg==' });
    }
  }
  const none = { ...unsigned, trailerNames: [] };
  assert.equal(decode(none, Buffer.from('c\r\nhello world!\r\n0\r\n\r\n')).data.length, 12);
});

void test('broken framing and wrong sizes are incomplete bodies', () => {
  const end = '0\r\nx-amz-checksum-crc32c:yZRlqg==\r\n\r\n';
  for (const body of [
    '',
    'c',
    'c\r\n',
    'c\r\nhello',
    'c\r\nhello world!',
    'c\r\nhello world!\r\n',
    'c\r\nhello world!\r\n0',
    `c\nhello world!\r\n${end}`,
    `c\r\nhello world!\n${end}`,
    `c\r\nhello world!XX${end}`,
    `c;x=y\r\nhello world!\r\n${end}`,
    `c \r\nhello world!\r\n${end}`,
    `0xc\r\nhello world!\r\n${end}`,
    `-c\r\nhello world!\r\n${end}`,
    `\r\nhello world!\r\n${end}`,
    `b\r\nhello world\r\n${end}`,
    `d\r\nhello world!!\r\n${end}`,
    `c\r\nhello world!\r\n1\r\n!\r\n${end}`,
    `ffffffffffffffff\r\nhello world!\r\n${end}`,
    'a'.repeat(1000),
    `c\r\nhello world!\r\n0\r\n${'x'.repeat(5000)}`,
  ]) {
    refused(unsigned, body, 'IncompleteBody');
  }
});

void test('trailers that are missing, extra, repeated or malformed are refused', () => {
  const body = 'c\r\nhello world!\r\n0\r\n';
  for (const tail of [
    '\r\n',
    'x-amz-checksum-crc32:AAAAAA==\r\n\r\n',
    'x-amz-checksum-crc32c\r\n\r\n',
    'x-amz-checksum-crc32c:\r\n\r\n',
    'x-amz-checksum-crc32c:a b\r\n\r\n',
    ':yZRlqg==\r\n\r\n',
    'x-amz-checksum-crc32c:yZRlqg==\r\nx-amz-checksum-crc32c:yZRlqg==\r\n\r\n',
    'x-amz-checksum-crc32c:yZRlqg==\r\nx-amz-meta-a:b\r\n\r\n',
    'x-amz-checksum-crc32c:yZRlqg==\r\nx-amz-trailer-signature:00\r\n\r\n',
  ]) {
    refused(unsigned, `${body}${tail}`, 'MalformedTrailerError');
  }
});

/** A signed body of chunks as large as the pieces given. */
async function signedBody(pieces: readonly Buffer[], trailer?: string) {
  const sizeBytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const signed = signRequest({
    method: 'PUT',
    target: '/bucket/key',
    headers: { host: 'localhost' },
    credentials: vectors.credentials.aws,
    region: 'us-east-1',
    timeMs: parseAmzDate('20260102T030405Z') as number,
    payload: {
      kind: 'signed-chunks',
      sizeBytes,
      ...(trailer === undefined ? {} : { trailer: trailerName }),
    },
  });
  const body = await collect(
    encodeSignedChunks(
      signed,
      pieces,
      trailer === undefined ? undefined : { name: trailerName, value: () => trailer },
    ),
  );
  const options: ChunkedOptions = {
    signing: { context: signed.context, seedSignature: signed.signature },
    hasTrailer: trailer !== undefined,
    trailerNames: trailer === undefined ? [] : [trailerName],
    sizeBytes,
  };
  return { body, options, data: Buffer.concat(pieces) };
}

void test('a signed trailer needs its signature, in its place', async () => {
  const { body, options } = await signedBody([Buffer.from('data')], 'yZRlqg==');
  const text = body.toString('latin1');
  const signatureLine = /x-amz-trailer-signature:[0-9a-f]{64}\r\n/.exec(text)?.[0] ?? '';
  refused(options, text.replace(signatureLine, ''), 'MalformedTrailerError');
  refused(
    options,
    text.replace(signatureLine, `${signatureLine}${signatureLine}`),
    'MalformedTrailerError',
  );
  refused(options, text.replace('yZRlqg==', 'yZRlqg=='.toLowerCase()), 'SignatureDoesNotMatch');
  const noName = { ...options, trailerNames: [] };
  refused(noName, text, 'MalformedTrailerError');
  // A body that announces nothing may end without a trailer signature; one that is there is checked.
  const bare = text.slice(0, text.indexOf('x-amz-checksum'));
  assert.equal(decode(noName, Buffer.from(`${bare}\r\n`)).data.toString(), 'data');
  refused(noName, `${bare}${signatureLine}\r\n`, 'SignatureDoesNotMatch');
  const lastSignature = /0;chunk-signature=([0-9a-f]{64})/.exec(bare)?.[1] ?? '';
  const context = options.signing?.context as SigningContext;
  const empty = trailerSignature(context, lastSignature, '');
  const good = Buffer.from(`${bare}x-amz-trailer-signature:${empty}\r\n\r\n`);
  assert.equal(decode(noName, good).data.toString(), 'data');
});

void test('bytes after the last chunk of a body without trailer are refused', async () => {
  const { body, options } = await signedBody([Buffer.from('data')]);
  refused(options, Buffer.concat([body, Buffer.from('x')]), 'IncompleteBody');
  const decoder = new ChunkDecoder(options);
  decoder.push(body);
  decoder.end();
  assert.throws(() => decoder.push(Buffer.from('x')), AuthError);
});

void test('no byte of a signed chunk of up to 64 KiB is released before its signature is checked', async () => {
  const { body, options } = await signedBody([Buffer.alloc(65536, 1)]);
  const text = body.toString('latin1');
  const wrong = Buffer.from(text.replace(/chunk-signature=./, 'chunk-signature=g'), 'latin1');
  refused(options, wrong, 'IncompleteBody');
  const flipped = Buffer.from(body);
  flipped[40000] = 2;
  const decoder = new ChunkDecoder(options);
  for (let at = 0; at < 65000; at += 1000) {
    assert.deepEqual(decoder.push(flipped.subarray(at, at + 1000)), []);
  }
  assert.throws(() => decoder.push(flipped.subarray(65000)), AuthError);
});

void test('larger signed chunks pass as they come, and are refused at their end when wrong', () => {
  const body = vectors.bodies[0] as Vectors['bodies'][number];
  const options: ChunkedOptions = {
    signing: { context: contextOf(body), seedSignature: body.seedSignature },
    hasTrailer: false,
    trailerNames: [],
    sizeBytes: 100_000,
  };
  const signature = '0'.repeat(64);
  refused(
    options,
    `186a0;chunk-signature=${signature}\r\n${'a'.repeat(100_000)}\r\n0;chunk-signature=${signature}\r\n\r\n`,
    'SignatureDoesNotMatch',
  );
  const huge = { ...options, sizeBytes: 2 ** 30 };
  refused(huge, `1000001;chunk-signature=${signature}\r\n`, 'InvalidRequest');
});

void test('any flipped, dropped or repeated byte of a signed body is refused', async () => {
  const samples = [
    await signedBody([Buffer.from('some data of an object')], 'yZRlqg=='),
    await signedBody([Buffer.from('some data of an object')]),
    await signedBody([]),
  ];
  for (const { body, options, data } of samples) {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 255 }), fc.nat(2), (place, bits, how) => {
        const at = place % body.length;
        const byte = body[at] as number;
        const middle = [Buffer.from([byte ^ bits]), Buffer.alloc(0), Buffer.from([byte, byte])][
          how
        ];
        const changed = Buffer.concat([
          body.subarray(0, at),
          middle as Buffer,
          body.subarray(at + 1),
        ]);
        try {
          // Spelling that means the same (case of hex digits, blank lines) is let pass; data never changes.
          const answer = decode(options, changed, 9);
          assert.ok(answer.data.equals(data));
          if (options.hasTrailer) assert.equal(answer.trailers[trailerName], 'yZRlqg==');
        } catch (error) {
          assert.ok(error instanceof AuthError, String(error));
        }
      }),
      { numRuns: 1500 },
    );
  }
});

void test('pieces of any size decode to the same', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 5 }),
      fc.integer({ min: 1, max: 400 }),
      async (pieces, step) => {
        const buffers = pieces.map((piece) => Buffer.from(piece));
        const { body, options, data } = await signedBody(buffers, 'yZRlqg==');
        assert.ok(decode(options, body, step).data.equals(data));
        const plain = await collect(
          encodeUnsignedChunks(buffers, { name: trailerName, value: () => 'yZRlqg==' }),
        );
        const plainOptions = { ...unsigned, sizeBytes: data.length };
        assert.ok(decode(plainOptions, plain, step).data.equals(data));
      },
    ),
    { numRuns: 60 },
  );
});

void test('arbitrary bytes never raise anything but the module’s error', () => {
  const options = { ...unsigned, sizeBytes: 100 };
  const token = fc.oneof(
    fc.constantFrom('a', '\r\n', '0', ';chunk-signature=', '0'.repeat(64), trailerName, ':', '\n'),
    fc.string({ maxLength: 5 }),
  );
  fc.assert(
    fc.property(fc.array(token, { maxLength: 30 }), (tokens) => {
      try {
        decode(options, Buffer.from(tokens.join(''), 'latin1'), 3);
      } catch (error) {
        assert.ok(error instanceof AuthError, String(error));
      }
    }),
    { numRuns: 500 },
  );
});
