// How every wrapping key proves that it can be used: by wrapping and unwrapping something, because asking
// for its state needs further permissions and proves less.

import { randomBytes, timingSafeEqual } from 'node:crypto';
import { KeyStoreError } from '../../keys/key-store.ts';
import type { WrappingKey } from './wrapping-key.ts';

const context = Buffer.from('coffer-wrapped:check', 'latin1');

/** Wraps and unwraps a random value. Throws what these throw, and `failed` when another value comes back. */
export async function checkRoundTrip(
  key: Pick<WrappingKey, 'id' | 'wrap' | 'unwrap'>,
): Promise<void> {
  const sent = randomBytes(32);
  const received = await key.unwrap(await key.wrap(sent, context), context, key.id);
  const isSame = received.length === sent.length && timingSafeEqual(received, sent);
  received.fill(0);
  sent.fill(0);
  if (!isSame) {
    throw new KeyStoreError('failed', `${key.id} does not give back what was wrapped`);
  }
}

/**
 * Refuses a stored key whose wrapping key lies outside the account that is configured: whoever can write to the
 * store could name a key of their own there. Throws `failed`.
 */
export function checkScope(named: string, isInside: boolean, scope: string): void {
  if (isInside) return;
  throw new KeyStoreError(
    'failed',
    `a stored key was wrapped by ${named}, which is not in ${scope}: if that is a former wrapping key of yours, ` +
      'move the keys with kes migrate from a configuration that names it; if not, somebody else wrote to the store',
  );
}

/**
 * The part of a stored id that belongs to a system: what follows `system:`. Throws `failed` when another
 * system wrapped the value, or when `pattern` does not match: stored ids are input, not to be trusted.
 */
export function parseStoredId(id: string, system: string, pattern: RegExp): string {
  const rest = id.startsWith(`${system}:`) ? id.slice(system.length + 1) : undefined;
  if (rest !== undefined && pattern.test(rest)) return rest;
  throw new KeyStoreError(
    'failed',
    `a stored key was wrapped by ${id}, which the configured ${system} wrapping key cannot unwrap`,
  );
}
