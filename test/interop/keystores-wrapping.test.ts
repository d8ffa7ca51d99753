// The AWS KMS wrapping key against moto, an independent server of the API: contexts, aliases that
// move, and a whole store behind it. Moto lets disabled keys be used, so their refusal is tested on the double.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { MemoryKeyStore } from '../../src/keystores/memory.ts';
import { openWrapped } from '../../src/keystores/wrapping/wrapped.ts';
import { type AwsKmsSettings, openAwsKms } from '../../src/keystores/wrapping/aws-kms.ts';
import type { WrappingKey } from '../../src/keystores/wrapping/wrapping-key.ts';
import { testKeyStore } from '../contract/key-store.ts';
import { testWrappingKey } from '../contract/wrapping-key.ts';
import { freePort, type Program, startProgram, waitUntil } from '../support/programs.ts';
import { interopDir } from './clients.ts';

const region = 'eu-central-1';
const credentials = { accesskey: 'AKIAMOTO', secretkey: 'moto-secret-key' };
const dir = mkdtempSync(path.join(tmpdir(), 'coffer-moto-'));
const context = Buffer.from('coffer-wrapped:v1:my-key');

describe('AWS KMS as moto has it', () => {
  let moto: Program;
  let origin = '';

  before(async () => {
    const port = await freePort();
    origin = `http://127.0.0.1:${port}`;
    moto = await startProgram({
      name: 'moto',
      command: [
        path.join(interopDir, 'moto/bin/moto_server'),
        '-H',
        '127.0.0.1',
        '-p',
        String(port),
      ],
      dir,
    });
    await waitUntil(moto, async () => (await fetch(`${origin}/moto-api/`)).ok);
    await makeKey('alias/coffer');
  });

  after(async () => {
    await moto.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  /** The commands of the vendor's own SDK that make and change keys. */
  async function send(
    make: (sdk: typeof import('@aws-sdk/client-kms')) => object,
  ): Promise<{ readonly KeyMetadata?: { readonly KeyId?: string; readonly Arn?: string } }> {
    const sdk = await import('@aws-sdk/client-kms');
    const client = new sdk.KMSClient({
      region,
      endpoint: origin,
      credentials: { accessKeyId: 'AKIAMOTO', secretAccessKey: 'moto-secret-key' },
    });
    try {
      return (await client.send(make(sdk) as never)) as object;
    } finally {
      client.destroy();
    }
  }

  async function makeKey(alias: string): Promise<string> {
    const { KeyMetadata } = await send((sdk) => new sdk.CreateKeyCommand({}));
    const id = KeyMetadata?.KeyId ?? '';
    await send((sdk) => new sdk.CreateAliasCommand({ AliasName: alias, TargetKeyId: id }));
    return id;
  }

  function open(changes: AwsKmsSettings = {}): Promise<WrappingKey> {
    const settings = { key: 'alias/coffer', region, endpoint: origin, credentials, ...changes };
    return openAwsKms(settings, { limits: { retryDelayMs: 1 } });
  }

  testWrappingKey('AWS KMS (moto)', async () => ({ key: await open(), close: async () => {} }));

  testKeyStore(
    'memory wrapped by AWS KMS (moto)',
    async () => {
      const inner = new MemoryKeyStore();
      return {
        store: openWrapped(inner, await open()),
        openAgain: async () => openWrapped(inner, await open()),
        close: async () => {},
      };
    },
    { valueBytesMax: 780_000, listCount: 40 },
  );

  test('the id names the key behind the alias', async () => {
    const id = await makeKey('alias/named');
    const key = await open({ key: 'alias/named' });
    assert.match(key.id, /^aws-kms:arn:aws:kms:eu-central-1:\d+:key\//);
    assert.ok(key.id.endsWith(id));
    await key.close();
  });

  test('what an alias meant before it moved stays readable', async () => {
    await makeKey('alias/moving');
    const earlier = await open({ key: 'alias/moving' });
    const wrapped = await earlier.wrap(Buffer.from('data key'), context);
    await send((sdk) => new sdk.DeleteAliasCommand({ AliasName: 'alias/moving' }));
    await makeKey('alias/moving');
    const now = await open({ key: 'alias/moving' });
    assert.notEqual(now.id, earlier.id);
    assert.equal((await now.unwrap(wrapped, context, earlier.id)).toString(), 'data key');
    await earlier.close();
    await now.close();
  });

  test('an unknown key is refused', async () => {
    await assert.rejects(open({ key: 'alias/none' }), /NotFoundException/);
  });
});
