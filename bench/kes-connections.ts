// Load for a key service from a process of its own: every connection is one TLS connection that is kept, speaks
// HTTP/1.1, and has one call under way, like a client of its own. The requests are made beforehand and answers are only
// split, so that little of the machine goes to the client.

import { readFileSync } from 'node:fs';
import { connect, type TLSSocket } from 'node:tls';
import { createClientCertificate, parseApiKey } from '../src/wire/kes-identity.ts';

export type KesLoadJob = {
  /** `https://host:port`; connections are spread over them. */
  readonly endpoints: readonly string[];
  readonly apiKey: string;
  readonly caFile: string;
  readonly path: string;
  readonly body: string;
  readonly connections: number;
  /** Ends after so many seconds, or after so many calls when that is not 0. */
  readonly seconds: number;
  readonly calls: number;
};

export type KesLoadResult = {
  readonly calls: number;
  readonly errors: number;
  readonly elapsedMs: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
};

async function open(job: KesLoadJob, index: number): Promise<TLSSocket> {
  const url = new URL(job.endpoints[index % job.endpoints.length] ?? '');
  const certificate = await createClientCertificate(parseApiKey(job.apiKey));
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: url.hostname,
      port: Number(url.port),
      ca: readFileSync(job.caFile),
      ALPNProtocols: ['http/1.1'],
      servername: 'localhost',
      ...certificate,
    });
    socket.once('secureConnect', () => resolve(socket));
    socket.once('error', reject);
  });
}

/** Bytes of the first whole answer in `text`, or 0. */
function answerLength(text: string): number {
  const head = text.indexOf('\r\n\r\n');
  if (head < 0) return 0;
  const length = /content-length: (\d+)/i.exec(text.slice(0, head));
  const total = head + 4 + Number(length?.[1] ?? 0);
  return text.length >= total ? total : 0;
}

async function run(job: KesLoadJob): Promise<KesLoadResult> {
  const sockets = await Promise.all(
    Array.from({ length: job.connections }, (_, index) => open(job, index)),
  );
  const request = Buffer.from(
    `POST ${job.path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${job.body.length}\r\n\r\n${job.body}`,
  );
  const latencies: number[] = [];
  const startedMs = performance.now();
  const deadlineMs = startedMs + job.seconds * 1000;
  let started = 0;
  let errors = 0;
  const mayGoOn = (): boolean =>
    job.calls > 0 ? started < job.calls : performance.now() < deadlineMs;
  const drive = (socket: TLSSocket): Promise<void> =>
    new Promise((resolve) => {
      let pending = '';
      let sentMs = 0;
      const next = (): void => {
        if (!mayGoOn()) {
          socket.destroy();
          resolve();
          return;
        }
        started += 1;
        sentMs = performance.now();
        socket.write(request);
      };
      socket.setEncoding('latin1');
      socket.on('data', (chunk: string) => {
        pending += chunk;
        const length = answerLength(pending);
        if (length === 0) return;
        if (!pending.startsWith('HTTP/1.1 200')) errors += 1;
        pending = pending.slice(length);
        // A sample is enough: a million latencies would only cost memory.
        if (latencies.length < 400_000) latencies.push(performance.now() - sentMs);
        next();
      });
      socket.on('error', () => {
        errors += 1;
        resolve();
      });
      next();
    });
  await Promise.all(sockets.map(drive));
  const elapsedMs = performance.now() - startedMs;
  const sorted = Float64Array.from(latencies).sort();
  const at = (share: number): number => sorted[Math.floor(sorted.length * share)] ?? 0;
  return { calls: started, errors, elapsedMs, p50Ms: at(0.5), p99Ms: at(0.99) };
}

process.on('message', (job: KesLoadJob) => {
  void run(job).then((result) => process.send?.(result));
});
