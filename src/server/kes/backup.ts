// `kes key backup` and `kes key restore`: all keys of a store in one age file, for recipients or in shares,
// and back (docs/formats/key-backup.md). A backup file appears whole or not at all. A restore has opened and
// checked everything before it writes the first key.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Command, CommanderError } from 'commander';
import { silentLog } from '../../base/log.ts';
import type { CliIo } from '../../cli/io.ts';
import {
  type AgeIdentity,
  ageIdentityOf,
  type AgeRecipient,
  exportAgeIdentity,
  generateAgeIdentity,
  openAge,
  parseAgeIdentities,
  parseAgeRecipient,
  sealAge,
} from '../../keys/backup/age.ts';
import {
  type BackupEntry,
  decodeKeyBackup,
  encodeKeyBackup,
  type KeyBackup,
} from '../../keys/backup/key-backup.ts';
import type { KeyStore } from '../../keys/key-store.ts';
import { combineShares, splitSecret } from '../../keys/backup/shares.ts';
import { readAllKeys, restoreKeys, type RestoreMode, type RestoreResult } from './key-restore.ts';
import { readKeyStoreFile } from './store-file.ts';
import { openKeyStore } from './key-stores.ts';
import { writeWholeFile } from './whole-file.ts';

type BackupFlags = {
  readonly config: string;
  readonly out: string;
  readonly recipient: readonly string[];
  readonly shares?: string;
};

type RestoreFlags = {
  readonly config: string;
  readonly in: string;
  readonly identity: readonly string[];
  readonly share: readonly string[];
  readonly shareFile: readonly string[];
  readonly force?: boolean;
  readonly merge?: boolean;
  readonly verifyOnly?: boolean;
};

const identityFileBytesMax = 1_048_576;

/** Runs `kes key backup`; gives the exit code. Errors are printed, never thrown. */
export async function runKesKeyBackup(argv: readonly string[], io: CliIo): Promise<number> {
  const command = new Command('kes key backup')
    .description('Write all keys of a key store into one encrypted file.')
    .requiredOption('--config <FILE>', 'configuration of the key service')
    .requiredOption('--out <FILE>', 'file to write; it must not exist')
    .option('--recipient <age1…>', 'who can open it; may be repeated', collect, [])
    .option('--shares <K/N>', 'print N shares of a fresh key, any K of which open it');
  return run(command, { argv, io }, () => backup(command.opts<BackupFlags>(), io));
}

/** Runs `kes key restore`; gives the exit code. Errors are printed, never thrown. */
export async function runKesKeyRestore(argv: readonly string[], io: CliIo): Promise<number> {
  const command = new Command('kes key restore')
    .description('Put the keys of a backup into a key store.')
    .requiredOption('--config <FILE>', 'configuration of the key service')
    .requiredOption('--in <FILE>', 'the backup')
    .option('--identity <FILE>', 'age identity that opens it; may be repeated', collect, [])
    .option('--share <SHARE>', 'one share; repeat it until there are enough', collect, [])
    .option('--share-file <FILE>', 'file with shares, one per line; may be repeated', collect, [])
    .option('--force', 'replace keys that are different')
    .option('--merge', 'leave keys that are different as they are')
    .option('--verify-only', 'check the backup and change nothing');
  return run(command, { argv, io }, () => restore(command.opts<RestoreFlags>(), io));
}

function collect(value: string, before: readonly string[]): string[] {
  return [...before, value];
}

async function run(
  command: Command,
  given: { readonly argv: readonly string[]; readonly io: CliIo },
  work: () => Promise<number>,
): Promise<number> {
  const { stderr } = given.io;
  command
    .allowExcessArguments(false)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => stderr.write(text),
      writeErr: (text) => stderr.write(text.replace(/^error: /, 'Error: ')),
    });
  try {
    command.parse([...given.argv], { from: 'user' });
    return await work();
  } catch (error) {
    if (error instanceof CommanderError) return error.code === 'commander.helpDisplayed' ? 2 : 1;
    stderr.write(`Error: ${(error as Error).message}\n`);
    return 1;
  }
}

// ---- backup ---------------------------------------------------------------------------------------

async function backup(flags: BackupFlags, io: CliIo): Promise<number> {
  const isShared = flags.shares !== undefined;
  if (isShared === flags.recipient.length > 0) {
    throw new Error('give either --recipient or --shares: who shall be able to open the backup?');
  }
  const recipients = flags.recipient.map(parseAgeRecipient);
  const split = isShared ? splitFreshIdentity(flags.shares ?? '') : undefined;
  const damaged: string[] = [];
  let count = 0;
  const counted = async function* (store: KeyStore): AsyncGenerator<BackupEntry> {
    for await (const entry of readAllKeys(store, (name) => damaged.push(name))) {
      count += 1;
      yield entry;
    }
  };
  await withStore(flags.config, io, async (store) => {
    const lines = encodeKeyBackup(counted(store), new Date().toISOString());
    await writeWholeFile(flags.out, sealAge(split?.recipients ?? recipients, lines));
  });
  for (const share of split?.shares ?? []) io.stdout.write(`${share}\n`);
  if (split !== undefined) {
    io.stderr.write(
      `Any ${split.needed} of these ${split.shares.length} shares open the backup. They are shown this once and stored nowhere: hand them to different people.\n`,
    );
  }
  io.stderr.write(`Backed up ${count} keys to ${flags.out}.\n`);
  if (damaged.length === 0) return 0;
  io.stderr.write(
    `Error: these keys are damaged and NOT in the backup: ${damaged.join(', ')}: repair or delete them\n`,
  );
  return 1;
}

