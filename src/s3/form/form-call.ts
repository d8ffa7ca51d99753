// A browser form as a call: who signed it, what its policy allows, and its fields as the headers that a PUT of the
// same object would have. So everything after it (authorisation, encryption, storing) is that of PutObject.

import { createHmac } from 'node:crypto';
import type { Identity } from '../../iam/identity.ts';
import { anonymous } from '../../iam/identity.ts';
import { AuthError } from '../../sigv4/errors.ts';
import { algorithm, parseCredential } from '../../sigv4/parse.ts';
import { isSameSignature } from '../../sigv4/signing-key.ts';
import { parseAmzDate } from '../../sigv4/time.ts';
import type { BodyInput } from '../../store/types.ts';
import { type AuthDeps, type Authentication, findCredentials } from '../auth/authenticate.ts';
import { parseBodyChecksum, parseContentMd5 } from '../body/body-checksum.ts';
import { invalidArgument, S3Error } from '../errors.ts';
import { type CallParts, HttpCall } from '../http-call.ts';
import { type PostForm, readPostForm } from './post-form.ts';
import { checkPostPolicy, parsePostPolicy, type PostSizeRange } from './post-policy.ts';
import { formatTagging, objectTagsMax, parseTaggingDocument } from '../tags.ts';

const objectBytesMax = 5 * 1024 ** 3;
const keyBytesMax = 1024;

/** The fields that become headers of the same name. */
const headerFields =
  /^(?:cache-control|content-(?:type|disposition|encoding|language|md5)|expires|x-amz-(?!algorithm$|credential$|date$|signature$|security-token$|tagging$|acl$).+)$/;

/** What may have to be answered otherwise than a PUT is. */
export type FormAnswer = {
  readonly redirect: string | undefined;
  readonly status: string | undefined;
};

/** A PUT whose body is the file of a form. */
export class FormCall extends HttpCall {
  readonly answer: FormAnswer;
  readonly #form: PostForm;
  readonly #sizeRange: PostSizeRange;

  constructor(
    parts: CallParts,
    form: { readonly form: PostForm; readonly sizeRange: PostSizeRange | undefined },
  ) {
    super(parts);
    const { fields } = form.form;
    this.answer = {
      redirect: fields.get('success_action_redirect') ?? fields.get('redirect'),
      status: fields.get('success_action_status'),
    };
    this.#form = form.form;
    const { min, max } = form.sizeRange ?? { min: 0, max: objectBytesMax };
    this.#sizeRange = { min, max: Math.min(max, objectBytesMax) };
  }

