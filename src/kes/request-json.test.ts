import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesMember, parseArray, parseMembers, textMember } from './request-json.ts';

const problem = 'invalid request body';
const refused = { name: 'KesHttpError', status: 400, message: problem };
const members = (text: string) => parseMembers(Buffer.from(text), problem);

test('takes the first JSON value and ignores what follows', () => {
  for (const text of ['{"a":"x"}', '{"a":"x"}garbage', ' {"a":"x"} {"a":"y"}', '{"a":"x"}\n']) {
    assert.equal(textMember(members(text), 'a', problem), 'x');
  }
  assert.deepEqual({ ...members('null') }, {});
  assert.equal(textMember(members('{"a":"}\\"{"}}'), 'a', problem), '}"{');
});

test('refuses bodies that are no object', () => {
  for (const text of ['', ' ', '[]', '"x"', '5', '{', '{"a":', '{"a":"x"', 'true', '{]}', '}']) {
    assert.throws(() => members(text), refused, text);
  }
});

test('finds members in any case, the exact one first', () => {
  assert.equal(textMember(members('{"CipherText":"x"}'), 'ciphertext', problem), 'x');
  assert.equal(textMember(members('{"A":"x","a":"y"}'), 'a', problem), 'y');
  assert.equal(textMember(members('{}'), 'a', problem), '');
  assert.throws(() => textMember(members('{"a":5}'), 'a', problem), refused);
});

test('byte strings are padded standard base64; missing, null and empty ones are empty', () => {
  const bytes = (text: string) => bytesMember(members(text), 'a', problem).toString('hex');
  assert.equal(bytes('{}'), '');
  assert.equal(bytes('{"a":null}'), '');
  assert.equal(bytes('{"a":""}'), '');
  assert.equal(bytes('{"a":"AQI="}'), '0102');
  assert.equal(bytes('{"a":"AQ\\r\\nI="}'), '0102');
  for (const text of ['"AQI"', '"AQ I="', '"-_-_"', '"===="', '5', '{}', '"A"', '"=AQI"']) {
    assert.throws(() => bytes(`{"a":${text}}`), refused, text);
  }
});

test('an array of objects is read like an object, with rest', () => {
  const items = (text: string) => parseArray(Buffer.from(text), problem);
  assert.deepEqual(items('[]'), []);
  assert.deepEqual(items(' [{"a":"]"},{}] trailing'), [{ a: ']' }, {}]);
  for (const text of ['{}', '[1]', '[null]', '[[]]', '["x"]', '[', '[{}', '', 'null']) {
    assert.throws(() => items(text), refused, text);
  }
});
