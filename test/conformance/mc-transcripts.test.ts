// Recorded runs of the reference client, replayed: the same arguments against a server that gives the
// recorded answers must send the same requests and print the same text. What differs on purpose is in the
// table `deviations`, with the reason.

import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';

import { openAdminPayload, sealAdminPayload } from '../../src/aead/admin-payload.ts';
import { createSelfSigned } from '../../src/wire/kes-certificate.ts';
import { runCommand, StubServer } from './mc-stub.ts';
import type { RecordedRequest, RecordedRun, SeenRequest } from './mc-stub.ts';

const vectors = JSON.parse(
  await readFile(new URL('../vectors/mc-transcripts.json', import.meta.url), 'utf8'),
) as { runs: RecordedRun[] };

/** Commands of the recording that this program does not have. */
const absent = /^mc (admin (user svcacct|accesskey|config|prometheus|group)|batch)\b/;

type Deviation = {
  readonly reason: string;
  readonly isSkipped?: boolean;
  readonly stdout?: (recorded: string) => string;
  readonly isBodyIgnored?: boolean;
  /** A query parameter that is sent besides. */
  readonly sends?: string;
};

const deviations: Readonly<Record<string, Deviation>> = {
  'mc admin service restart t': { reason: 'works without a terminal here', isSkipped: true },
  'mc ready t --maintenance --json': { reason: 'recorded as never ending', isSkipped: true },
  'mc encrypt set sse-kms default-key t/bkt1/pre/fix --json': {
    reason: 'the key id is reported too, and the rule is that of the prefix',
    sends: 'prefix=pre%2Ffix',
    stdout: (text) => text.replace('"sse-kms"}', '"sse-kms","keyId":"default-key"}'),
  },
  'mc encrypt info t/bkt1/other': {
    reason: 'asks for the rule of the prefix, which the recorded answers do not know',
    isSkipped: true,
  },
  'mc put --enc-c t/bkt1/c=KEY1-HEX64 hello.txt t/bkt1/c/h --json': {
    reason: 'a success is printed only when it is one',
    stdout: (text) => text.slice(text.indexOf('\n') + 1),
  },
  'mc cp --checksum SHA256 hello.txt t/bkt1/sha --json': {
    reason: 'the trailer line ends in CR LF, as the protocol says',
    isBodyIgnored: true,
  },
};

const keys: Readonly<Record<string, string>> = {
  'KEY1-HEX64': '0123456789abcdef'.repeat(4),
  'KEY2-HEX64': 'fedcba9876543210'.repeat(4),
};
/** Of the recorded credential: bodies with secrets are sealed under it. */
const secretKey = 'rootsecret12';
const date = '2026-01-02T03:04:05Z';
const httpDate = 'Fri, 02 Jan 2026 03:04:05 GMT';

describe('recorded runs of the reference client', () => {
  let plain: StubServer;
  let secure: StubServer;
  let plainHost = '';
  let secureHost = '';
  let folder = '';
  const startFolder = process.cwd();

  before(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'mc-transcripts-'));
    plain = new StubServer();
    secure = new StubServer(await makeCertificate());
    plainHost = await plain.listen();
    secureHost = await secure.listen();
    await writeFile(path.join(folder, 'hello.txt'), 'hello world\n');
    await writeFile(path.join(folder, 'pol.json'), policyOf(vectors.runs));
    await writeFile(path.join(folder, 'f20m'), randomBytes(20 * 1024 * 1024));
    process.chdir(folder);
  });

  after(async () => {
    process.chdir(startFolder);
    await plain.close();
    await secure.close();
    await rm(folder, { recursive: true });
  });

  for (const [index, run] of vectors.runs.entries()) {
    const title = run.argv.join(' ');
    const deviation = deviations[title];
    if (absent.test(title) || deviation?.isSkipped === true) continue;
    it(`${index}: ${title}`, async () => {
      const isSecure = run.argv.some((word) => /^s(\/|$)/.test(word));
      const server = isSecure ? secure : plain;
      const host = isSecure ? secureHost : plainHost;
      const config = path.join(folder, `config-${index}`);
      server.seen.length = 0;
      server.answer = answerFrom(run, host);
      const env = { HOME: folder, MC_CONFIG_DIR: config, MC_INSECURE: 'true' };
      await writeAliases(env, title.includes('alias set'));
      const outcome = await runCommand(
        run.argv.slice(1).map((word) => fillIn(word, host)),
        { env, ...(run.stdinBytes === undefined ? {} : { stdin: Buffer.from('piped data') }) },
      );
      const clean = (text: string) =>
        mask(
          text
            .replaceAll(folder, '/WORK')
            .replaceAll(`/WORK/config-${index}`, '/CONFIG')
            .replaceAll(host, 'HOST:PORT'),
        );
      const expected = deviation?.stdout?.(run.stdout) ?? run.stdout;
      assert.equal(clean(outcome.stdout), mask(expected));
      assert.equal(clean(outcome.stderr), mask(run.stderr));
      assert.equal(outcome.code, run.exit);
      const { sends } = deviation ?? {};
      if (sends !== undefined) {
        assert.ok(server.seen.some(({ query }) => query.endsWith(`&${sends}`)));
      }
      const seen = server.seen.map((request) => ({
        ...request,
        query: sends === undefined ? request.query : request.query.replace(`&${sends}`, ''),
      }));
      await compareRequests(seen, run, deviation?.isBodyIgnored ?? false);
    });
  }

  async function writeAliases(
    env: Readonly<Record<string, string>>,
    isFresh: boolean,
  ): Promise<void> {
    if (isFresh) return;
    for (const [name, url] of [
      ['t', `http://${plainHost}`],
      ['s', `https://${secureHost}`],
      ['off2', 'http://localhost:1'],
    ] as const) {
      const argv = ['alias', 'set', name, url, 'rootadmin', secretKey, '--api', 's3v4'];
      assert.equal((await runCommand(argv, { env })).code, 0);
    }
  }
});

