// Backups of keys against the real age: each opens what the other sealed, and every published test vector for
// the kinds of recipients that we know.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { inflateSync } from 'node:zlib';
import { AgeError, openAge, parseAgeIdentity } from '../../src/keys/backup/age.ts';
import { decodeKeyBackup } from '../../src/keys/backup/key-backup.ts';
import { createMasterKey, keyTimeOf } from '../../src/keys/master-key.ts';
import { formatStoredKey } from '../../src/keys/stored-key.ts';
import { projectRoot } from '../support/programs.ts';
import { interopDir, runClient } from './clients.ts';

const bin = path.join(interopDir, 'bin');
const dir = mkdtempSync(path.join(tmpdir(), 'coffer-age-'));
after(() => rmSync(dir, { recursive: true, force: true }));

const at = (name: string) => path.join(dir, name);

async function run(...command: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await runClient(command);
  assert.equal(exitCode, 0, `${command.join(' ')}\n${stdout}\n${stderr}`);
  return stdout;
}

function kes(...args: string[]): Promise<string> {
  return run(process.execPath, path.join(projectRoot, 'src/server/main.ts'), 'kes', ...args);
}

/** A configuration over a directory with so many keys. */
function makeStore(name: string, keys: number): string {
  mkdirSync(at(name));
  for (let index = 0; index < keys; index += 1) {
    const masterKey = createMasterKey({ createdAt: keyTimeOf(0), createdBy: '' });
    writeFileSync(path.join(at(name), `key-${index}`), formatStoredKey(masterKey));
  }
  const config = at(`${name}.yml`);
  const identity = 'ab'.repeat(32);
  const yaml = `admin: {identity: ${identity}}\ntls: {key: k, cert: c}\nkeystore: {fs: {path: ${at(name)}}}\n`;
  writeFileSync(config, yaml);
  return config;
}

/** The vectors of the age specification, as a Go module. */
const vectors = 'c2sp.org/CCTV/age@v0.0.0-20251208015420-e9274a7bdbfd';

type Vector = {
  readonly expect: string;
  readonly payload: string;
  readonly identities: readonly string[];
  readonly needsMore: boolean;
  readonly file: Buffer;
};

/** Headers, an empty line, the file. */
function parseVector(bytes: Buffer): Vector {
  const end = bytes.indexOf('\n\n');
  const fields = bytes
    .toString('latin1', 0, end)
    .split('\n')
    .map((line) => [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)]);
  const valuesOf = (name: string) =>
    fields.filter(([key]) => key === name).map(([, value = '']) => value);
  const body = bytes.subarray(end + 2);
  const identities = valuesOf('identity');
  const isX25519 = (identity: string) => identity.startsWith('AGE-SECRET-KEY-1');
  return {
    expect: valuesOf('expect')[0] ?? '',
    payload: valuesOf('payload')[0] ?? '',
    identities: identities.filter(isX25519),
    needsMore: valuesOf('passphrase').length > 0 || !identities.every(isX25519),
    file: valuesOf('compressed').includes('zlib') ? inflateSync(body) : body,
  };
}

/** What became of opening a vector: as its `expect` says it. */
async function openVector({ identities, file }: Vector): Promise<string> {
  const sum = createHash('sha256');
  async function* pieces() {
    for (let from = 0; from < file.length; from += 50_000) yield file.subarray(from, from + 50_000);
  }
  try {
    for await (const piece of openAge(identities.map(parseAgeIdentity), pieces()))
      sum.update(piece);
    return `success ${sum.digest('hex')}`;
  } catch (error) {
    assert.ok(error instanceof AgeError);
    return error.code === 'no-identity' ? 'no match' : 'failure';
  }
}

test('every published vector for X25519 recipients does what it should', async () => {
  const { exitCode, stdout, stderr } = await runClient(
    ['go', 'mod', 'download', '-json', vectors],
    {
      env: { HOME: process.env['HOME'] ?? dir },
      cwd: dir,
    },
  );
  assert.equal(exitCode, 0, stderr);
  const folder = path.join((JSON.parse(stdout) as { Dir: string }).Dir, 'testdata');
  let count = 0;
  for (const name of readdirSync(folder)) {
    const vector = parseVector(readFileSync(path.join(folder, name)));
    if (vector.needsMore) continue;
    count += 1;
    const { expect } = vector;
    const expected =
      expect === 'success'
        ? `success ${vector.payload}`
        : expect === 'no match'
          ? expect
          : 'failure';
    const got = await openVector(vector);
    // Whatever is wrong besides, a file that none of our identities opens may be told as that.
    const isRight = got === expected || (expected === 'failure' && got === 'no match');
    assert.ok(isRight, `${name}: expected ${expect}, got ${got}`);
  }
  assert.ok(count > 90, `${count} vectors`);
});

test('age and a backup open each other', async () => {
  await run(path.join(bin, 'age-keygen'), '-o', at('id'));
  const recipient = (await run(path.join(bin, 'age-keygen'), '-y', at('id'))).trim();
  // Enough keys for more than one chunk of 64 KiB.
  const config = makeStore('from', 500);
  await kes('key', 'backup', '--config', config, '--out', at('ours.age'), '--recipient', recipient);
  await run(path.join(bin, 'age'), '-d', '-i', at('id'), '-o', at('plain'), at('ours.age'));
  assert.equal(decodeKeyBackup(readFileSync(at('plain'))).keys.length, 500);

  for (const armor of [[], ['-a']]) {
    const target = makeStore(`to${armor.length}`, 0);
    const file = at(`theirs${armor.length}.age`);
    await run(path.join(bin, 'age'), ...armor, '-r', recipient, '-o', file, at('plain'));
    await kes('key', 'restore', '--config', target, '--in', file, '--identity', at('id'));
    for (const name of ['key-0', 'key-499']) {
      const [one, two] = ['from', `to${armor.length}`].map((folder) =>
        readFileSync(path.join(at(folder), name), 'utf8'),
      );
      assert.equal(one, two);
    }
  }
});
