import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { readVectors } from '../../../test/support/vectors.ts';
import type { AuditEvent } from './audit.ts';
import {
  type AuditEntry,
  callEntry,
  type ChainPoint,
  chainCheckpoint,
  chainLine,
  chainStart,
  formatSigner,
  hashAuditLine,
  objectInContext,
  parseAuditLine,
} from './chain.ts';
import { type AuditReport, AuditVerifier } from './verify.ts';

const time = '2026-01-02T03:04:05.678Z';
const { privateKey, publicKey } = generateKeyPairSync('ed25519');

const event: AuditEvent = {
  timeMs: Date.parse(time),
  method: 'PUT',
  path: '/v1/key/decrypt/my-key',
  identity: 'ab'.repeat(32),
  ip: '127.0.0.1',
  status: 200,
  durationMs: 1.23456,
  operation: 'key-decrypt',
  key: 'my-key',
  version: 2,
  object: 'bucket/a/é\n\u202e.txt',
  isAllowed: true,
};

/** A log of `calls` calls with a checkpoint after every `every`, and one at the end. */
function logOf(calls: number, every: number): { readonly lines: string[]; readonly head: string } {
  const lines: string[] = [];
  let point: ChainPoint = chainStart;
  const keep = (made: { readonly line: string; readonly point: ChainPoint }) => {
    lines.push(made.line);
    point = made.point;
  };
  const add = (entry: AuditEntry) => keep(chainLine(point, entry));
  add({ kind: 'start', time, file: 'new', signer: formatSigner(publicKey) });
  for (let call = 1; call <= calls; call += 1) {
    add(callEntry({ ...event, status: call % 3 === 0 ? 403 : 200 }, time));
    if (call % every === 0) keep(chainCheckpoint(point, { privateKey, time }));
  }
  keep(chainCheckpoint(point, { privateKey, time }));
  return { lines, head: lines.at(-1) ?? '' };
}

/** Checks the bytes of a file, with the head and the key as an operator has them. */
function verify(bytes: Uint8Array, head?: string): AuditReport {
  const verifier = new AuditVerifier([publicKey]);
  if (head !== undefined) verifier.expect(Buffer.from(head), 'head');
  verifier.startFile('log');
  let start = 0;
  for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, start)) {
    verifier.add(bytes.subarray(start, end), true);
    start = end + 1;
  }
  if (start < bytes.length) verifier.add(bytes.subarray(start), false);
  return verifier.report();
}

function fileOf(lines: readonly string[]): Buffer {
  return Buffer.from(lines.map((line) => `${line}\n`).join(''));
}

test('a log as it was written is intact', () => {
  const { lines, head } = logOf(10, 4);
  const report = verify(fileOf(lines), head);
  assert.equal(report.finding, undefined);
  assert.equal(report.lines, 14);
  assert.equal(report.checkpoints, 3);
  assert.equal(report.unsignedLines, 0);
});

test('the known log is intact, and its lines are written the same again', () => {
  const vectors = readVectors('audit-log.json') as { seed: string; lines: string[] };
  const prefix = Buffer.from('302e020100300506032b657004220420', 'hex');
  const der = Buffer.concat([prefix, Buffer.from(vectors.seed, 'hex')]);
  const signer = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const verifier = new AuditVerifier([createPublicKey(signer)]);
  for (const line of vectors.lines) verifier.add(Buffer.from(line), true);
  const report = verifier.report();
  assert.equal(report.finding, undefined);
  assert.deepEqual([report.lines, report.recovered, report.lostCalls], [8, 1, 3]);
  let point = chainStart;
  for (const line of vectors.lines) {
    const entry = parseAuditLine(Buffer.from(line));
    if (entry === undefined) continue;
    const { seq, prev, ...rest } = entry;
    assert.deepEqual([seq, prev], [point.seq + 1, point.hash]);
    const by = { privateKey: signer, time: entry.time };
    const again = rest.kind === 'checkpoint' ? chainCheckpoint(point, by) : chainLine(point, rest);
    assert.equal(again.line, line);
    point = again.point;
  }
});

test('a line is ASCII, canonical, and says what the event says', () => {
  const { line } = chainLine(chainStart, callEntry(event, time));
  assert.match(line, /^[\x20-\x7e]*$/);
  assert.match(line, /"object":"bucket\/a\/\\u00e9\\n\\u202e\.txt"/);
  const entry = parseAuditLine(Buffer.from(line));
  assert.ok(entry?.kind === 'call');
  assert.equal(entry.object, event.object);
  assert.equal(entry.durationMs, 1.235);
  assert.equal(entry.prev, chainStart.hash);
  assert.equal(parseAuditLine(Buffer.from(line.replace(':200', ': 200'))), undefined);
  assert.equal(parseAuditLine(Buffer.from(line.replace(':200', ':2e2'))), undefined);
});

test('texts from outside are bounded', () => {
  const long = 'x'.repeat(100_000);
  const flood = { ...event, path: long, object: long, reason: long, key: long, identity: long };
  assert.ok(chainLine(chainStart, callEntry(flood, time)).line.length < 4_000);
});

