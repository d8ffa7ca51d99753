// One store per transport for the S3 suites, with more than one master key, and the search that each suite ends
// with: no key that a client used may stand in a log, a metric or a file.

import assert from 'node:assert/strict';
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type CofferPair, startCofferPair } from '../support/coffer-pair.ts';
import type { Connection } from './s3-plan.ts';

export type Transport = 'http' | 'tls';
export const transports: readonly Transport[] = ['http', 'tls'];

/** Master keys beside the default one. */
export const masterKeys = ['suite-key-a', 'suite-key-b'] as const;

export type S3Store = {
  readonly transport: Transport;
  readonly dir: string;
  readonly pair: CofferPair;
  readonly at: Connection;
  /** Random bytes in clear, which plans take their payload from. */
  readonly data: Buffer;
  /** Fails when one of these texts is in a log, a metric or a stored file, in clear or in a common encoding. */
  assertHidden(secrets: Readonly<Record<string, string>>): Promise<void>;
  stop(): Promise<void>;
};

/** A customer key of 32 printable bytes, new for each run. */
export const newCustomerKey = (): string => randomBytes(24).toString('base64url');

/** A store over this transport with its key service. */
export async function startS3Store(transport: Transport, dataBytes: number): Promise<S3Store> {
  const dir = mkdtempSync(path.join(tmpdir(), `coffer-interop-${transport}-`));
  const pair = await startCofferPair(dir, {
    env: { COFFER_LOG_LEVEL: 'debug', MINIO_PROMETHEUS_AUTH_TYPE: 'public' },
    ...(transport === 'tls' && { certsDir: path.join(dir, 'certs') }),
  });
  for (const key of masterKeys) await pair.kes('key', 'create', key, '-k');
  const data = randomBytes(dataBytes);
  const dataFile = path.join(dir, 'payload');
  writeFileSync(dataFile, data);
  const at = {
    endpoint: `${transport === 'tls' ? 'https' : 'http'}://127.0.0.1:${pair.port}`,
    accessKey: pair.accessKey,
    secretKey: pair.secretKey,
    dataFile,
    ...(transport === 'tls' && { caFile: pair.caFile }),
  };
  return {
    transport,
    dir,
    pair,
    at,
    data,
    assertHidden: (secrets) => assertHidden({ pair, at, dir }, secrets),
    stop: async () => {
      await pair.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** One request without any client: for presigned URLs and metrics. */
export function fetchRaw(
  url: string,
  options: {
    readonly method?: string;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: Uint8Array;
  } = {},
): Promise<{
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}> {
  return new Promise((resolve, reject) => {
    // The path goes out as the client signed it; a URL object would take dot segments away.
    const [, origin = '', target = ''] = /^(https?:\/\/[^/]+)(.*)$/s.exec(url) ?? [];
    const at = new URL(origin);
    const sent = (at.protocol === 'https:' ? requestHttps : requestHttp)(
      {
        host: at.hostname,
        port: at.port,
        path: target,
        method: options.method ?? 'GET',
        headers: {
          ...options.headers,
          ...(options.body && { 'content-length': options.body.length }),
        },
        rejectUnauthorized: false,
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks),
          }),
        );
      },
    );
    sent.on('error', reject);
    sent.end(options.body);
  });
}

async function assertHidden(
  store: { readonly pair: CofferPair; readonly at: Connection; readonly dir: string },
  secrets: Readonly<Record<string, string>>,
): Promise<void> {
  const metrics = await fetchRaw(`${store.at.endpoint}/minio/v2/metrics/cluster`);
  assert.equal(metrics.status, 200);
  const metricsFile = path.join(store.dir, 'metrics.txt');
  writeFileSync(metricsFile, metrics.body);
  const forms = Object.values(secrets).flatMap((secret) => [
    secret,
    ...(['hex', 'base64', 'base64url'] as const).map((form) => Buffer.from(secret).toString(form)),
  ]);
  const patternFile = path.join(store.dir, 'patterns.txt');
  writeFileSync(patternFile, `${[...new Set(forms)].join('\n')}\n`);
  const places = [
    store.pair.dataDir,
    path.join(store.pair.dir, 'keys'),
    store.pair.server.logFile,
    store.pair.keyService.logFile,
    metricsFile,
  ];
  const search = (what: readonly string[]): SpawnSyncReturns<string> =>
    spawnSync('grep', ['-rlaF', '-f', patternFile, ...what], {
      encoding: 'utf8',
      env: { PATH: process.env['PATH'], LC_ALL: 'C' },
    });
  const found = search(places);
  assert.equal(found.status, 1, `a client's key is in:\n${found.stdout}${found.stderr}`);
  // The search itself can find something: the patterns are in their own file.
  assert.equal(search([patternFile]).status, 0);
}
