// Every parser that reads bytes of strangers, with valid samples to mutate. The property is the same for all:
// whatever comes in, the parser answers or throws its own error; formats with a seal never answer a changed
// input.

import { randomBytes } from 'node:crypto';
import { AdminPayloadError, openAdminPayload } from '../../src/aead/admin-payload.ts';
import { DareError, openDare, openDareStream, sealDare } from '../../src/aead/dare.ts';
import { parseXml, XmlError } from '../../src/base/xml.ts';
import { rootIdentity } from '../../src/iam/identity.ts';
import { openWith, sealWith } from '../../src/keys/ciphertext.ts';
import { KeyError } from '../../src/keys/key-error.ts';
import { createKeyVersion, createMasterKey, keyTimeOf } from '../../src/keys/master-key.ts';
import {
  buryStoredKey,
  changeStoredKey,
  formatStoredKey,
  parseStored,
  parseStoredKey,
} from '../../src/keys/stored-key.ts';
import { type AuthDeps, authenticate } from '../../src/s3/auth/authenticate.ts';
import { openBody } from '../../src/s3/body/body.ts';
import { S3Error } from '../../src/s3/errors.ts';
import { parseRange } from '../../src/s3/ranges.ts';
import { parseTarget } from '../../src/s3/target.ts';
import { AuthError } from '../../src/sigv4/errors.ts';
import { encodeSignedChunks, signRequest } from '../../src/sigv4/sign.ts';
import { SigningKeyCache } from '../../src/sigv4/signing-key.ts';
import { kesTargets } from './kes-targets.ts';
import { kmipTargets } from './kmip-target.ts';
import { policyTargets } from './policy-targets.ts';
import { recordTargets } from './record-targets.ts';
import { signatureTargets } from './signature-targets.ts';

export type FuzzTarget = {
  readonly name: string;
  /** Asks a whole server, so gets an input only now and then. */
  readonly isSlow?: true;
  /** Valid inputs. */
  readonly samples: readonly Uint8Array[];
  /** Called with the input and whether it differs from every sample. Throws on a violation. */
  readonly run: (input: Uint8Array, isChanged: boolean) => Promise<void> | void;
};

type ErrorClass = abstract new (...args: never[]) => Error;

async function expectOwnError(own: readonly ErrorClass[], body: () => unknown): Promise<boolean> {
  try {
    await body();
    return true;
  } catch (error) {
    if (own.some((kind) => error instanceof kind)) return false;
    throw error;
  }
}

/** Runs a parser whose input is sealed: a changed input that opens is a violation. */
function sealed(own: ErrorClass, open: (input: Uint8Array) => unknown): FuzzTarget['run'] {
  return async (input, isChanged) => {
    const isOpened = await expectOwnError([own], () => open(input));
    if (isOpened && isChanged && input.length > 0) throw new Error('a changed input was opened');
  };
}

async function* inPieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  const step = 1 + (bytes.length % 97);
  for (let at = 0; at < bytes.length; at += step) yield bytes.subarray(at, at + step);
}

