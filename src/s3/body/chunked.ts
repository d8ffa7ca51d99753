// Decodes `aws-chunked` bodies: the framing inside the HTTP body by which S3 clients sign a body in
// pieces, end it with a checksum they did not know before, or both.
//
//   signed:    HEXLEN;chunk-signature=64HEX CR LF  data  CR LF   …  0;chunk-signature=64HEX CR LF  tail
//   unsigned:  HEXLEN CR LF  data  CR LF                         …  0 CR LF                        tail
//   tail:      nothing, or name:value LF  [ x-amz-trailer-signature:64HEX LF ]; blank lines anywhere
//
// Some clients end trailer lines with LF CR LF and add further blank lines, which is why the tail is taken
// line by line with blank ones left out. The body must end after it.
//
// Signed chunks of up to 64 KiB are released only when their signature was checked. Larger ones pass as
// they come and are checked at their end; nothing may become visible before `end` has returned. Memory is
// bounded: one chunk of 64 KiB, one line, one tail.

import { type Hash, createHash } from 'node:crypto';

import { emptySha256, sha256Hex } from '../../sigv4/canonical.ts';
import { AuthError } from '../../sigv4/errors.ts';
import {
  type SigningContext,
  chunkSignature,
  isSameSignature,
  trailerSignature,
} from '../../sigv4/signing-key.ts';

export type ChunkedOptions = {
  /** Present when every chunk, and the trailer, is signed. */
  readonly signing?: { readonly context: SigningContext; readonly seedSignature: string };
  /** False: nothing but blank lines may follow the last chunk. */
  readonly hasTrailer: boolean;
  /** Names announced by `x-amz-trailer`, lower case: exactly these must come. */
  readonly trailerNames: readonly string[];
  /** `x-amz-decoded-content-length`: exactly so many bytes must come. */
  readonly sizeBytes: number;
};

const signedChunkBytesMax = 16 * 1024 * 1024;
const heldChunkBytesMax = 64 * 1024;
const lineBytesMax = 128;
const tailBytesMax = 4096;

const unsignedLine = /^([0-9A-Fa-f]{1,12})$/;
const signedLine = /^([0-9A-Fa-f]{1,12});chunk-signature=([0-9A-Fa-f]{64})$/;

/**
 * Takes the framed bytes in pieces of any size and gives the data back. Throws `AuthError`:
 * `IncompleteBody` for broken framing or a wrong size, `SignatureDoesNotMatch`, `MalformedTrailerError`.
 */
export class ChunkDecoder {
  readonly #options: ChunkedOptions;
  #state: 'line' | 'data' | 'data-end' | 'tail' | 'ended' = 'line';
  #line = '';
  #tail = '';
  #signature: string;
  #chunkSignature = '';
  #chunkRest = 0;
  #receivedBytes = 0;
  /** Collects a signed chunk that arrives in several pieces. */
  #held: Buffer | undefined;
  #heldBytes = 0;
  /** Runs over a signed chunk that is too large to be held. */
  #hash: Hash | undefined;
  #trailers: Readonly<Record<string, string>> = {};

  constructor(options: ChunkedOptions) {
    this.#options = options;
    this.#signature = options.signing?.seedSignature ?? '';
  }

  /** Verified trailers by lower-case name; empty until `end` has returned. */
  get trailers(): Readonly<Record<string, string>> {
    return this.#trailers;
  }

  /** Takes the next piece; returns data, as views of the piece where that is possible. */
  push(piece: Uint8Array): Uint8Array[] {
    const input = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
    const output: Uint8Array[] = [];
    let at = 0;
    while (at < input.length) {
      switch (this.#state) {
        case 'line':
          at = this.#takeLine(input, at);
          break;
        case 'data':
          at = this.#takeData(input, at, output);
          break;
        case 'data-end':
          at = this.#takeDataEnd(input, at);
          break;
        case 'tail':
          at = this.#takeTail(input, at);
          break;
        case 'ended':
          throw incomplete('bytes arrived after the end');
      }
    }
    return output;
  }

  /** The framed bytes have ended. Throws unless everything was there and right. */
  end(): void {
    if (this.#state !== 'tail') throw incomplete('it ends within a chunk');
    this.#state = 'ended';
    const lines = this.#tail
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '');
    if (!this.#options.hasTrailer) {
      if (lines.length > 0) throw incomplete('bytes follow the last chunk');
      return;
    }
    this.#trailers = this.#readTrailers(lines);
  }

  #takeLine(input: Buffer, start: number): number {
    const lineEnd = input.indexOf(0x0a, start);
    const end = lineEnd < 0 ? input.length : lineEnd;
    if (this.#line.length + end - start > lineBytesMax)
      throw incomplete('a chunk line is too long');
    this.#line += input.toString('latin1', start, end);
    if (lineEnd < 0) return input.length;
    if (!this.#line.endsWith('\r')) throw incomplete('a chunk line does not end in CR LF');
    this.#startChunk(this.#line.slice(0, -1));
    this.#line = '';
    return lineEnd + 1;
  }

  #startChunk(line: string): void {
    const isSigned = this.#options.signing !== undefined;
    const match = (isSigned ? signedLine : unsignedLine).exec(line);
    if (match === null) throw incomplete('a chunk line is malformed');
    const sizeBytes = Number.parseInt(match[1] ?? '', 16);
    this.#chunkSignature = (match[2] ?? '').toLowerCase();
    if (sizeBytes > this.#options.sizeBytes - this.#receivedBytes) {
      throw incomplete('it is longer than x-amz-decoded-content-length');
    }
    if (sizeBytes === 0) {
      if (this.#receivedBytes !== this.#options.sizeBytes) {
        throw incomplete('it is shorter than x-amz-decoded-content-length');
      }
      this.#verifyChunk(emptySha256);
      this.#state = 'tail';
      return;
    }
    if (isSigned && sizeBytes > signedChunkBytesMax) {
      throw new AuthError('InvalidRequest', 'A signed chunk may hold at most 16 MiB.');
    }
    this.#receivedBytes += sizeBytes;
    this.#chunkRest = sizeBytes;
    this.#state = 'data';
    if (isSigned && sizeBytes > heldChunkBytesMax) this.#hash = createHash('sha256');
  }

