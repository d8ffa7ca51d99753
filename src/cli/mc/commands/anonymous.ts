// `anonymous set|set-json|get|get-json|list|links`: what everybody may do in a bucket without signing, kept in
// the bucket's policy.

import { readFile } from 'node:fs/promises';

import { type Access, findAccess, listAccess, sortMembers, withAccess } from '../bucket-policy.ts';
import { type McContext, openS3, parseTarget, type S3Target } from '../context.ts';
import { isJsonObject, type JsonObject, McError, toMcError } from '../error.ts';
import { Failure } from '../failure.ts';
import { localError } from '../local.ts';
import { formatJson } from '../output.ts';
import { checkBucketName, encodeKey, type S3Client } from '../s3-client.ts';
import { listObjects } from '../s3-list.ts';
import { deleteBucketPolicy, getBucketPolicy, putBucketPolicy } from '../s3-policy.ts';

const words: Readonly<Record<Access, string>> = {
  none: 'private',
  readonly: 'download',
  writeonly: 'upload',
  readwrite: 'public',
};

/** `none` is another word for `private`. */
const accesses: ReadonlyMap<string, Access> = new Map<string, Access>([
  ['none', 'none'],
  ['private', 'none'],
  ['download', 'readonly'],
  ['upload', 'writeonly'],
  ['public', 'readwrite'],
]);

type Place = { readonly client: S3Client; readonly bucket: string; readonly prefix: string };

/** `anonymous set PERMISSION TARGET` */
export async function runAnonymousSet(context: McContext, args: readonly string[]): Promise<void> {
  const [word = '', url = ''] = args;
  const access = accesses.get(word);
  if (access === undefined) {
    throw new Failure(
      `Unrecognized permission \`${word}\`. Allowed values are [private, public, download, upload].`,
    );
  }
  const permission = await on(context, url, `Unable to set anonymous \`${word}\` for \`${url}\`.`, {
    work: async (place) => {
      const before = (await readPolicy(place)) ?? {};
      const after = withAccess(before, place, access);
      if (after !== undefined) await putBucketPolicy(place.client, place.bucket, formatJson(after));
      else await deleteBucketPolicy(place.client, place.bucket);
      return permissionOf(await readPolicy(place), place);
    },
  });
  context.out.message(
    { operation: 'set', status: 'success', bucket: url, permission },
    () => `Access permission for \`${url}\` is set to \`${permission}\``,
  );
}

/** `anonymous set-json FILE TARGET` */
export async function runAnonymousSetJson(
  context: McContext,
  args: readonly string[],
): Promise<void> {
  const [file = '', url = ''] = args;
  const policy = await readPolicyFile(file);
  await on(context, url, `Unable to set-json anonymous \`${file}\` for \`${url}\`.`, {
    local: {
      problem: `Unable to set-json anonymous of a non S3 url \`${url}\`.`,
      feature: 'SetAccess',
    },
    work: ({ client, bucket }) => putBucketPolicy(client, bucket, policy),
  });
  context.out.message(
    { operation: 'set-json', status: 'success', bucket: url, permission: file },
    () => `Access permission for \`${url}\` is set from \`${file}\``,
  );
}

/** `anonymous get TARGET` */
export async function runAnonymousGet(context: McContext, args: readonly string[]): Promise<void> {
  const [url = ''] = args;
  const { permission, document } = await look(context, url, 'get');
  context.out.message(document, () => `Access permission for \`${url}\` is \`${permission}\``);
}

/** `anonymous get-json TARGET` */
export async function runAnonymousGetJson(
  context: McContext,
  args: readonly string[],
): Promise<void> {
  const [url = ''] = args;
  const { document, policy } = await look(context, url, 'get-json');
  context.out.message(document, () => formatJson(policy));
}

/** `anonymous list TARGET` */
export async function runAnonymousList(context: McContext, args: readonly string[]): Promise<void> {
  const [url = ''] = args;
  for (const { resource, access } of (await listRules(context, url)).rules) {
    context.out.message({ resource, allow: access }, () => `${resource} => ${access}`);
  }
}

