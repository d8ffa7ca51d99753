// A whole S3 edge for tests: the real handler over memory engines and a real TCP port, with official
// clients, hand-signed requests and raw sockets to drive it.

import { createHash, randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import path from 'node:path';
import { S3Client } from '@aws-sdk/client-s3';
import { Client as MinioClient } from 'minio';
import { openFileBlobStore } from '../../src/blob/files.ts';
import { openMemoryBlobStore } from '../../src/blob/memory.ts';
import { silentLog } from '../../src/base/log.ts';
import { parseXml, type XmlElement } from '../../src/base/xml.ts';
import type { Credentials } from '../../src/iam/identity.ts';
import { parsePolicy } from '../../src/iam/policy/policy.ts';
import { rootCredentialsSource } from '../../src/iam/accounts/root-credentials.ts';
import { openLmdbKv } from '../../src/kv/lmdb.ts';
import { openMemoryKv } from '../../src/kv/memory.ts';
import { configureS3Server, createS3Handler, type S3Limits } from '../../src/s3/handler.ts';
import { type SigningPayload, signRequest } from '../../src/sigv4/sign.ts';
import { SigningKeyCache } from '../../src/sigv4/signing-key.ts';
import { openObjectStore } from '../../src/store/object-store.ts';
import type { Kv } from '../../src/store/kv.ts';
import type { ObjectStore } from '../../src/store/types.ts';
import { type S3TestAnswer, type S3TestClient, s3TestClient } from '../support/s3-test-client.ts';
import { VectorKms } from '../support/vector-kms.ts';

export const accessKey = 'tester';
export const secretKey = 'tester-secret';
export const masterKeyName = 'test-key';
export const otherKeyName = 'other-key';

export type Harness = {
  readonly port: number;
  readonly host: string;
  readonly store: ObjectStore;
  readonly kms: VectorKms;
  readonly kv: Kv;
  /** Empty when a folder keeps them. */
  readonly blobs: ReturnType<typeof openMemoryBlobStore>;
  readonly server: Server;
  readonly sdk: S3Client;
  readonly minio: MinioClient;
  /** One signed request. */
  send(
    method: string,
    target: string,
    options?: { headers?: Record<string, string>; body?: Uint8Array | string },
  ): Promise<S3TestAnswer>;
  /** The same as another user, or without a signature. */
  as(caller: TestUser | 'anonymous'): Pick<Harness, 'send' | 'outcome'>;
  /** `status Code` of a request that is refused, `status` of one that is not. */
  outcome(
    method: string,
    target: string,
    options?: { headers?: Record<string, string>; body?: Uint8Array | string },
  ): Promise<string>;
  /** The text of a signed request up to and with the empty line. */
  head(
    method: string,
    target: string,
    options: { headers?: Record<string, string>; payload?: SigningPayload },
  ): string;
  close(): Promise<void>;
};

/** A user with policies of its own. */
export type TestUser = { readonly credentials: Credentials };

/** A user that may do what the policies say. */
export function testUser(name: string, ...policies: readonly object[]): TestUser {
  const texts = policies.map((policy) => JSON.stringify({ Version: '2012-10-17', ...policy }));
  return {
    credentials: {
      accessKey: name,
      secretKey: `${name}-secret`,
      identity: {
        kind: 'user',
        accessKey: name,
        ownerId: createHash('sha256').update(name).digest('hex'),
        displayName: name,
        policies: texts.map((text) => parsePolicy(text, 'identity')),
      },
    },
  };
}

export type HarnessOptions = {
  readonly users?: readonly TestUser[];
  readonly withoutKms?: boolean;
  /** Refuses keys of SSE-C over its plain HTTP, as servers do by default. */
  readonly refusesKeysInClear?: boolean;
  /** Users may do everything with what they own. Default here: true. */
  readonly grantsOwners?: boolean;
  /** New buckets block keys of clients. */
  readonly blocksSseC?: boolean;
  /** Master key of the outer layer of DSSE-KMS. */
  readonly dsseKeyName?: string;
  readonly domains?: readonly string[];
  readonly limits?: S3Limits;
  readonly wrap?: (store: ObjectStore) => ObjectStore;
  /** Keeps everything below this folder, so that a later harness finds it again; in memory without one. */
  readonly dir?: string;
};

/** Starts a server on a free port of the loopback. */
export async function startHarness(options: HarnessOptions = {}): Promise<Harness> {
  const kms = new VectorKms({
    defaultKeyName: masterKeyName,
    masterKeys: {
      [masterKeyName]: createHash('sha256').update('master').digest(),
      [otherKeyName]: createHash('sha256').update('other').digest(),
    },
  });
  const blobs = openMemoryBlobStore();
  const { dir } = options;
  const kv = dir === undefined ? openMemoryKv() : openLmdbKv(path.join(dir, 'metadata'));
  const files = dir === undefined ? undefined : await openFileBlobStore(path.join(dir, 'blobs'));
  const opened = await openObjectStore({
    kv,
    blobs: files ?? blobs,
    kms: options.withoutKms === true ? undefined : kms,
    log: silentLog,
    settings: {
      isAutoEncrypting: false,
      blocksSseC: options.blocksSseC ?? false,
      dsseKeyName: options.dsseKeyName ?? '',
    },
  });
  const store = options.wrap?.(opened) ?? opened;
  const root = rootCredentialsSource(() => ({ accessKey, secretKey }));
  const users = new Map(
    options.users?.map(({ credentials }) => [credentials.accessKey, credentials]),
  );
  const credentials = { find: (name: string) => users.get(name) ?? root.find(name) };
  const handler = createS3Handler({
    store,
    log: silentLog,
    region: 'us-east-1',
    domains: options.domains ?? [],
    allowsKeysInClear: options.refusesKeysInClear !== true,
    grantsOwners: options.grantsOwners !== false,
    auth: { credentials, signingKeys: new SigningKeyCache(), region: 'us-east-1', now: Date.now },
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  });
  const server = createServer();
  configureS3Server(server, handler, options.limits);
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  // A server that listens on TCP has an address object.
  const { port } = server.address() as AddressInfo;
  const host = `127.0.0.1:${port}`;
  const sdk = new S3Client({
    region: 'us-east-1',
    endpoint: `http://${host}`,
    forcePathStyle: true,
    credentials: { accessKeyId: accessKey, secretAccessKey: secretKey },
    maxAttempts: 1,
  });
  const client = s3TestClient({ port, accessKey, secretKey });
  const clients = [client];
  const { send, outcome } = callerOf(client);
  return {
    port,
    host,
    store,
    kms,
    kv,
    blobs,
    server,
    sdk,
    minio: new MinioClient({ endPoint: '127.0.0.1', port, useSSL: false, accessKey, secretKey }),
    send,
    as: (caller) => {
      const signer = caller === 'anonymous' ? undefined : caller.credentials;
      const other = s3TestClient({ port, ...signer });
      clients.push(other);
      return callerOf(other);
    },
    outcome,
    head: (method, target, { headers = {}, payload = { kind: 'empty' } }) => {
      const signed = signRequest({
        method,
        target,
        headers: { host, ...headers },
        credentials: { accessKey, secretKey },
        region: 'us-east-1',
        timeMs: Date.now(),
        payload,
      });
      const lines = Object.entries(signed.headers).map(([name, value]) => `${name}: ${value}`);
      return `${method} ${target} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`;
    },
    close: async () => {
      sdk.destroy();
      for (const one of clients) one.close();
      server.closeAllConnections();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
      await opened.close();
      await files?.close();
      await kv.close();
    },
  };
}

function callerOf(client: S3TestClient): Pick<Harness, 'send' | 'outcome'> {
  const send: Harness['send'] = (method, target, { headers = {}, body } = {}) => {
    const bytes = typeof body === 'string' ? Buffer.from(body) : body;
    return client.send({
      method,
      target,
      headers,
      ...(bytes === undefined ? {} : { body: bytes }),
    });
  };
  const outcome: Harness['outcome'] = async (method, target, request) => {
    const answer = await send(method, target, request);
    const code = method === 'HEAD' ? answer.headers['x-minio-error-code'] : codeOf(answer);
    return [answer.status, code].filter((item) => item !== undefined).join(' ');
  };
  return { send, outcome };
}

/** The error code in an answer's body. */
export function codeOf(answer: S3TestAnswer): string | undefined {
  return /<Code>([^<]*)<\/Code>/.exec(answer.body.toString())?.[1];
}

/** The body of an answer as XML. */
export function xmlOf(answer: S3TestAnswer): XmlElement {
  return parseXml(answer.body, { maxBytes: 10_000_000 });
}

/** The texts of all elements with that name, in document order. */
export function textsOf(element: XmlElement, name: string): string[] {
  const own = element.name === name ? [element.text] : [];
  return [...own, ...element.children.flatMap((child) => textsOf(child, name))];
}

/** A name for a bucket of one test. */
export function freshBucket(): string {
  return `b-${randomBytes(8).toString('hex')}`;
}

/** A raw connection that collects what comes back. */
export class RawConnection {
  readonly socket: Socket;
  received = '';
  isClosed = false;
  readonly closed: Promise<void>;

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1');
    this.socket.on('data', (bytes: Buffer) => {
      this.received += bytes.toString('latin1');
    });
    this.socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => {
      this.socket.on('close', () => {
        this.isClosed = true;
        resolve();
      });
    });
  }

  write(data: string | Uint8Array): void {
    this.socket.write(data);
  }

  /** Resolves when the text has come in; rejects when the connection ends before. */
  async waitFor(text: string): Promise<void> {
    while (!this.received.includes(text)) {
      if (this.isClosed) throw new Error(`connection closed before ${text}: ${this.received}`);
      await new Promise((resolve) => {
        setTimeout(resolve, 5);
      });
    }
  }
}
