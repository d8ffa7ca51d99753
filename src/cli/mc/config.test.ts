import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';

import { AliasStore, isAliasName, isHostUrl, parseHostVariable } from './config.ts';
import { McError } from './error.ts';

const alias = {
  url: 'http://h:1',
  accessKey: 'abc',
  secretKey: 'abcdefgh',
  api: 's3v4',
  path: 'auto',
};

describe('the configuration file', () => {
  let folder = '';
  before(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'mc-config-'));
  });
  after(async () => {
    await rm(folder, { recursive: true });
  });

  it('is made on first use, readable by its owner only, with aliases sorted', async () => {
    const place = path.join(folder, 'first');
    const store = new AliasStore(place, {});
    await store.set('zz', alias);
    await store.set('aa', alias);
    const text = await readFile(store.file, 'utf8');
    assert.match(text, /^\{\n\t"version": "10",\n\t"aliases": \{\n\t\t"aa": \{\n\t\t\t"url"/);
    const names = Object.keys((JSON.parse(text) as { aliases: object }).aliases);
    assert.deepEqual(names, [...names].sort());
    assert.equal((await stat(store.file)).mode & 0o777, 0o600);
    assert.equal((await stat(place)).mode & 0o777, 0o700);
    assert.equal((await stat(store.caFolder)).isDirectory(), true);
  });

  it('keeps fields it does not know, and the text before the change', async () => {
    const place = await mkdtemp(path.join(folder, 'kept-'));
    const document = {
      version: '10',
      extra: 1,
      aliases: { a: { ...alias, license: 'L', new: [1] } },
    };
    const file = path.join(place, 'config.json');
    await writeFile(file, JSON.stringify(document));
    const store = new AliasStore(place, {});
    await store.set('a', { ...alias, url: 'http://other:1' });
    await store.set('b', alias);
    const changed = JSON.parse(await readFile(file, 'utf8')) as typeof document;
    assert.equal(changed.extra, 1);
    assert.equal(changed.aliases.a.license, 'L');
    assert.deepEqual(changed.aliases.a.new, [1]);
    assert.equal(changed.aliases.a.url, 'http://other:1');
    const old = JSON.parse(await readFile(`${file}.old`, 'utf8')) as { aliases: object };
    assert.deepEqual(Object.keys(old.aliases), ['a']);
  });

  for (const text of ['{', '{"version":"9","aliases":{}}', 'null', '[]']) {
    it(`is refused when it holds ${text}`, async () => {
      const place = await mkdtemp(path.join(folder, 'bad-'));
      await writeFile(path.join(place, 'config.json'), text);
      const found = new AliasStore(place, {}).find('a');
      await assert.rejects(found, (error) => error instanceof McError && error.code === 'config');
    });
  }

  it('gives way to MC_HOST_ variables and their file', async () => {
    const place = await mkdtemp(path.join(folder, 'env-'));
    const hosts = path.join(place, 'hosts');
    await writeFile(hosts, 'MC_HOST_file=http://abc:abcdefgh@f:1\n');
    const env = { MC_HOST_a: 'http://env:envsecret@e:1', MC_CONFIG_ENV_FILE: hosts };
    const store = new AliasStore(place, env);
    await store.set('a', alias);
    assert.equal((await store.find('a'))?.accessKey, 'env');
    assert.equal((await store.find('file'))?.url, 'http://f:1');
    assert.deepEqual((await store.list()).map((entry) => entry.name).includes('file'), true);
  });
});

describe('names and addresses', () => {
  it('knows what an alias may be called', () => {
    for (const name of ['a', 'A1', 'my-minio_2']) assert.equal(isAliasName(name), true, name);
    for (const name of ['', '9bad', 'a/b', '-a', 'a.b'])
      assert.equal(isAliasName(name), false, name);
  });

  it('knows what a server may be called', () => {
    for (const url of ['http://h', 'https://h:9000/', 'http://[::1]:9'])
      assert.equal(isHostUrl(url), true, url);
    for (const url of ['ftp://h', 'http://h/x', 'h', 'http://', 'http://h?x']) {
      assert.equal(isHostUrl(url), false, url);
    }
  });

  it('takes MC_HOST_ values apart at the last @, without decoding', () => {
    const parsed = parseHostVariable('t', 'http://ak:s@c%2Fret:token@host:9000');
    assert.equal(parsed.secretKey, 's@c%2Fret');
    assert.equal(parsed.sessionToken, 'token');
    assert.equal(parsed.url, 'http://host:9000');
    assert.equal(parseHostVariable('t', 'https://host').accessKey, '');
    assert.throws(() => parseHostVariable('t', 'host'), McError);
  });
});