  #takeData(input: Buffer, start: number, output: Uint8Array[]): number {
    const end = Math.min(input.length, start + this.#chunkRest);
    const data = input.subarray(start, end);
    this.#chunkRest -= data.length;
    const isChunkEnd = this.#chunkRest === 0;
    if (isChunkEnd) this.#state = 'data-end';
    if (this.#options.signing === undefined) {
      output.push(data);
    } else if (this.#hash !== undefined) {
      this.#hash.update(data);
      if (isChunkEnd) {
        this.#verifyChunk(this.#hash.digest('hex'));
        this.#hash = undefined;
      }
      output.push(data);
    } else if (isChunkEnd && this.#held === undefined) {
      this.#verifyChunk(sha256Hex(data));
      output.push(data);
    } else {
      this.#hold(data, output);
    }
    return end;
  }

  #hold(data: Buffer, output: Uint8Array[]): void {
    this.#held ??= Buffer.allocUnsafeSlow(data.length + this.#chunkRest);
    this.#held.set(data, this.#heldBytes);
    this.#heldBytes += data.length;
    if (this.#chunkRest > 0) return;
    this.#verifyChunk(sha256Hex(this.#held));
    output.push(this.#held);
    this.#held = undefined;
    this.#heldBytes = 0;
  }

  #takeDataEnd(input: Buffer, start: number): number {
    const expected = this.#line === '' ? 0x0d : 0x0a;
    if (input[start] !== expected) throw incomplete('a chunk does not end in CR LF');
    if (expected === 0x0d) {
      this.#line = '\r';
    } else {
      this.#line = '';
      this.#state = 'line';
    }
    return start + 1;
  }

  #takeTail(input: Buffer, start: number): number {
    if (this.#tail.length + input.length - start > tailBytesMax) {
      throw incomplete('too many bytes follow the last chunk');
    }
    this.#tail += input.toString('latin1', start);
    return input.length;
  }

  #verifyChunk(dataSha256: string): void {
    const signing = this.#options.signing;
    if (signing === undefined) return;
    const expected = chunkSignature(signing.context, this.#signature, dataSha256);
    if (!isSameSignature(this.#chunkSignature, expected)) throw wrongSignature('a chunk');
    this.#signature = expected;
  }

  #readTrailers(lines: readonly string[]): Readonly<Record<string, string>> {
    const { signing, trailerNames } = this.#options;
    const trailers: Record<string, string> = Object.create(null) as Record<string, string>;
    let signedLines = '';
    let signature: string | undefined;
    for (const line of lines) {
      const match = /^([A-Za-z0-9-]{1,64})[ \t]*:[ \t]*([\x21-\x7e]{1,1024})$/.exec(line);
      const name = match?.[1]?.toLowerCase();
      const value = match?.[2];
      if (name === undefined || value === undefined) throw malformed('a line is not name:value');
      if (signature !== undefined) throw malformed('lines follow the trailer signature');
      if (name === 'x-amz-trailer-signature' && signing !== undefined) {
        signature = value.toLowerCase();
        continue;
      }
      if (!trailerNames.includes(name))
        throw malformed(`${name} was not announced by x-amz-trailer`);
      if (trailers[name] !== undefined) throw malformed(`${name} is there twice`);
      trailers[name] = value;
      signedLines += `${name}:${value}\n`;
    }
    for (const name of trailerNames) {
      if (trailers[name] === undefined) throw malformed(`${name} is missing`);
    }
    if (signing !== undefined) this.#verifyTrailer(signing.context, signedLines, signature);
    return trailers;
  }

  #verifyTrailer(
    context: SigningContext,
    signedLines: string,
    signature: string | undefined,
  ): void {
    if (signature === undefined) {
      if (signedLines === '') return;
      throw malformed('x-amz-trailer-signature is missing');
    }
    const expected = trailerSignature(context, this.#signature, signedLines);
    if (!isSameSignature(signature, expected)) throw wrongSignature('the trailer');
  }
}

function incomplete(reason: string): AuthError {
  return new AuthError('IncompleteBody', `The aws-chunked body is malformed: ${reason}.`);
}

function malformed(reason: string): AuthError {
  return new AuthError(
    'MalformedTrailerError',
    `The request contained trailing data that was not well-formed or did not conform to our published schema: ${reason}.`,
  );
}

function wrongSignature(what: string): AuthError {
  return new AuthError(
    'SignatureDoesNotMatch',
    `The signature we calculated for ${what} of the body does not match the signature you provided.`,
  );
}