function fillIn(word: string, host: string): string {
  let text = word.replace('HOST:PORT', host);
  for (const [name, key] of Object.entries(keys)) text = text.replace(name, key);
  return text;
}

/** The file that the recording gave to `admin policy create`. */
function policyOf(runs: readonly RecordedRun[]): string {
  const run = runs.find(({ argv }) => argv.includes('pol.json'));
  return String(run?.requests[0]?.body);
}

/** Answers each request with the recorded answer to the same method, path and query, in turn. */
function answerFrom(run: RecordedRun, host: string) {
  const left = [...run.requests];
  let last: RecordedRequest | undefined;
  return async (seen: SeenRequest, response: ServerResponse): Promise<void> => {
    const isSame = (recorded: RecordedRequest) =>
      recorded.method === seen.method &&
      recorded.path === maskPath(seen.path) &&
      (recorded.query ?? '') === maskPath(seen.query);
    const index = left.findIndex(isSame);
    const recorded = index < 0 ? last : left.splice(index, 1)[0];
    last = recorded;
    if (recorded === undefined) {
      response.writeHead(500).end();
      return;
    }
    const body = await bodyOf(recorded, host);
    const isPresent = seen.method === 'HEAD' && recorded.response.status === 200;
    response.writeHead(recorded.response.status ?? 500, {
      server: 'MinIO',
      ...(isPresent ? presentHeaders(run) : {}),
      ...partHeaders(run, seen),
      ...withoutEncoding(recorded.response.headers),
      ...(seen.method === 'HEAD' ? {} : { 'content-length': body.length }),
    });
    response.end(seen.method === 'HEAD' ? undefined : body);
  };
}

async function bodyOf(recorded: RecordedRequest, host: string): Promise<Buffer> {
  const { body } = recorded.response;
  if (body === undefined) return Buffer.alloc(0);
  const plaintext = sealedText(body);
  if (plaintext !== undefined) {
    return sealAdminPayload(secretKey, Buffer.from(plaintext.replaceAll('DATE', date)));
  }
  if (typeof body === 'string')
    return Buffer.from(body.replaceAll('HOST:PORT', host).replaceAll('DATE', date));
  return Buffer.from(
    JSON.stringify(recorded.path.endsWith('/info') ? serverInfo(host) : usageInfo),
  );
}

function presentHeaders(run: RecordedRun): Record<string, string> {
  const listed = run.requests
    .map((request) => request.response.body)
    .find((body) => typeof body === 'string' && body.includes('<Contents>'));
  const etag =
    /<ETag>&#34;(.*?)&#34;/.exec(String(listed))?.[1] ?? '6f5902ac237024bdd0c176cb93063dc4';
  return {
    'content-length': '12',
    'content-type': 'text/plain',
    'last-modified': httpDate,
    etag: `"${etag}"`,
  };
}

/** The ETag of an uploaded part is the one that the recorded completion names. */
function partHeaders(run: RecordedRun, seen: SeenRequest): Record<string, string> {
  const number = /partNumber=(\d+)/.exec(seen.query)?.[1];
  if (number === undefined) return {};
  const complete = run.requests.find((request) => request.query === 'uploadId=UPLOAD-ID')?.body;
  const pattern = new RegExp(`<PartNumber>${number}</PartNumber><ETag>(.*?)</ETag>`);
  const etag = pattern.exec(String(complete))?.[1];
  return etag === undefined ? {} : { etag: `"${etag}"` };
}

function withoutEncoding(
  headers: Readonly<Record<string, string>> | undefined,
): Readonly<Record<string, string>> {
  const { 'Content-Encoding': _, ...rest } = headers ?? {};
  return rest;
}

/** What is in a recorded body that was sealed. */
function sealedText(body: unknown): string | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const { encryptedPayload } = body as { encryptedPayload?: { plaintext: string } };
  return encryptedPayload?.plaintext;
}

