// What Vault's answers mean. Rule kept here: an answer counts only when it has the form that Vault gives it.
// Any other JSON, `null` too, is an error and never says that something does not exist.

import { KeyStoreError } from '../../keys/key-store.ts';
import { saidBy } from '../create-once.ts';
import type { HttpAnswer } from '../http.ts';

/** Any JSON object; its members may be anything. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** The error for an answer that nothing can be done with. `what` is what was tried. */
export function refusal(
  what: string,
  answer: HttpAnswer,
  secrets: readonly string[] = [],
): KeyStoreError {
  const said = saidBy(errorsOf(answer).join('; '), secrets);
  const hint = answer.status === 403 ? ': check the policy of the key service in Vault' : '';
  return new KeyStoreError(
    answer.status === 503 ? 'unreachable' : 'failed',
    `vault: ${what}: status ${answer.status}${said && ` (${said})`}${hint}`,
  );
}

/** The texts of an error answer; none when it has another shape. */
export function errorsOf(answer: HttpAnswer): string[] {
  try {
    const errors = membersOf(JSON.parse(answer.text))['errors'];
    return Array.isArray(errors) ? errors.filter((each) => typeof each === 'string') : [];
  } catch {
    return [];
  }
}

/** The members of a JSON object; none of anything else. */
export function membersOf(value: unknown): JsonObject {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return {};
  return value as JsonObject; // JSON has no other objects
}

/** The body, which must be a JSON object. Throws `KeyStoreError` `failed`. */
export function bodyOf(what: string, answer: HttpAnswer): JsonObject {
  const body = answer.json();
  if (body !== null && typeof body === 'object' && !Array.isArray(body)) return membersOf(body);
  throw new KeyStoreError('failed', `vault: ${what}: its answer is not that of a Vault`);
}

/** The member `data` of the body: its members, none when there is no such object. Throws like `bodyOf`. */
export function dataOf(what: string, answer: HttpAnswer): JsonObject {
  return membersOf(bodyOf(what, answer)['data']);
}

/**
 * Whether a 404 is Vault's way of saying that there is nothing. Throws when it says something else: that of a
 * proxy, of a missing engine, or of an engine of the other version.
 */
export function isAbsence(what: string, answer: HttpAnswer): boolean {
  if (answer.status !== 404) return false;
  const { errors, warnings } = bodyOf(what, answer);
  const isVersioned = JSON.stringify(warnings ?? '').includes('versioned K/V');
  if (isVersioned) {
    throw new KeyStoreError(
      'failed',
      `vault: ${what}: the engine is KV version 2: set version: v2`,
    );
  }
  if (!Array.isArray(errors) || errors.length > 0) throw refusal(what, answer);
  return true;
}

/** A path of segments, each encoded; empty ones are left out. */
export function vaultPath(...parts: readonly string[]): string {
  const segments = parts.flatMap((part) => part.split('/')).filter((segment) => segment !== '');
  return `/v1/${segments.map(encodeURIComponent).join('/')}`;
}
