// Writes docs/compatibility/kes.md: the key service, its commands and its settings beside KES. Routes, commands and
// settings are those of the program's own tables; every one must have a line here, and no line may be left over, so a
// test that formats the page keeps both in step. `node tools/compatibility-kes.ts` brings the page up to date.

import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { kesCommands } from '../src/cli/kes/main.ts';
import { configFileSchema } from '../src/kes/config/schema.ts';
import { kesServerCommands } from '../src/server/kes/commands.ts';
import { kesRoutes, type KesRouteName } from '../src/wire/kes.ts';

const pageFile = path.join(import.meta.dirname, '../docs/compatibility/kes.md');

/** Beside KES: the same to every client, the same and more, or not there. */
type Verdict = 'same' | 'better' | 'new';
type Line = readonly [Verdict, string];

const same: Line = ['same', ''];

const routes: Readonly<Record<KesRouteName, Line>> = {
  version: same,
  ready: ['better', 'says until when keys are usable while the key store is unreachable'],
  status: [
    'better',
    'sends `keystore_unavailable` with `keystore_unreachable`: without it the Go SDK refuses the answer',
  ],
  metrics: same,
  api: ['same', 'lists the new routes too'],
  'key-create': ['better', 'a name whose key was destroyed is refused (409)'],
  'key-import': ['better', 'as key-create'],
  'key-describe': ['better', 'state, id, fingerprint and versions in further members'],
  'key-list': [
    'better',
    'a `*` at the end works; one page up to 1 MiB, then tokens that lose nothing',
  ],
  'key-delete': ['better', 'no node uses the key a second later'],
  'key-generate': same,
  'key-encrypt': same,
  'key-decrypt': ['better', 'opens ciphertexts of every version of the key'],
  'key-hmac': same,
  'key-bulk-decrypt': ['same', 'of releases up to 2023, for stores of that time'],
  'key-disable': ['new', ''],
  'key-enable': ['new', ''],
  'key-batch': [
    'new',
    'several generate and decrypt calls in one request, each authorised and audited alone',
  ],
  'key-rotate': ['new', ''],
  'key-rewrap': ['new', ''],
  'key-destroy': ['new', ''],
  'key-cancel': ['new', ''],
  'key-accept': ['new', ''],
  'peer-changed': ['new', 'nodes tell each other what changed'],
  'policy-describe': same,
  'policy-read': same,
  'policy-list': same,
  'identity-describe': same,
  'identity-list': same,
  'identity-self': ['better', 'works for identities that are not the admin'],
  'log-error': ['better', 'events arrive, headers at once'],
  'log-audit': ['better', 'every request, refused ones too; the time is in the unit clients read'],
};

const commands: Readonly<Record<string, Line>> = {
  server: same,
  init: [
    'better',
    'makes a configuration for a first server (the state directory of old releases is gone)',
  ],
  migrate: [
    'better',
    'reads every key back, can be repeated after an interruption; not towards MinIO KMS',
  ],
  update: ['better', 'says how to update this program; downloads nothing'],
  ls: same,
  'key create': same,
  'key import': same,
  'key info': ['better', 'rows for state, id, fingerprint and versions after those of KES'],
  'key ls': ['better', '`--json` prints one array and nothing after it'],
  'key rm': same,
  'key encrypt': same,
  'key decrypt': same,
  'key dek': same,
  'key hmac': ['new', ''],
  'key disable': ['new', ''],
  'key enable': ['new', ''],
  'key rotate': ['new', ''],
  'key rewrap': ['new', ''],
  'key destroy': ['new', ''],
  'key cancel': ['new', ''],
  'key accept': ['new', ''],
  'key backup': ['new', ''],
  'key restore': ['new', ''],
  'policy ls': same,
  'policy info': same,
  'policy show': same,
  identity: same,
  'identity new': same,
  'identity of': same,
  'identity info': ['better', '`--json` is heard, rules are not printed as `{}`'],
  'identity ls': same,
  log: ['better', 'shows events'],
  'log verify': ['new', ''],
  status: same,
  metric: same,
};

/** By the first words of a setting; the longest that fits counts. */
const settings: Readonly<Record<string, Line>> = {
  version: same,
  address: same,
  root: ['same', 'refused, with what to write instead'],
  'admin.identity': same,
  tls: same,
  'tls.password': ['better', 'opens PKCS#8 encrypted keys too'],
  'tls.proxy': ['better', 'has an effect; KES since October 2023 reads and ignores it'],
  policy: [
    'better',
    'a deny pattern that would protect nothing is refused, such an allow pattern warned about',
  ],
  'cache.expiry': ['better', 'the documented defaults'],
  'cache.revalidate': [
    'new',
    'how old a cached key may be before it is compared with the key store',
  ],
  api: same,
  log: same,
  keys: same,
  'keystore.fs': same,
  'keystore.fortanix': ['better', 'listing ends'],
  'keystore.gemalto': same,
  'keystore.azure': ['better', 'of several creators at once one wins'],
  'keystore.entrust': [
    'better',
    'the token is renewed after a failure, listing has no empty names',
  ],
  'keystore.memory': ['new', 'as of `--dev`'],
  'keystore.aws': ['better', 'the endpoint is not used for STS'],
  'keystore.gcp': ['better', 'the endpoint may come without a scheme'],
  'keystore.vault': ['better', 'works after a rotation of the Transit key'],
  'keystore.kmip': ['new', ''],
  wrapping: ['new', 'stored keys under a key of a cloud KMS or a PKCS#11 token'],
  known_keys: ['new', 'which key a name had, over restarts'],
  audit: ['new', 'the audit log that proves itself'],
  peers: ['new', 'nodes tell each other what changed'],
};

