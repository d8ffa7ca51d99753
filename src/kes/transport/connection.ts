// One client connection: who is at the other end, what it has in progress, and how much of its bodies is in
// memory. Rule kept here: what clients send before their requests are whole is bounded, per connection and
// in total, so that one of them cannot take the memory of all.

import type { IncomingMessage } from 'node:http';
import type { ServerHttp2Stream } from 'node:http2';
import { KesHttpError } from '../errors.ts';
import type { Peer } from '../identity.ts';

/** Times in milliseconds. */
export type TransportLimits = {
  /** For a handshake, for the header of a request, for the first settings of HTTP/2. */
  readonly headerTimeoutMs: number;
  /** A connection without a request in progress is closed after this long. */
  readonly idleTimeoutMs: number;
  /** A body that nobody reads may go on this long after the answer. */
  readonly discardMs: number;
  /** Requests begun before the rules for connections changed may take this long. */
  readonly renewMs: number;
  /** How often connections are looked at. */
  readonly checkMs: number;
  /** Requests at a time on one HTTP/2 connection. */
  readonly streamsMax: number;
  /** Bytes of request bodies in memory, of one connection and of all. */
  readonly connectionBodyBytesMax: number;
  readonly bodyBytesMax: number;
};

export const defaultLimits: TransportLimits = {
  headerTimeoutMs: 5_000,
  idleTimeoutMs: 90_000,
  discardMs: 5_000,
  renewMs: 20_000,
  checkMs: 1_000,
  streamsMax: 1_000,
  connectionBodyBytesMax: 64 * 1024 * 1024,
  bodyBytesMax: 256 * 1024 * 1024,
};

/** Bytes of bodies that may be in memory. */
export class BodyBudget {
  readonly #max: number;
  readonly #parent: BodyBudget | undefined;
  #used = 0;

  constructor(max: number, parent?: BodyBudget) {
    this.#max = max;
    this.#parent = parent;
  }

  /** Whether so many more fit; if so they count from now on. */
  take(bytes: number): boolean {
    if (this.#used + bytes > this.#max) return false;
    if (this.#parent !== undefined && !this.#parent.take(bytes)) return false;
    this.#used += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#used -= bytes;
    this.#parent?.give(bytes);
  }
}

/** What the two versions of HTTP know of their connection. */
export class Connection {
  readonly peer: Peer;
  readonly budget: BodyBudget;
  /** Requests in progress. */
  readonly exchanges = new Set<Exchange>();
  readonly openedAtMs: number;
  idleSinceMs: number;
  /** Whether the client has sent its first settings: an HTTP/2 client does so at once. */
  isGreeted = false;
  /** When the connection was told to end; new requests are not served any more. */
  retiredAtMs: number | undefined;

  constructor(peer: Peer, given: { readonly budget: BodyBudget; readonly nowMs: number }) {
    this.peer = peer;
    this.budget = given.budget;
    this.openedAtMs = given.nowMs;
    this.idleSinceMs = given.nowMs;
  }

  get isRetired(): boolean {
    return this.retiredAtMs !== undefined;
  }

  begin(drop: () => void): Exchange {
    const exchange = new Exchange(this, drop);
    this.exchanges.add(exchange);
    return exchange;
  }

  /** No new requests; streams end, and what is in progress goes on. */
  retire(nowMs: number): void {
    this.retiredAtMs ??= nowMs;
    for (const exchange of this.exchanges) exchange.endStream?.();
  }
}

/** One request on a connection, until its answer is sent or it is gone. */
export class Exchange {
  readonly #connection: Connection;
  readonly #drop: () => void;
  #deadline: NodeJS.Timeout | undefined;
  #heldBytes = 0;
  /** Ends the answer when it is a stream. */
  endStream: (() => void) | undefined;
  /** Told when the exchange is over. */
  stopStream: (() => void) | undefined;

  constructor(connection: Connection, drop: () => void) {
    this.#connection = connection;
    this.#drop = drop;
  }

  dropAfter(ms: number): void {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(this.#drop, ms);
  }

  /** To be called once, when the exchange is over. */
  close(nowMs: number): void {
    clearTimeout(this.#deadline);
    this.#connection.budget.give(this.#heldBytes);
    this.#heldBytes = 0;
    this.stopStream?.();
    const { exchanges } = this.#connection;
    exchanges.delete(this);
    if (exchanges.size === 0) this.#connection.idleSinceMs = nowMs;
  }

  /** See `KesRequest.readBody`. */
  readBody(source: IncomingMessage | ServerHttp2Stream, maxBytes: number): Promise<Buffer> {
    if (maxBytes <= 0) return Promise.resolve(noBytes);
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = [];
      let size = 0;
      const onData = (chunk: Buffer) => {
        if (!this.#hold(chunk.length)) {
          stop();
          reject(new KesHttpError(503, 'too many requests with a body at once: try again'));
          return;
        }
        chunks.push(chunk);
        size += chunk.length;
        if (size > maxBytes) finish();
      };
      const onClose = () => {
        stop();
        reject(new KesHttpError(400, 'the request was cut off'));
      };
      const stop = () => source.off('data', onData).off('end', finish).off('close', onClose);
      const finish = () => {
        stop();
        const only = chunks.length === 1 ? chunks[0] : undefined;
        const whole = only ?? Buffer.concat(chunks);
        resolve(whole.length > maxBytes ? whole.subarray(0, maxBytes) : whole);
      };
      if (source.destroyed) onClose();
      else source.on('data', onData).on('end', finish).on('close', onClose);
    });
  }

  #hold(bytes: number): boolean {
    if (!this.#connection.budget.take(bytes)) return false;
    this.#heldBytes += bytes;
    return true;
  }
}

const noBytes = Buffer.alloc(0);

/** The size a header announces; -1 when it does not. */
export function announcedBytes(length: string | undefined): number {
  return length !== undefined && /^\d{1,15}$/.test(length) ? Number(length) : -1;
}

/** A header that may occur several times, as a list. */
export function valuesOf(value: string | readonly string[] | undefined): readonly string[] {
  if (value === undefined) return [];
  return typeof value === 'string' ? [value] : value;
}

/** Bytes waiting for a slow reader of a log; what comes on top is dropped. */
const streamBytesMax = 1_048_576;

/** Writes a line of a log stream unless its reader is far behind. */
export function writeBounded(
  out: { readonly writableLength: number; write(line: string): boolean },
  line: string,
): void {
  if (out.writableLength < streamBytesMax) out.write(line);
}
