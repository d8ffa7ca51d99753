// Takes the raw bytes of a request body from its connection, with a limit on silence. Whatever goes wrong
// with the connection becomes an `AuthError`, and the request itself is never destroyed here: an error
// response still has to go out on the same connection.

import { Readable } from 'node:stream';

import { AuthError } from '../../sigv4/errors.ts';

/**
 * The pieces of a body as they arrive. Throws `RequestTimeout` when nothing came for `stallMs` while the
 * consumer was waiting, `IncompleteBody` when the source fails.
 */
export async function* readPieces(
  source: AsyncIterable<Uint8Array>,
  stallMs: number,
): AsyncGenerator<Uint8Array> {
  const iterator = iteratorOf(source);
  let reject: ((error: AuthError) => void) | undefined;
  const timer = setTimeout(() => reject?.(stalled(stallMs)), stallMs);
  timer.unref();
  const next = () =>
    new Promise<IteratorResult<Uint8Array>>((resolve, rejectNext) => {
      reject = rejectNext;
      timer.refresh();
      iterator.next().then(resolve, rejectNext);
    });
  let isFinished = false;
  try {
    for (;;) {
      const result = await next();
      reject = undefined;
      if (result.done === true) {
        isFinished = true;
        return;
      }
      yield result.value;
    }
  } catch (error) {
    isFinished = true;
    throw failure(error);
  } finally {
    clearTimeout(timer);
    if (!isFinished) await iterator.return?.();
  }
}

/**
 * Gives every piece of a body to `take` until that returns false; the rest is then left unread. Resolves to
 * false in that case, true at the end of the body. Throws what `take` throws, and as `readPieces` does.
 */
export async function takePieces(
  source: AsyncIterable<Uint8Array>,
  stallMs: number,
  take: (piece: Uint8Array) => boolean,
): Promise<boolean> {
  if (source instanceof Readable && !source.destroyed && !source.readableEnded) {
    return takeByEvents(source, stallMs, take);
  }
  for await (const piece of readPieces(source, stallMs)) {
    if (!take(piece)) return false;
  }
  return true;
}

/** As the loop above, without the cost of an iterator: this is the path of every small PUT. */
function takeByEvents(
  source: Readable,
  stallMs: number,
  take: (piece: Uint8Array) => boolean,
): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => fail(stalled(stallMs)), stallMs);
    timer.unref();
    const onData = (piece: Uint8Array) => {
      try {
        if (take(piece)) timer.refresh();
        else finish(false);
      } catch (error) {
        fail(error);
      }
    };
    const onEnd = () => finish(true);
    const onError = (error: Error) => fail(failure(error));
    const onClose = () => fail(failure(undefined));
    const detach = () => {
      clearTimeout(timer);
      source.off('data', onData).off('end', onEnd).off('error', onError).off('close', onClose);
    };
    const finish = (isWhole: boolean) => {
      detach();
      if (!isWhole) source.pause();
      resolve(isWhole);
    };
    const fail = (error: unknown) => {
      detach();
      source.pause();
      reject(error as Error);
    };
    source.on('end', onEnd).on('error', onError).on('close', onClose).on('data', onData);
  });
}

function iteratorOf(source: AsyncIterable<Uint8Array>): AsyncIterator<Uint8Array> {
  if (source instanceof Readable) {
    // A request is a stream of buffers.
    return source.iterator({ destroyOnReturn: false }) as AsyncIterator<Uint8Array>;
  }
  return source[Symbol.asyncIterator]();
}

function stalled(stallMs: number): AuthError {
  return new AuthError(
    'RequestTimeout',
    `No byte of the body arrived for ${stallMs / 1000} seconds; send the request again.`,
  );
}

function failure(cause: unknown): AuthError {
  if (cause instanceof AuthError) return cause;
  return new AuthError(
    'IncompleteBody',
    'The connection ended before the whole body arrived.',
    cause === undefined ? undefined : { cause },
  );
}
