// Mixed load for the crash suite: small and large writes in every encryption mode, forms, overwrites, changes of
// key, tags, multipart uploads, versions, and deletions of all these, each noted before it is sent and after it is
// answered.

import { createHash } from 'node:crypto';
import { encodeForm, signedForm } from '../support/post-form.ts';
import type { S3TestAnswer, S3TestClient } from '../support/s3-test-client.ts';
import {
  bucketKeyHeaders,
  copySourceHeaders,
  customerHeaders,
  dsseHeaders,
  kmsHeaders,
  sseS3Headers,
} from '../support/sse-headers.ts';
import { type ExpectedStates, type ObjectState, singleEtag, stateOf } from './expected-state.ts';

/** One bucket as it is made, and one that keeps every version. */
export const crashBuckets = ['crash-bucket', 'crash-versions'] as const;
const [plainBucket, versionsBucket] = crashBuckets;
const mib = 1024 * 1024;

/** Names that begin so are always sealed under this key, so that whoever reads them knows. */
export const customerPrefix = 'customer/';
export const customerKey = createHash('sha256').update('crash customer').digest();

/** Bytes that differ for every label and cost little to make. */
export function bytesFor(label: string, sizeBytes: number): Buffer {
  const block = createHash('sha512').update(label).digest();
  return Buffer.alloc(sizeBytes, block);
}

export type LoadContext = {
  readonly client: S3TestClient;
  readonly credentials: { readonly accessKey: string; readonly secretKey: string };
  readonly states: ExpectedStates;
  readonly random: () => number;
  readonly isStopped: () => boolean;
  /** Counts up over all rounds, so that no two writes are alike. */
  readonly nextLabel: () => string;
};

type Mode = {
  /** The method that answers show. */
  readonly encryption: string;
  readonly write: Readonly<Record<string, string>>;
  /** For parts, reads and completions. */
  readonly read: Readonly<Record<string, string>>;
};

const plain: Mode = { encryption: '', write: {}, read: {} };
const modes: readonly Mode[] = [
  plain,
  plain,
  { encryption: 'AES256', write: sseS3Headers, read: {} },
  { encryption: 'AES256', write: sseS3Headers, read: {} },
  { encryption: 'aws:kms', write: kmsHeaders(undefined, { a: 'b' }), read: {} },
  { encryption: 'aws:kms', write: bucketKeyHeaders(), read: {} },
  { encryption: 'aws:kms:dsse', write: dsseHeaders(), read: {} },
];
const customer: Mode = {
  encryption: 'SSE-C',
  write: customerHeaders(customerKey),
  read: customerHeaders(customerKey),
};

function bucketOf(name: string): string {
  return name.startsWith('versions/') ? versionsBucket : plainBucket;
}

/** Where a name of `ExpectedStates` is: one version begins with `@` and ends in its id. */
function targetOf(name: string): string {
  if (name.startsWith('@')) return `/${versionsBucket}/${name.slice(1)}`;
  return `/${bucketOf(name)}/${name}`;
}

function modeFor(name: string, random: () => number): Mode {
  if (name.startsWith(customerPrefix)) return customer;
  return modes[Math.floor(random() * modes.length)] ?? plain;
}

function isGood(answer: S3TestAnswer): boolean {
  return answer.status >= 200 && answer.status < 300;
}

function sizeOf(random: () => number): number {
  const pick = random();
  if (pick < 0.1) return 0;
  return Math.floor(random() * (pick < 0.7 ? 20_000 : 3 * mib));
}

async function put(context: LoadContext, name: string): Promise<S3TestAnswer> {
  const { random, client, states } = context;
  const label = context.nextLabel();
  const { encryption, write } = modeFor(name, random);
  const body = bytesFor(label, sizeOf(random));
  states.begin(name, stateOf(body, label, { encryption }));
  const headers = { 'x-amz-meta-label': label, ...write };
  return client.send({ method: 'PUT', target: targetOf(name), headers, body });
}

