// `kes log verify FILE…`: proves or refutes that an audit log is what the service wrote. Reads every file
// once, in pieces; prints what it found and ends with 0 only when everything is right.

import { createPublicKey, type KeyObject } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Command, CommanderError } from 'commander';
import type { CliIo } from '../../cli/io.ts';
import { auditLineBytesMax } from '../../kes/audit/chain.ts';
import { type AuditReport, AuditVerifier } from '../../kes/audit/verify.ts';
import { findKeptHeads, headFileOf } from './audit-open.ts';

type Flags = { readonly key: readonly string[]; readonly json?: boolean };

/** Runs the command; gives the exit code. Errors are printed, never thrown. */
export async function runKesLogVerify(argv: readonly string[], io: CliIo): Promise<number> {
  const command = new Command('kes log verify')
    .description('Check an audit log: every line, every hash, every signature.')
    .argument('<FILE...>', 'the files of one log, oldest first')
    .option('--key <PUB.pem>', 'public key that must have signed; may be repeated', collect, [])
    .option('--json', 'print the result as JSON')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stderr.write(text),
      writeErr: (text) => io.stderr.write(text.replace(/^error: /, 'Error: ')),
    });
  try {
    command.parse([...argv], { from: 'user' });
    return await verifyFiles(command.args, command.opts<Flags>(), io);
  } catch (error) {
    if (error instanceof CommanderError) return error.code === 'commander.helpDisplayed' ? 2 : 1;
    io.stderr.write(`Error: ${(error as Error).message}\n`);
    return 1;
  }
}

function collect(value: string, before: readonly string[]): string[] {
  return [...before, value];
}

async function verifyFiles(files: readonly string[], flags: Flags, io: CliIo): Promise<number> {
  const last = files.at(-1) ?? '';
  const keyFiles = flags.key.length > 0 ? flags.key : await ifThere(`${last}.key.pub`);
  const keys = await Promise.all(keyFiles.map(readPublicKey));
  const verifier = new AuditVerifier(keys);
  const heads = await ifThere(headFileOf(last));
  const kept = await findKeptHeads(last);
  for (const head of [...heads, ...kept]) {
    verifier.expect(Buffer.from((await readFile(head, 'latin1')).trimEnd(), 'latin1'), head);
  }
  for (const file of files) await feed(verifier, file, io.signal);
  const report = verifier.report();
  const notes = [
    ...(keys.length === 0 ? ['the key is the one that the log names: give --key to be sure'] : []),
    ...(heads.length === 0 ? [`no ${headFileOf(last)}: a cut end would not show`] : []),
    ...kept.map((head) => `${head} was kept because the log had been cut or replaced`),
    ...(report.firstSeq > 1
      ? [`lines before number ${report.firstSeq} are not in these files`]
      : []),
  ];
  io.stdout.write(
    flags.json === true ? `${JSON.stringify({ ...report, notes })}\n` : describe(report, notes),
  );
  return report.isIntact ? 0 : 1;
}

async function ifThere(file: string): Promise<string[]> {
  try {
    await readFile(file);
    return [file];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

async function readPublicKey(file: string): Promise<KeyObject> {
  const text = await readFile(file, 'utf8');
  try {
    const key = createPublicKey(text);
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch {
    // Told below, the same as a key of another kind.
  }
  throw new Error(`${file} is no Ed25519 public key in PEM`);
}

/** Splits a file into lines. A line that is too long is given in part: it cannot be right. */
async function feed(verifier: AuditVerifier, file: string, signal: AbortSignal): Promise<void> {
  verifier.startFile(file);
  let rest: Buffer = Buffer.alloc(0);
  const chunks: AsyncIterable<Buffer> = createReadStream(file, { signal, highWaterMark: 262_144 });
  for await (const chunk of chunks) {
    const bytes: Buffer = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let start = 0;
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, start)) {
      verifier.add(bytes.subarray(start, end), true);
      start = end + 1;
    }
    rest = bytes.subarray(start);
    if (rest.length <= tornBytesMax) continue;
    throw new Error(`${file} is no audit log: it has a line of more than ${tornBytesMax} bytes`);
  }
  if (rest.length > 0) verifier.add(rest, false);
}

/** What a crash leaves may be longer than a line: zeros that were never written. */
const tornBytesMax = 1024 * auditLineBytesMax;

function describe(report: AuditReport, notes: readonly string[]): string {
  const { finding } = report;
  const rows: [string, string][] = [
    ['lines', `${report.lines} (numbers ${report.firstSeq} to ${report.lastSeq})`],
    ['time', `${report.firstTime} to ${report.lastTime}`],
    ['checkpoints', `${report.checkpoints}, signed up to number ${report.signedSeq}`],
    ['not yet signed', `${report.unsignedLines} lines after the last checkpoint`],
    ['signers', report.signers.join(', ') || 'none'],
  ];
  if (report.recovered > 0) rows.push(['cut off by crashes', `${report.recovered}, recorded`]);
  if (report.lostCalls > 0) rows.push(['calls without line', `${report.lostCalls}, recorded`]);
  for (const note of notes) rows.push(['note', note]);
  const result =
    finding === undefined
      ? 'The log is intact.'
      : `NOT INTACT: ${finding.file}, line ${finding.line}: ${finding.kind}: ${finding.text}`;
  const text = rows.map(([name, value]) => `${`${name}:`.padEnd(20)}${value}\n`).join('');
  return `${text}${result}\n`;
}
