// Mixed load for the crash suite: small and large writes, plain and encrypted, overwrites, copies, multipart
// uploads and deletions, each noted before it is sent and after it is answered.

import { createHash } from 'node:crypto';
import type { S3TestAnswer, S3TestClient } from '../support/s3-test-client.ts';
import { type ExpectedStates, type ObjectState, stateOf } from './expected-state.ts';

/** One bucket as it is made, and one that keeps every version. */
export const crashBuckets = ['crash-bucket', 'crash-versions'] as const;

/** Where a name of the load is. */
function bucketOf(name: string): string {
  return crashBuckets[name.startsWith('versions/') ? 1 : 0];
}

const mib = 1024 * 1024;

/** Bytes that differ for every label and cost little to make. */
export function bytesFor(label: string, sizeBytes: number): Buffer {
  const block = createHash('sha512').update(label).digest();
  return Buffer.alloc(sizeBytes, block);
}

export type LoadContext = {
  readonly client: S3TestClient;
  readonly states: ExpectedStates;
  readonly random: () => number;
  readonly isStopped: () => boolean;
  /** Counts up over all rounds, so that no two writes are alike. */
  readonly nextLabel: () => string;
};

const sse = { 'x-amz-server-side-encryption': 'AES256' };

function encryptionHeaders(random: () => number): Record<string, string> {
  return random() < 0.6 ? sse : {};
}

function isGood(answer: S3TestAnswer): boolean {
  return answer.status >= 200 && answer.status < 300;
}

async function put(context: LoadContext, name: string): Promise<S3TestAnswer> {
  const { random, client, states } = context;
  const label = context.nextLabel();
  const pick = random();
  const sizeBytes =
    pick < 0.1 ? 0 : pick < 0.7 ? Math.floor(random() * 20_000) : Math.floor(random() * 3 * mib);
  const body = bytesFor(label, sizeBytes);
  states.begin(name, stateOf(body, label));
  return client.send({
    method: 'PUT',
    target: `/${bucketOf(name)}/${name}`,
    headers: { 'x-amz-meta-label': label, ...encryptionHeaders(random) },
    body,
  });
}

async function remove(context: LoadContext, name: string): Promise<S3TestAnswer> {
  context.states.begin(name, undefined);
  return context.client.send({ method: 'DELETE', target: `/${bucketOf(name)}/${name}` });
}

async function multipart(context: LoadContext, name: string): Promise<S3TestAnswer> {
  const { client, states, random } = context;
  const label = context.nextLabel();
  const parts = [
    bytesFor(`${label}-1`, 5 * mib),
    bytesFor(`${label}-2`, Math.floor(random() * mib)),
  ];
  const digests = parts.map((part) => createHash('md5').update(part).digest());
  const etag = `${createHash('md5').update(Buffer.concat(digests)).digest('hex')}-${parts.length}`;
  const created = await client.send({
    method: 'POST',
    target: `/${bucketOf(name)}/${name}?uploads=`,
    headers: { 'x-amz-meta-label': label, ...encryptionHeaders(random) },
  });
  if (!isGood(created)) return created;
  const uploadId = /<UploadId>([^<]+)</.exec(created.body.toString())?.[1] ?? '';
  const query = `uploadId=${encodeURIComponent(uploadId)}`;
  for (const [index, part] of parts.entries()) {
    const answer = await client.send({
      method: 'PUT',
      target: `/${bucketOf(name)}/${name}?partNumber=${index + 1}&${query}`,
      body: part,
    });
    if (!isGood(answer)) return answer;
  }
  const list = digests
    .map(
      (digest, index) =>
        `<Part><PartNumber>${index + 1}</PartNumber><ETag>"${digest.toString('hex')}"</ETag></Part>`,
    )
    .join('');
  states.begin(name, stateOf(Buffer.concat(parts), label, etag));
  return client.send({
    method: 'POST',
    target: `/${bucketOf(name)}/${name}?${query}`,
    body: Buffer.from(`<CompleteMultipartUpload>${list}</CompleteMultipartUpload>`),
  });
}

/** One worker of the load: picks a free name and an operation until stopped. Errors of a dying server end the step only. */
export async function runLoadWorker(
  context: LoadContext,
  names: readonly string[],
): Promise<number> {
  let acknowledged = 0;
  while (!context.isStopped()) {
    const name = names[Math.floor(context.random() * names.length)] ?? '';
    if (context.states.isBusy(name)) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      continue;
    }
    const pick = context.random();
    context.states.reserve(name);
    try {
      const step = pick < 0.75 ? put : pick < 0.9 ? remove : multipart;
      const answer = await step(context, name);
      if (isGood(answer)) {
        context.states.acknowledge(name);
        acknowledged += 1;
      } else {
        // A 5xx of a server that is going down may or may not have had its effect: the name stays pending.
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    } finally {
      context.states.release(name);
    }
  }
  return acknowledged;
}

/** What the server holds under a name, read in full. Throws when it answers neither 200 nor 404. */
export async function readState(client: S3TestClient, name: string): Promise<ObjectState> {
  const answer = await client.send({ method: 'GET', target: `/${bucketOf(name)}/${name}` });
  if (answer.status === 404) return undefined;
  if (answer.status !== 200)
    throw new Error(`GET ${name}: ${answer.status} ${answer.body.toString().slice(0, 300)}`);
  const md5 = createHash('md5').update(answer.body).digest('hex');
  return {
    md5,
    etag: String(answer.headers['etag']).replaceAll('"', ''),
    sizeBytes: answer.body.length,
    label: String(answer.headers['x-amz-meta-label']),
  };
}
