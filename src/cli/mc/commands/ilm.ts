// `ilm rule add|list|remove|export|import`: the lifecycle rules of a bucket.

import { randomBytes } from 'node:crypto';
import { findChild, findChildText, listChildren, type XmlElement } from '../../../base/xml.ts';
import { openS3, parseTarget } from '../context.ts';
import type { McContext } from '../context.ts';
import { invalidArguments, type Json, type JsonObject, McError, toMcError } from '../error.ts';
import { Failure } from '../failure.ts';
import { formatJson } from '../output.ts';
import { parseSize, ruledTable } from '../format.ts';
import { formatElement, getRules, ruleToJson, ruleToXml, setRules } from '../lifecycle.ts';
import { checkBucketName, type S3Client } from '../s3-client.ts';
import { readBounded } from '../server-error.ts';

const documentBytesMax = 16 * 1024 * 1024;
const dayMs = 86_400_000;

type Bucket = { readonly client: S3Client; readonly bucket: string; readonly key: string };

/** `ilm rule add TARGET`. What stands behind the bucket is the prefix, unless `--prefix` is given. */
export async function runRuleAdd(context: McContext, args: readonly string[]): Promise<void> {
  const [url = ''] = args;
  const at = await openBucket(context, url, `Unable to fetch lifecycle rules for ${url}`);
  const rules = await explained(`Unable to fetch lifecycle rules for ${url}`, () => rulesOf(at));
  const id = createId();
  const rule = await explained('Unable to generate new lifecycle rules for the input', () =>
    ruleToXml(newRule(context, id, at.key)),
  );
  await explained('Unable to add this lifecycle rule', () =>
    setRules(at.client, at.bucket, [...rules.map(formatElement), rule]),
  );
  context.out.message({ status: 'success', target: url, id }, () =>
    context.out.paint(`Lifecycle configuration rule added with ID \`${id}\` to ${url}.`, 'green'),
  );
}

/** `ilm rule list TARGET` */
export async function runRuleList(context: McContext, args: readonly string[]): Promise<void> {
  const [url = ''] = args;
  const { flags, out } = context;
  if (flags.has('expiry') && flags.has('transition')) {
    throw new Failure(
      'only one display field flag is allowed per ls command. Refer mc rule list --help',
      invalidArguments(),
    );
  }
  const problem = 'Unable to get lifecycle';
  const { client, bucket } = await openBucket(context, url, problem);
  const { rules, updatedAt } = await explained(problem, () => getRules(client, bucket));
  if (out.isJson) return out.json(documentOf(url, rules, updatedAt));
  if (flags.has('transition')) return;
  for (const table of [expirationTable(rules, Date.now()), noncurrentTable(rules)]) {
    if (table !== undefined) out.line(table);
  }
}

/** `ilm rule remove TARGET` */
export async function runRuleRemove(context: McContext, args: readonly string[]): Promise<void> {
  const [url = ''] = args;
  const { flags, out } = context;
  const all = flags.has('all');
  const id = flags.find('id') ?? '';
  if (all !== flags.has('force') && (all || id === '')) {
    throw new Failure(
      'It is mandatory to specify --all and --force flag together for mc rule remove',
      invalidArguments(),
    );
  }
  if (!all && id === '') throw new Failure('ilm ID cannot be empty', invalidArguments());
  const problem = 'Unable to fetch lifecycle rules';
  const { client, bucket } = await openBucket(context, url, problem);
  const { rules } = await explained(problem, () => getRules(client, bucket));
  const kept = all ? [] : rules.filter((rule) => findChildText(rule, 'ID') !== id);
  if (!all && kept.length === rules.length) {
    const reason = new McError('argument', `lifecycle rule for id '${id}' not found`);
    throw new Failure('Unable to remove rule by id', reason);
  }
  await explained('Unable to set lifecycle rules', () =>
    setRules(client, bucket, kept.map(formatElement)),
  );
  const text = all
    ? `Rules for \`${url}\` removed.`
    : `Rule ID \`${id}\` from target ${url} removed.`;
  out.message({ status: 'success', id: all ? '' : id, target: url, all }, () =>
    out.paint(text, 'green'),
  );
}

