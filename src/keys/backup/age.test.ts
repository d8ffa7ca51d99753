import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  AgeError,
  type AgeErrorCode,
  ageIdentityOf,
  type AgeIdentity,
  type AgeRecipient,
  formatAgeIdentity,
  formatAgeRecipient,
  generateAgeIdentity,
  openAge,
  parseAgeIdentities,
  parseAgeIdentity,
  parseAgeRecipient,
  sealAge,
} from './age.ts';

/** Made by age v1.3.2 and its age-keygen. */
const known = {
  identity: 'AGE-SECRET-KEY-1KQQP7W9Y2EQ78JJ70K3CTDL2TYSJRL7HYUVLYSRWDGD06W4DKELQWJ083V',
  recipient: 'age1pxs4j2mr6akh9acs4f9m68vpf0mg4adkd22x6s8nzygv0py0s90qn2mg3a',
  file: 'YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSArS2lyTU9BMlZsQy9HWTNvN2dWRW5mTUN6dk5PdFN4SU1EMzZxVlVXWWx3ClVIQld5a24wQ0lxVzNxS2hTa0wzam94aVNlb2luRDFieUtYOG85TVM2b2MKLS0tIGpSSFVmTFdVNzdnQ0NUNXdMcVV1MFRGSXVlNFUyYzdGS2U1YzNVQW5PN1UKNYjkD3fG8gsYo+D0WOnn6JEya2z52xBdgb5mmg9SCKiz9Srl7bW7eCf9HA+jS07pM/NI',
  text: 'a file made by age\n',
};

async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function gather(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(part);
  return Buffer.concat(parts);
}

function seal(recipients: readonly AgeRecipient[], plain: Uint8Array, size = 7_777) {
  return gather(sealAge(recipients, pieces(plain, size)));
}

function openWith(identities: readonly AgeIdentity[], sealed: Uint8Array, size = 7_777) {
  return gather(openAge(identities, pieces(sealed, size)));
}

function armorOf(file: Buffer): string {
  const lines = file.toString('base64').replaceAll(/.{64}/g, '$&\n');
  return `-----BEGIN AGE ENCRYPTED FILE-----\n${lines}\n-----END AGE ENCRYPTED FILE-----\n`;
}

function refusedWith(code: AgeErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof AgeError && error.code === code;
}

test('a file that age made opens, however it arrives', async () => {
  const identities = parseAgeIdentities(`# comment\n\n${known.identity}\n`);
  const file = Buffer.from(known.file, 'base64');
  for (const size of [1, 13, file.length]) {
    assert.equal((await openWith(identities, file, size)).toString(), known.text);
  }
  for (const armored of [armorOf(file), armorOf(file).trim(), `\n ${armorOf(file)}\n`]) {
    assert.equal((await openWith(identities, Buffer.from(armored))).toString(), known.text);
  }
  const armored = armorOf(file);
  for (const damaged of [
    armored.replace('\n', '\n\n'),
    armored.replace(/.\n/, '\n'),
    armored.replace('-----END', ' -----END'),
    armored.replace(/\n[^\n]*\n$/, '\n'),
    armored.replace('BEGIN AGE', 'BEGIN PGP'),
  ]) {
    await assert.rejects(openWith(identities, Buffer.from(damaged)), refusedWith('invalid-file'));
  }
});

test('keys are read and written as age-keygen does', () => {
  const identity = parseAgeIdentity(known.identity);
  assert.equal(formatAgeIdentity(identity), known.identity);
  assert.equal(formatAgeRecipient(identity.recipient), known.recipient);
  assert.equal(formatAgeRecipient(parseAgeRecipient(known.recipient)), known.recipient);
  for (const text of ['', 'age1', known.identity, `${known.recipient}q`, 'age1qqqq']) {
    assert.throws(() => parseAgeRecipient(text), refusedWith('invalid-key'));
  }
  for (const text of ['', '# only a comment', known.recipient]) {
    assert.throws(() => parseAgeIdentities(text), refusedWith('invalid-key'));
  }
  assert.throws(() => ageIdentityOf(Buffer.alloc(31)), refusedWith('invalid-key'));
  assert.throws(
    () => parseAgeIdentities(known.identity.replace('KQQ', 'KQP')),
    (error) => error instanceof AgeError && !error.message.includes('KQP'),
  );
});

test('what is sealed opens for every recipient and nobody else, at every size around a chunk', async () => {
  const [one, two, other] = [generateAgeIdentity(), generateAgeIdentity(), generateAgeIdentity()];
  const recipients = [one.recipient, two.recipient];
  for (const size of [0, 1, 65_535, 65_536, 65_537, 131_072, 140_000]) {
    const plain = Buffer.alloc(size, 3);
    const sealed = await seal(recipients, plain);
    for (const identity of [one, two]) {
      assert.ok((await openWith([other, identity], sealed)).equals(plain));
    }
    await assert.rejects(openWith([other], sealed), refusedWith('no-identity'));
  }
  await assert.rejects(seal([], Buffer.alloc(1)), refusedWith('invalid-key'));
});

test('any flipped bit and any cut is refused', async () => {
  const identity = generateAgeIdentity();
  const sealed = await seal([identity.recipient], Buffer.from('some keys'));
  await fc.assert(
    fc.asyncProperty(fc.nat(sealed.length - 1), fc.nat(7), async (at, bit) => {
      const changed = Buffer.from(sealed);
      changed[at] = (changed[at] ?? 0) ^ (1 << bit);
      await assert.rejects(openWith([identity], changed), AgeError);
    }),
    { numRuns: 400 },
  );
  for (let length = 0; length < sealed.length; length += 1) {
    await assert.rejects(openWith([identity], sealed.subarray(0, length)), AgeError);
  }
  await assert.rejects(openWith([identity], Buffer.concat([sealed, Buffer.alloc(1)])), AgeError);
});

test('chunks that were dropped, swapped or doubled are refused', async () => {
  const identity = generateAgeIdentity();
  const sealed = await seal([identity.recipient], Buffer.alloc(3 * 65_536, 1));
  const chunk = 65_536 + 16;
  const payload = sealed.length - 3 * chunk;
  const [head, a, b, c] = [0, payload, payload + chunk, payload + 2 * chunk].map((from, index) =>
    sealed.subarray(from, [payload, payload + chunk, payload + 2 * chunk, sealed.length][index]),
  ) as [Buffer, Buffer, Buffer, Buffer];
  for (const order of [
    [a, b],
    [a, c],
    [b, a, c],
    [a, a, b, c],
    [a, b, c, c],
  ]) {
    await assert.rejects(
      openWith([identity], Buffer.concat([head, ...order])),
      refusedWith('invalid-file'),
    );
  }
});

test('malformed headers are refused, unknown recipients are skipped', async () => {
  const identity = generateAgeIdentity();
  const sealed = await seal([identity.recipient], Buffer.from('x'));
  const text = sealed.toString('latin1');
  const change = (from: string | RegExp, to: string) =>
    openWith([identity], Buffer.from(text.replace(from, to), 'latin1'));
  const invalid = refusedWith('invalid-file');
  await assert.rejects(change('/v1\n', '/v2\n'), invalid);
  await assert.rejects(change('-> X25519', '->  X25519'), invalid);
  await assert.rejects(change('-> X25519 ', '-> X25519 a '), invalid);
  await assert.rejects(change('-> X25519', 'X25519'), invalid);
  await assert.rejects(change('\n---', '\n\n---'), invalid);
  // A stanza of another kind is no reason to stop, but it is not what the header was made with.
  await assert.rejects(change('-> X25519', '-> other 1\nAAAA\n-> X25519'), invalid);
});