function splitFreshIdentity(text: string): {
  readonly recipients: readonly AgeRecipient[];
  readonly shares: readonly string[];
  readonly needed: number;
} {
  const [, needed, total] = /^(\d{1,3})\/(\d{1,3})$/.exec(text) ?? [];
  if (needed === undefined) throw new Error(`--shares '${text}': write it like 3/5`);
  const identity = generateAgeIdentity();
  const secret = exportAgeIdentity(identity);
  try {
    const into = { needed: Number(needed), total: Number(total), group: groupOf(identity) };
    const shares = splitSecret(secret, into);
    return { recipients: [identity.recipient], shares, needed: into.needed };
  } finally {
    secret.fill(0);
  }
}

/** Identifies the shares of one identity, and shows whether what they gave back is right. */
function groupOf({ recipient }: AgeIdentity): string {
  return createHash('sha256').update(recipient.publicBytes).digest('hex').slice(0, 16);
}

// ---- restore --------------------------------------------------------------------------------------

async function restore(flags: RestoreFlags, io: CliIo): Promise<number> {
  if (flags.force === true && flags.merge === true) {
    throw new Error('--force and --merge exclude each other');
  }
  const identities = await readIdentities(flags);
  const found = await readBackup(flags.in, identities);
  io.stderr.write(`The backup of ${found.createdAt} is whole: ${found.keys.length} keys.\n`);
  if (flags.verifyOnly === true) return 0;
  const mode = flags.force === true ? 'force' : flags.merge === true ? 'merge' : 'refuse';
  const result = await withStore(flags.config, io, (store) =>
    restoreKeys(store, found.keys, mode, Date.now()),
  );
  io.stderr.write(describe(result, mode));
  return 0;
}

async function readIdentities(flags: RestoreFlags): Promise<AgeIdentity[]> {
  const shares = [...flags.share];
  for (const file of flags.shareFile) shares.push(...linesOf(await readSmall(file)));
  if (shares.length > 0 === flags.identity.length > 0) {
    throw new Error('give either --identity or --share (as often as needed) to open the backup');
  }
  if (shares.length > 0) return [joinShares(shares)];
  const texts = await Promise.all(flags.identity.map(readSmall));
  return texts.flatMap(parseAgeIdentities);
}

function joinShares(shares: readonly string[]): AgeIdentity {
  const { secret, group } = combineShares(shares);
  try {
    const identity = ageIdentityOf(secret);
    if (groupOf(identity) !== group) throw new Error('the shares do not fit together');
    return identity;
  } finally {
    secret.fill(0);
  }
}

async function readSmall(file: string): Promise<string> {
  const bytes = await readFile(file);
  if (bytes.length > identityFileBytesMax) throw new Error(`${file} is too large`);
  return bytes.toString('utf8');
}

function linesOf(text: string): string[] {
  const lines = text.split('\n').map((line) => line.trim());
  return lines.filter((line) => line !== '' && !line.startsWith('#'));
}

async function readBackup(file: string, identities: readonly AgeIdentity[]): Promise<KeyBackup> {
  const pieces: Buffer[] = [];
  try {
    const source: AsyncIterable<Buffer> = createReadStream(file, { highWaterMark: 262_144 });
    for await (const piece of openAge(identities, source)) pieces.push(piece);
    return decodeKeyBackup(Buffer.concat(pieces));
  } catch (error) {
    throw new Error(`${file}: ${(error as Error).message}`, { cause: error });
  } finally {
    for (const piece of pieces) piece.fill(0);
  }
}

function describe(result: RestoreResult, mode: RestoreMode): string {
  const { written, identical, skipped, replaced, disabled } = result;
  const lines = [`Restored ${written.length} keys; ${identical.length} were there already.`];
  if (mode === 'merge') lines.push(`Left as they are: ${skipped.join(', ') || 'none'}.`);
  if (mode === 'force') lines.push(`Replaced: ${replaced.join(', ') || 'none'}.`);
  if (disabled.length > 0) {
    lines.push(
      `Disabled, because they were to be destroyed at a time that has passed: ${disabled.join(', ')}. Enable them, or have them destroyed.`,
    );
  }
  return `${lines.join('\n')}\n`;
}

// ---- the store ------------------------------------------------------------------------------------

async function withStore<T>(
  file: string,
  io: CliIo,
  work: (store: KeyStore) => Promise<T>,
): Promise<T> {
  const config = await readKeyStoreFile(file, io.env);
  if (config.keyStore.type === 'memory') {
    throw new Error('this configuration keeps its keys in memory: they end with the service');
  }
  const store = await openKeyStore(config, { log: silentLog });
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}
