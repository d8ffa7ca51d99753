import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  escapeXml,
  findChild,
  findChildText,
  listChildren,
  parseXml,
  XmlError,
  xmlElement,
  xmlOptional,
} from './xml.ts';

const limits = { maxBytes: 1_000_000 };
const parse = (text: string) => parseXml(Buffer.from(text), limits);

void test('elements are found by local name, with and without a namespace', () => {
  for (const text of [
    '<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>a</Key></Object><Object><Key>b</Key></Object></Delete>',
    '<?xml version="1.0" encoding="UTF-8"?>\n<s3:Delete xmlns:s3="urn:x"><s3:Object><s3:Key>a</s3:Key></s3:Object>\n<s3:Object><s3:Key>b</s3:Key></s3:Object></s3:Delete>\n',
  ]) {
    const root = parse(text);
    assert.equal(root.name, 'Delete');
    assert.deepEqual(
      listChildren(root, 'Object').map((object) => findChildText(object, 'Key')),
      ['a', 'b'],
    );
  }
});

void test('references, CDATA and comments are read as text', () => {
  const root = parse(
    '<a><b>&lt;&amp;&gt;&quot;&apos;&#13;&#x1F600;</b><c><![CDATA[<&amp;>]]></c><!-- no --><d/></a>',
  );
  assert.equal(findChild(root, 'b')?.text, '<&>"\'\r\u{1F600}');
  assert.equal(findChild(root, 'c')?.text, '<&amp;>');
  assert.equal(findChild(root, 'd')?.text, '');
});

void test('white space in text is kept, numbers stay text', () => {
  const root = parse('<a><Key> 00x\n </Key><n>007</n></a>');
  assert.equal(findChild(root, 'Key')?.text, ' 00x\n ');
  assert.equal(findChild(root, 'n')?.text, '007');
});

void test('document types, entities, bad XML and too much of it are refused', () => {
  for (const text of [
    '',
    'x',
    '<a>',
    '<a></b>',
    '<a/><b/>',
    '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
    '<a>&nbsp;</a>',
    '<a>&#xD800;</a>',
    '<a>&</a>',
    '<a><__proto__>x</__proto__></a>',
    `${'<a>'.repeat(100)}${'</a>'.repeat(100)}`,
  ]) {
    assert.throws(
      () => parse(text),
      (error) => error instanceof XmlError && error.code === 'malformed',
      text,
    );
  }
  assert.throws(
    () => parseXml(Buffer.from([0x3c, 0x61, 0x3e, 0xff, 0x3c, 0x2f, 0x61, 0x3e]), limits),
    XmlError,
  );
  assert.throws(
    () => parseXml(Buffer.alloc(11, 0x20), { maxBytes: 10 }),
    (error) => error instanceof XmlError && error.code === 'too-large',
  );
});

void test('a document of too many elements is refused before it is parsed', () => {
  const parts = (count: number) => `<a>${'<b>1</b>'.repeat(count)}</a>`;
  assert.equal(parse(parts(50_000)).children.length, 50_000);
  assert.throws(
    () => parse(parts(60_000)),
    (error) => error instanceof XmlError && error.code === 'too-large',
  );
});

void test('every text survives escaping and parsing', () => {
  const text = 'a<b>&"\'\r\n\t\u0001\u{1F600}é';
  assert.equal(escapeXml('\u0001\r'), '&#x1;&#xD;');
  assert.equal(escapeXml('\'"'), '&apos;&quot;', 'the names every parser knows');
  assert.equal(findChild(parse(`<r>${xmlElement('x', text)}</r>`), 'x')?.text, text);
  assert.equal(xmlElement('n', 5), '<n>5</n>');
  assert.equal(xmlOptional('n', undefined), '');
});
