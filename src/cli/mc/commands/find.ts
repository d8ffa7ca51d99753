// `find`: names that match, with an optional command or format for each.

import { spawn } from 'node:child_process';

import { baseName, openS3, parseTarget, s3Text } from '../context.ts';
import type { McContext, S3Target } from '../context.ts';
import { McError, toMcError } from '../error.ts';
import { Failure } from '../failure.ts';
import { formatDate, formatSize, formatTimestamp, parseSize } from '../format.ts';
import { matchesGlob } from '../glob.ts';
import { statLocal, walkLocal } from '../local.ts';
import { headBucket, headObject, isFolder } from '../s3-objects.ts';
import type { S3Client } from '../s3-client.ts';
import { listBuckets, listObjects } from '../s3-list.ts';
import { ageFilter } from './copy.ts';

type Found = {
  /** As printed: `alias/bucket/key`, or an absolute path. */
  readonly name: string;
  /** Below the place that is searched. */
  readonly relative: string;
  readonly sizeBytes: number;
  readonly modifiedMs: number | undefined;
  link?(): Promise<string>;
};

/** `find TARGET [flags]` */
export async function runFind(context: McContext, args: readonly string[]): Promise<void> {
  const text = args[0] ?? '.';
  const matches = makeFilter(context);
  try {
    for await (const found of search(context, text)) {
      if (matches(found)) await report(context, found);
    }
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(`Unable to stat \`${text}\`.`, toMcError(error));
  }
}

function makeFilter(context: McContext): (found: Found) => boolean {
  const { flags } = context;
  const keep = ageFilter(context);
  const larger = flags.find('larger');
  const smaller = flags.find('smaller');
  const bytes = (text: string) => {
    try {
      return parseSize(text);
    } catch (error) {
      throw new Failure(`Unable to parse input bytes.`, toMcError(error));
    }
  };
  const sizeMin = larger === undefined ? undefined : bytes(larger);
  const sizeMax = smaller === undefined ? undefined : bytes(smaller);
  const depthMax = flags.number('maxdepth', 0);
  const regex = flags.find('regex');
  const expression = regex === undefined ? undefined : compileRegex(regex);
  const ignore = flags.find('ignore');
  const namePattern = flags.find('name');
  const pathPattern = flags.find('path');
  return (found) => {
    const name = found.name.replace(/\/$/, '');
    if (ignore !== undefined && ignore !== '' && matchesGlob(ignore, name)) return false;
    if (namePattern !== undefined && !matchesGlob(namePattern, baseName(name))) return false;
    if (pathPattern !== undefined) {
      const candidates = [name, name.slice(name.indexOf('/') + 1), found.relative];
      if (!candidates.some((candidate) => matchesGlob(pathPattern, candidate))) return false;
    }
    if (expression !== undefined && !expression.test(name)) return false;
    if (sizeMin !== undefined && found.sizeBytes <= sizeMin) return false;
    if (sizeMax !== undefined && found.sizeBytes >= sizeMax) return false;
    if (depthMax > 0 && found.relative.replace(/\/$/, '').split('/').length > depthMax)
      return false;
    return keep(found.modifiedMs ?? 0);
  };
}

function compileRegex(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch (error) {
    throw new Failure(`Unable to parse regex \`${text}\`.`, toMcError(error));
  }
}

async function* search(context: McContext, text: string): AsyncGenerator<Found> {
  const target = await parseTarget(context, text);
  if (target.kind === 'local') {
    yield* searchLocal(target.path);
    return;
  }
  const client = await openS3(context, target.alias);
  if (target.bucket !== '') {
    yield* searchBucket(client, target);
    return;
  }
  for (const bucket of await listBuckets(client)) {
    const inside = { ...target, bucket: bucket.name };
    yield {
      name: `${target.alias}/${bucket.name}`,
      relative: bucket.name,
      sizeBytes: 0,
      modifiedMs: bucket.createdMs,
    };
    for await (const found of searchBucket(client, inside)) {
      yield { ...found, relative: `${bucket.name}/${found.relative}` };
    }
  }
}

