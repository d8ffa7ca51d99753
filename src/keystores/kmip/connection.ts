// TLS connections to one KMIP server: at most a few, one request at a time on each, kept while they are good.
// Rules kept here: every call ends, by its answer or its deadline; no answer longer than the limit is kept;
// a connection on which anything went wrong is never used again; the TLS files are read for every new
// connection, so a certificate replaced in place is the one used next.

import { readdir, readFile, stat } from 'node:fs/promises';
import { isIP } from 'node:net';
import path from 'node:path';
import * as tls from 'node:tls';
import { KeyStoreError } from '../../keys/key-store.ts';
import { kmipMessageBytesMax } from './messages.ts';
import { TtlvError, ttlvHeaderBytes, ttlvSize } from './ttlv.ts';

/** Paths of PEM files; `ca` may also be a directory of them, and without it the system's roots are trusted. */
export type KmipTlsFiles = {
  readonly key?: string | undefined;
  readonly cert?: string | undefined;
  readonly ca?: string | undefined;
};

export type KmipPoolSettings = {
  readonly host: string;
  readonly port: number;
  readonly tls: KmipTlsFiles;
  /** At most this many at once; 4 by default. */
  readonly connectionsMax?: number;
  /** For a call: waiting for a connection, connecting and the answer; 20 s by default. */
  readonly deadlineMs?: number;
  /** Connections unused for longer are closed; 60 s by default. */
  readonly idleMs?: number;
};

/** How many calls may wait for a connection. */
const waitersMax = 4_096;
const deadlineDefaultMs = 20_000;
const idleDefaultMs = 60_000;
const connectionsDefault = 4;

/** `HOST`, `HOST:PORT` or `[IPV6]:PORT`, `kmip://` allowed in front; the port is 5696 by default. Throws `KeyStoreError` `failed`. */
export function parseKmipEndpoint(endpoint: string): {
  readonly host: string;
  readonly port: number;
} {
  const match = /^(?:kmip:\/\/)?(?:\[([0-9a-fA-F:.]+)\]|([^\s:/[\]]+))(?::(\d{1,5}))?\/?$/.exec(
    endpoint,
  );
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3] ?? 5696);
  if (host === undefined || port < 1 || port > 65_535) {
    throw new KeyStoreError('failed', 'kmip: the endpoint is not HOST or HOST:PORT');
  }
  return { host, port };
}

/** A call that waits for its turn. */
type Waiter = { readonly give: () => void; readonly refuse: (why: string) => void };

/** A pool of connections; opens none before the first call. */
export class KmipPool {
  readonly #settings: Required<KmipPoolSettings>;
  readonly #idle: KmipConnection[] = [];
  readonly #open = new Set<KmipConnection>();
  readonly #waiters: Waiter[] = [];
  #busy = 0;
  #isClosed = false;