async function form(context: LoadContext, name: string): Promise<S3TestAnswer> {
  const { random, client, states, credentials } = context;
  const label = context.nextLabel();
  const { encryption, write } = modeFor(name, random);
  const file = bytesFor(label, sizeOf(random));
  states.begin(name, stateOf(file, label, { encryption }));
  const fields = Object.entries({ key: name, 'x-amz-meta-label': label, ...write });
  const bucket = bucketOf(name);
  const { headers, body } = encodeForm(signedForm(bucket, fields, credentials), file);
  return client.send({ method: 'POST', target: `/${bucket}`, headers, body });
}

async function remove(context: LoadContext, name: string): Promise<S3TestAnswer> {
  context.states.begin(name, undefined);
  return context.client.send({ method: 'DELETE', target: targetOf(name) });
}

/** Another tag for what is there; a write for what is not. */
async function tag(context: LoadContext, name: string): Promise<S3TestAnswer> {
  const { states, client } = context;
  const known = states.known(name);
  if (known === undefined) return put(context, name);
  const value = context.nextLabel();
  states.begin(name, { ...known, tag: value });
  const document = `<Tagging><TagSet><Tag><Key>tag</Key><Value>${value}</Value></Tag></TagSet></Tagging>`;
  const body = Buffer.from(document);
  return client.send({ method: 'PUT', target: `${targetOf(name)}?tagging`, body });
}

/** A copy onto itself under another encryption; a write where there is nothing, or nothing to change. */
async function changeKey(context: LoadContext, name: string): Promise<S3TestAnswer> {
  const { states, client, random } = context;
  const known = states.known(name);
  const { encryption, write } = modeFor(name, random);
  if (known === undefined || known.encryption === encryption) return put(context, name);
  const label = context.nextLabel();
  const etag = singleEtag(known.md5, encryption);
  states.begin(name, { ...known, label, encryption, etag });
  const headers = {
    ...write,
    ...(known.encryption === customer.encryption ? copySourceHeaders(customerKey) : {}),
    'x-amz-copy-source': targetOf(name),
    'x-amz-metadata-directive': 'REPLACE',
    'x-amz-meta-label': label,
  };
  return client.send({ method: 'PUT', target: targetOf(name), headers });
}

