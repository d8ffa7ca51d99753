// The connections of one command: a keep-alive pool per server on undici, with the certificates to trust,
// `--insecure`, `--resolve`, `--custom-header` and `--debug`. Rule: what `--debug` prints never contains a
// signature, an SSE-C key or a session token.

import { readdir, readFile } from 'node:fs/promises';
import { lookup } from 'node:dns';
import path from 'node:path';
import type { LookupFunction } from 'node:net';
import { getCACertificates } from 'node:tls';

import type { Agent, buildConnector, Dispatcher } from 'undici';

import { McError } from './error.ts';
import type { Throttle } from './throttle.ts';

export type HttpSettings = {
  readonly isInsecure: boolean;
  readonly caFolder: string;
  /** `HOST[:PORT]` to IP address. */
  readonly resolve: ReadonlyMap<string, string>;
  readonly customHeaders: Readonly<Record<string, string>>;
  readonly userAgent: string;
  /** Where `--debug` goes, or undefined. */
  readonly debug: ((text: string) => void) | undefined;
  readonly uploads?: Throttle;
  readonly downloads?: Throttle;
  readonly signal: AbortSignal;
};

export type HttpRequest = {
  readonly method: string;
  /** `scheme://host[:port]`. */
  readonly origin: string;
  /** Path and query as signed. */
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | AsyncIterable<Uint8Array>;
  /** Time for the answer's headers. */
  readonly timeoutMs?: number;
  /** Instead of the command's own signal: for cleaning up after an interrupt. */
  readonly signal?: AbortSignal;
};

export type HttpResponse = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** To be read to its end, or returned. */
  readonly body: AsyncIterable<Uint8Array>;
};

const answerTimeoutMs = 600_000;

/** One command's HTTP. */
export class Http {
  readonly #settings: HttpSettings;
  readonly #agents = new Map<boolean, Promise<Agent>>();

  constructor(settings: HttpSettings) {
    this.#settings = settings;
  }

  /** Sends one request. Rejects with `transport` (nothing answered) or `cancelled`. */
  async send(request: HttpRequest): Promise<HttpResponse> {
    const settings = this.#settings;
    const headers = {
      ...request.headers,
      'user-agent': settings.userAgent,
      ...settings.customHeaders,
    };
    settings.debug?.(describeRequest(request, headers));
    const agent = await this.#agentFor(request.origin.startsWith('https:'));
    let answer: Dispatcher.ResponseData;
    try {
      answer = await agent.request({
        origin: request.origin,
        method: request.method as Dispatcher.HttpMethod,
        path: request.target,
        headers,
        body: (this.#slowed(request.body) as Dispatcher.DispatchOptions['body']) ?? null,
        signal: request.signal ?? settings.signal,
        reset: false, // a HEAD keeps its connection
        headersTimeout: request.timeoutMs ?? answerTimeoutMs,
        bodyTimeout: answerTimeoutMs,
      });
    } catch (cause) {
      throw transportError(request, cause, settings);
    }
    const flat: Record<string, string> = {};
    for (const [name, value] of Object.entries(answer.headers)) {
      if (value !== undefined) flat[name] = Array.isArray(value) ? value.join(', ') : value;
    }
    settings.debug?.(describeResponse(answer.statusCode, flat));
    const body = answer.body as AsyncIterable<Uint8Array>;
    return {
      status: answer.statusCode,
      headers: flat,
      body: settings.downloads === undefined ? body : settings.downloads.pass(body),
    };
  }

  #slowed(body: HttpRequest['body']): HttpRequest['body'] {
    const { uploads } = this.#settings;
    if (uploads === undefined || body === undefined || body instanceof Uint8Array) return body;
    return uploads.pass(body);
  }

  async close(): Promise<void> {
    const opened = [...this.#agents.values()];
    this.#agents.clear();
    for (const agent of opened) await (await agent).destroy();
  }

  #agentFor(isTls: boolean): Promise<Agent> {
    const opened = this.#agents.get(isTls) ?? this.#open(isTls);
    this.#agents.set(isTls, opened);
    return opened;
  }

