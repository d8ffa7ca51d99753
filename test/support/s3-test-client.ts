// A small S3 client for suites that need to see exactly what a server did: one request, one answer, no
// retry. It signs with the project's own signer; the official SDKs test that signer elsewhere.

import { Agent, request } from 'node:http';
import { type SigningPayload, signRequest } from '../../src/sigv4/sign.ts';

export type S3TestAnswer = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
};

export type S3TestRequest = {
  readonly method: string;
  /** Path and query, percent-encoded. */
  readonly target: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
};

export type S3TestClient = {
  /** Rejects when the connection fails before the whole answer is in. */
  send(options: S3TestRequest): Promise<S3TestAnswer>;
  close(): void;
};

/** Without keys, requests are sent unsigned. */
export function s3TestClient(at: {
  readonly port: number;
  readonly accessKey?: string;
  readonly secretKey?: string;
  readonly connections?: number;
}): S3TestClient {
  const agent = new Agent({ keepAlive: true, maxSockets: at.connections ?? 32 });
  const send = (options: S3TestRequest): Promise<S3TestAnswer> => {
    const payload: SigningPayload =
      options.body === undefined ? { kind: 'empty' } : { kind: 'bytes', bytes: options.body };
    const plain = { host: `127.0.0.1:${at.port}`, ...options.headers };
    const { accessKey, secretKey } = at;
    const { headers } =
      accessKey === undefined || secretKey === undefined
        ? { headers: plain }
        : signRequest({
            method: options.method,
            target: options.target,
            headers: plain,
            credentials: { accessKey, secretKey },
            region: 'us-east-1',
            timeMs: Date.now(),
            payload,
          });
    return new Promise((resolve, reject) => {
      const length =
        options.body === undefined && options.method === 'GET'
          ? {}
          : { 'content-length': options.body?.length ?? 0 };
      const sent = request(
        {
          host: '127.0.0.1',
          port: at.port,
          method: options.method,
          path: options.target,
          headers: { ...headers, ...length },
          agent,
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('aborted', () => reject(new Error('answer cut off')));
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
  };
  return { send, close: () => agent.destroy() };
}