async function multipart(context: LoadContext, name: string): Promise<S3TestAnswer> {
  const { client, states, random } = context;
  const label = context.nextLabel();
  const { encryption, write, read } = modeFor(name, random);
  const parts = [
    bytesFor(`${label}-1`, 5 * mib),
    bytesFor(`${label}-2`, Math.floor(random() * mib)),
  ];
  const target = targetOf(name);
  const created = await client.send({
    method: 'POST',
    target: `${target}?uploads=`,
    headers: { 'x-amz-meta-label': label, ...write },
  });
  if (!isGood(created)) return created;
  const uploadId = /<UploadId>([^<]+)</.exec(created.body.toString())?.[1] ?? '';
  const query = `uploadId=${encodeURIComponent(uploadId)}`;
  const etags: string[] = [];
  for (const [index, body] of parts.entries()) {
    const path = `${target}?partNumber=${index + 1}&${query}`;
    const answer = await client.send({ method: 'PUT', target: path, headers: read, body });
    if (!isGood(answer)) return answer;
    etags.push(String(answer.headers['etag']).replaceAll('"', ''));
  }
  const digests = etags.map((etag) => Buffer.from(etag, 'hex'));
  const etag = `${createHash('md5').update(Buffer.concat(digests)).digest('hex')}-${parts.length}`;
  const list = etags.map(
    (item, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>"${item}"</ETag></Part>`,
  );
  states.begin(name, stateOf(Buffer.concat(parts), label, { etag, encryption }));
  const body = Buffer.from(`<CompleteMultipartUpload>${list.join('')}</CompleteMultipartUpload>`);
  return client.send({ method: 'POST', target: `${target}?${query}`, headers: read, body });
}

/** A new version, which is expected to stay once its write was answered. Many may write one name at once. */
async function putVersion(context: LoadContext): Promise<S3TestAnswer> {
  const { random, client, states } = context;
  const name = `@name-${Math.floor(random() * 5)}`;
  const label = context.nextLabel();
  const { encryption, write } = modeFor(name, random);
  const body = bytesFor(label, sizeOf(random));
  const headers = { 'x-amz-meta-label': label, ...write };
  const answer = await client.send({ method: 'PUT', target: targetOf(name), headers, body });
  if (!isGood(answer)) return answer;
  const version = `${name}?versionId=${String(answer.headers['x-amz-version-id'])}`;
  states.begin(version, stateOf(body, label, { encryption }));
  states.acknowledge(version);
  return answer;
}

/** A marker over the newest version of a name, or the end of one version. */
async function removeVersion(context: LoadContext): Promise<S3TestAnswer> {
  const { states, random, client } = context;
  const versions = states
    .names()
    .filter((name) => name.startsWith('@') && states.known(name) !== undefined);
  const version = versions[Math.floor(random() * versions.length)];
  if (version === undefined || states.isBusy(version) || random() < 0.2) {
    const target = targetOf(`@name-${Math.floor(random() * 5)}`);
    return client.send({ method: 'DELETE', target });
  }
  const answer = await remove(context, version);
  if (isGood(answer)) states.acknowledge(version);
  return answer;
}

type Step = (context: LoadContext, name: string) => Promise<S3TestAnswer>;

const steps: readonly (readonly [share: number, Step])[] = [
  [0.45, put],
  [0.1, form],
  [0.1, changeKey],
  [0.1, tag],
  [0.15, remove],
  [0.1, multipart],
];

function pickStep(random: () => number): Step {
  let rest = random();
  for (const [share, step] of steps) {
    if (rest < share) return step;
    rest -= share;
  }
  return put;
}

/** One worker of the load: picks a free name and an operation until stopped. Errors of a dying server end the step only. */
export async function runLoadWorker(
  context: LoadContext,
  names: readonly string[],
): Promise<number> {
  let acknowledged = 0;
  while (!context.isStopped()) {
    try {
      const answer = await runStep(context, names);
      if (isGood(answer)) acknowledged += 1;
      // A 5xx of a server that is going down may or may not have had its effect: the name stays pending.
      else await pause();
    } catch {
      await pause();
    }
  }
  return acknowledged;
}

function pause(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, 20);
  });
}

async function runStep(context: LoadContext, names: readonly string[]): Promise<S3TestAnswer> {
  const { random, states } = context;
  if (random() < 0.2) return random() < 0.7 ? putVersion(context) : removeVersion(context);
  const free = names.filter((name) => !states.isBusy(name));
  const name = free[Math.floor(random() * free.length)];
  if (name === undefined) return putVersion(context);
  states.reserve(name);
  try {
    const answer = await pickStep(random)(context, name);
    if (isGood(answer)) states.acknowledge(name);
    return answer;
  } finally {
    states.release(name);
  }
}

/** What the server holds under a name, read in full. Throws when it answers neither 200 nor 404. */
export async function readState(client: S3TestClient, name: string): Promise<ObjectState> {
  const headers = name.startsWith(customerPrefix) ? customer.read : {};
  const answer = await client.send({ method: 'GET', target: targetOf(name), headers });
  if (answer.status === 404) return undefined;
  if (answer.status !== 200)
    throw new Error(`GET ${name}: ${answer.status} ${answer.body.toString().slice(0, 300)}`);
  const md5 = createHash('md5').update(answer.body).digest('hex');
  const shown = answer.headers['x-amz-server-side-encryption'];
  const isOfCustomer =
    answer.headers['x-amz-server-side-encryption-customer-algorithm'] !== undefined;
  const encryption = isOfCustomer ? customer.encryption : String(shown ?? '');
  const etag = String(answer.headers['etag']).replaceAll('"', '');
  return {
    md5,
    etag: etag.includes('-') ? etag : singleEtag(etag, encryption),
    sizeBytes: answer.body.length,
    label: String(answer.headers['x-amz-meta-label']),
    encryption,
    tag: answer.headers['x-amz-tagging-count'] === undefined ? '' : await readTag(client, name),
  };
}

async function readTag(client: S3TestClient, name: string): Promise<string> {
  const answer = await client.send({ method: 'GET', target: `${targetOf(name)}?tagging` });
  return /<Value>([^<]*)</.exec(answer.body.toString())?.[1] ?? '';
}