  constructor(settings: KmipPoolSettings) {
    this.#settings = {
      connectionsMax: connectionsDefault,
      deadlineMs: deadlineDefaultMs,
      idleMs: idleDefaultMs,
      ...settings,
    };
  }

  /**
   * Sends a message and resolves with the answer, which the caller owns. With `isRepeatable` a kept
   * connection that turns out dead is replaced once. Throws `KeyStoreError` `unreachable` without an answer,
   * `failed` when TLS is refused or the answer is no message.
   */
  async call(message: Buffer, options: { readonly isRepeatable: boolean }): Promise<Buffer> {
    const deadline = AbortSignal.timeout(this.#settings.deadlineMs);
    await this.#turn(deadline);
    try {
      for (;;) {
        const { connection, isKept } = await this.#connection(deadline);
        try {
          const answer = await connection.send(message, deadline);
          this.#keep(connection);
          return answer;
        } catch (error) {
          connection.destroy();
          if (!isKept || !options.isRepeatable || !isLost(error)) throw error;
        }
      }
    } finally {
      // The turn goes to who waits longest; nobody passes by.
      const next = this.#waiters.shift();
      if (next === undefined) this.#busy -= 1;
      else next.give();
    }
  }

  /** Ends everything; calls under way fail. Idempotent. */
  close(): void {
    this.#isClosed = true;
    for (const connection of this.#open) connection.destroy();
    for (const waiter of this.#waiters.splice(0)) waiter.refuse('the store is closed');
  }

  /** Waits until one more call may run, and counts it. */
  async #turn(deadline: AbortSignal): Promise<void> {
    if (this.#isClosed) throw unreachable('the store is closed');
    if (this.#busy < this.#settings.connectionsMax) {
      this.#busy += 1;
      return;
    }
    if (this.#waiters.length >= waitersMax) throw unreachable('too many calls wait for the server');
    await new Promise<void>((resolve, reject) => {
      const expire = (): void => {
        waiter.refuse('no answer in time');
      };
      const waiter: Waiter = {
        give: () => {
          deadline.removeEventListener('abort', expire);
          resolve();
        },
        refuse: (why) => {
          deadline.removeEventListener('abort', expire);
          const at = this.#waiters.indexOf(waiter);
          if (at >= 0) this.#waiters.splice(at, 1);
          reject(unreachable(why));
        },
      };
      this.#waiters.push(waiter);
      deadline.addEventListener('abort', expire, { once: true });
    });
  }

  async #connection(
    deadline: AbortSignal,
  ): Promise<{ readonly connection: KmipConnection; readonly isKept: boolean }> {
    for (let kept = this.#idle.pop(); kept !== undefined; kept = this.#idle.pop()) {
      if (kept.isUsable) return { connection: kept, isKept: true };
      kept.destroy();
    }
    const options = await tlsOptions(this.#settings);
    const connection = await KmipConnection.open(options, deadline);
    this.#open.add(connection);
    connection.onClose(() => {
      this.#open.delete(connection);
      const at = this.#idle.indexOf(connection);
      if (at >= 0) this.#idle.splice(at, 1);
    });
    if (this.#isClosed) connection.destroy();
    return { connection, isKept: false };
  }

  #keep(connection: KmipConnection): void {
    if (this.#isClosed || !connection.isUsable) {
      connection.destroy();
      return;
    }
    connection.rest(this.#settings.idleMs);
    this.#idle.push(connection);
  }
}

/** True for a connection that ended without an answer, which on a kept one says nothing about the server. */
function isLost(error: unknown): boolean {
  return error instanceof KeyStoreError && error.cause instanceof LostError;
}

class LostError extends Error {}

function unreachable(message: string, cause?: unknown): KeyStoreError {
  return new KeyStoreError('unreachable', `kmip: ${message}`, cause === undefined ? {} : { cause });
}

type Pending = {
  readonly resolve: (answer: Buffer) => void;
  readonly reject: (error: Error) => void;
};

/** One TLS connection with at most one request on it. */
class KmipConnection {
  readonly #socket: tls.TLSSocket;
  #chunks: Buffer[] = [];
  #received = 0;
  #size: number | undefined;
  #pending: Pending | undefined;
  #isEnded = false;

  private constructor(socket: tls.TLSSocket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#take(chunk);
    });
    socket.on('end', () => {
      this.#fail(unreachable('the server ended the connection', new LostError()));
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#fail(connectionError(error));
    });
    socket.on('close', () => {
      this.#fail(unreachable('the connection was lost', new LostError()));
    });
    socket.on('timeout', () => {
      this.destroy();
    });
  }

  static async open(
    options: tls.ConnectionOptions,
    deadline: AbortSignal,
  ): Promise<KmipConnection> {
    return new Promise((resolve, reject) => {
      let socket: tls.TLSSocket;
      try {
        socket = tls.connect({ ...options, rejectUnauthorized: true });
      } catch (error) {
        reject(tlsFilesError(error));
        return;
      }
      const give = (error: KeyStoreError): void => {
        deadline.removeEventListener('abort', expire);
        socket.destroy();
        reject(error);
      };
      const expire = (): void => {
        give(unreachable(`${options.host}:${options.port} did not accept a connection in time`));
      };
      const fail = (error: NodeJS.ErrnoException): void => {
        give(connectionError(error, `${options.host}:${options.port}`));
      };
      if (deadline.aborted) expire();
      deadline.addEventListener('abort', expire, { once: true });
      socket.on('error', fail);
      socket.once('secureConnect', () => {
        deadline.removeEventListener('abort', expire);
        const connection = new KmipConnection(socket);
        socket.removeListener('error', fail);
        resolve(connection);
      });
    });
  }

  get isUsable(): boolean {
    return !this.#isEnded && this.#pending === undefined && this.#received === 0;
  }

  onClose(work: () => void): void {
    this.#socket.once('close', work);
    if (this.#socket.destroyed) work();
  }

  /** Nothing is asked of the connection for now: it does not keep the program alive. */
  rest(idleMs: number): void {
    this.#socket.setTimeout(idleMs);
    this.#socket.unref();
  }

  async send(message: Buffer, deadline: AbortSignal): Promise<Buffer> {
    if (!this.isUsable) throw unreachable('the connection was lost', new LostError());
    this.#socket.setTimeout(0);
    this.#socket.ref();
    const expire = (): void => {
      this.#fail(unreachable('no answer in time'));
    };
    try {
      return await new Promise<Buffer>((resolve, reject) => {
        this.#pending = { resolve, reject };
        if (deadline.aborted) expire();
        deadline.addEventListener('abort', expire, { once: true });
        this.#socket.write(message);
      });
    } finally {
      deadline.removeEventListener('abort', expire);
    }
  }

  destroy(): void {
    this.#isEnded = true;
    this.#socket.destroy();
    for (const chunk of this.#chunks) chunk.fill(0);
    this.#chunks = [];
    this.#fail(unreachable('the store is closed'));
  }

  #fail(error: KeyStoreError): void {
    this.#isEnded = true;
    const pending = this.#pending;
    this.#pending = undefined;
    pending?.reject(error);
    if (!this.#socket.destroyed) this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    if (this.#pending === undefined) {
      this.#fail(failed('the server sent something nobody asked for'));
      return;
    }
    this.#chunks.push(chunk);
    this.#received += chunk.length;
    try {
      if (this.#size === undefined && this.#received >= ttlvHeaderBytes) {
        this.#size = ttlvSize(this.#header(), kmipMessageBytesMax);
      }
    } catch (error) {
      if (!(error instanceof TtlvError)) throw error;
      this.#fail(failed(`the server does not answer in KMIP: ${error.message}`));
      return;
    }
    if (this.#size === undefined || this.#received < this.#size) return;
    if (this.#received > this.#size) this.#fail(failed('the server sent more than the answer'));
    else this.#finish();
  }

  #header(): Buffer {
    return Buffer.concat(this.#chunks).subarray(0, ttlvHeaderBytes);
  }

  #finish(): void {
    const answer = Buffer.concat(this.#chunks);
    for (const chunk of this.#chunks) chunk.fill(0);
    this.#chunks = [];
    this.#received = 0;
    this.#size = undefined;
    const pending = this.#pending;
    this.#pending = undefined;
    pending?.resolve(answer);
  }
}

function failed(message: string, cause?: unknown): KeyStoreError {
  return new KeyStoreError('failed', `kmip: ${message}`, cause === undefined ? {} : { cause });
}

async function tlsOptions(settings: Required<KmipPoolSettings>): Promise<tls.ConnectionOptions> {
  const { host, port, tls: files } = settings;
  const [key, cert, ca] = await Promise.all([
    readPem(files.key),
    readPem(files.cert),
    readAuthorities(files.ca),
  ]);
  return {
    host,
    port,
    minVersion: 'TLSv1.2',
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(key === undefined ? {} : { key }),
    ...(cert === undefined ? {} : { cert }),
    ca: ca ?? [...tls.getCACertificates('system'), ...tls.getCACertificates('extra')],
  };
}

async function readPem(file: string | undefined): Promise<Buffer | undefined> {
  if (file === undefined || file === '') return undefined;
  try {
    return await readFile(file);
  } catch (error) {
    throw failed(`cannot read ${file}: ${codeOf(error)}`, error);
  }
}

async function readAuthorities(place: string | undefined): Promise<Buffer[] | undefined> {
  if (place === undefined || place === '') return undefined;
  try {
    if (!(await stat(place)).isDirectory()) return [await readFile(place)];
    const files = (await readdir(place)).map((name) => path.join(place, name));
    // A mounted secret has links to folders beside its files.
    const kinds = await Promise.all(files.map(async (file) => stat(file)));
    return await Promise.all(
      files.filter((_, index) => kinds[index]?.isFile()).map(async (file) => readFile(file)),
    );
  } catch (error) {
    throw failed(`cannot read ${place}: ${codeOf(error)}`, error);
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'unknown error';
}

/** TLS errors say what to look at; they carry a code of OpenSSL or of the certificate check. */
function connectionError(error: NodeJS.ErrnoException, place = 'the server'): KeyStoreError {
  const code = error.code ?? '';
  if (/^(ERR_SSL|ERR_OSSL|EPROTO)/.test(code)) {
    return failed(
      `TLS failed (${code}): check that the server accepts the client certificate and speaks TLS 1.2 or newer`,
      error,
    );
  }
  if (/^(ERR_TLS|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|HOSTNAME_MISMATCH|INVALID_CA)/.test(code)) {
    return failed(
      `the certificate of the server is not trusted (${code}): check tls.ca and the endpoint's name`,
      error,
    );
  }
  if (code === 'ECONNRESET' || code === 'EPIPE') {
    return unreachable(`the connection was lost (${code})`, new LostError(code));
  }
  return unreachable(`cannot reach ${place} (${code})`, error);
}

function tlsFilesError(error: unknown): KeyStoreError {
  return failed(`tls.key, tls.cert or tls.ca cannot be used (${codeOf(error)})`, error);
}