/** `anonymous links TARGET`: what everybody may download. */
export async function runAnonymousLinks(
  context: McContext,
  args: readonly string[],
): Promise<void> {
  const [url = ''] = args;
  const { place, rules, problem } = await listRules(context, url);
  const isRecursive = context.flags.has('recursive');
  for (const { resource, access } of rules) {
    if (access !== 'readonly' && access !== 'readwrite') continue;
    const prefix = resource.slice(place.bucket.length + 1).replace(/\*$/, '');
    try {
      const entries = listObjects(place.client, { bucket: place.bucket, prefix, isRecursive });
      for await (const { key } of entries) {
        const link = `${place.client.origin}/${place.bucket}/${encodeKey(key)}`;
        context.out.message({ status: 'success', url: link }, () => link);
      }
    } catch (error) {
      throw new Failure(problem, toMcError(error));
    }
  }
}

async function listRules(context: McContext, url: string) {
  const problem = `Unable to list policies of target \`${url}\`.`;
  const found = await on(context, url, problem, {
    local: {
      problem: `Unable to list policies of a non S3 url \`${url}\`.`,
      feature: 'GetBucketPolicy',
    },
    work: async (place) => ({ place, policy: (await readPolicy(place)) ?? {} }),
  });
  const name = `${found.place.bucket}/${found.place.prefix}`;
  const rules = listAccess(found.policy).filter(({ resource }) => resource.startsWith(name));
  return { place: found.place, rules, problem };
}

async function look(context: McContext, url: string, operation: 'get' | 'get-json') {
  const found = await on(context, url, `Unable to ${operation} anonymous \`\` for \`${url}\`.`, {
    work: async (place) => {
      const policy = await readPolicy(place);
      return { policy, permission: permissionOf(policy, place) };
    },
  });
  const policy = sortMembers(found.policy ?? {});
  const document: JsonObject = {
    operation,
    status: 'success',
    bucket: url,
    permission: found.permission,
    ...(found.policy === undefined ? {} : { anonymous: policy }),
  };
  return { document, policy, permission: found.permission };
}

/** A policy that gives everybody nothing here may still say something. */
function permissionOf(policy: JsonObject | undefined, place: Place): string {
  if (policy === undefined) return words.none;
  const access = findAccess(policy, place);
  return access === 'none' ? 'custom' : words[access];
}

/** Undefined when the bucket has none. */
async function readPolicy({ client, bucket }: Place): Promise<JsonObject | undefined> {
  const text = await getBucketPolicy(client, bucket);
  if (text === undefined) return undefined;
  const policy = JSON.parse(text) as unknown;
  if (!isJsonObject(policy))
    throw new McError('server', 'the policy of the bucket is not an object');
  return policy;
}

type Work<T> = {
  /** How a local path is refused; as one that is not there unless given. */
  readonly local?: { readonly problem: string; readonly feature: string };
  work(place: Place): Promise<T>;
};

async function on<T>(
  context: McContext,
  url: string,
  problem: string,
  { local, work }: Work<T>,
): Promise<T> {
  const target = await parseTarget(context, url);
  if (target.kind === 'local' && local !== undefined) {
    throw new Failure(local.problem, unsupported(local.feature));
  }
  try {
    if (target.kind === 'local') throw await whyNotLocal(target.path);
    return await work(await placeOf(context, target));
  } catch (error) {
    throw new Failure(problem, toMcError(error));
  }
}

async function placeOf(context: McContext, { alias, bucket, key }: S3Target): Promise<Place> {
  if (bucket === '') throw new McError('argument', 'Bucket name cannot be empty.');
  checkBucketName(bucket);
  return { client: await openS3(context, alias), bucket, prefix: key };
}

async function whyNotLocal(file: string): Promise<unknown> {
  try {
    await readFile(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EISDIR') return localError(error, file);
  }
  return unsupported('GetAccess');
}

function unsupported(feature: string): McError {
  return new McError('argument', `\`${feature}\` is not supported for \`filesystem\`.`, {
    detail: { API: feature, APIType: 'filesystem' },
  });
}

async function readPolicyFile(file: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch {
    throw new Failure(`Invalid access file: \`${file}\`.`);
  }
  try {
    JSON.parse(text);
  } catch {
    throw new Failure('Unable to parse access file.');
  }
  return text;
}
