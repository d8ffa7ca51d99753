import assert from 'node:assert/strict';
import {
  appendFile,
  type FileHandle,
  mkdtemp,
  readFile,
  rename,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { test, type TestContext } from 'node:test';
import { silentLog } from '../../base/log.ts';
import type { AuditEvent } from '../../kes/audit/audit.ts';
import type { KesAuditConfig } from '../../kes/config/extensions.ts';
import { AuditFile, openAuditFile } from './audit-file.ts';
import { AuditFileError, openForAppend } from './audit-open.ts';
import { runKesLogVerify } from './log-verify.ts';

const event: AuditEvent = {
  timeMs: 1_700_000_000_000,
  method: 'PUT',
  path: '/v1/key/generate/k',
  identity: '',
  ip: '127.0.0.1',
  status: 200,
  durationMs: 0.5,
};

type Bench = {
  readonly file: string;
  readonly config: KesAuditConfig;
  open(extra?: Partial<KesAuditConfig>, openFile?: typeof openForAppend): Promise<AuditFile>;
  verify(...files: string[]): Promise<{ readonly code: number; readonly text: string }>;
};

async function bench(t: TestContext): Promise<Bench> {
  const dir = await mkdtemp(path.join(tmpdir(), 'coffer-audit-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const file = path.join(dir, 'audit.log');
  const config: KesAuditConfig = {
    file,
    mode: 'strict',
    keyFile: `${file}.key`,
    checkpointLines: 1_000,
    checkpointMs: 60_000,
  };
  return {
    file,
    config,
    open: (extra = {}, open = openForAppend) =>
      openAuditFile({ ...config, ...extra }, { log: silentLog, nowMs: Date.now, open }),
    async verify(...files) {
      let text = '';
      const out = new Writable({
        write(chunk: Buffer, _encoding, done) {
          text += chunk.toString();
          done();
        },
      });
      const io = {
        env: {},
        stdin: new PassThrough(),
        stdout: out,
        stderr: out,
        signal: new AbortController().signal,
      };
      const code = await runKesLogVerify(files.length === 0 ? [file] : files, io);
      return { code, text };
    },
  };
}

async function kindsIn(file: string): Promise<string[]> {
  const text = await readFile(file, 'latin1');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => /"kind":"(\w+)"/.exec(line)?.[1] ?? '?');
}

test('a strict line is in the file when record resolves, and the log is intact', async (t) => {
  const { file, open, verify } = await bench(t);
  const audit = await open();
  await Promise.all(Array.from({ length: 50 }, async () => audit.record(event)));
  assert.equal((await kindsIn(file)).filter((kind) => kind === 'call').length, 50);
  await audit.close();
  assert.equal((await verify()).code, 0);
  assert.match((await verify()).text, /The log is intact/);
  assert.match((await verify()).text, /not yet signed: +0 lines/);
  assert.equal((await stat(`${file}.key`)).mode & 0o777, 0o600);
  assert.match(await readFile(`${file}.key.pub`, 'utf8'), /BEGIN PUBLIC KEY/);
});

test('calls that come together share a sync', async (t) => {
  const { open } = await bench(t);
  let syncs = 0;
  const audit = await open({}, async (file) => {
    const handle = await openForAppend(file);
    const datasync = handle.datasync.bind(handle);
    handle.datasync = async () => {
      syncs += 1;
      await datasync();
    };
    return handle;
  });
  syncs = 0;
  await Promise.all(Array.from({ length: 100 }, async () => audit.record(event)));
  assert.ok(syncs <= 2, `${syncs} syncs`);
  await audit.close();
});

test('checkpoints come after so many lines', async (t) => {
  const { file, open, verify } = await bench(t);
  const audit = await open({ checkpointLines: 2 });
  for (let call = 0; call < 5; call += 1) await audit.record(event);
  const kinds = await kindsIn(file);
  assert.deepEqual(kinds.slice(2), 'call call checkpoint call call checkpoint call'.split(' '));
  await Promise.all(Array.from({ length: 7 }, async () => audit.record(event)));
  const more = (await kindsIn(file)).slice(kinds.length).join(' ').replaceAll('call', 'c');
  assert.equal(more, 'c checkpoint c c checkpoint c c checkpoint c c checkpoint');
  await audit.close();
  assert.equal((await verify()).code, 0);
});

test('a checkpoint comes after so long', async (t) => {
  const { file, config } = await bench(t);
  let nowMs = 1_000;
  const audit = await openAuditFile(config, { log: silentLog, nowMs: () => nowMs });
  await audit.record(event);
  nowMs += config.checkpointMs - 1;
  await audit.tick();
  assert.equal((await kindsIn(file)).at(-1), 'call');
  nowMs += 1;
  await audit.tick();
  assert.equal((await kindsIn(file)).at(-1), 'checkpoint');
  await audit.close();
});

test('the chain goes on over restarts, rotations and a rotation while it was stopped', async (t) => {
  const { file, config, open, verify } = await bench(t);
  let audit = await open();
  await audit.record(event);
  await audit.close();
  audit = await open();
  await audit.record(event);
  await rename(file, `${file}.1`);
  await audit.record(event);
  await audit.reopen(config);
  await audit.record(event);
  await audit.close();
  assert.equal((await verify(`${file}.1`, file)).code, 0);
  await rename(file, `${file}.2`);
  audit = await open();
  await audit.record(event);
  await audit.close();
  const all = await verify(`${file}.1`, `${file}.2`, file);
  assert.equal(all.code, 0, all.text);
  assert.equal((await verify(`${file}.2`, `${file}.1`, file)).code, 1);
  const gap = await verify(`${file}.1`, file);
  assert.match(gap.text, /removed/);
  assert.match((await verify(`${file}.2`)).text, /lines before number \d+ are not in these files/);
});

test('SIGHUP without a rotation changes nothing in the file', async (t) => {
  const { file, config, open } = await bench(t);
  const audit = await open();
  await audit.record(event);
  await audit.reopen(config);
  await audit.record(event);
  const kinds = await kindsIn(file);
  assert.deepEqual(kinds, ['start', 'checkpoint', 'call', 'checkpoint', 'call']);
  await audit.close();
});

test('after a crash between checkpoint and rotation the rotated file is asked for the end', async (t) => {
  const { file, open, verify } = await bench(t);
  const first = await open();
  await first.record(event);
  // As after a kill: no closing checkpoint, a head that is older than the file, half a line.
  const crashed = await readFile(file);
  const head = await readFile(`${file}.head`);
  await first.close();
  await writeFile(`${file}.1`, Buffer.concat([crashed, Buffer.from('{"seq":4,"kind"')]));
  await rm(file);
  await writeFile(`${file}.head`, head);
  const second = await open();
  await second.close();
  const result = await verify(`${file}.1`, file);
  assert.equal(result.code, 0, result.text);
  assert.match(result.text, /cut off by crashes: 1/);
});

test('a line cut off by a crash is recorded, wherever it was cut', async (t) => {
  const { file, open, verify } = await bench(t);
  const audit = await open();
  await audit.record(event);
  const whole = await readFile(file);
  await audit.record(event);
  const full = await readFile(file);
  await audit.close();
  for (const length of [whole.length + 1, whole.length + 100, full.length - 1]) {
    await writeFile(file, full.subarray(0, length));
    await rm(`${file}.head`);
    const next = await open();
    await next.record(event);
    await next.close();
    const result = await verify();
    assert.equal(result.code, 0, result.text);
    assert.match(result.text, /cut off by crashes: 1/);
    assert.ok((await readFile(file)).subarray(0, length).equals(full.subarray(0, length)));
  }
  await writeFile(file, full.subarray(0, 30));
  await rm(`${file}.head`);
  await (await open()).close();
  assert.equal((await verify()).code, 0);
});

test('a damaged end is refused', async (t) => {
  const { file, open } = await bench(t);
  await (await open()).close();
  await appendFile(file, 'something else\n');
  await assert.rejects(
    open(),
    (error) => error instanceof AuditFileError && error.code === 'damaged',
  );
});

test('a cut end shows against the head, and another key is refused', async (t) => {
  const { file, open, verify } = await bench(t);
  const audit = await open();
  for (let call = 0; call < 5; call += 1) await audit.record(event);
  await audit.close();
  const text = await readFile(file, 'latin1');
  const lines = text.trimEnd().split('\n');
  await truncate(file, lines.slice(0, 4).join('\n').length + 1);
  assert.match((await verify()).text, /NOT INTACT: .*line 4: truncated/);
  await writeFile(file, text);
  assert.equal((await verify()).code, 0);
  const other = path.join(path.dirname(file), 'other');
  await (await open({ file: other, keyFile: `${other}.key` })).close();
  assert.match((await verify(file, '--key', `${other}.key.pub`)).text, /wrong-signer/);
  const json = await verify(file, '--key', `${file}.key.pub`, '--json');
  assert.equal((JSON.parse(json.text) as { isIntact: boolean }).isIntact, true);
});

/** Opens the file so that its next writes fail as on a full disk while `isFull()`. */
function onFullDisk(isFull: () => boolean): typeof openForAppend {
  return async (file): Promise<FileHandle> => {
    const handle = await openForAppend(file);
    const append = handle.appendFile.bind(handle);
    handle.appendFile = async (data, options) => {
      if (!isFull()) return append(data, options);
      await append('{"seq":9,"kind":"call', options);
      throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
    };
    return handle;
  };
}

test('on a full disk a strict call is refused, half a line is taken back, and the log tells', async (t) => {
  const { open, verify, file } = await bench(t);
  let isFull = false;
  const audit = await open(
    {},
    onFullDisk(() => isFull),
  );
  await audit.record(event);
  const before = await readFile(file);
  isFull = true;
  await assert.rejects(
    async () => audit.record(event),
    (error) => error instanceof AuditFileError && error.code === 'failed',
  );
  assert.ok((await readFile(file)).equals(before));
  isFull = false;
  await audit.record(event);
  await audit.close();
  const result = await verify();
  assert.equal(result.code, 0, result.text);
  assert.match(result.text, /calls without line: +1/);
});

test('on a full disk a relaxed log keeps its lines until they fit', async (t) => {
  const { open, verify, file } = await bench(t);
  let isFull = false;
  const audit = await open(
    { mode: 'relaxed' },
    onFullDisk(() => isFull),
  );
  isFull = true;
  for (let call = 0; call < 5; call += 1) assert.equal(audit.record(event), undefined);
  await new Promise((resolve) => setImmediate(resolve));
  await audit.tick();
  assert.equal((await kindsIn(file)).includes('call'), false);
  isFull = false;
  await audit.tick();
  await audit.close();
  assert.equal((await kindsIn(file)).filter((kind) => kind === 'call').length, 5);
  assert.equal((await verify()).code, 0);
});

test('lines of another program are not cut away', async (t) => {
  const { open, file } = await bench(t);
  const [first, second] = [await open(), await open()];
  await second.record(event);
  await assert.rejects(async () => first.record(event), /another program/);
  assert.equal((await kindsIn(file)).filter((kind) => kind === 'call').length, 1);
  await first.close();
  await second.close();
});

test('a log that was cut is not gone on with: refused at start, told for ever while running', async (t) => {
  for (const isRunning of [false, true]) {
    const { file, open, verify } = await bench(t);
    let audit = await open({ checkpointLines: 2 });
    for (let call = 0; call < 6; call += 1) await audit.record(event);
    if (!isRunning) await audit.close();
    const lines = (await readFile(file, 'latin1')).split('\n');
    await truncate(file, lines.slice(0, 4).join('\n').length + 1);
    if (isRunning) {
      await assert.rejects(async () => audit.record(event), /another program/);
      await audit.record(event);
      assert.ok((await kindsIn(file)).includes('lost'));
      await audit.close();
      assert.match((await verify()).text, /NOT INTACT.*removed.*lines are gone/);
      continue;
    }
    await assert.rejects(
      open(),
      (error) => error instanceof AuditFileError && error.code === 'damaged',
    );
    assert.match((await verify()).text, /NOT INTACT/);
    await rename(file, `${file}.cut`);
    audit = await open();
    await audit.close();
    assert.match((await verify(`${file}.cut`, file)).text, /NOT INTACT.*removed/);
  }
});
