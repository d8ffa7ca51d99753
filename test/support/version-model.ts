// A slow reference of one bucket with versions: plain maps, no tables, no compare-and-swap. What the store lists and
// reads after any sequence of operations must be what this says.

import type { Versioning } from '../../src/store/types.ts';

/** One version as the model knows it; `id` as the store named it. */
export type ModelVersion = {
  readonly id: string;
  readonly isMarker: boolean;
  readonly body: string;
  tagging: string;
  /** Under legal hold. */
  isHeld?: boolean;
};

export class VersionModel<
  Version extends Pick<ModelVersion, 'id' | 'isMarker' | 'tagging'> = ModelVersion,
> {
  versioning: Versioning | undefined;
  /** Newest first. */
  readonly #names = new Map<string, readonly Version[]>();

  /** What `name` holds, newest first. */
  versions(name: string): readonly Version[] {
    return this.#names.get(name) ?? [];
  }

  /** All names that hold anything, unsorted. */
  names(): readonly string[] {
    return [...this.#names.keys()];
  }

  current(name: string): Version | undefined {
    const [head] = this.versions(name);
    return head?.isMarker ? undefined : head;
  }

  find(name: string, id: string): Version | undefined {
    return this.versions(name).find((version) => version.id === id);
  }

  /** A write, or the marker of a deletion, which the store gave this id. */
  add(name: string, version: Version): void {
    const kept = this.versioning === 'Enabled' ? this.versions(name) : this.#without(name, 'null');
    this.#set(name, [version, ...kept]);
  }

  /** The version that a write or a marker would take the place of. */
  replaced(name: string): Version | undefined {
    return this.versioning === 'Enabled' ? undefined : this.find(name, 'null');
  }

  /** A deletion that leaves nothing: of one version, or of an object that never had versions. */
  remove(name: string, id: string): void {
    this.#set(name, this.#without(name, id));
  }

  /** Puts `version` in the place of the one with that id. */
  change(name: string, id: string, version: Version): void {
    this.#set(
      name,
      this.versions(name).map((known) => (known.id === id ? version : known)),
    );
  }

  /** `name:id`, `!` before markers, `*` behind the latest, and the tags: all there is, in the order of a listing. */
  list(): string[] {
    const names = [...this.#names.keys()].sort((a, b) =>
      Buffer.compare(Buffer.from(a), Buffer.from(b)),
    );
    return names.flatMap((name) =>
      this.versions(name).map(
        ({ id, isMarker, tagging }, index) =>
          `${isMarker ? '!' : ''}${name}:${id}${index === 0 ? '*' : ''} ${tagging}`,
      ),
    );
  }

  #without(name: string, id: string): Version[] {
    return this.versions(name).filter((version) => version.id !== id);
  }

  #set(name: string, versions: Version[]): void {
    if (versions.length === 0) this.#names.delete(name);
    else this.#names.set(name, versions);
  }
}