  override openBody(): Promise<BodyInput> {
    const contentMd5 = parseContentMd5(this.headers);
    const announced = parseBodyChecksum(this.headers, {
      hoisted: new Set(),
      sizeBytes: undefined,
      trailerNames: [],
    });
    return Promise.resolve({
      body: withinRange(this.#form.file, this.#sizeRange),
      sizeBytes: undefined,
      ...(contentMd5 === undefined ? {} : { contentMd5 }),
      ...(announced?.expected === undefined
        ? {}
        : { checksum: { algorithm: announced.algorithm, expected: announced.expected } }),
    });
  }

  /** Lets go of what was not read of the form. */
  abort(): void {
    this.#form.abort();
  }
}

/**
 * Reads the form up to its file and checks its signature and policy. Throws `S3Error` and `AuthError`. The caller
 * decides whether `identity` may write the key, and aborts the call when it is done with it.
 */
export async function openFormCall(
  parts: Omit<CallParts, 'authentication'>,
  deps: AuthDeps,
): Promise<FormCall> {
  const { exchange, target, stallMs } = parts;
  if (exchange.isAwaitingContinue) {
    exchange.isAwaitingContinue = false;
    exchange.response.writeContinue();
  }
  const form = await readPostForm(exchange.request, stallMs);
  try {
    const key = keyOf(form);
    const identity = await identityOf(form.fields, deps);
    const text = form.fields.get('policy');
    const policy = text === undefined ? undefined : parsePostPolicy(text);
    if (policy !== undefined) {
      const checked = new Map([...form.fields, ['bucket', target.bucket], ['key', key]]);
      checkPostPolicy(policy, checked, deps.now());
    }
    const authentication: Authentication = {
      identity,
      method: identity === anonymous ? 'anonymous' : 'form',
      payload: { kind: 'unsigned' },
      headers: headersOf(form.fields, exchange.request.headers),
      hoisted: new Set(),
    };
    const aimed = { ...parts, authentication, target: { ...target, key } };
    return new FormCall(aimed, { form, sizeRange: policy?.sizeRange });
  } catch (error) {
    form.abort();
    throw error;
  }
}

function keyOf(form: PostForm): string {
  const template = form.fields.get('key');
  if (template === undefined || template === '') {
    throw invalidArgument('key', '', 'Bucket POST must contain a field named "key".');
  }
  const key = template.replaceAll('${filename}', () => form.fileName);
  if (Buffer.byteLength(key) > keyBytesMax) throw new S3Error('KeyTooLongError');
  return key;
}

/** Signature V4, or the older V2 that tools still make forms with; none of their fields is anonymous. */
async function identityOf(fields: ReadonlyMap<string, string>, deps: AuthDeps): Promise<Identity> {
  const isV4 = fields.has('x-amz-signature') || fields.has('x-amz-credential');
  const isV2 = fields.has('signature') || fields.has('awsaccesskeyid');
  if (isV4 && isV2) {
    throw invalidArgument('Signature', '', 'Only one auth mechanism allowed in a form.');
  }
  if (fields.has('x-amz-security-token')) {
    throw new AuthError('InvalidTokenId', 'The security token included in the form is invalid');
  }
  if (isV4) return verifyV4(fields, deps);
  if (isV2) return verifyV2(fields, deps);
  return anonymous;
}

async function verifyV4(fields: ReadonlyMap<string, string>, deps: AuthDeps): Promise<Identity> {
  const policy = required(fields, 'policy');
  if (required(fields, 'x-amz-algorithm') !== algorithm) {
    throw invalidArgument('x-amz-algorithm', '', `X-Amz-Algorithm must be ${algorithm}`);
  }
  const timestamp = required(fields, 'x-amz-date');
  const { accessKey, scope } = parseCredential(
    required(fields, 'x-amz-credential'),
    (reason) => new AuthError('AuthorizationQueryParametersError', `${reason}.`),
  );
  const isToday = parseAmzDate(timestamp) !== undefined && timestamp.startsWith(scope.date);
  if (!isToday) {
    throw invalidArgument(
      'x-amz-date',
      timestamp,
      'X-Amz-Date must be a time like 20060102T150405Z, on the day of the credential',
    );
  }
  const credentials = await findCredentials(deps, { accessKey });
  const signingKey = deps.signingKeys.get(accessKey, credentials.secretKey, scope);
  const expected = createHmac('sha256', signingKey).update(policy).digest('hex');
  if (!isSameSignature(required(fields, 'x-amz-signature'), expected)) throw wrongSignature();
  const { region } = deps;
  if (region !== '' && scope.region !== region && scope.region !== 'us-east-1') {
    throw new AuthError(
      'AuthorizationQueryParametersError',
      `The region '${scope.region}' of the form's credential is wrong; expecting '${region}'`,
      { details: { Region: region } },
    );
  }
  return credentials.identity;
}

async function verifyV2(fields: ReadonlyMap<string, string>, deps: AuthDeps): Promise<Identity> {
  const policy = required(fields, 'policy');
  const credentials = await findCredentials(deps, {
    accessKey: required(fields, 'awsaccesskeyid'),
  });
  const expected = createHmac('sha1', credentials.secretKey).update(policy).digest('base64');
  if (!isSameSignature(required(fields, 'signature'), expected)) throw wrongSignature();
  return credentials.identity;
}

function required(fields: ReadonlyMap<string, string>, name: string): string {
  const value = fields.get(name);
  if (value !== undefined && value !== '') return value;
  throw invalidArgument(name, '', `Bucket POST must contain a field named '${name}'.`);
}

function wrongSignature(): AuthError {
  return new AuthError(
    'SignatureDoesNotMatch',
    'The signature of the form does not match its policy. Check the secret key and the signing method.',
  );
}

/** Node gives header values one character per byte; fields are text, so they are brought to that form. */
function headersOf(
  fields: ReadonlyMap<string, string>,
  sent: Readonly<Record<string, string | string[] | undefined>>,
): Record<string, string | undefined> {
  const headers: [string, string][] = [];
  for (const name of ['host', 'referer', 'user-agent', 'x-amz-expected-bucket-owner']) {
    const value = sent[name];
    if (typeof value === 'string') headers.push([name, value]);
  }
  for (const [name, value] of fields) {
    if (headerFields.test(name)) headers.push([name, asBytes(value)]);
  }
  const acl = fields.get('acl');
  if (acl !== undefined) headers.push(['x-amz-acl', acl]);
  const tagging = fields.get('tagging');
  if (tagging !== undefined) headers.push(['x-amz-tagging', taggingOf(tagging)]);
  return Object.fromEntries(headers);
}

function taggingOf(document: string): string {
  const bytes = Buffer.from(document);
  const limits = { maxBytes: bytes.length, tagsMax: objectTagsMax };
  return formatTagging(parseTaggingDocument(bytes, limits));
}

function asBytes(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

async function* withinRange(
  file: AsyncIterable<Uint8Array>,
  { min, max }: PostSizeRange,
): AsyncGenerator<Uint8Array> {
  let sizeBytes = 0;
  for await (const piece of file) {
    sizeBytes += piece.length;
    if (sizeBytes > max) {
      throw new S3Error('EntityTooLarge', undefined, {
        details: { MaxSizeAllowed: String(max) },
      });
    }
    yield piece;
  }
  if (sizeBytes >= min) return;
  throw new S3Error('EntityTooSmall', undefined, {
    details: { ProposedSize: String(sizeBytes), MinSizeAllowed: String(min) },
  });
}
