// The client against the real S3 edge: whole commands, in this process, over a real port.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';

import { runCommand, StubServer } from './mc-stub.ts';
import type { Outcome } from './mc-stub.ts';
import { accessKey, freshBucket, secretKey, startHarness } from './s3-harness.ts';
import type { Harness } from './s3-harness.ts';

const mebibyte = 1024 * 1024;

describe('the client against the S3 edge', () => {
  let harness: Harness;
  let folder = '';

  before(async () => {
    harness = await startHarness();
    folder = await mkdtemp(path.join(tmpdir(), 'mc-live-'));
  });

  after(async () => {
    await harness.close();
    await rm(folder, { recursive: true });
  });

  const environment = () => ({
    HOME: folder,
    MC_HOST_t: `http://${accessKey}:${secretKey}@${harness.host}`,
  });

  const mc = (argv: readonly string[], stdin?: Uint8Array): Promise<Outcome> =>
    runCommand(argv, { env: environment(), ...(stdin === undefined ? {} : { stdin }) });

  /** Runs a command that must succeed and returns what it printed. */
  const ok = async (argv: readonly string[], stdin?: Uint8Array): Promise<string> => {
    const outcome = await mc(argv, stdin);
    assert.equal(outcome.code, 0, outcome.stderr + outcome.stdout);
    assert.equal(outcome.stderr, '');
    return outcome.stdout;
  };

  const makeBucket = async (): Promise<string> => {
    const place = `t/${freshBucket()}`;
    await ok(['mb', place]);
    return place;
  };

  const makeFile = async (name: string, bytes: Uint8Array): Promise<string> => {
    const file = path.join(folder, name);
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, bytes);
    return file;
  };

  it('says that there is nothing when the first part of a place is no alias', async () => {
    const start = process.cwd();
    const here = await mkdtemp(path.join(folder, 'here-'));
    await writeFile(path.join(here, 'f'), 'x');
    process.chdir(here);
    const missing = (place: string) => `Requested path \`${path.join(here, place)}\` not found`;
    const listing = (place: string) => `Unable to list folder. ${missing(place)}`;
    const noSuch = (place: string) => `Unable to stat \`${place}\`. Object does not exist.`;
    const reading = (place: string) => `Unable to read from \`${place}\`. ${missing(place)}.`;
    const copying = 'Unable to prepare URL for copying.';
    const cases: readonly (readonly [string, ...string[]])[] = [
      ['ls gone/x', listing('gone')],
      ['ls gone/x/', listing('gone/x')],
      ['ls gone/', listing('gone')],
      ['ls --versions gone/x/y', listing('gone/x')],
      ['ls f/x', `Unable to list folder. stat ${here}/f/x: not a directory`],
      ['ls f/', `Unable to list folder. stat ${here}/f/: not a directory`],
      ['ls gone'],
      ['ls --recursive gone/x'],
      ['ls --incomplete gone/x'],
      ['stat gone/x', listing('gone'), noSuch('gone/x')],
      ['stat gone/', listing('gone'), noSuch('gone/')],
      ['stat gone', noSuch('gone')],
      ['stat --recursive gone/x', noSuch('gone/x')],
      ['cat gone/x', reading('gone/x')],
      ['head gone/x', reading('gone/x')],
      ['rm gone/x', `Failed to remove \`gone/x\`. ${missing('gone/x')}`],
      [
        'rm --recursive --force gone/x',
        `Failed to remove \`gone/x\` recursively. ${missing('gone/x')}`,
      ],
      ['cp gone/x f2', `${copying} ${missing('gone/x')}`],
      ['cp --recursive gone/x f2', `${copying} Object does not exist`],
      ['mv gone/x f2', `${copying} ${missing('gone/x')}`],
      ['tree gone/x', `Unable to tree \`gone/x\`. ${missing('gone/x')}.`],
    ];
    try {
      for (const [command, ...failures] of cases) {
        const outcome = await mc(command.split(' '));
        const stderr = failures.map((line) => `mc: <ERROR> ${line}\n`).join('');
        const code = failures.length === 0 ? 0 : 1;
        assert.deepEqual(outcome, { code, stdout: '', stderr }, command);
      }
      const json = await mc(['ls', '--json', 'gone/x']);
      assert.equal(json.code, 1);
      assert.deepEqual(JSON.parse(json.stdout), {
        status: 'error',
        error: {
          message: 'Unable to list folder.',
          cause: { message: missing('gone'), error: { Path: path.join(here, 'gone') } },
          type: 'error',
        },
      });
      assert.deepEqual(await readdir(here), ['f']);
    } finally {
      process.chdir(start);
    }
  });

  it('copies files of every kind of size there and back', async () => {
    const place = await makeBucket();
    for (const size of [0, 1, 65_536, 16 * mebibyte, 16 * mebibyte + 1, 40 * mebibyte]) {
      const bytes = randomBytes(size);
      const file = await makeFile('source', bytes);
      await ok(['cp', file, `${place}/object`]);
      const back = path.join(folder, 'back');
      await ok(['cp', `${place}/object`, back]);
      assert.ok((await readFile(back)).equals(bytes), `${size} bytes`);
    }
    assert.deepEqual(
      (await readdir(folder)).filter((name) => name.endsWith('.part')),
      [],
    );
  });

  it('copies on the server, small and in parts, and keeps metadata', async () => {
    const place = await makeBucket();
    for (const size of [1000, 65 * mebibyte]) {
      const bytes = randomBytes(size);
      const file = await makeFile('big.txt', bytes);
      await ok(['cp', '--attr', 'colour=blue', file, `${place}/a`]);
      await ok(['cp', `${place}/a`, `${place}/b`]);
      const described = JSON.parse(await ok(['stat', '--json', '--no-list', `${place}/b`])) as {
        size: number;
        metadata: Record<string, string>;
      };
      assert.equal(described.size, size);
      assert.equal(described.metadata['X-Amz-Meta-Colour'], 'blue');
      assert.equal(described.metadata['Content-Type'], 'text/plain');
      await ok(['get', `${place}/b`, path.join(folder, 'big-back')]);
      assert.ok((await readFile(path.join(folder, 'big-back'))).equals(bytes));
    }
  });

  it('pipes nothing and more than a part', async () => {
    const place = await makeBucket();
    for (const size of [0, 12, 35 * mebibyte]) {
      const bytes = randomBytes(size);
      assert.equal(await ok(['pipe', `${place}/p`], bytes), `${size} bytes -> \`${place}/p\`\n`);
      await ok(['cp', `${place}/p`, path.join(folder, 'piped')]);
      assert.ok((await readFile(path.join(folder, 'piped'))).equals(bytes));
    }
  });

  for (const algorithm of ['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256']) {
    it(`sends a ${algorithm} trailer that the server checks`, async () => {
      const place = await makeBucket();
      const file = await makeFile('sum', randomBytes(200_000));
      await ok(['cp', '--checksum', algorithm, file, `${place}/x`]);
      const described = JSON.parse(await ok(['stat', '--json', `${place}/x`])) as {
        checksum: Record<string, string>;
      };
      assert.deepEqual(Object.keys(described.checksum), [algorithm]);
      const big = await makeFile('sum-big', randomBytes(17 * mebibyte));
      await ok(['cp', '--checksum', algorithm, big, `${place}/big`]);
      await ok(['pipe', '--checksum', algorithm, `${place}/pipe`], randomBytes(17 * mebibyte));
      assert.match(await ok(['stat', `${place}/big`]), new RegExp(`Checksum +: ${algorithm}:`));
    });
  }

  it('encrypts with --enc-s3 and by bucket default, and says so', async () => {
    const place = await makeBucket();
    const file = await makeFile('secret.txt', Buffer.from('secret'));
    const big = await makeFile('secret-big', randomBytes(17 * mebibyte));
    await ok(['cp', file, `${place}/plain`]);
    await ok(['cp', '--enc-s3', place, file, `${place}/cp`]);
    await ok(['cp', '--enc-s3', place, big, `${place}/cp-big`]);
    await ok(['put', '--enc-s3', place, file, `${place}/put`]);
    await ok(['pipe', '--enc-s3', place, `${place}/pipe`], Buffer.from('x'));
    await ok(['cp', '--enc-s3', place, `${place}/plain`, `${place}/copy`]);
    await ok([
      'mirror',
      '--enc-s3',
      place,
      path.dirname(await makeFile('m/one', Buffer.from('1'))),
      `${place}/mirror`,
    ]);
    const set = await ok(['encrypt', 'set', 'sse-s3', place]);
    assert.equal(set, `Auto encryption configuration has been set successfully for ${place}\n`);
    assert.equal(await ok(['encrypt', 'info', place]), "Auto encryption 'sse-s3' is enabled\n");
    await ok(['cp', file, `${place}/default`]);
    await ok(['encrypt', 'clear', place]);
    await ok(['encrypt', 'set', 'sse-s3', `${place}/default/below/`]);
    const below = await ok(['encrypt', 'info', `${place}/default/below/it`]);
    assert.equal(below, "Auto encryption 'sse-s3' is enabled\n");
    assert.equal((await mc(['encrypt', 'info', place])).code, 1);
    await ok(['cp', file, `${place}/default/below/it`]);
    await ok(['cp', file, `${place}/default/beside`]);
    await ok(['encrypt', 'clear', `${place}/default/below/`]);
    assert.equal((await mc(['encrypt', 'info', `${place}/default/below/it`])).code, 1);
    await ok(['cp', file, `${place}/after`]);
    const isEncrypted = async (key: string) =>
      (await ok(['stat', '--no-list', `${place}/${key}`])).includes('Encryption: SSE-S3');
    const encrypted = [
      'cp',
      'cp-big',
      'put',
      'pipe',
      'copy',
      'mirror/one',
      'default',
      'default/below/it',
    ];
    for (const key of encrypted) assert.equal(await isEncrypted(key), true, key);
    for (const key of ['plain', 'after']) assert.equal(await isEncrypted(key), false, key);
    assert.equal(await ok(['cat', `${place}/cp`]), 'secret');
    const info = await mc(['encrypt', 'info', place]);
    assert.equal(info.code, 1);
    assert.match(info.stderr, /The server side encryption configuration was not found/);
  });

  it('takes the encryption of uploads from MC_ENC_S3', async () => {
    const place = await makeBucket();
    const file = await makeFile('env.txt', Buffer.from('secret'));
    const env = { ...environment(), MC_ENC_S3: `${place},t/other-bucket` };
    assert.equal((await runCommand(['cp', file, `${place}/x`], { env })).code, 1);
    const single = { ...env, MC_ENC_S3: place };
    assert.equal((await runCommand(['cp', file, `${place}/x`], { env: single })).code, 0);
    assert.match(await ok(['stat', `${place}/x`]), /SSE-S3/);
  });

  it('handles names that need escaping', async () => {
    const place = await makeBucket();
    const name = "with space+plus%25&<é>'!(*)~#?.txt";
    const file = await makeFile('named', Buffer.from('named'));
    await ok(['cp', file, `${place}/${name}`]);
    assert.equal(await ok(['cat', `${place}/${name}`]), 'named');
    assert.equal(await ok(['find', place]), `${place}/${name}\n`);
    await ok(['cp', `${place}/${name}`, `${place}/copy of ${name}`]);
    await ok(['rm', `${place}/${name}`]);
    assert.equal(await ok(['find', place]), `${place}/copy of ${name}\n`);
  });

  it('moves, finds, sums up, mirrors and removes', async () => {
    const place = await makeBucket();
    const root = path.join(folder, 'tree');
    await makeFile('tree/a.txt', Buffer.from('a'));
    await makeFile('tree/sub/b.txt', Buffer.from('bb'));
    await makeFile('tree/sub-2/c.txt', Buffer.from('ccc'));
    await ok(['mirror', root, place]);
    assert.equal(await ok(['find', place, '--name', 'b*']), `${place}/sub/b.txt\n`);
    assert.match(await ok(['du', place]), /^6B\t3 objects\t/);
    assert.match(await ok(['mirror', root, place]), /│ 0 B/);
    await rm(path.join(root, 'sub'), { recursive: true });
    await ok(['mirror', '--remove', root, place]);
    assert.equal(await ok(['find', place, '--name', 'b*']), '');
    await ok(['mv', `${place}/a.txt`, `${place}/moved.txt`]);
    assert.equal((await mc(['stat', `${place}/a.txt`])).code, 1);
    assert.equal((await mc(['rb', place])).code, 1);
    assert.equal((await mc(['rm', '--recursive', place])).code, 1);
    await ok(['rm', '--recursive', '--force', place]);
    assert.equal(await ok(['ls', place]), '');
    assert.equal(await ok(['rb', place]), `Removed \`${place}\` successfully.\n`);
  });

  it('exits 1 for what the server refuses, and says why', async () => {
    const place = await makeBucket();
    const file = await makeFile('refused', Buffer.from('x'));
    const kms = await mc(['cp', '--enc-kms', `${place}=key`, file, `${place}/x`, '--json']);
    assert.equal(kms.code, 1);
    assert.match(kms.stdout, /"Code":"KMS.NotFoundException"/);
    const missing = await mc(['cat', `${place}/nothing`]);
    assert.deepEqual(missing, {
      code: 1,
      stdout: '',
      stderr: `mc: <ERROR> Unable to read from \`${place}/nothing\`. Object does not exist.\n`,
    });
  });

  it('shows neither keys nor signatures with --debug', async () => {
    const place = await makeBucket();
    const file = await makeFile('debug', Buffer.from('x'));
    const key = 'ab'.repeat(32);
    const outcome = await mc(['cp', '--debug', '--enc-c', `${place}=${key}`, file, `${place}/x`]);
    assert.match(outcome.stderr, /x-amz-server-side-encryption-customer-key: \*REDACTED\*/);
    assert.match(outcome.stderr, /Signature=\*REDACTED\*/);
    const shown = outcome.stderr + outcome.stdout;
    assert.ok(!shown.includes(secretKey) && !shown.includes(key));
    assert.ok(!shown.includes(Buffer.from(key, 'hex').toString('base64')));
    assert.ok(!/Signature=[0-9a-f]{8}/.test(shown));
  });

  it('gives up the parts of an upload that is interrupted', async () => {
    const place = await makeBucket();
    const file = await makeFile('interrupted', randomBytes(20 * mebibyte));
    const abort = new AbortController();
    setTimeout(() => {
      abort.abort('SIGINT');
    }, 300);
    const outcome = await runCommand(['cp', '--limit-upload', '1MiB/s', file, `${place}/x`], {
      env: environment(),
      signal: abort.signal,
    });
    assert.equal(outcome.code, 130);
    assert.equal(await ok(['ls', '--incomplete', '--recursive', place]), '');
  });

  it('shows a bar on a terminal and none in a pipe', async () => {
    const place = await makeBucket();
    const file = await makeFile('bar', randomBytes(1000));
    const terminal = await runCommand(['cp', file, `${place}/x`], {
      env: environment(),
      isTerminal: true,
    });
    assert.equal(terminal.code, 0);
    assert.match(terminal.stdout, /━/);
    assert.doesNotMatch(await ok(['cp', file, `${place}/x`]), /━/);
    const quiet = await runCommand(['cp', '-q', file, `${place}/x`], {
      env: environment(),
      isTerminal: true,
    });
    assert.doesNotMatch(quiet.stdout, /━/);
  });
});

