// What is left of a destroyed key: a JSON text without key bytes (docs/formats/key-store.md, "Destroyed
// keys"). It keeps the name taken, so that nobody creates it again unnoticed. Whatever else such a text
// says, `"state":"destroyed"` makes it a tombstone: damage must never bring a key's name back into use.

import { formatKeyTime, type KeyTime, parseKeyTime, zeroKeyTime } from './master-key.ts';

export type Tombstone = {
  readonly state: 'destroyed';
  /** As the key had it. */
  readonly id?: string;
  /** Of the key's first version; empty when the tombstone does not say. */
  readonly fingerprint: string;
  readonly createdAt: KeyTime;
  readonly createdBy: string;
  readonly destroyedAt: KeyTime;
  readonly destroyedBy: string;
  readonly revision: number;
};

/** The text of a tombstone. */
export function formatTombstone(tombstone: Tombstone): string {
  return JSON.stringify({
    state: tombstone.state,
    ...(tombstone.id === undefined ? {} : { id: tombstone.id }),
    fingerprint: tombstone.fingerprint,
    created_at: formatKeyTime(tombstone.createdAt),
    created_by: tombstone.createdBy,
    destroyed_at: formatKeyTime(tombstone.destroyedAt),
    destroyed_by: tombstone.destroyedBy,
    revision: tombstone.revision,
  });
}

/** The tombstone that a JSON value is; undefined when it is none. */
export function findTombstone(json: unknown): Tombstone | undefined {
  if (typeof json !== 'object' || json === null) return undefined;
  const members = json as Record<string, unknown>;
  if (members['state'] !== 'destroyed') return undefined;
  const textOf = (name: string): string => {
    const value = members[name];
    return typeof value === 'string' ? value : '';
  };
  const timeOf = (name: string) => parseKeyTime(textOf(name)) ?? zeroKeyTime;
  const id = textOf('id');
  const revision = members['revision'];
  return {
    state: 'destroyed',
    ...(id === '' ? {} : { id }),
    fingerprint: textOf('fingerprint'),
    createdAt: timeOf('created_at'),
    createdBy: textOf('created_by'),
    destroyedAt: timeOf('destroyed_at'),
    destroyedBy: textOf('destroyed_by'),
    revision: Number.isSafeInteger(revision) ? Number(revision) : 0,
  };
}