type Shape = { readonly shape: Readonly<Record<string, unknown>> };

/** Every setting of the schema as a path; maps with free names end in `.NAME`. */
function settingsOf(schema: unknown, at = ''): string[] {
  let inner = schema;
  while (hasMethod(inner, 'unwrap') && !isShape(inner)) inner = inner.unwrap();
  if (isShape(inner) && Object.keys(inner.shape).length > 0) {
    return Object.entries(inner.shape).flatMap(([name, member]) =>
      settingsOf(member, at === '' ? name : `${at}.${name}`),
    );
  }
  if (isRecord(inner)) return settingsOf(inner.valueType, `${at}.NAME`);
  return [at];
}

function hasMethod<Name extends string>(
  value: unknown,
  name: Name,
): value is Record<Name, () => unknown> {
  return typeof value === 'object' && value !== null && name in value;
}

function isShape(value: unknown): value is Shape {
  return hasMethod(value, 'shape');
}

function isRecord(value: unknown): value is { readonly valueType: unknown } {
  return hasMethod(value, 'valueType');
}

function lineOf(lines: Readonly<Record<string, Line>>, name: string): readonly [string, Line] {
  const best = Object.keys(lines)
    .filter((words) => name === words || name.startsWith(`${words}.`))
    .toSorted((a, b) => b.length - a.length)[0];
  const line = best === undefined ? undefined : lines[best];
  if (best === undefined || line === undefined) throw new Error(`${name} is not compared with KES`);
  return [best, line];
}

/** One row for each line, with the names it is for. Throws when a name has no line, or a line no name. */
function compare(names: readonly string[], lines: Readonly<Record<string, Line>>): string[][] {
  const groups = Map.groupBy(names, (name) => lineOf(lines, name)[0]);
  const unused = Object.keys(lines).filter((words) => !groups.has(words));
  if (unused.length > 0) throw new Error(`not there any more: ${unused.join(', ')}`);
  return [...groups].map(([words, members]) => {
    const [verdict, note] = lineOf(lines, words)[1];
    const rest = members.map((name) => name.slice(words.length + 1)).filter(Boolean);
    return [`\`${words}\``, rest.map((name) => `\`${name}\``).join(' '), verdict, note];
  });
}

/** The text of docs/compatibility/kes.md. Throws when it is not in step with the tables of the program. */
export function formatKesPage(): string {
  const commandWords = [...kesServerCommands, ...kesCommands].map(({ words }) => words);
  return `${[
    ...introduction,
    '## Routes',
    '',
    ...table(
      ['route', 'request', 'beside KES', 'notes'],
      kesRoutes.map(({ name, method, prefix }) => [
        name,
        `\`${method} ${prefix}${prefix.endsWith('/') ? '…' : ''}\``,
        ...routes[name],
      ]),
    ),
    ...leftOutRoutes,
    '## Commands',
    '',
    ...table(
      ['command', 'beside KES', 'notes'],
      compare([...new Set(commandWords)], commands).map(([name = '', , ...rest]) => [
        name.replace('`', '`kes '),
        ...rest,
      ]),
    ),
    ...leftOutCommands,
    '## Settings',
    '',
    'Of the configuration file. What each means: [kes-server.md](../kes-server.md).',
    '',
    ...table(
      ['setting', 'members', 'beside KES', 'notes'],
      compare(settingsOf(configFileSchema), settings),
    ),
    ...differences,
  ].join('\n')}\n`;
}

const introduction = [
  '# The key service beside KES',
  '',
  'For whoever runs KES today. **same**: every client, script and file goes on as before. **better**: the same, and more or',
  'mended. **new**: KES does not have it, and nothing changes for whoever does not use it. This page is made from the tables the',
  'program runs on (`node tools/compatibility-kes.ts`); a test compares it.',
  '',
  'To change over: stop KES, start `coffer kes server` with the same configuration file, key store, certificates and API keys.',
  'To go back, do the reverse; a key that was rotated, disabled or destroyed meanwhile is, to KES, what it was before (in a key',
  'store other than files), or its first version, enabled (in files). What was encrypted under a later version stays closed to KES.',
  '',
];

const leftOutRoutes = [
  '',
  'Left out: the secrets, enclave and writing policy and identity routes of releases up to October 2023 (they needed the state',
  'directory that KES dropped): 404, as in KES since.',
  '',
];

const leftOutCommands = [
  '',
  'Left out: `secret`, `enclave`, `policy create|assign|rm`, `identity rm`, `tool`, which KES dropped in October 2023, and migrating to',
  'a MinIO KMS server, which would not take the HMAC keys along.',
  '',
];

const differences = [
  '',
  '## Decided differently',
  '',
  '| what | KES | here |',
  '|---|---|---|',
  '| a key that was deleted or disabled | used from the cache of other nodes for minutes | refused everywhere within a second |',
  '| a policy that denies a route | that route only | also the newer routes that do the same to the key: `delete` denies `destroy` and `disable`, `decrypt` denies `bulk/decrypt` |',
  '| the key store is unreachable | cached keys are used until they expire | refused, unless `cache.expiry.offline` allows it |',
  '| a configuration that is wrong | the error | file, line and the error |',
  '| the banner | before the port is bound | after |',
  '| audit | create, import and delete of keys | every request to a known route |',
  '| an HMAC call for a key without HMAC key | 409 | 409; a store that derives its root credentials from such a key does not start, as with KES |',
  '| a stored key without HMAC message | crashes the request | has no HMAC key |',
  '| key listing in Fortanix SDKMS | never ends | pages |',
];

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)];
}

if (import.meta.main) {
  mkdirSync(path.dirname(pageFile), { recursive: true });
  writeFileSync(pageFile, formatKesPage());
}