describe('a download whose connection breaks', () => {
  it('goes on where it stopped, with the same version of the object', async () => {
    const bytes = randomBytes(300_000);
    const stub = new StubServer();
    const host = await stub.listen();
    const folder = await mkdtemp(path.join(tmpdir(), 'mc-resume-'));
    stub.answer = (seen, response) => {
      if (seen.query === 'location=') {
        response.end('<LocationConstraint/>');
        return;
      }
      const start = Number(/bytes=(\d+)-/.exec(seen.headers['range'] ?? '')?.[1] ?? 0);
      const rest = bytes.subarray(start);
      response.writeHead(start === 0 ? 200 : 206, { 'content-length': rest.length, etag: '"v1"' });
      if (start > 0) {
        assert.equal(seen.headers['if-match'], '"v1"');
        response.end(rest);
        return;
      }
      response.write(rest.subarray(0, 100_000), () => {
        setTimeout(() => response.destroy(), 20);
      });
    };
    try {
      const file = path.join(folder, 'x');
      const env = { HOME: folder, MC_HOST_t: `http://someone:something@${host}` };
      const outcome = await runCommand(['get', 't/bucket/x', file], { env });
      assert.equal(outcome.code, 0, outcome.stderr);
      assert.ok((await readFile(file)).equals(bytes));
    } finally {
      await stub.close();
      await rm(folder, { recursive: true });
    }
  });
});