async function* searchBucket(client: S3Client, target: S3Target): AsyncGenerator<Found> {
  const { bucket, key } = target;
  const prefix = await searchPrefix(client, target);
  for await (const entry of listObjects(client, { bucket, prefix, isRecursive: true })) {
    yield {
      name: s3Text(target, entry.key),
      relative:
        prefix === key && !key.endsWith('/') && key !== ''
          ? baseName(key)
          : entry.key.slice(prefix.length),
      sizeBytes: entry.sizeBytes,
      modifiedMs: entry.modifiedMs,
      link: () => client.presign(bucket, entry.key),
    };
  }
}

async function searchPrefix(client: S3Client, target: S3Target): Promise<string> {
  const { bucket, key } = target;
  if (key === '' || key.endsWith('/')) {
    await headBucket(client, bucket);
    return key;
  }
  try {
    await headObject(client, { bucket, key });
    return key;
  } catch (error) {
    const isMissing = error instanceof McError && error.code === 'object-missing';
    if (!isMissing || !(await isFolder(client, bucket, key))) throw error;
    return `${key}/`;
  }
}

async function* searchLocal(root: string): AsyncGenerator<Found> {
  const info = await statLocal(root);
  yield {
    name: root,
    relative: baseName(root),
    sizeBytes: info.isDirectory() ? 0 : info.size,
    modifiedMs: info.isDirectory() ? undefined : info.mtimeMs,
  };
  if (info.isDirectory()) yield* searchFolder(root, '');
}

async function* searchFolder(root: string, below: string): AsyncGenerator<Found> {
  for await (const entry of walkLocal(root, { isRecursive: false, below })) {
    yield {
      name: entry.path,
      relative: entry.name,
      sizeBytes: entry.sizeBytes,
      modifiedMs: entry.modifiedMs,
    };
    if (entry.isFolder) yield* searchFolder(root, entry.name);
  }
}

async function report(context: McContext, found: Found): Promise<void> {
  const { flags, out } = context;
  const command = flags.find('exec');
  if (command !== undefined) {
    await runCommand(context, await fill(command, found));
    return;
  }
  const format = flags.find('print');
  if (format !== undefined) {
    out.line(await fill(format, found));
    return;
  }
  out.message(
    {
      status: 'success',
      type: '',
      lastModified:
        found.modifiedMs === undefined ? '0001-01-01T00:00:00Z' : formatTimestamp(found.modifiedMs),
      size: found.sizeBytes,
      key: found.name,
      etag: '',
    },
    () => out.paint(found.name, 'greenBold'),
  );
}

/** `{}`, `{base}`, `{dir}`, `{size}`, `{time}`, `{url}`, and each of them in quotes as `{"base"}`. */
async function fill(format: string, found: Found): Promise<string> {
  const slash = found.name.lastIndexOf('/');
  const values: Record<string, string> = {
    '': found.name,
    base: baseName(found.name),
    dir: slash < 0 ? '' : found.name.slice(0, slash),
    size: formatSize(found.sizeBytes),
    time: formatDate(found.modifiedMs ?? 0),
  };
  if (/\{"?url"?\}/.test(format)) values['url'] = (await found.link?.()) ?? '';
  return format.replace(
    /\{("?)(base|dir|size|time|url|)\1\}/g,
    (_, quote: string, name: string) => quote + (values[name] ?? '') + quote,
  );
}

async function runCommand(context: McContext, line: string): Promise<void> {
  const words = [...line.matchAll(/"((?:[^"\\]|\\.)*)"|'([^']*)'|(\S+)/g)].map(
    (match) => match[1] ?? match[2] ?? match[3] ?? '',
  );
  const [program = '', ...parameters] = words;
  const child = spawn(program, parameters, { stdio: ['ignore', 'pipe', 'pipe'] });
  child.stdout.on('data', (chunk: Buffer) => context.io.stdout.write(chunk));
  child.stderr.on('data', (chunk: Buffer) => context.io.stderr.write(chunk));
  const code = await new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => {
      resolve(status ?? 1);
    });
  }).catch((error: unknown) => {
    throw new Failure(`Unable to run \`${program}\`.`, toMcError(error));
  });
  if (code !== 0) context.out.markFailed();
}
