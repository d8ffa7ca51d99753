// Reads the multipart body of a browser form: its fields, up to the file, then the file as a stream. Fields after
// the file are ignored. The stream ends normally only when the whole form was well-formed to its last boundary,
// so a form that was cut off never becomes an object.

import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import {
  Busboy,
  type BusboyEvents,
  type BusboyFileStream,
  type BusboyInstance,
} from '@fastify/busboy';
import { readPieces } from '../body/body-source.ts';
import { S3Error } from '../errors.ts';

export type PostForm = {
  /** Values by lower-case name, in the order in which they came. */
  readonly fields: ReadonlyMap<string, string>;
  /** The name that the browser gave the file; empty when it gave none. */
  readonly fileName: string;
  /** Can be read once. Throws `S3Error` or `AuthError` before its end when the form is not well-formed. */
  readonly file: AsyncIterable<Uint8Array>;
  /** Gives the form up: nothing more is read of it. Does nothing after the end. */
  abort(): void;
};

const fieldsMax = 200;
/** All fields before the file together. */
const fieldBytesMax = 256 * 1024;

/**
 * Reads the fields. Throws `S3Error` `MalformedPOSTRequest` for what is not a form or has no file, and
 * `AuthError` when the client falls silent for `stallMs` or goes away.
 */
export async function readPostForm(request: IncomingMessage, stallMs: number): Promise<PostForm> {
  const parser = openParser(request.headers['content-type']);
  const stopping = new AbortController();
  const ending = outcomeOf(once(parser, 'finish', { signal: stopping.signal }));
  const fields = new Map<string, string>();
  let fieldBytes = 0;
  const found = new Promise<{ file: BusboyFileStream; fileName: string }>((resolve, reject) => {
    let hasFile = false;
    const onField: BusboyEvents['field'] = (name, value, _isNameCut, isValueCut) => {
      if (hasFile || name === undefined) return;
      fieldBytes += name.length + value.length;
      if (isValueCut || fieldBytes > fieldBytesMax) {
        reject(malformed(`The fields before the file are larger than ${fieldBytesMax} bytes.`));
      }
      const field = name.toLowerCase();
      if (fields.has(field)) reject(malformed(`The form has the field ${field} twice.`));
      fields.set(field, value);
    };
    const onFile: BusboyEvents['file'] = (_name, file, fileName) => {
      hasFile = true;
      resolve({ file, fileName: fileName ?? '' });
    };
    parser.on('field', onField);
    parser.on('file', onFile);
    parser.on('fieldsLimit', () => reject(malformed('The form has too many fields.')));
    void ending.then((cause) => {
      const why = cause === undefined ? 'The form has no file.' : 'The form is not well-formed.';
      reject(malformed(why, { cause }));
    });
  });
  const pumping = pump(request, parser, { stallMs, signal: stopping.signal });
  const failing = pumping.then((error) => {
    if (error !== undefined) parser.destroy(toError(error));
    return error;
  });
  try {
    const { file, fileName } = await found;
    return {
      fields,
      fileName,
      file: readFile(file, { failing, ending }),
      abort: () => stop(stopping, parser, file),
    };
  } catch (error) {
    stop(stopping, parser, undefined);
    throw (await settledNow(failing)) ?? error;
  }
}

function openParser(contentType: string | undefined): BusboyInstance {
  if (contentType === undefined || !/^multipart\/form-data\b/i.test(contentType)) {
    throw malformed('The Content-Type of a form is multipart/form-data with a boundary.');
  }
  try {
    return new Busboy({
      headers: { 'content-type': contentType },
      isPartAFile: (name) => name?.toLowerCase() === 'file',
      limits: { fields: fieldsMax, fieldSize: fieldBytesMax, files: 1, headerPairs: 100 },
    });
  } catch (cause) {
    throw malformed('The Content-Type of the form has no boundary.', { cause });
  }
}

/** Moves the body into the parser. Resolves to what went wrong with the connection, if anything. */
async function pump(
  request: IncomingMessage,
  parser: BusboyInstance,
  { stallMs, signal }: { readonly stallMs: number; readonly signal: AbortSignal },
): Promise<unknown> {
  try {
    for await (const piece of readPieces(request, stallMs)) {
      if (parser.destroyed || signal.aborted) return undefined;
      if (!parser.write(piece)) await once(parser, 'drain', { signal });
    }
    parser.end();
    return undefined;
  } catch (error) {
    return signal.aborted ? undefined : error;
  }
}

async function* readFile(
  file: BusboyFileStream,
  form: { readonly failing: Promise<unknown>; readonly ending: Promise<unknown> },
): AsyncGenerator<Uint8Array> {
  void form.failing.then((error) => {
    if (error !== undefined) file.destroy(toError(error));
  });
  try {
    for await (const piece of file) yield piece as Uint8Array; // a stream of buffers
  } catch (error) {
    throw (
      (await settledNow(form.failing)) ?? malformed('The form ends too early.', { cause: error })
    );
  }
  const error = await form.ending;
  if (error === undefined) return;
  throw (await settledNow(form.failing)) ?? malformed('The form ends too early.', { cause: error });
}

function stop(
  stopping: AbortController,
  parser: BusboyInstance,
  file: BusboyFileStream | undefined,
): void {
  stopping.abort();
  file?.on('error', ignore).destroy();
  parser.on('error', ignore).destroy();
}

/** What a promise rejects with, as its value. */
function outcomeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error ?? new Error('failed'),
  );
}

/** The value of a promise if it has one by now. */
function settledNow(promise: Promise<unknown>): Promise<unknown> {
  return Promise.race([promise, new Promise((resolve) => setImmediate(resolve, undefined))]);
}

function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

function ignore(): void {}

function malformed(why: string, options?: ErrorOptions): S3Error {
  return new S3Error('MalformedPOSTRequest', why, { ...options });
}