async function compareRequests(
  seen: readonly SeenRequest[],
  run: RecordedRun,
  isBodyIgnored: boolean,
): Promise<void> {
  const line = (request: { method: string; path: string; query?: string }) =>
    `${request.method} ${maskPath(request.path)}?${maskPath(request.query ?? '')}`;
  // The reference repeats some probes at once; the repetition is not part of the contract.
  const once = (lines: readonly string[]) => lines.filter((text, at) => text !== lines[at - 1]);
  const isParallel = run.requests.some((request) =>
    (request.query ?? '').startsWith('partNumber=2'),
  );
  const order = (lines: readonly string[]) => (isParallel ? [...lines].sort() : lines);
  assert.deepEqual(
    order(once(seen.map(line))),
    order(expectedOrder(once(run.requests.map(line)), run)),
  );
  for (const request of seen) {
    const recorded = run.requests.find((other) => line(other) === line(request));
    if (recorded === undefined) continue;
    for (const [name, value] of Object.entries(recorded.headers ?? {})) {
      if (/^(transfer-encoding|accept-encoding)$/i.test(name)) continue;
      if (isBodyIgnored && /^content-length$/i.test(name)) continue;
      const own = request.headers[name.toLowerCase()] ?? '';
      if (value.startsWith('SHA256(')) assert.match(own, /^[0-9a-f]{64}$/, name);
      else assert.equal(own, value, `${name} of ${line(request)}`);
    }
    const plaintext = sealedText(recorded.body);
    if (plaintext !== undefined) {
      assert.equal((await openAdminPayload(secretKey, request.body)).toString(), plaintext);
    } else if (typeof recorded.body === 'string' && !isBodyIgnored) {
      assert.equal(
        request.body.toString('utf8').replace(/signature=[0-9a-f]{64}/g, 'signature=SIG'),
        recorded.body,
      );
    }
  }
}

/** `rm` of a missing key: the reference alternates its two probes twice, one round is enough. */
function expectedOrder(lines: readonly string[], run: RecordedRun): readonly string[] {
  if (run.argv[1] !== 'rm' || lines.length !== 5) return lines;
  return lines.slice(0, 3);
}

function maskPath(text: string): string {
  return text.replace(/probe-bsign-[a-z0-9]{30}/, 'probe-bsign-RANDOM30');
}

function mask(text: string): string {
  return text
    .replace(/probe-bsign-[a-z0-9]{30}/g, 'probe-bsign-RANDOM30')
    .replace(/\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?( UTC| \S+|Z)/g, 'DATE')
    .replace(/"(duration|speed|restartDuration|waitingDuration|timeTaken)":[\d.e+]+/g, '"$1":0')
    .replace(/│ (\d[^│]*?) *│ (\d[^│]*?) *│ \d\dm\d\ds *│ [^│]*│/g, '│ $1 │ $2 │ TIME │ SPEED │')
    .replace(/Speed +│/g, 'Speed │')
    .replace(/[┌└][─┬┴]*[┐┘]/g, 'RULE');
}

const usageInfo = {
  bucketsUsageInfo: {
    bkt1: {
      size: 20_971_520,
      objectsCount: 8,
      objectsSizesHistogram: {
        BETWEEN_1024B_AND_1_MB: 0,
        BETWEEN_1024_B_AND_64_KB: 0,
        BETWEEN_10_MB_AND_64_MB: 1,
        BETWEEN_128_MB_AND_512_MB: 0,
        BETWEEN_1_MB_AND_10_MB: 0,
        BETWEEN_256_KB_AND_512_KB: 0,
        BETWEEN_512_KB_AND_1_MB: 0,
        BETWEEN_64_KB_AND_256_KB: 0,
        BETWEEN_64_MB_AND_128_MB: 0,
        GREATER_THAN_512_MB: 0,
        LESS_THAN_1024_B: 7,
      },
    },
  },
};

function serverInfo(host: string): object {
  const totalspace = 91 * 1024 ** 3;
  return {
    mode: 'online',
    buckets: { count: 2 },
    objects: { count: 0 },
    usage: { size: 0 },
    backend: {
      onlineDisks: 1,
      offlineDisks: 0,
      standardSCParity: 0,
      totalSets: [1],
      totalDrivesPerSet: [1],
    },
    servers: [
      {
        state: 'online',
        endpoint: host,
        uptime: 61,
        version: '<development>',
        network: { [host]: 'online' },
        drives: [
          { state: 'ok', totalspace, usedspace: Math.round(totalspace * 0.212), pool_index: 0 },
        ],
        poolNumber: 1,
      },
    ],
  };
}

async function makeCertificate(): Promise<{ key: string; cert: string }> {
  const { privateKey } = generateKeyPairSync('ed25519');
  const cert = await createSelfSigned(privateKey, {
    commonName: 'localhost',
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter: new Date(Date.now() + 3_600_000),
    ipAddresses: ['127.0.0.1'],
    isServer: true,
  });
  return { key: privateKey.export({ type: 'pkcs8', format: 'pem' }), cert };
}
