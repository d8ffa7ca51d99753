// The demonstration: runs every step of the documented procedure and checks what it claims. The proof is
// a search of every stored byte for the text of the object: it must be found when nothing is encrypted
// (so the search works) and must not be found when it is.

import { appendFileSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import type { CliIo } from '../cli/io.ts';
import { type CommandResult, type PlayChildren, PlayError } from './play-children.ts';
import {
  formatKmsSettings,
  type PlayFolder,
  type Program,
  playAlias,
  playKeyName,
} from './play-folder.ts';

export type DemoDeps = {
  readonly folder: PlayFolder;
  readonly children: PlayChildren;
  readonly program: Program;
  readonly io: CliIo;
};

const plainText = 'this text is stored as it is: MARKER-PLAIN-7f3b\n';
const secretText = 'attack at dawn: MARKER-SECRET-9c1e\n';
const plainObject = `${playAlias}/plain/note.txt`;
/** User metadata of the plain object: kept in its record, apart from its text. */
const plainNote = 'MARKER-NOTE-2d8a';
const secretObject = `${playAlias}/mybucket/secret.txt`;

/** Runs all steps. Throws `PlayError` at the first that does not behave. */
export async function runDemo(deps: DemoDeps): Promise<void> {
  const demo = new Demo(deps);
  await demo.showPlain();
  await demo.turnEncryptionOn();
  await demo.showEncrypted();
  await demo.lockAndUnlock();
  await demo.destroy();
  demo.say('\nEvery step behaved.');
}

class Demo {
  readonly #deps: DemoDeps;

  constructor(deps: DemoDeps) {
    this.#deps = deps;
  }

  say(text: string): void {
    this.#deps.io.stdout.write(`${text}\n`);
  }

  async showPlain(): Promise<void> {
    this.say('\n# Without a key service an object is stored as it is.');
    await this.#succeed(['mc', 'mb', `${playAlias}/plain`]);
    await this.#succeed(['mc', 'pipe', '--attr', `note=${plainNote}`, plainObject], plainText);
    this.#expectStored('MARKER-PLAIN', 'the text of the object is in the stored bytes');
    this.#expectStored(plainNote, 'and so is its metadata');
  }

  async turnEncryptionOn(): Promise<void> {
    const { folder } = this.#deps;
    this.say('\n# 1. Create a master key, 2. name it in the settings, 3. restart the store.');
    await this.#succeed(['kes', 'key', 'create', '-k', playKeyName]);
    const lines = formatKmsSettings(folder);
    for (const line of lines) this.say(`$ echo '${line}' >> ${folder.storeEnv}`);
    appendFileSync(folder.storeEnv, `${lines.join('\n')}\n`);
    await this.#succeed(['mc', 'admin', 'service', 'restart', '--json', playAlias]);
    await this.#succeed(['mc', 'admin', 'kms', 'key', 'status', playAlias]);
    await this.#showSealed();
  }

  /** Not only replaced but gone: the pages of the metadata file that held the old bytes were dropped. */
  async #showSealed(): Promise<void> {
    this.say('\n# This start sealed the metadata, and the small objects in it, for good.');
    this.#expectNotStored('MARKER-PLAIN', 'the text of the object is gone from');
    this.#expectNotStored(plainNote, 'its metadata is gone from');
    this.#expectStored('note.txt', 'only names (of buckets, objects and keys) stay readable');
    const { output } = await this.#succeed(['mc', 'cat', plainObject]);
    this.#require(output === plainText, 'the object reads back as it was written');
    const stat = await this.#succeed(['mc', 'stat', plainObject]);
    this.#require(stat.output.includes(plainNote), 'and so does its metadata');
  }

  async showEncrypted(): Promise<void> {
    this.say('\n# 4. Encrypt a bucket, 5. write an object, and look at what is stored.');
    await this.#succeed(['mc', 'mb', `${playAlias}/mybucket`]);
    await this.#succeed(['mc', 'encrypt', 'set', 'sse-s3', `${playAlias}/mybucket`]);
    await this.#succeed(['mc', 'pipe', secretObject], secretText);
    const { output } = await this.#succeed(['mc', 'stat', secretObject]);
    this.#require(output.includes('SSE-S3'), 'mc stat shows SSE-S3');
    await this.#expectReadable();
    this.#expectNotStored('MARKER-SECRET', 'the text of the object is in none of');
  }

  async lockAndUnlock(): Promise<void> {
    this.say('\n# 6. Lock the object by disabling its key, and unlock it.');
    await this.#succeed(['kes', 'key', 'disable', '-k', playKeyName]);
    await this.#expectRefused('locked: the object cannot be read while its key is disabled');
    await this.#succeed(['mc', 'ls', `${playAlias}/mybucket`]);
    await this.#succeed(['kes', 'key', 'enable', '-k', playKeyName]);
    await this.#expectReadable();
  }

  async destroy(): Promise<void> {
    this.say('\n# 7. Destroy the object by deleting its key.');
    await this.#succeed(['kes', 'key', 'rm', '-k', playKeyName]);
    await this.#expectRefused('gone: the object cannot be read without its key');
    this.say('\n# Not even a new key of the same name brings it back.');
    await this.#succeed(['kes', 'key', 'create', '-k', playKeyName]);
    await this.#expectRefused('gone for good');
  }

  async #expectReadable(): Promise<void> {
    const { output } = await this.#succeed(['mc', 'cat', secretObject]);
    this.#require(output === secretText, 'the object reads back as it was written');
  }

  async #expectRefused(claim: string): Promise<void> {
    const args = ['mc', 'cat', secretObject];
    const result = await this.#run(args, '');
    this.#print(args, result);
    this.#require(result.exitCode !== 0 && !result.output.includes('MARKER-SECRET'), claim);
  }

  #expectStored(marker: string, claim: string): void {
    this.#require(this.#search(marker).holding.length > 0, claim);
  }

  #expectNotStored(marker: string, claim: string): void {
    const { files, holding } = this.#search(marker);
    this.#require(holding.length === 0, `${claim} the ${files.length} files of the store`);
  }

  /** Looks into every file of the store, as `grep` does. */
  #search(marker: string): { files: readonly string[]; holding: readonly string[] } {
    const files = listFiles(this.#deps.folder.storeData);
    const holding = files.filter((file) => readFileSync(file).includes(marker));
    this.say(`$ grep -r ${marker} ${this.#deps.folder.storeData}`);
    for (const file of holding) this.say(`${file}: matches`);
    return { files, holding };
  }

  async #succeed(args: readonly string[], input = ''): Promise<CommandResult> {
    const result = await this.#run(args, input);
    this.#print(args, result, input);
    if (result.exitCode !== 0) {
      throw new PlayError('step', `the step failed with exit code ${result.exitCode}`);
    }
    return result;
  }

  #run(args: readonly string[], input: string): Promise<CommandResult> {
    return this.#deps.children.run(args, input);
  }

  #print(args: readonly string[], result: CommandResult, input = ''): void {
    const [command, ...rest] = args;
    const { kes, mc } = this.#deps.program;
    const source = input === '' ? '' : `echo '${input.trimEnd()}' | `;
    this.say(`$ ${source}${command === 'kes' ? kes : mc} ${rest.join(' ')}`);
    if (result.output !== '') this.say(result.output.trimEnd());
  }

  #require(isTrue: boolean, claim: string): void {
    if (!isTrue) throw new PlayError('step', `not so: ${claim}`);
    this.say(`=> ${claim}`);
  }
}

function listFiles(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}