  /** Both are slow to load, so the library is loaded on first use and certificates only for TLS. */
  async #open(isTls: boolean): Promise<Agent> {
    const { isInsecure, caFolder, resolve } = this.#settings;
    const undici = await import('undici');
    const trusted = isTls && !isInsecure ? await readTrusted(caFolder) : undefined;
    const connect = undici.buildConnector({
      rejectUnauthorized: !isInsecure,
      minVersion: 'TLSv1.2',
      timeout: 30_000,
      ...(trusted === undefined ? {} : { ca: trusted }),
      ...(resolve.size === 0 ? {} : { lookup: makeLookup(resolve) }),
    } as buildConnector.BuildOptions);
    return new undici.Agent({ connect, connections: 32, pipelining: 1, keepAliveTimeout: 10_000 });
  }
}

/** Node's own roots, the system's, and those in the configuration folder. */
async function readTrusted(folder: string): Promise<string[]> {
  const extra = await readCertificates(folder);
  return [...getCACertificates('default'), ...getCACertificates('system'), ...extra];
}

async function readCertificates(folder: string): Promise<string[]> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch {
    return [];
  }
  return Promise.all(names.map((name) => readFile(path.join(folder, name), 'utf8')));
}

/** Like `dns.lookup`, with the addresses of `--resolve` first. */
function makeLookup(resolve: ReadonlyMap<string, string>): LookupFunction {
  const byHost = new Map(
    [...resolve].map(([host, address]) => [host.replace(/:\d+$/, ''), address]),
  );
  return (host, options, done) => {
    const address = byHost.get(host);
    if (address === undefined) {
      lookup(host, options, done);
      return;
    }
    const family = address.includes(':') ? 6 : 4;
    if (options.all === true) done(null, [{ address, family }]);
    else done(null, address, family);
  };
}

function transportError(request: HttpRequest, cause: unknown, settings: HttpSettings): McError {
  if (settings.signal.aborted) return new McError('cancelled', 'interrupted', { cause });
  const method = request.method[0] + request.method.slice(1).toLowerCase();
  const url = `${request.origin}${request.target}`;
  return new McError(
    'transport',
    `${method} "${url}": ${describeCause(cause, request.origin, settings.caFolder)}`,
    {
      detail: { Op: method, URL: url, Err: {} },
      cause,
    },
  );
}

function describeCause(cause: unknown, origin: string, caFolder: string): string {
  const errors = cause instanceof AggregateError ? (cause.errors as unknown[]) : [cause];
  const first = errors[0] instanceof Error ? errors[0] : undefined;
  const code = (first as NodeJS.ErrnoException | undefined)?.code;
  if (code === 'ECONNREFUSED') {
    const { hostname, port, protocol } = new URL(origin);
    const shown = port === '' ? (protocol === 'https:' ? '443' : '80') : port;
    const address = (first as { address?: string }).address ?? hostname;
    return `dial tcp ${address}:${shown}: connect: connection refused`;
  }
  if (/^(DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_)/.test(code ?? '')) {
    return `the server's certificate is not trusted; put its CA certificate into ${caFolder}, or use --insecure`;
  }
  return first?.message ?? String(cause);
}

const secretHeaders =
  /^(x-amz-(copy-source-)?server-side-encryption-customer-key|x-amz-security-token|cookie|set-cookie)$/i;

/** A header as `--debug` may show it. */
export function redactHeader(name: string, value: string): string {
  if (secretHeaders.test(name)) return '*REDACTED*';
  if (/^(proxy-)?authorization$/i.test(name)) {
    return value.startsWith('AWS4-HMAC-SHA256 ')
      ? value
          .replace(/(Credential=)[^/]*/, '$1*REDACTED*')
          .replace(/(Signature=).*/, '$1*REDACTED*')
      : '*REDACTED*';
  }
  return value;
}

function redactTarget(target: string): string {
  return target.replace(
    /((?:X-Amz-Signature|X-Amz-Security-Token|X-Amz-Credential)=)[^&]*/gi,
    '$1*REDACTED*',
  );
}

function describeRequest(request: HttpRequest, headers: Readonly<Record<string, string>>): string {
  const lines = Object.entries(headers).map(
    ([name, value]) => `${name}: ${redactHeader(name, value)}`,
  );
  return `mc: <DEBUG> ${request.method} ${redactTarget(request.target)} HTTP/1.1\n${lines.join('\n')}\n`;
}

function describeResponse(status: number, headers: Readonly<Record<string, string>>): string {
  const lines = Object.entries(headers).map(
    ([name, value]) => `${name}: ${redactHeader(name, value)}`,
  );
  return `mc: <DEBUG> HTTP/1.1 ${status}\n${lines.join('\n')}\n`;
}
