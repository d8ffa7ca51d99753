// One request and its reply, whatever HTTP version carried them: what the dispatcher and the handlers see.

import type { Peer } from './identity.ts';

export type KesRequest = {
  readonly method: string;
  /** Path and query as sent, percent-escapes included. */
  readonly target: string;
  readonly peer: Peer;
  /** Size the sender announced; 0 for no body, -1 when it is unknown. */
  readonly bodyBytes: number;
  /** Every value of a header, in order. */
  headers(name: string): readonly string[];
  /**
   * Up to `maxBytes` of the body; what is beyond is never read. Rejects when the sender goes away, and with
   * `KesHttpError` 503 when bodies already take all the memory they may.
   */
  readBody(maxBytes: number): Promise<Buffer>;
  /** Cuts the request off, whatever state it is in, unless its answer is wholly sent by then. */
  dropAfter(ms: number): void;
};

/** Lines until the peer leaves or `end` is called. Given the line writer, returns what ends it. */
export type KesStream = (write: (line: string) => void, end: () => void) => () => void;

export type KesReply = {
  readonly status: number;
  readonly contentType?: string;
  readonly body?: string | Buffer;
  readonly headers?: Readonly<Record<string, string>>;
  /** Instead of `body`. */
  readonly stream?: KesStream;
};

export type KesHandle = (request: KesRequest) => Promise<KesReply>;

const json = 'application/json';

/** Success without data. */
export const emptyReply: KesReply = { status: 200 };

/** Success with one JSON value. */
export function jsonReply(value: unknown): KesReply {
  return { status: 200, contentType: json, body: `${JSON.stringify(value)}\n` };
}

/** An error, with the exact bytes that clients know: a line break before the closing brace. */
export function errorReply(
  status: number,
  message: string,
  headers?: Readonly<Record<string, string>>,
): KesReply {
  const body = `{"message":${JSON.stringify(message)}\n}`;
  return { status, contentType: json, body, ...(headers === undefined ? {} : { headers }) };
}
