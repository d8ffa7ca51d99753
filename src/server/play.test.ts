import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { parseEnvFile } from './env-file.ts';
import { formatKmsSettings, makeFolder, planFolder } from './play-folder.ts';
import { callUntil, findTestPort, makeTestDirectory } from './test-support.ts';

function startPlay(...argv: string[]) {
  const main = join(import.meta.dirname, 'main.ts');
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', main, 'play', ...argv],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const exited = new Promise<number | null>((resolve) => child.once('close', resolve));
  return { child, exited, output: () => output };
}

void test('the demonstration runs every step of the procedure, and each behaves', async () => {
  const play = startPlay('--demo');
  assert.equal(await play.exited, 0, play.output());
  assert.match(play.output(), /Every step behaved/);
  // Each search comes with a claim, and those that must find something found it in the metadata file.
  const metadata = /grep -r (\S+) .*\n.*meta\/data\.mdb: matches\n=> /g;
  const found = [...play.output().matchAll(metadata)].map(([, marker]) => marker);
  assert.deepEqual(found, ['MARKER-PLAIN', 'MARKER-NOTE-2d8a', 'note.txt']);
  for (const claim of ['text of the object is gone', 'metadata is gone', 'text .* is in none']) {
    assert.match(play.output(), new RegExp(`^\\$ grep -r MARKER.*\n=> .*${claim}`, 'm'));
  }
});

void test('the sandbox prints the steps, serves, ends with the signal and can be used again', async () => {
  using directory = makeTestDirectory();
  const folder = join(directory.path, 'my play');
  const port = await findTestPort();
  const addresses = ['--address', `127.0.0.1:${port}`];
  addresses.push('--kes-address', `127.0.0.1:${await findTestPort()}`);
  for (let turn = 0; turn < 2; turn += 1) {
    const play = startPlay(folder, ...addresses);
    const probe = async () => {
      try {
        await callUntil(
          { port, target: '/minio/health/live', isSigned: false },
          (answer) => answer.status === 200,
        );
        return true;
      } catch {
        return false;
      }
    };
    while (!play.output().includes('Ctrl-C stops the sandbox')) {
      assert.equal(play.child.exitCode, null, play.output());
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.ok(await probe());
    assert.match(play.output(), /key create -k my-minio-sse-s3-key/);
    assert.match(play.output(), /KES_CLIENT_KEY='\S+\/my play\/root\.key'/);
    assert.match(play.output(), /Sandbox keys protect nothing/);
    play.child.kill('SIGINT');
    assert.equal(await play.exited, 0, play.output());
    assert.equal(await probe(), false);
  }
});

void test('the folder holds private files, and settings that the store can read', async () => {
  using directory = makeTestDirectory();
  const folder = planFolder(directory.path, { store: '127.0.0.1:1', kes: '127.0.0.1:2' });
  await makeFolder(folder);
  for (const file of [folder.rootKey, folder.rootCert, folder.apiKeyFile, folder.storeEnv]) {
    assert.equal(statSync(file).mode & 0o077, 0, file);
  }
  const settings = parseEnvFile(formatKmsSettings(folder).join('\n'), 'steps');
  assert.equal(settings['MINIO_KMS_KES_ENDPOINT'], 'https://127.0.0.1:2');
  assert.ok(existsSync(settings['MINIO_KMS_KES_KEY_FILE'] ?? ''));
  const before = readFileSync(folder.rootKey, 'utf8');
  await makeFolder(folder);
  assert.equal(readFileSync(folder.rootKey, 'utf8'), before);
});

void test('the sandbox stays on this machine', async () => {
  using directory = makeTestDirectory();
  const play = startPlay(directory.path, '--address', '0.0.0.0:9000');
  assert.equal(await play.exited, 1);
  assert.match(play.output(), /must be 127\.0\.0\.1:PORT/);
});