describe('object names from a server that is not trusted', () => {
  for (const argv of [
    ['cp', '--recursive', 't/bucket/', 'TARGET'],
    ['mirror', 't/bucket', 'TARGET'],
  ]) {
    it(`cannot make ${argv[0]} write outside the target`, async () => {
      const stub = new StubServer();
      const host = await stub.listen();
      const folder = await mkdtemp(path.join(tmpdir(), 'mc-names-'));
      stub.answer = (seen, response) => {
        if (seen.query.includes('list-type')) {
          response.end(
            '<ListBucketResult><Contents><Key>a/../../../outside</Key><Size>4</Size></Contents></ListBucketResult>',
          );
        } else if (seen.query === 'location=') response.end('<LocationConstraint/>');
        else response.end(seen.method === 'HEAD' ? undefined : 'evil');
      };
      try {
        const target = path.join(folder, 'one', 'two');
        const env = { HOME: folder, MC_HOST_t: `http://someone:something@${host}` };
        const words = argv.map((word) => (word === 'TARGET' ? target : word));
        const outcome = await runCommand(words, { env });
        assert.equal(outcome.code, 1);
        assert.match(outcome.stderr, /cannot be a file below/);
        assert.deepEqual(
          (await readdir(folder, { recursive: true })).filter((name) => name.endsWith('outside')),
          [],
        );
      } finally {
        await stub.close();
        await rm(folder, { recursive: true });
      }
    });
  }
});
