// The contract of `WrappingKey` as tests, and a wrapping key in memory for tests of what is in front.

import assert from 'node:assert/strict';
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { KeyStoreError } from '../../src/keys/key-store.ts';
import type { WrappingKey } from '../../src/keystores/wrapping/wrapping-key.ts';
import { failsWith } from './key-store.ts';

export type OpenedWrappingKey = {
  readonly key: WrappingKey;
  readonly close: () => Promise<void>;
};

const context = Buffer.from('coffer-wrapped:v1:my-key');

/** Runs the suite against one system. */
export function testWrappingKey(system: string, open: () => Promise<OpenedWrappingKey>): void {
  const withKey = (work: (key: WrappingKey) => Promise<void>) => async () => {
    const { key, close } = await open();
    try {
      await work(key);
    } finally {
      await key.close();
      await close();
    }
  };

  describe(`${system} wrapping key`, () => {
    test(
      'unwraps what was wrapped, of 1 to 64 bytes',
      withKey(async (key) => {
        for (const size of [1, 32, 64]) {
          const plaintext = randomBytes(size);
          const kept = Buffer.from(plaintext);
          const wrapped = await key.wrap(plaintext, context);
          assert.ok(plaintext.equals(kept), 'the buffer of the caller is not changed');
          assert.ok(!wrapped.includes(plaintext) || size < 8);
          assert.ok(kept.equals(await key.unwrap(wrapped, context, key.id)));
        }
      }),
    );

    test(
      'wraps to something else each time',
      withKey(async (key) => {
        const plaintext = randomBytes(32);
        const [a, b] = [await key.wrap(plaintext, context), await key.wrap(plaintext, context)];
        assert.ok(!a.equals(b));
      }),
    );

    test(
      'refuses another context, anything changed, and what another system wrapped',
      withKey(async (key) => {
        const wrapped = await key.wrap(randomBytes(32), context);
        const other = Buffer.from('coffer-wrapped:v1:my-kez');
        await assert.rejects(key.unwrap(wrapped, other, key.id), failsWith('failed'));
        for (const at of [wrapped.length - 1, wrapped.length >> 1]) {
          const changed = Buffer.from(wrapped);
          changed.writeUInt8((changed[at] ?? 0) ^ 1, at);
          await assert.rejects(key.unwrap(changed, context, key.id), failsWith('failed'));
        }
        for (const id of [
          'other:key',
          '',
          `${key.id.split(':')[0]}:`,
          `${key.id}%zz`,
          `${key.id}%`,
        ]) {
          await assert.rejects(key.unwrap(wrapped, context, id), failsWith('failed'));
        }
      }),
    );

    test(
      'has an id that can be stored, and can be used',
      withKey(async (key) => {
        assert.match(key.id, /^[\x21-\x7e]{1,512}$/);
        await key.check();
      }),
    );
  });
}

/** A wrapping key in memory that counts its calls and can be disabled. */
export class MemoryWrappingKey implements WrappingKey {
  readonly id: string;
  wraps = 0;
  unwraps = 0;
  checks = 0;
  isClosed = false;
  /** What every call throws. */
  problem: KeyStoreError | undefined;
  readonly #key = randomBytes(32);

  constructor(id = 'memory:test') {
    this.id = id;
  }

  async wrap(plaintext: Uint8Array, bound: Uint8Array): Promise<Buffer> {
    this.wraps += 1;
    if (this.problem) throw this.problem;
    const nonce = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce);
    cipher.setAAD(bound);
    return Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  }

  async unwrap(wrapped: Uint8Array, bound: Uint8Array, id: string): Promise<Buffer> {
    this.unwraps += 1;
    if (this.problem) throw this.problem;
    try {
      if (id !== this.id) throw new Error('another key');
      const decipher = createDecipheriv('aes-256-gcm', this.#key, wrapped.subarray(0, 12));
      decipher.setAAD(bound);
      decipher.setAuthTag(wrapped.subarray(-16));
      return Buffer.concat([decipher.update(wrapped.subarray(12, -16)), decipher.final()]);
    } catch {
      throw new KeyStoreError('failed', 'the wrapped key is not authentic');
    }
  }

  async check(): Promise<void> {
    this.checks += 1;
    if (this.problem) throw this.problem;
  }

  async close(): Promise<void> {
    this.isClosed = true;
  }
}