async function drain(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

const streamKey = randomBytes(32);
const masterKey = createMasterKey({ createdAt: keyTimeOf(0), createdBy: 'ab'.repeat(32) });
const destroyAt = keyTimeOf(1_800_000_000_000);
/** Stored keys that went through changes, both forms. */
const changedKeys = [
  formatStoredKey(masterKey),
  '{"bytes":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}',
].map((stored) => {
  const made = { createdAt: keyTimeOf(0), createdBy: 'ab' };
  const version = createKeyVersion(parseStoredKey(stored), made);
  const rotated = changeStoredKey(stored, { kind: 'rotate', version });
  return changeStoredKey(rotated, { kind: 'schedule', destroyAt });
});
const rotatedKey = parseStoredKey(changedKeys[0] ?? '');
const context = Buffer.from('{"bucket":"bucket/object"}');
const credentials = { accessKey: 'fuzz-access', secretKey: 'fuzz-secret-key' };
const nowMs = Date.UTC(2026, 0, 2, 3, 4, 5);

function authenticationDeps(): AuthDeps {
  return {
    credentials: {
      find: (accessKey) =>
        accessKey === credentials.accessKey
          ? { ...credentials, identity: rootIdentity(accessKey) }
          : undefined,
    },
    signingKeys: new SigningKeyCache(),
    region: 'us-east-1',
    now: () => nowMs,
  };
}

const text = (value: string): Uint8Array => Buffer.from(value);

const signed = signRequest({
  method: 'PUT',
  target: '/bucket/object',
  headers: { host: 'localhost' },
  credentials,
  region: 'us-east-1',
  timeMs: nowMs,
  payload: { kind: 'signed-chunks', sizeBytes: 3000 },
});

const chunkedData = Buffer.concat([Buffer.alloc(1000, 1), Buffer.alloc(2000, 2)]);

async function chunkedSample(): Promise<Uint8Array> {
  return drain(
    encodeSignedChunks(signed, [chunkedData.subarray(0, 1000), chunkedData.subarray(1000)]),
  );
}

/** All targets; building them makes fresh keys and samples. */
export async function fuzzTargets(): Promise<FuzzTarget[]> {
  return [
    {
      name: 'DARE stream, whole',
      samples: [0, 1, 40, 65_536, 70_000].map((size) => sealDare(streamKey, randomBytes(size))),
      run: sealed(DareError, (input) => openDare(streamKey, input)),
    },
    {
      name: 'DARE stream, in pieces',
      samples: [1, 66_000].map((size) => sealDare(streamKey, randomBytes(size))),
      run: sealed(DareError, (input) => drain(openDareStream(streamKey, inPieces(input)))),
    },
    {
      name: 'admin payload of a stranger',
      samples: [randomBytes(20)],
      run: async (input) => {
        if (input.length > 41 && input[32] !== undefined && input[32] < 3) return;
        await expectOwnError([AdminPayloadError], () => openAdminPayload('password', input));
      },
    },
    {
      name: 'key service ciphertext',
      samples: [masterKey, rotatedKey].map((key) => sealWith(key, randomBytes(32), context)),
      run: sealed(KeyError, (input) => openWith(rotatedKey, input, context)),
    },
    {
      name: 'stored key',
      samples: [
        text(formatStoredKey(masterKey)),
        text('{"bytes":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}'),
        ...changedKeys.map(text),
        text(buryStoredKey(changedKeys[0] ?? '', { destroyedAt: destroyAt, destroyedBy: 'ab' })),
      ],
      run: async (input) => {
        const stored = Buffer.from(input).toString('latin1');
        await expectOwnError([KeyError], () => {
          if (parseStored(stored).state === 'destroyed') return;
          parseStoredKey(changeStoredKey(stored, { kind: 'schedule', destroyAt }));
        });
      },
    },
    ...(await kesTargets()),
    {
      name: 'XML body',
      samples: [
        text('<Delete><Quiet>true</Quiet><Object><Key>a&amp;b</Key></Object></Delete>'),
        text('<?xml version="1.0"?><a xmlns="x"><b c="d">e</b></a>'),
      ],
      run: async (input) => {
        await expectOwnError([XmlError], () => parseXml(input, { maxBytes: 4096 }));
      },
    },
    {
      name: 'request target',
      samples: [text('/bucket/a%20key//..?uploads&prefix=%2F&x=1'), text('/?max-buckets=1')],
      run: async (input) => {
        await expectOwnError([S3Error], () =>
          parseTarget(Buffer.from(input).toString('latin1'), 'b.s3.local:1', ['s3.local']),
        );
      },
    },
    {
      name: 'Range header',
      samples: [text('bytes=0-5'), text('bytes=-7'), text('bytes=9-')],
      run: async (input) => {
        await expectOwnError([S3Error], () => {
          const range = parseRange(Buffer.from(input).toString('latin1'), 1000);
          if (
            range !== undefined &&
            !(range.start >= 0 && range.start < range.end && range.end <= 1000)
          ) {
            throw new Error(`range ${range.start}-${range.end} lies outside the object`);
          }
        });
      },
    },
    {
      name: 'Authorization header',
      samples: [text(signed.headers['authorization'] ?? '')],
      run: async (input, isChanged) => {
        const isGood = await expectOwnError([AuthError], async () => {
          const answer = await authenticate(
            {
              method: 'PUT',
              rawTarget: '/bucket/object',
              headers: { ...signed.headers, authorization: Buffer.from(input).toString('latin1') },
            },
            authenticationDeps(),
          );
          if (answer.method === 'anonymous') throw new AuthError('AccessDenied', 'anonymous');
        });
        if (isGood && isChanged && !sameClaim(input))
          throw new Error('a changed signature was accepted');
      },
    },
    {
      name: 'chunked body with signatures',
      samples: [await chunkedSample()],
      run: async (input) => {
        // The framing may be spelled in other ways (case of digits, line ends); the data may not differ.
        await expectOwnError([AuthError], async () => {
          const answer = await authenticate(
            {
              method: 'PUT',
              rawTarget: '/bucket/object',
              headers: { ...signed.headers, 'content-length': String(input.length) },
            },
            authenticationDeps(),
          );
          const data = await drain(openBody(inPieces(input), answer).body);
          if (!data.equals(chunkedData))
            throw new Error('changed data passed the chunk signatures');
        });
      },
    },
    ...kmipTargets(),
    ...policyTargets(),
    ...recordTargets(),
    ...signatureTargets(),
  ];
}

/** White space around commas and a repeated blank do not change what an Authorization header says. */
function sameClaim(input: Uint8Array): boolean {
  const squeeze = (value: string): string => value.replaceAll(/[\s,]+/g, ' ').trim();
  return (
    squeeze(Buffer.from(input).toString('latin1')) ===
    squeeze(signed.headers['authorization'] ?? '')
  );
}
