// Known answers for admin payloads of all three kinds, and every way to spoil one.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { hex, readVectors, sha256Hex } from '../../test/support/vectors.ts';
import {
  AdminPayloadError,
  type AdminPayloadErrorCode,
  type AdminPayloadKind,
  deriveAdminPayloadKey,
  isAdminPayload,
  openAdminPayload,
  openPasswordSealed,
  sealAdminPayload,
} from './admin-payload.ts';

type CredentialBlob = { password: string; data: string; plaintext_size: number };

const { legacy_credential_blobs: blobs } = readVectors('sse-config-blob.json') as {
  legacy_credential_blobs: CredentialBlob[];
};

const salt = Buffer.from(Array.from({ length: 32 }, (_, index) => index));
const nonce = hex('0001020304050607');
const password = 'minioadmin';
const text = Buffer.from('{"status":"enabled"}');

/** By kind: derived key and stream. */
const known: readonly (readonly [AdminPayloadKind, string, string])[] = [
  [
    0,
    '143045b4e26f71193dd2f2f806438d47b4dfaa02357d625170ce6761570ab62b',
    '778fcfeb360f3bb29b9c05dd4490c52d292adb97bbb3460df48c9ce4d1c53a248d5cb062',
  ],
  [
    1,
    '143045b4e26f71193dd2f2f806438d47b4dfaa02357d625170ce6761570ab62b',
    'd83f19919f0e7be5da5dcd8c4d42a4b70ba2e635d6953d6bdf999c184f4fd341c530dbb9',
  ],
  [
    2,
    'd91935347c5209c45d5649877ec300f8cb54cc6c49265db10b91ba98beead02d',
    '0ad84f57c7674eca1dc5e8d6ad0e2d0ecc5f9a38fd72d71445617bc05e6d75eb1bf7ddae',
  ],
];

function codeOf(code: AdminPayloadErrorCode) {
  return (error: unknown) => error instanceof AdminPayloadError && error.code === code;
}

void describe('an admin payload', () => {
  for (const [kind, derived, stream] of known) {
    void it(`of kind ${kind} is byte for byte the known one`, async () => {
      const key = await deriveAdminPayloadKey(password, salt, kind);
      assert.equal(key.toString('hex'), derived);
      const sealed = await sealAdminPayload(password, text, { kind, salt, nonce });
      const expected = Buffer.concat([salt, Buffer.of(kind), nonce, hex(stream)]);
      assert.equal(sealed.toString('hex'), expected.toString('hex'));
      assert(isAdminPayload(sealed));
      assert((await openAdminPayload(password, sealed)).equals(text));
    });
  }

  void it('at the bounds of a chunk is the known one', async () => {
    for (const [size, total, digest] of [
      [16_384, 16_441, '8ab35e28d672bb242f3feaf6d3d91dacf951bcd7432809b4307308a03503cf12'],
      [16_385, 16_458, '5e9248bc6b49f1ba20cc51e424ee1097530f807d1fcebe059b600db653c7df67'],
    ] as const) {
      const sealed = await sealAdminPayload(password, Buffer.alloc(size, 'a'), { salt, nonce });
      assert.equal(sealed.length, total);
      assert.equal(sha256Hex(sealed), digest);
    }
  });

  void it('of another implementation opens', async () => {
    assert.equal(blobs.length, 4);
    for (const blob of blobs) {
      const opened = await openPasswordSealed(blob.password, hex(blob.data));
      assert.deepEqual(opened, Buffer.alloc(blob.plaintext_size));
    }
    const first = hex((blobs[0] as CredentialBlob).data);
    const key = await deriveAdminPayloadKey('', first.subarray(0, 32), 0);
    const expected = '5561ddb170ed8de32f914a90ee5b78416a5e72fe87d068ece1b481a6e2cce8d3';
    assert.equal(key.toString('hex'), expected);
  });

  void it('is sealed with fresh salt and nonce unless they are given', async () => {
    const first = await sealAdminPayload(password, text);
    const second = await sealAdminPayload(password, text);
    assert(!first.equals(second));
    assert((await openAdminPayload(password, first)).equals(text));
  });

  void it('does not open with another password or a changed byte', async () => {
    const sealed = await sealAdminPayload(password, text, { kind: 2 });
    await assert.rejects(openAdminPayload('minioadmin2', sealed), codeOf('not-authentic'));
    const changed = Buffer.from(sealed);
    changed[changed.length - 1] = (changed.at(-1) as number) ^ 1;
    await assert.rejects(openAdminPayload(password, changed), codeOf('not-authentic'));
    const cut = openAdminPayload(password, sealed.subarray(0, -1));
    await assert.rejects(cut, codeOf('not-authentic'));
  });

  void it('is recognised by its size and kind', async () => {
    for (const bytes of [text, Buffer.alloc(32), Buffer.alloc(60, 3), Buffer.alloc(0)]) {
      assert(!isAdminPayload(bytes));
      await assert.rejects(openAdminPayload(password, bytes), codeOf('not-a-payload'));
    }
    await assert.rejects(openAdminPayload(password, Buffer.alloc(40)), codeOf('not-a-payload'));
  });

  void it('needs a password', async () => {
    await assert.rejects(sealAdminPayload('', text), codeOf('empty-password'));
    await assert.rejects(openAdminPayload('', text), codeOf('empty-password'));
  });
});