/** `ilm rule export TARGET` */
export async function runRuleExport(context: McContext, args: readonly string[]): Promise<void> {
  const [url = ''] = args;
  const problem = 'Unable to get lifecycle configuration';
  const { client, bucket } = await openBucket(context, url, problem);
  const { rules, updatedAt } = await explained(problem, () => getRules(client, bucket));
  context.out.message(documentOf(url, rules, updatedAt), () => formatJson(configOf(rules)));
}

/** `ilm rule import TARGET` */
export async function runRuleImport(context: McContext, args: readonly string[]): Promise<void> {
  const [url = ''] = args;
  const { out } = context;
  const rules = await explained('Unable to read ILM configuration', () => readRules(context));
  if (rules.length === 0) {
    throw new Failure('The provided ILM configuration does not contain any rule, aborting.');
  }
  const problem = 'Unable to set new lifecycle rules';
  const { client, bucket } = await openBucket(context, url, problem);
  await explained(problem, () => setRules(client, bucket, rules));
  out.message({ status: 'success', target: url }, () =>
    out.paint(`Lifecycle configuration imported successfully to \`${url}\`.`, 'green'),
  );
}

async function readRules({ io }: McContext): Promise<readonly string[]> {
  const text = await readBounded(io.stdin as AsyncIterable<Uint8Array>, documentBytesMax);
  if (text.length === 0) throw new McError('argument', 'EOF');
  const document = parseJson(Buffer.from(text).toString());
  const isObject = typeof document === 'object' && document !== null && 'Rules' in document;
  const rules = isObject ? (document as JsonObject)['Rules'] : [];
  return Array.isArray(rules) ? rules.map(ruleToXml) : [];
}

function parseJson(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch (cause) {
    throw new McError('argument', 'the text is not JSON', { cause });
  }
}

/** A bucket that never had rules has none. */
async function rulesOf({ client, bucket }: Bucket): Promise<readonly XmlElement[]> {
  try {
    return (await getRules(client, bucket)).rules;
  } catch (error) {
    const isUnset = error instanceof McError && error.serverCode === 'NoSuchLifecycleConfiguration';
    if (isUnset) return [];
    throw error;
  }
}

function newRule({ flags }: McContext, id: string, below: string): JsonObject {
  const days = wholeNumber(flags.find('expire-days'));
  if (days === 0) throw new McError('argument', 'expiration days cannot be set to zero');
  const isMarkers = flags.has('expire-delete-marker');
  if (days !== undefined && isMarkers) {
    throw new McError('argument', 'only one parameter under Expiration can be specified');
  }
  const noncurrentDays = wholeNumber(
    flags.find('noncurrent-expire-days'),
    'failed to parse noncurrent-expire-days: ',
  );
  const newer = flags.number('noncurrent-expire-newer', 0);
  if (days === undefined && !isMarkers && !noncurrentDays && newer === 0) {
    throw new McError(
      'argument',
      'at least one of Expiry, Transition, NoncurrentExpiry, NoncurrentVersionTransition actions should be specified in a rule',
    );
  }
  const expiration =
    days === undefined && !isMarkers
      ? {}
      : { Expiration: { Days: days ?? 0, ExpiredObjectDeleteMarker: isMarkers } };
  const noncurrent = {
    NoncurrentDays: noncurrentDays ?? 0,
    NewerNoncurrentVersions: newer,
  };
  const filter = newFilter({ flags }, flags.find('prefix') ?? below);
  const rest = { Filter: filter, NoncurrentVersionExpiration: noncurrent, Status: 'Enabled' };
  return { ...expiration, ID: id, ...rest };
}

function newFilter({ flags }: Pick<McContext, 'flags'>, prefix: string): JsonObject {
  const tags = (flags.find('tags') ?? '')
    .split('&')
    .filter((text) => text !== '')
    .map((text) => {
      const [key = '', ...value] = text.split('=');
      return { Key: key, Value: value.join('=') };
    });
  const parts: [string, Json][] = [];
  if (prefix !== '') parts.push(['Prefix', prefix]);
  for (const [name, member] of [
    ['size-lt', 'ObjectSizeLessThan'],
    ['size-gt', 'ObjectSizeGreaterThan'],
  ] as const) {
    const size = sizeOf(name, flags.find(name));
    if (size !== 0) parts.push([member, size]);
  }
  if (parts.length + tags.length > 1) return { And: { ...Object.fromEntries(parts), Tags: tags } };
  const [tag] = tags;
  return { ...Object.fromEntries(parts), ...(tag ? { Tag: tag } : {}) };
}

