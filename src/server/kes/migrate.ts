// `kes migrate`: moves keys between two key stores without a server. What is copied and when it counts is
// in `kes-migration.ts`; here are the files that name the stores, and what is printed. Rule kept here: of a
// key only its name is ever shown.

import { realpathSync } from 'node:fs';
import { matchesGlob } from 'node:path/posix';
import type { Log } from '../../base/log.ts';
import type { KesCall } from '../../cli/kes/command.ts';
import { KesCommandError } from '../../cli/kes/command-error.ts';
import type { CliIo } from '../../cli/io.ts';
import { KesConfigError } from '../../kes/config/yaml.ts';
import { isName } from '../../keys/key-name.ts';
import { type KeyStore, KeyStoreError } from '../../keys/key-store.ts';
import {
  type Migration,
  MigrationError,
  type MigrationMode,
  type MigrationState,
  migrateKeys,
  newMigrationState,
} from './migration.ts';
import { type KeyStoreFile, readKeyStoreFile } from './store-file.ts';
import { openKeyStore } from './key-stores.ts';

const progressMs = 1_000;
const barChars = 30;
/** Names in a warning; more are counted only. */
const namesShownMax = 20;

/** Runs the command. Throws `KesCommandError`. */
export async function migrateKeyStore(call: KesCall): Promise<void> {
  const mode = modeOf(call);
  const pattern = patternOf(call);
  const files = await readFiles(call);
  const stores: KeyStore[] = [];
  try {
    for (const [flag, file] of files) stores.push(await openStore(flag, file, call.io));
    const [from, to] = stores;
    if (!from || !to) throw new TypeError('two stores were opened');
    const matches = (name: string) => isName(name) && matchesGlob(name, pattern);
    await run(call, {
      from,
      to,
      mode,
      matches,
      signal: call.io.signal,
      state: newMigrationState(),
    });
  } finally {
    await Promise.all(stores.map((store) => store.close()));
  }
}

function modeOf(call: KesCall): MigrationMode {
  const { switches, texts } = call.flags;
  for (const flag of ['server', 'enclave', 'api-key']) {
    if (!texts.has(flag)) continue;
    throw new KesCommandError(
      'usage',
      `--${flag}: a MinIO KMS server cannot be a target: use --to with a configuration file`,
    );
  }
  if (switches.has('merge') && switches.has('force')) {
    throw new KesCommandError('usage', '--merge and --force cannot be used at the same time');
  }
  if (switches.has('merge')) return 'merge';
  return switches.has('force') ? 'force' : 'create';
}

function patternOf(call: KesCall): string {
  const pattern = call.flags.args[0] ?? '*';
  if (/^[0-9A-Za-z_*?[\]!^-]+$/.test(pattern) && isClosed(pattern)) return pattern;
  throw new KesCommandError('usage', `invalid pattern '${pattern}'. See '${call.name} --help'`);
}

/** Whether every `[` of the pattern has its `]`. */
function isClosed(pattern: string): boolean {
  return !/[[\]]/.test(pattern.replaceAll(/\[[!^]?[^[\]]+\]/g, ''));
}

type NamedFile = readonly [flag: 'from' | 'to', file: KeyStoreFile];

async function readFiles(call: KesCall): Promise<readonly NamedFile[]> {
  const files: NamedFile[] = [];
  for (const flag of ['from', 'to'] as const) {
    const path = call.flags.texts.get(flag) ?? '';
    if (path === '') {
      const text = `no --${flag} configuration file specified. See '${call.name} --help'`;
      throw new KesCommandError('usage', text);
    }
    const file = await told(readKeyStoreFile(path, call.io.env));
    if (file.keyStore.type === 'memory') {
      throw new KesCommandError('failed', `${path}: keys in memory cannot be migrated`);
    }
    files.push([flag, file]);
  }
  const [from, to] = files.map(([, file]) => placeOf(file));
  if (from === to) {
    throw new KesCommandError('failed', '--from and --to name the same key store');
  }
  return files;
}

