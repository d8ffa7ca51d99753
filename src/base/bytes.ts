// Giving memory back at once. A byte array whose last reader is done can be freed without waiting for the
// garbage collector, which otherwise runs in full again and again while megabytes stream through.

/** Below this the collector is cheaper. */
const freedBytesMin = 16 * 1024;

/**
 * Frees the memory under a view that nobody uses any more, itself included: afterwards it has no bytes. Does
 * nothing for small views and for views that share their memory with others.
 */
export function freeBytes(bytes: Uint8Array): void {
  const { buffer } = bytes;
  if (bytes.length < freedBytesMin || bytes.length !== buffer.byteLength) return;
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}
