// Version ids, and the order of the versions of one name. An id says where its version is: 8 bytes of the order,
// inverted so that the newest sorts first, then 8 random bytes; as text in hex. The version `null`, of which a
// name has at most one, has zeros in place of the randomness. Orders are microseconds since 1970 as long as
// the clock goes forward, and grow with every version of a name whatever the clock does.

import { randomBytes } from 'node:crypto';

/** The id of the one version that a name has where versioning is not enabled. */
export const nullVersionId = 'null';

/** Length of a version's position behind its name, in bytes. */
export const versionTailBytes = 16;

const orderBytes = 8;
const highest = 0xffff_ffff_ffff_ffffn;

/** True for the text of an id that `createVersionId` could have made. */
export function isVersionId(text: string): boolean {
  return /^[0-9a-f]{32}$/.test(text);
}

/** The order of a version to come, above that of the newest one there is. */
export function nextOrder(nowMs: number, newest: number | undefined): number {
  return Math.max(Math.floor(nowMs * 1000), (newest ?? 0) + 1);
}

/** A new id, never made again. */
export function createVersionId(order: number): string {
  const random = randomBytes(versionTailBytes - orderBytes);
  // All zeros would be the place of the version `null`.
  random[0] = (random[0] as number) | 1;
  return Buffer.concat([invert(order), random]).toString('hex');
}

/** Where a version sorts among those of its name: 16 bytes, the newest first. */
export function versionTail(versionId: string, order: number): Buffer {
  if (versionId !== nullVersionId) return Buffer.from(versionId, 'hex');
  return Buffer.concat([invert(order), Buffer.alloc(versionTailBytes - orderBytes)]);
}

function invert(order: number): Buffer {
  const bytes = Buffer.alloc(orderBytes);
  bytes.writeBigUInt64BE(highest - BigInt(order));
  return bytes;
}
