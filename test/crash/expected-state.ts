// What a store must hold after a crash: for each object name the last acknowledged state, and the states that
// were asked for but not yet answered when the crash came. Anything else is a lost or a half-made object.

import { createHash } from 'node:crypto';

/** `undefined`: the object does not exist. `label` is stored as user metadata. */
export type ObjectState =
  | {
      readonly md5: string;
      readonly etag: string;
      readonly sizeBytes: number;
      readonly label: string;
    }
  | undefined;

export function stateOf(bytes: Uint8Array, label: string, etag?: string): NonNullable<ObjectState> {
  const md5 = createHash('md5').update(bytes).digest('hex');
  return { md5, etag: etag ?? md5, sizeBytes: bytes.length, label };
}

function text(state: ObjectState): string {
  return state === undefined
    ? 'absent'
    : `${state.sizeBytes} B ${state.label} md5 ${state.md5} etag ${state.etag}`;
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