/** What two files must differ in. */
function placeOf({ keyStore }: KeyStoreFile): string {
  if (keyStore.type !== 'fs') return JSON.stringify(keyStore);
  try {
    return realpathSync(keyStore.path);
  } catch {
    return keyStore.path; // not there yet
  }
}

async function openStore(flag: string, file: KeyStoreFile, io: CliIo): Promise<KeyStore> {
  try {
    return await openKeyStore(file, { log: warningsTo(io) });
  } catch (error) {
    if (!(error instanceof KeyStoreError || error instanceof KesConfigError)) throw error;
    const text = `cannot open the key store of --${flag}: ${error.message}`;
    throw new KesCommandError('failed', text, { cause: error });
  }
}

function warningsTo({ stderr }: CliIo): Log {
  const warn = (message: string) => void stderr.write(`Warning: ${message}\n`);
  return { debug() {}, info() {}, warn, error: warn };
}

async function told<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof KesConfigError)) throw error;
    throw new KesCommandError('failed', error.message, { cause: error });
  }
}

async function run(call: KesCall, migration: Migration): Promise<void> {
  const { output } = call;
  const { state } = migration;
  output.line('Starting key migration:');
  output.line('');
  const progress = setInterval(() => printProgress(call, state), progressMs);
  try {
    await migrateKeys(migration);
  } catch (error) {
    if (!(error instanceof MigrationError)) throw error;
    throw new KesCommandError('failed', explain(error, migration), { cause: error });
  } finally {
    clearInterval(progress);
    if (call.io.stdout.isTTY === true) output.write('\r\x1b[2K');
  }
  printResult(call, migration);
}

function printProgress({ io, output }: KesCall, state: MigrationState): void {
  const done = state.migrated + state.skipped + state.vanished;
  const text = `Migrated ${counted(state.migrated)} keys, ${done} of ${state.total} done`;
  if (io.stdout.isTTY !== true) {
    output.line(text);
    return;
  }
  const filled = state.total > 0 ? Math.floor((done / state.total) * barChars) : 0;
  const bar = '#'.repeat(filled).padEnd(barChars, '.');
  output.write(`\r\x1b[2K[${bar}] ${text}`);
}

function printResult(call: KesCall, { state, to, mode }: Migration): void {
  const { output } = call;
  const { migrated, skipped, vanished, differing } = state;
  output.line(
    migrated > 0
      ? `Migrated ${counted(migrated)} keys successfully!`
      : 'Migration succeeded! No keys migrated.',
  );
  if (skipped > 0) output.line(`Skipped  ${counted(skipped)} keys that the target has already.`);
  if (vanished > 0) output.line(`Missed   ${counted(vanished)} keys that were removed meanwhile.`);
  if (mode === 'force' && to.keepsDeleted !== undefined) output.line(`Note: ${to.keepsDeleted}`);
  if (differing.length === 0) return;
  const shown = differing.toSorted().slice(0, namesShownMax).join(', ');
  const more = differing.length > namesShownMax ? ', …' : '';
  call.io.stderr.write(
    `Warning: ${differing.length} of the skipped keys are other keys in the target: ${shown}${more}\n`,
  );
}

function explain(error: MigrationError, { state, mode }: Migration): string {
  // What is forced must not be merged afterwards: that would leave the rest as it is.
  const again =
    mode === 'force'
      ? 'run the same command again to go on'
      : 'run the same command again with --merge to go on';
  if (error.code === 'exists' && mode === 'create') {
    return `${error.message}: use --merge to keep what is there (also to go on after an interruption), or --force to replace it`;
  }
  if (error.code === 'interrupted') return `${error.message}: ${again}`;
  return `${error.message} (${state.migrated} of ${state.total} keys are migrated; ${again})`;
}

function counted(count: number): string {
  return String(count).padStart(6);
}
