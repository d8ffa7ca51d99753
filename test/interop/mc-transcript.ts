// The whole of what an operator does with mc, as one sequence of commands with what must come out of each.
// It runs the same against the unmodified mc and against `coffer mc`.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { CofferPair } from '../support/coffer-pair.ts';
import { type Ran, runClient } from './clients.ts';

const mib = 1024 * 1024;

/** Runs `mc <args>`; fails the test when the exit code is not the expected one. */
export type Mc = (
  args: readonly string[],
  options?: {
    readonly exitCode?: number;
    readonly input?: Uint8Array | string;
    readonly limitMs?: number;
  },
) => Promise<Ran>;

export function mcRunner(command: readonly string[], dir: string): Mc {
  const configDir = path.join(dir, 'mc-config');
  mkdirSync(configDir, { recursive: true });
  return async (args, options = {}) => {
    const ran = await runClient([...command, '--config-dir', configDir, ...args], {
      env: { HOME: dir },
      ...(options.input === undefined ? {} : { input: options.input }),
      ...(options.limitMs === undefined ? {} : { limitMs: options.limitMs }),
    });
    assert.equal(
      ran.exitCode,
      options.exitCode ?? 0,
      `mc ${args.join(' ')} ended with ${ran.exitCode}\nstdout: ${ran.stdout.slice(-2000)}\nstderr: ${ran.stderr.slice(-2000)}`,
    );
    return ran;
  };
}