function sizeOf(name: string, text: string | undefined): number {
  if (text === undefined) return 0;
  try {
    return parseSize(text);
  } catch (cause) {
    throw new McError('argument', `${name} value ${text} is invalid`, { cause });
  }
}

function wholeNumber(text: string | undefined, before = ''): number | undefined {
  if (text === undefined) return undefined;
  if (/^[+-]?\d{1,15}$/.test(text)) return Number(text);
  throw new McError('argument', `${before}strconv.Atoi: parsing "${text}": invalid syntax`);
}

/** Twelve bytes that begin with the time, as text of twenty characters. */
function createId(): string {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt32BE(Math.floor(Date.now() / 1000));
  randomBytes(8).copy(bytes, 4);
  let bits = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  bits = bits.padEnd(100, '0');
  const digits = bits.match(/.{5}/g) ?? [];
  return digits.map((five) => Number.parseInt(five, 2).toString(32)).join('');
}

function configOf(rules: readonly XmlElement[]): JsonObject {
  return { Rules: rules.map(ruleToJson) };
}

function documentOf(target: string, rules: readonly XmlElement[], updatedAt: string): JsonObject {
  return { status: 'success', target, config: configOf(rules), updatedAt };
}

function expirationTable(rules: readonly XmlElement[], nowMs: number): string | undefined {
  const rows = rules.flatMap((rule) => {
    const expiration = findChild(rule, 'Expiration');
    if (!expiration) return [];
    const date = findChildText(expiration, 'Date');
    const days = date
      ? String(Math.trunc((Date.parse(date) - nowMs) / dayMs))
      : (findChildText(expiration, 'Days') ?? '0');
    const isMarkers = findChildText(expiration, 'ExpiredObjectDeleteMarker') === 'true';
    return [[...commonCells(rule), days, String(isMarkers)]];
  });
  return table('Expiration for latest version (Expiration)', 'EXPIRE DELETEMARKER', rows, [4]);
}

function noncurrentTable(rules: readonly XmlElement[]): string | undefined {
  const rows = rules.flatMap((rule) => {
    const noncurrent = findChild(rule, 'NoncurrentVersionExpiration');
    if (!noncurrent) return [];
    const days = findChildText(noncurrent, 'NoncurrentDays') ?? '0';
    const newer = findChildText(noncurrent, 'NewerNoncurrentVersions') ?? '0';
    return [[...commonCells(rule), days, newer]];
  });
  const title = 'Expiration for older versions (NoncurrentVersionExpiration)';
  return table(title, 'KEEP VERSIONS', rows, [4, 5]);
}

function table(
  title: string,
  last: string,
  rows: readonly (readonly string[])[],
  rightColumns: readonly number[],
): string | undefined {
  if (rows.length === 0) return undefined;
  const head = ['ID', 'STATUS', 'PREFIX', 'TAGS', 'DAYS TO EXPIRE', last];
  return ruledTable(title, [head, ...rows], rightColumns);
}

function commonCells(rule: XmlElement): readonly string[] {
  const filter = findChild(rule, 'Filter');
  const conditions = (filter && findChild(filter, 'And')) ?? filter;
  const prefix =
    (conditions && findChildText(conditions, 'Prefix')) || findChildText(rule, 'Prefix') || '-';
  const tags = (conditions ? listChildren(conditions, 'Tag') : [])
    .map((tag) => `${findChildText(tag, 'Key') ?? ''}=${findChildText(tag, 'Value') ?? ''}`)
    .join('&');
  const [id, status] = ['ID', 'Status'].map((name) => findChildText(rule, name) ?? '');
  return [id ?? '', status ?? '', prefix, tags === '' ? '-' : tags];
}

async function openBucket(context: McContext, url: string, problem: string): Promise<Bucket> {
  return explained(problem, async () => {
    const target = await parseTarget(context, url);
    if (target.kind === 'local') {
      throw new McError('argument', '`GetLifecycle` is not supported for `filesystem`', {
        detail: { API: 'GetLifecycle', APIType: 'filesystem' },
      });
    }
    checkBucketName(target.bucket);
    const { bucket, key } = target;
    return { client: await openS3(context, target.alias), bucket, key };
  });
}

async function explained<T>(problem: string, work: () => Promise<T> | T): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw new Failure(problem, toMcError(error));
  }
}
