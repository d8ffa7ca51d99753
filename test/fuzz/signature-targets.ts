// Targets that were presigned, by V4 and V2, and the policies of forms: a changed target that is accepted must say
// the same as the signed one.

import { createHmac } from 'node:crypto';
import { rootIdentity } from '../../src/iam/identity.ts';
import { authenticate } from '../../src/s3/auth/authenticate.ts';
import { parseCopySource } from '../../src/s3/copy-source.ts';
import { S3Error } from '../../src/s3/errors.ts';
import { checkPostPolicy, parsePostPolicy } from '../../src/s3/form/post-policy.ts';
import { parseTagging } from '../../src/s3/tags.ts';
import { parseTarget } from '../../src/s3/target.ts';
import { AuthError } from '../../src/sigv4/errors.ts';
import { presignTarget } from '../../src/sigv4/sign.ts';
import { SigningKeyCache } from '../../src/sigv4/signing-key.ts';
import type { FuzzTarget } from './targets.ts';

const credentials = { accessKey: 'fuzz-access', secretKey: 'fuzz-secret-key' };
const nowMs = Date.UTC(2026, 0, 2, 3, 4, 5);
const host = 'localhost:9000';
const deps = {
  credentials: {
    find: (accessKey: string) =>
      accessKey === credentials.accessKey
        ? { ...credentials, identity: rootIdentity(accessKey) }
        : undefined,
  },
  signingKeys: new SigningKeyCache(),
  region: 'us-east-1',
  now: () => nowMs,
};

/** What a target says, whatever its spelling and the order of its parameters. */
function meaningOf(target: string): string {
  const { bucket, key, query } = parseTarget(target, host, []);
  const pairs = query.filter(({ name }) => !/signature$/i.test(name) && name !== 'encoding-type');
  // The names of parameters that stand for headers are those of headers.
  const spell = (name: string) => (/^x-amz-/i.test(name) ? name.toLowerCase() : name);
  const texts = pairs.map(({ name, value }) => JSON.stringify([spell(name), value])).sort();
  return JSON.stringify([bucket, key, texts]);
}

function presigned(name: string, sample: string): FuzzTarget {
  const signed = meaningOf(sample);
  return {
    name: `presigned target, ${name}`,
    samples: [Buffer.from(sample)],
    run: async (input) => {
      const rawTarget = Buffer.from(input).toString('latin1');
      try {
        const answer = await authenticate(
          { method: 'PUT', rawTarget, headers: { host }, rawHeaders: ['Host', host] },
          deps,
        );
        if (answer.method !== 'presigned') return;
        if (meaningOf(rawTarget) !== signed) throw new Error(`${rawTarget} was accepted`);
      } catch (error) {
        if (!(error instanceof AuthError) && !(error instanceof S3Error)) throw error;
      }
    },
  };
}

function samples(): { readonly v4: string; readonly v2: string } {
  const path = '/bucket/a%20key';
  const v4 = presignTarget({
    method: 'PUT',
    target: `${path}?x-amz-acl=private&partNumber=1&uploadId=abc&empty`,
    headers: { host },
    credentials,
    region: 'us-east-1',
    timeMs: nowMs,
    expiresSeconds: 60,
  });
  const expires = String(nowMs / 1000 + 60);
  const text = `PUT\n\n\n${expires}\nx-amz-acl:private\n${path}?partNumber=1&uploadId=abc`;
  const signature = createHmac('sha1', credentials.secretKey).update(text).digest('base64');
  const claim = `AWSAccessKeyId=${credentials.accessKey}&Expires=${expires}&Signature=${encodeURIComponent(signature)}`;
  return { v4, v2: `${path}?x-amz-acl=private&partNumber=1&uploadId=abc&${claim}` };
}

function parser(
  name: string,
  texts: readonly string[],
  parse: (text: string) => unknown,
): FuzzTarget {
  return {
    name,
    samples: texts.map((text) => Buffer.from(text)),
    run: (input) => {
      try {
        parse(Buffer.from(input).toString('latin1'));
      } catch (error) {
        if (!(error instanceof S3Error)) throw error;
      }
    },
  };
}

const policy = {
  expiration: '2026-01-02T03:05:05.000Z',
  conditions: [
    { bucket: 'b' },
    ['starts-with', '$key', 'a/'],
    ['eq', '$Content-Type', 'text/plain'],
    ['content-length-range', 1, 100],
  ],
};

export function signatureTargets(): FuzzTarget[] {
  const { v4, v2 } = samples();
  const fields = new Map([
    ['bucket', 'b'],
    ['key', 'a/b'],
    ['content-type', 'text/plain'],
  ]);
  return [
    presigned('V4', v4),
    presigned('V2', v2),
    parser('policy of a form', [JSON.stringify(policy)], (text) => {
      const parsed = parsePostPolicy(Buffer.from(text, 'latin1').toString('base64'));
      checkPostPolicy(parsed, fields, nowMs);
    }),
    parser('tags of a header', ['a=b&c=d%20e&f='], parseTagging),
    parser('copy source', ['/bucket/key%20a?versionId=null', 'bucket/a/b'], parseCopySource),
  ];
}