test('any flipped bit is found', () => {
  const { lines, head } = logOf(6, 3);
  const bytes = fileOf(lines);
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 0, max: 7 }), (at, bit) => {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ (1 << bit);
      assert.equal(verify(changed, head).isIntact, false);
    }),
    { numRuns: 2_000 },
  );
});

test('a flipped bit in a signed line is found without the head too', () => {
  const bytes = fileOf(logOf(2, 2).lines);
  for (let at = 0; at < bytes.length; at += 1) {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 1;
    assert.equal(verify(changed).isIntact, false, `byte ${at}`);
  }
});

test('any removed, swapped, doubled or moved line is found, and what it was is named', () => {
  const { lines, head } = logOf(12, 5);
  const index = fc.nat(lines.length - 1);
  fc.assert(
    fc.property(index, index, fc.constantFrom('remove', 'swap', 'double', 'move'), (a, b, how) => {
      const changed = [...lines];
      const [first = '', second = ''] = [lines[a], lines[b]];
      if (how === 'remove') changed.splice(a, 1);
      else if (how === 'double') changed.splice(b, 0, first);
      else if (how === 'move') changed.splice(b, 0, ...changed.splice(a, 1));
      else [changed[a], changed[b]] = [second, first];
      const isSame = changed.join() === lines.join();
      const { isIntact, finding } = verify(fileOf(changed), head);
      assert.equal(isIntact, isSame);
      if (isSame || a === 0 || b === 0) return;
      const isEndGone = how === 'remove' && a === lines.length - 1;
      const expected = isEndGone ? 'truncated' : how === 'remove' ? 'removed' : 'reordered';
      assert.equal(finding?.kind, expected);
    }),
    { numRuns: 1_000 },
  );
});

test('any cut before the last checkpoint is found', () => {
  const { lines, head } = logOf(5, 2);
  const bytes = fileOf(lines);
  for (let length = 0; length < bytes.length; length += 1) {
    assert.equal(verify(bytes.subarray(0, length), head).finding?.kind, 'truncated', `${length}`);
  }
});

test('a log that somebody wrote anew has another signer', () => {
  const other = generateKeyPairSync('ed25519');
  const start = chainLine(chainStart, {
    kind: 'start',
    time,
    file: 'new',
    signer: formatSigner(publicKey),
  });
  const forged = chainCheckpoint(start.point, { privateKey: other.privateKey, time });
  assert.equal(verify(fileOf([start.line, forged.line])).finding?.kind, 'wrong-signer');
  const { signature } = JSON.parse(forged.line) as { signature: string };
  const real = chainCheckpoint(start.point, { privateKey, time });
  const entry = JSON.parse(real.line) as { signature: string };
  const mixed = JSON.stringify({ ...entry, signature });
  assert.equal(verify(fileOf([start.line, mixed])).finding?.kind, 'wrong-signer');
});

test('a line cut off by a crash is right only where its recovery says so', () => {
  const { lines } = logOf(3, 10);
  const kept = lines.slice(0, 3);
  const last = parseAuditLine(Buffer.from(kept.at(-1) ?? ''));
  const point = { seq: last?.seq ?? 0, hash: hashAuditLine(kept.at(-1) ?? '') };
  const start = chainLine(point, {
    kind: 'start',
    time,
    file: 'continued',
    signer: formatSigner(publicKey),
  });
  for (const torn of ['{"seq":4,"ki', lines[3] ?? '', '\0\0\0\0']) {
    const recovered = chainLine(start.point, {
      kind: 'recovered',
      time,
      bytes: torn.length,
      sha256: hashAuditLine(torn),
    });
    const checkpoint = chainCheckpoint(recovered.point, { privateKey, time });
    const after = [start.line, recovered.line, checkpoint.line];
    const report = verify(fileOf([...kept, torn, ...after]));
    assert.equal(report.finding, undefined);
    assert.equal(report.recovered, 1);
    assert.equal(report.lines, 6);
    const other = torn.replace(/.$/s, 'x');
    assert.equal(verify(fileOf([...kept, other, ...after])).isIntact, false);
    assert.equal(verify(fileOf([...kept, torn, start.line, checkpoint.line])).isIntact, false);
    assert.equal(verify(fileOf([...kept, ...after])).isIntact, false);
  }
});

test('the object of a context is found, and only there', () => {
  const find = (text: string) => objectInContext(Buffer.from(text));
  assert.equal(find('{"bucket":"bucket/a/b"}'), 'bucket/a/b');
  assert.equal(find('{"a":"x","bucket":"bucket/a"}'), 'bucket/a');
  assert.equal(find('{"bucket":"bucket"}'), 'bucket');
  assert.equal(find('{"bucket":"other/a"}'), undefined);
  assert.equal(find('{"bucket":5}'), undefined);
  assert.equal(find('{"bucket":'), undefined);
  assert.equal(find(''), undefined);
  assert.equal(find(`{"b":"b/${'x'.repeat(10_000)}"}`), undefined);
});
