// A server that answers one recorded run of the reference client, and a runner that calls a command in this
// process and collects what it printed.

import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { Readable, Writable } from 'node:stream';

import { runMc } from '../../src/cli/mc/main.ts';

/** A request of a recorded run. */
export type RecordedRequest = {
  readonly method: string;
  readonly path: string;
  readonly query?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly response: {
    readonly status?: number;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: unknown;
  };
};

/** A recorded run. */
export type RecordedRun = {
  readonly argv: readonly string[];
  readonly stdinBytes?: number;
  readonly requests: readonly RecordedRequest[];
  readonly stdout: string;
  readonly stderr: string;
  readonly exit: number | string;
};

/** A request as the stub saw it. */
export type SeenRequest = {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
};

/** Decides the answer to a request. */
export type Answer = (seen: SeenRequest, response: ServerResponse) => void | Promise<void>;

/** Listens on a free loopback port. `tls` makes it HTTPS. */
export class StubServer {
  readonly seen: SeenRequest[] = [];
  answer: Answer = (_seen, response) => {
    response.writeHead(501).end();
  };
  readonly #server: Server;

  constructor(tls?: { key: string; cert: string }) {
    const handle = (request: IncomingMessage, response: ServerResponse) => {
      void this.#handle(request, response);
    };
    this.#server = tls === undefined ? createServer(handle) : createTlsServer(tls, handle);
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const target = request.url ?? '';
    const mark = target.indexOf('?');
    const headers: Record<string, string> = {};
    for (const [name, value] of Object.entries(request.headers)) headers[name] = String(value);
    const seen = {
      method: request.method ?? '',
      path: decodeURIComponent(mark < 0 ? target : target.slice(0, mark)),
      query: mark < 0 ? '' : target.slice(mark + 1),
      headers,
      body: Buffer.concat(chunks),
    };
    this.seen.push(seen);
    await this.answer(seen, response);
  }
}

/** What a command did. */
export type Outcome = { readonly code: number; readonly stdout: string; readonly stderr: string };

/** Runs one command in this process. */
export async function runCommand(
  argv: readonly string[],
  options: {
    env?: Readonly<Record<string, string>>;
    stdin?: Uint8Array;
    isTerminal?: boolean;
    signal?: AbortSignal;
  } = {},
): Promise<Outcome> {
  const collect = (isTTY: boolean) => {
    const chunks: Buffer[] = [];
    const stream = new Writable({
      write(chunk: Buffer, _encoding, done) {
        chunks.push(Buffer.from(chunk));
        done();
      },
    });
    return { stream: Object.assign(stream, { isTTY, columns: 100 }), chunks };
  };
  const out = collect(options.isTerminal ?? false);
  const error = collect(options.isTerminal ?? false);
  const code = await runMc([...argv], {
    env: options.env ?? {},
    stdin: Readable.from(options.stdin === undefined ? [] : [options.stdin]),
    stdout: out.stream,
    stderr: error.stream,
    signal: options.signal ?? new AbortController().signal,
  });
  return {
    code,
    stdout: Buffer.concat(out.chunks).toString('utf8'),
    stderr: Buffer.concat(error.chunks).toString('utf8'),
  };
}