/** The documents of a `--json` run. */
export function documents(ran: Ran): Record<string, unknown>[] {
  return ran.stdout
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

type At = {
  readonly mc: Mc;
  readonly dir: string;
  readonly url: string;
  readonly pair: CofferPair;
};

async function aliases({ mc, url, pair }: At): Promise<void> {
  await mc(['alias', 'set', 't', url, pair.accessKey, pair.secretKey]);
  await mc(['alias', 'set', 'wrong', url, pair.accessKey, 'not-the-secret'], { exitCode: 1 });
  const list = documents(await mc(['alias', 'list', '--json', 't']));
  assert.equal(list[0]?.['URL'], url);
  await mc(['alias', 'set', 'gone', url, pair.accessKey, pair.secretKey]);
  await mc(['alias', 'remove', 'gone']);
  await mc(['ls', 'gone/x'], { exitCode: 1 });
}

async function bucketsAndObjects({ mc, dir }: At): Promise<void> {
  await mc(['mb', 't/plain', 't/other']);
  await mc(['mb', '--ignore-existing', 't/plain']);
  for (const size of [0, 1, 16 * mib, 16 * mib + 1, 70 * mib]) {
    const file = path.join(dir, `file-${size}`);
    const bytes = randomBytes(size);
    writeFileSync(file, bytes);
    await mc(['cp', file, `t/plain/sizes/${size}`]);
    await mc(['cp', `t/plain/sizes/${size}`, `${file}.back`]);
    assert.equal(sha256(readFileSync(`${file}.back`)), sha256(bytes), `${size} bytes come back`);
  }
  await mc(['cp', 't/plain/sizes/1', 't/plain/copied']);
  await mc(['cp', `t/plain/sizes/${70 * mib}`, 't/other/big copy']);
  await mc(['cp', 't/other/big copy', path.join(dir, 'big')]);
  assert.equal(statSync(path.join(dir, 'big')).size, 70 * mib);
  await mc(['pipe', 't/plain/empty'], { input: '' });
  const piped = randomBytes(20 * mib);
  await mc(['pipe', 't/plain/piped'], { input: piped });
  await mc(['cp', 't/plain/piped', path.join(dir, 'piped')]);
  assert.equal(sha256(readFileSync(path.join(dir, 'piped'))), sha256(piped));
  await mc(['pipe', 't/plain/lines'], { input: 'first\nsecond\nthird\n' });
  assert.equal((await mc(['cat', 't/plain/lines'])).stdout, 'first\nsecond\nthird\n');
  assert.match((await mc(['head', '-n', '1', 't/plain/lines'])).stdout, /^first\n/);
  await mc(['cat', 't/plain/absent'], { exitCode: 1 });
}

async function listing({ mc, dir }: At): Promise<void> {
  const names = documents(await mc(['ls', '--json', '--recursive', 't/plain'])).map(
    (d) => d['key'],
  );
  assert.ok(names.includes('sizes/1') && names.includes('piped'));
  assert.equal(documents(await mc(['stat', '--json', 't/plain/sizes/1']))[0]?.['size'], 1);
  await mc(['stat', 't/plain']);
  assert.match((await mc(['find', 't/plain', '--name', 'pip*'])).stdout, /t\/plain\/piped/);
  const used = documents(await mc(['du', '--json', 't/plain']))[0];
  assert.ok(Number(used?.['size']) > 100 * mib);
  const tree = path.join(dir, 'tree');
  mkdirSync(path.join(tree, 'a/b'), { recursive: true });
  writeFileSync(path.join(tree, 'a/one'), 'one');
  writeFileSync(path.join(tree, 'a/b/zwei ü'), 'two');
  await mc(['mirror', tree, 't/other/mirrored']);
  await mc(['mirror', 't/other/mirrored', path.join(dir, 'tree-back')]);
  assert.equal(readFileSync(path.join(dir, 'tree-back/a/b/zwei ü'), 'utf8'), 'two');
  await mc(['mv', 't/other/mirrored/a/one', 't/other/moved']);
  await mc(['stat', 't/other/mirrored/a/one'], { exitCode: 1 });
  assert.equal((await mc(['cat', 't/other/moved'])).stdout, 'one');
}

async function encryption({ mc, dir }: At): Promise<void> {
  await mc(['mb', 't/sealed']);
  await mc(['encrypt', 'info', 't/sealed'], { exitCode: 1 });
  await mc(['encrypt', 'set', 'sse-s3', 't/sealed']);
  assert.match((await mc(['encrypt', 'info', 't/sealed'])).stdout, /sse-s3/);
  for (const size of [0, 5, 17 * mib]) {
    const file = path.join(dir, `sealed-${size}`);
    writeFileSync(file, randomBytes(size));
    await mc(['cp', file, `t/sealed/${size}`]);
    assert.match((await mc(['stat', `t/sealed/${size}`])).stdout, /Encryption: SSE-S3/);
    await mc(['cp', `t/sealed/${size}`, `${file}.back`]);
    assert.equal(sha256(readFileSync(`${file}.back`)), sha256(readFileSync(file)));
  }
  await mc(['cp', `t/sealed/${17 * mib}`, 't/plain/opened']);
  assert.doesNotMatch((await mc(['stat', 't/plain/opened'])).stdout, /Encryption/);
  await mc(['cp', '--enc-s3', 't/plain/asked', path.join(dir, 'sealed-5'), 't/plain/asked']);
  assert.match((await mc(['stat', 't/plain/asked'])).stdout, /Encryption: SSE-S3/);
  await mc(['encrypt', 'clear', 't/sealed']);
  await mc(['encrypt', 'info', 't/sealed'], { exitCode: 1 });
}

async function administration({ mc, pair }: At): Promise<void> {
  await mc(['admin', 'kms', 'key', 'create', 't', 'second-key']);
  await mc(['admin', 'kms', 'key', 'create', 't', 'second-key'], { exitCode: 1 });
  const keys = documents(await mc(['admin', 'kms', 'key', 'list', 't', '--json']))[0]?.['keys'];
  assert.deepEqual(keys, [pair.keyName, 'second-key']);
  assert.equal(
    documents(await mc(['admin', 'kms', 'key', 'status', 't', '--json']))[0]?.['keyId'],
    pair.keyName,
  );
  const info = documents(await mc(['admin', 'info', 't', '--json']))[0];
  assert.equal(info?.['status'], 'success');
  await mc(['admin', 'service', 'restart', 't', '--json', '--wait'], { limitMs: 90_000 });
  await mc(['ready', 't']);
  await mc(['ping', '--count', '1', 't']);
  assert.equal((await mc(['cat', 't/plain/lines'])).stdout, 'first\nsecond\nthird\n');
}

/** Versions of one object: listed, read, removed and brought back by their ids. */
async function versions({ mc }: At): Promise<void> {
  const state = async () => documents(await mc(['version', 'info', '--json', 't/versions']))[0];
  const listed = async () =>
    documents(await mc(['ls', '--versions', '--json', 't/versions/a'])).map((item) =>
      String(item['versionId']),
    );
  await mc(['mb', 't/versions']);
  assert.match((await mc(['version', 'info', 't/versions'])).stdout, /un-versioned/);
  await mc(['version', 'enable', 't/versions']);
  assert.deepEqual((await state())?.['versioning'], { status: 'Enabled', MFADelete: '' });
  await mc(['pipe', 't/versions/a'], { input: 'one' });
  await mc(['pipe', 't/versions/a'], { input: 'two' });
  const [two = '', one = ''] = await listed();
  assert.equal((await mc(['cat', '--version-id', one, 't/versions/a'])).stdout, 'one');
  await mc(['rm', 't/versions/a']);
  assert.equal((await mc(['ls', 't/versions'])).stdout, '');
  const [marker = '', ...before] = await listed();
  assert.deepEqual(before, [two, one]);
  await mc(['rm', '--version-id', marker, 't/versions/a']);
  assert.equal((await mc(['cat', 't/versions/a'])).stdout, 'two');
  await mc(['version', 'suspend', 't/versions']);
  await mc(['pipe', 't/versions/a'], { input: 'three' });
  assert.deepEqual(await listed(), ['null', two, one]);
  await mc(['rm', '--versions', '--recursive', '--force', 't/versions/']);
  assert.deepEqual(await listed(), []);
  await mc(['rb', 't/versions']);
}

/** What protects versions, and who gets past it. */
async function objectLock({ mc }: At): Promise<void> {
  const name = 't/locked/a';
  await mc(['mb', '--with-lock', 't/locked']);
  await mc(['version', 'suspend', 't/locked'], { exitCode: 1 });
  await mc(['retention', 'set', '--default', 'governance', '2d', 't/locked']);
  const byDefault = documents(await mc(['retention', 'info', '--default', '--json', 't/locked']));
  assert.equal(byDefault[0]?.['validity'], '2DAYS');
  await mc(['pipe', name], { input: 'one' });
  const [found] = documents(await mc(['retention', 'info', '--json', name]));
  assert.equal(found?.['mode'], 'GOVERNANCE');
  await mc(['retention', 'set', 'governance', '1d', name], { exitCode: 1 });
  await mc(['retention', 'set', '--bypass', 'governance', '1d', name]);
  await mc(['legalhold', 'set', name]);
  assert.match((await mc(['legalhold', 'info', name])).stdout, /ON/);
  await mc(['rm', '--versions', '--force', '--bypass', name], { exitCode: 1 });
  await mc(['legalhold', 'clear', name]);
  await mc(['rm', '--versions', '--force', name], { exitCode: 1 });
  assert.equal((await mc(['cat', name])).stdout, 'one');
  await mc(['rm', '--versions', '--force', '--bypass', name]);
  await mc(['rb', 't/locked']);
}

/** Lifecycle rules: added, shown, exported, removed and brought back. */
async function lifecycleRules({ mc }: At): Promise<void> {
  await mc(['mb', 't/aging']);
  await mc(['ilm', 'rule', 'ls', 't/aging'], { exitCode: 1 });
  await mc(['ilm', 'rule', 'add', 't/aging', '--prefix', 'logs/', '--expire-days', '30']);
  const older = ['--noncurrent-expire-days', '7', '--noncurrent-expire-newer', '2'];
  const tagged = ['--tags', 'a=1&b=2', '--size-gt', '1KiB'];
  await mc(['ilm', 'rule', 'add', 't/aging', ...tagged, ...older]);
  await mc(['ilm', 'rule', 'add', 't/aging', '--expire-delete-marker']);
  await mc(['ilm', 'rule', 'add', 't/aging', '--expire-days', '0'], { exitCode: 1 });
  const [shown] = documents(await mc(['ilm', 'rule', 'ls', '--json', 't/aging']));
  const config = shown?.['config'] as { readonly Rules: readonly { ID: string }[] } | undefined;
  const rules = config?.Rules ?? [];
  const tags = [
    { Key: 'a', Value: '1' },
    { Key: 'b', Value: '2' },
  ];
  assert.deepEqual(
    rules.map((rule) => {
      const { ID: _, ...rest } = rule;
      return rest;
    }),
    [
      { Expiration: { Days: 30 }, Filter: { Prefix: 'logs/' }, Status: 'Enabled' },
      {
        Filter: { And: { Tags: tags, ObjectSizeGreaterThan: 1024 } },
        NoncurrentVersionExpiration: { NoncurrentDays: 7, NewerNoncurrentVersions: 2 },
        Status: 'Enabled',
      },
      { Expiration: { ExpiredObjectDeleteMarker: true }, Status: 'Enabled' },
    ],
  );
  const exported = (await mc(['ilm', 'rule', 'export', 't/aging'])).stdout;
  await mc(['ilm', 'rule', 'rm', '--id', rules[0]?.ID ?? '', 't/aging']);
  assert.doesNotMatch((await mc(['ilm', 'rule', 'ls', 't/aging'])).stdout, /logs/);
  await mc(['ilm', 'rule', 'rm', '--all', '--force', 't/aging']);
  await mc(['ilm', 'rule', 'ls', 't/aging'], { exitCode: 1 });
  await mc(['ilm', 'rule', 'import', 't/aging'], { input: exported });
  assert.equal((await mc(['ilm', 'rule', 'export', 't/aging'])).stdout, exported);
  await mc(['rb', 't/aging']);
}

async function removal({ mc }: At): Promise<void> {
  await mc(['rm', 't/plain/copied']);
  await mc(['stat', 't/plain/copied'], { exitCode: 1 });
  await mc(['rm', '--recursive', '--force', 't/plain/sizes']);
  await mc(['rb', 't/plain'], { exitCode: 1 });
  for (const bucket of ['plain', 'other', 'sealed']) await mc(['rb', '--force', `t/${bucket}`]);
  assert.equal((await mc(['ls', 't'])).stdout, '');
}

/** Every chapter in order; later ones use what earlier ones made. */
export const chapters: readonly {
  readonly name: string;
  readonly run: (at: At) => Promise<void>;
}[] = [
  { name: 'aliases', run: aliases },
  { name: 'buckets and objects of 0 B to 70 MiB', run: bucketsAndObjects },
  { name: 'listing, finding, mirroring, moving', run: listing },
  { name: 'encryption of a bucket', run: encryption },
  { name: 'versions', run: versions },
  { name: 'object lock', run: objectLock },
  { name: 'lifecycle rules', run: lifecycleRules },
  { name: 'keys, information, restart', run: administration },
  { name: 'removal', run: removal },
];
