// What a store must hold after a crash: for each object name the last acknowledged state, and the states that
// were asked for but not yet answered when the crash came. Anything else is a lost or a half-made object.

import { createHash } from 'node:crypto';

/**
 * `undefined`: the object does not exist. `label` is stored as user metadata. `etag` is empty where it tells nothing
 * of the bytes; `encryption` is the method that answers show.
 */
export type ObjectState =
  | {
      readonly md5: string;
      readonly etag: string;
      readonly sizeBytes: number;
      readonly label: string;
      readonly encryption: string;
      readonly tag: string;
    }
  | undefined;

export function stateOf(
  bytes: Uint8Array,
  label: string,
  more: { readonly etag?: string; readonly encryption?: string } = {},
): NonNullable<ObjectState> {
  const md5 = createHash('md5').update(bytes).digest('hex');
  const { encryption = '' } = more;
  const etag = more.etag ?? singleEtag(md5, encryption);
  return { md5, etag, sizeBytes: bytes.length, label, encryption, tag: '' };
}

/** The ETag of an object that was written in one piece: only some methods show the MD5. */
export function singleEtag(etag: string, encryption: string): string {
  return encryption === '' || encryption === 'AES256' ? etag : '';
}

function text(state: ObjectState): string {
  return state === undefined
    ? 'absent'
    : `${state.sizeBytes} B ${state.label} md5 ${state.md5} etag ${state.etag} ${state.encryption} tag ${state.tag}`;
}

export class ExpectedStates {
  readonly #acknowledged = new Map<string, ObjectState>();
  readonly #pending = new Map<string, ObjectState>();
  readonly #reserved = new Set<string>();

  names(): string[] {
    return [...new Set([...this.#acknowledged.keys(), ...this.#pending.keys()])];
  }

  /** Somebody changes it, or is about to. */
  isBusy(name: string): boolean {
    return this.#pending.has(name) || this.#reserved.has(name);
  }

  /** Keeps the name for one change of several steps, whose outcome is begun only with the last. */
  reserve(name: string): void {
    this.#reserved.add(name);
  }

  release(name: string): void {
    this.#reserved.delete(name);
  }

  /** What was acknowledged last. */
  known(name: string): ObjectState {
    return this.#acknowledged.get(name);
  }

  begin(name: string, wanted: ObjectState): void {
    this.#pending.set(name, wanted);
  }

  /** The change was answered with success: it must survive everything from now on. */
  acknowledge(name: string): void {
    this.#acknowledged.set(name, this.#pending.get(name));
    this.#pending.delete(name);
  }

  /** The change was refused, or found absent: whichever of both states is there stays allowed. */
  settle(name: string, found: ObjectState): void {
    this.#acknowledged.set(name, found);
    this.#pending.delete(name);
  }

  /** Undefined when `found` is allowed, else what is wrong. */
  findViolation(name: string, found: ObjectState): string | undefined {
    const allowed = [
      this.#acknowledged.get(name),
      ...(this.#pending.has(name) ? [this.#pending.get(name)] : []),
    ];
    if (allowed.some((state) => text(state) === text(found))) return undefined;
    return `${name}: found ${text(found)}, allowed ${allowed.map(text).join(' or ')}`;
  }
}
