// A lean HTTP/1.1 load generator: one keep-alive socket per client, requests signed with AWS Signature V4
// and an unsigned payload. It costs a fraction of a general client, so that on a small machine the figures
// speak of the server. Runs as a child process: one job per message, one result back.

import { createHash, createHmac, randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import type { BenchHeaders } from './modes.ts';

/** One measurement. Either `seconds` or `count` bounds it. */
export type LoadJob = {
  readonly host: string;
  readonly port: number;
  readonly accessKey: string;
  readonly secretKey: string;
  readonly op: 'put' | 'get' | 'head' | 'delete' | 'list';
  readonly bucket: string;
  /** Object names are `prefix` plus a running number below `keys`. */
  readonly prefix: string;
  readonly keys: number;
  readonly sizeBytes: number;
  /** Encryption headers of PUT, and of GET and HEAD. */
  readonly writeHeaders: BenchHeaders;
  readonly readHeaders: BenchHeaders;
  readonly clients: number;
  readonly seconds: number;
  readonly count: number;
};

/** `items`: objects listed for `list`, requests otherwise. Latencies in milliseconds. */
export type LoadResult = {
  readonly items: number;
  readonly bytes: number;
  readonly elapsedMs: number;
  readonly errors: number;
  readonly firstError: string;
  readonly p50Ms: number;
  readonly p99Ms: number;
};

const emptyHash = createHash('sha256').update('').digest('hex');

function hmac(secret: string | Buffer, text: string): Buffer {
  return createHmac('sha256', secret).update(text).digest();
}

/** Builds signed request heads for one job; the signing key is derived once. */
class Signer {
  readonly #job: LoadJob;
  readonly #date: string;
  readonly #scope: string;
  readonly #signingKey: Buffer;

  constructor(job: LoadJob) {
    this.#job = job;
    this.#date = `${new Date().toISOString().replaceAll(/[-:]/g, '').slice(0, 15)}Z`;
    const day = this.#date.slice(0, 8);
    this.#scope = `${day}/us-east-1/s3/aws4_request`;
    const dayKey = hmac(hmac(hmac(`AWS4${job.secretKey}`, day), 'us-east-1'), 's3');
    this.#signingKey = hmac(dayKey, 'aws4_request');
  }

  head(method: string, path: string, options: { query?: string; bodyBytes?: number } = {}): string {
    const { accessKey, host, port } = this.#job;
    const query = options.query ?? '';
    const payload = method === 'PUT' ? 'UNSIGNED-PAYLOAD' : emptyHash;
    const sse = this.#encryption(method);
    const names = ['host', 'x-amz-content-sha256', 'x-amz-date', ...Object.keys(sse)];
    const signed = names.toSorted().join(';');
    const more = Object.entries(sse).toSorted(([a], [b]) => (a < b ? -1 : 1));
    const headers = `host:${host}:${port}\nx-amz-content-sha256:${payload}\nx-amz-date:${this.#date}\n${more
      .map(([name, value]) => `${name}:${value}\n`)
      .join('')}`;
    const canonical = `${method}\n${path}\n${query}\n${headers}\n${signed}\n${payload}`;
    const digest = createHash('sha256').update(canonical).digest('hex');
    const text = `AWS4-HMAC-SHA256\n${this.#date}\n${this.#scope}\n${digest}`;
    const signature = createHmac('sha256', this.#signingKey).update(text).digest('hex');
    return (
      `${method} ${path}${query === '' ? '' : `?${query}`} HTTP/1.1\r\nHost: ${host}:${port}\r\n` +
      `X-Amz-Content-Sha256: ${payload}\r\nX-Amz-Date: ${this.#date}\r\n` +
      more.map(([name, value]) => `${name}: ${value}\r\n`).join('') +
      (options.bodyBytes === undefined ? '' : `Content-Length: ${options.bodyBytes}\r\n`) +
      `Authorization: AWS4-HMAC-SHA256 Credential=${accessKey}/${this.#scope},SignedHeaders=${signed},Signature=${signature}\r\n\r\n`
    );
  }

  #encryption(method: string): BenchHeaders {
    if (method === 'PUT') return this.#job.writeHeaders;
    return method === 'GET' || method === 'HEAD' ? this.#job.readHeaders : {};
  }
}

type Answer = { readonly status: number; readonly bodyBytes: number; readonly text: string };

/** One connection; one request at a time. */
class Client {
  readonly #socket: Socket;
  #pending: Buffer = Buffer.alloc(0);
  #finish: ((answer: Answer) => void) | undefined;
  #fail: ((error: Error) => void) | undefined;
  #status = 0;
  #left = -1;
  #isChunked = false;
  #isHead = false;
  #keepsText = false;
  #bodyBytes = 0;
  #chunks: Buffer[] = [];

  constructor(job: LoadJob) {
    this.#socket = connect({ host: job.host, port: job.port, noDelay: true });
    this.#socket.on('data', (data: Buffer) => this.#onData(data));
    this.#socket.on('error', (error) => this.#fail?.(error));
    this.#socket.on('close', () => this.#fail?.(new Error('connection closed')));
  }

  send(
    head: string,
    body: Buffer | undefined,
    options: { isHead?: boolean; keepsText?: boolean } = {},
  ): Promise<Answer> {
    this.#isHead = options.isHead ?? false;
    this.#keepsText = options.keepsText ?? false;
    this.#status = 0;
    this.#left = -1;
    this.#bodyBytes = 0;
    this.#chunks = [];
    return new Promise((resolve, reject) => {
      this.#finish = resolve;
      this.#fail = reject;
      if (body === undefined) {
        this.#socket.write(head, 'latin1');
      } else {
        this.#socket.cork();
        this.#socket.write(head, 'latin1');
        this.#socket.write(body);
        this.#socket.uncork();
      }
    });
  }

  close(): void {
    this.#fail = undefined;
    this.#socket.destroy();
  }

  #onData(data: Buffer): void {
    if (this.#status !== 0 && !this.#isChunked) {
      this.#take(data);
      return;
    }
    this.#pending = this.#pending.length === 0 ? data : Buffer.concat([this.#pending, data]);
    if (this.#status === 0 && !this.#readHead()) return;
    if (this.#isChunked) this.#readChunks();
  }

  #readHead(): boolean {
    const end = this.#pending.indexOf('\r\n\r\n');
    if (end < 0) return false;
    const head = this.#pending.toString('latin1', 0, end).toLowerCase();
    const rest = this.#pending.subarray(end + 4);
    this.#pending = Buffer.alloc(0);
    this.#status = Number(head.slice(9, 12));
    this.#isChunked = !this.#isHead && head.includes('transfer-encoding: chunked');
    const length = /\r\ncontent-length: *(\d+)/.exec(head)?.[1];
    this.#left = this.#isHead || this.#status === 204 ? 0 : Number(length ?? 0);
    if (this.#isChunked) this.#pending = rest;
    else this.#take(rest);
    return true;
  }

  #take(data: Buffer): void {
    this.#left -= data.length;
    this.#bodyBytes += data.length;
    if (this.#keepsText || this.#status >= 300) this.#chunks.push(data);
    if (this.#left <= 0) this.#done();
  }

  #readChunks(): void {
    for (;;) {
      const lineEnd = this.#pending.indexOf('\r\n');
      if (lineEnd < 0) return;
      const size = Number.parseInt(this.#pending.toString('latin1', 0, lineEnd), 16);
      if (this.#pending.length < lineEnd + 2 + size + 2) return;
      const chunk = this.#pending.subarray(lineEnd + 2, lineEnd + 2 + size);
      this.#pending = this.#pending.subarray(lineEnd + 2 + size + 2);
      if (size === 0) {
        this.#isChunked = false;
        this.#done();
        return;
      }
      this.#bodyBytes += size;
      this.#chunks.push(chunk);
    }
  }

  #done(): void {
    const finish = this.#finish;
    this.#finish = undefined;
    this.#fail = undefined;
    const status = this.#status;
    this.#status = 0;
    finish?.({ status, bodyBytes: this.#bodyBytes, text: Buffer.concat(this.#chunks).toString() });
  }
}

type Tally = {
  items: number;
  bytes: number;
  errors: number;
  firstError: string;
  latencies: number[];
};

function note(tally: Tally, answer: Answer, startedMs: number): void {
  tally.latencies.push(performance.now() - startedMs);
  if (answer.status >= 300) {
    tally.errors += 1;
    if (tally.firstError === '') tally.firstError = `${answer.status} ${answer.text.slice(0, 200)}`;
  } else {
    tally.items += 1;
  }
}

async function runObjects(job: LoadJob, tally: Tally): Promise<void> {
  const signer = new Signer(job);
  const body = job.op === 'put' ? randomBytes(job.sizeBytes) : undefined;
  const deadline = performance.now() + job.seconds * 1000;
  let next = 0;
  const method = job.op.toUpperCase();
  const options = body === undefined ? {} : { bodyBytes: body.length };
  const one = async (): Promise<void> => {
    const client = new Client(job);
    try {
      while (job.count > 0 ? next < job.count : performance.now() < deadline) {
        const number = next++ % job.keys;
        const head = signer.head(method, `/${job.bucket}/${job.prefix}${number}`, options);
        const startedMs = performance.now();
        const answer = await client.send(head, body, { isHead: job.op === 'head' });
        note(tally, answer, startedMs);
        tally.bytes += job.op === 'put' ? job.sizeBytes : answer.bodyBytes;
      }
    } finally {
      client.close();
    }
  };
  await Promise.all(Array.from({ length: job.clients }, one));
}

async function runList(job: LoadJob, tally: Tally): Promise<void> {
  const signer = new Signer(job);
  const client = new Client(job);
  let after = '';
  for (;;) {
    const query = `list-type=2&max-keys=1000&prefix=${encodeURIComponent(job.prefix)}${
      after === '' ? '' : `&start-after=${encodeURIComponent(after)}`
    }`;
    const sorted = query.split('&').toSorted().join('&');
    const startedMs = performance.now();
    const answer = await client.send(
      signer.head('GET', `/${job.bucket}`, { query: sorted }),
      undefined,
      {
        keepsText: true,
      },
    );
    note(tally, answer, startedMs);
    if (answer.status >= 300) break;
    const keys = [...answer.text.matchAll(/<Key>([^<]*)<\/Key>/g)].map((match) => match[1] ?? '');
    tally.items += keys.length - 1;
    tally.bytes += answer.bodyBytes;
    after = keys.at(-1) ?? '';
    if (!answer.text.includes('<IsTruncated>true</IsTruncated>')) break;
  }
  client.close();
}

function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

/** Runs one job to its end in this process. */
export async function runLoad(job: LoadJob): Promise<LoadResult> {
  const tally: Tally = { items: 0, bytes: 0, errors: 0, firstError: '', latencies: [] };
  const startedMs = performance.now();
  try {
    await (job.op === 'list' ? runList(job, tally) : runObjects(job, tally));
  } catch (error) {
    tally.errors += 1;
    tally.firstError = String(error);
  }
  const elapsedMs = performance.now() - startedMs;
  const sorted = tally.latencies.toSorted((a, b) => a - b);
  return {
    items: tally.items,
    bytes: tally.bytes,
    elapsedMs,
    errors: tally.errors,
    firstError: tally.firstError,
    p50Ms: quantile(sorted, 0.5),
    p99Ms: quantile(sorted, 0.99),
  };
}

/** Creates the bucket; an existing one is fine. */
export async function makeBucket(job: LoadJob): Promise<void> {
  const client = new Client(job);
  const head = new Signer({ ...job, writeHeaders: {} }).head('PUT', `/${job.bucket}`, {
    bodyBytes: 0,
  });
  const answer = await client.send(head, undefined);
  client.close();
  if (answer.status !== 200 && answer.status !== 409) {
    throw new Error(`cannot create bucket ${job.bucket}: ${answer.status} ${answer.text}`);
  }
}

if (process.send !== undefined) {
  process.on('message', (job: LoadJob) => {
    void runLoad(job).then((result) => process.send?.(result));
  });
}
