// XML text in and out. Reading is bounded and knows no DTD, no entity beyond the five of XML itself and
// numeric references, and no namespace: a prefix is dropped and `xmlns` ignored, because clients of the
// protocols served here set it or do not. Writing is string concatenation: documents are small or are
// built element by element.

import { XMLParser, XMLValidator } from 'fast-xml-parser';

/** An element by its local name. `text` is its character data, unescaped, white space kept. */
export type XmlElement = {
  readonly name: string;
  readonly text: string;
  readonly children: readonly XmlElement[];
};

export type XmlErrorCode = 'too-large' | 'malformed';

/** The only error that `parseXml` throws. */
export class XmlError extends Error {
  readonly code: XmlErrorCode;
  constructor(code: XmlErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'XmlError';
    this.code = code;
  }
}

const nestingMax = 32;
/** Start and end tags: enough for ten thousand parts with two checksums each, and little enough to parse at once. */
const tagsMax = 120_000;

/**
 * Parses one document and returns its root element. Throws `XmlError`: `too-large` when the text has more
 * bytes than `maxBytes` or some ten thousands of elements, `malformed` for anything that is not well-formed UTF-8 XML, has a document type
 * declaration, or nests deeper than 32 elements.
 */
export function parseXml(bytes: Uint8Array, limits: { readonly maxBytes: number }): XmlElement {
  if (bytes.length > limits.maxBytes) {
    throw new XmlError('too-large', `XML document of more than ${limits.maxBytes} bytes`);
  }
  if (hasTooManyTags(bytes)) throw new XmlError('too-large', 'XML document of too many elements');
  const text = decodeUtf8(bytes);
  if (/<!(?!--|\[CDATA\[)/.test(text)) {
    throw new XmlError('malformed', 'document type declarations are not accepted');
  }
  let nodes: unknown;
  try {
    const validity = XMLValidator.validate(text);
    if (validity !== true) throw new XmlError('malformed', 'XML is not well-formed');
    nodes = makeParser().parse(text);
  } catch (cause) {
    if (cause instanceof XmlError) throw cause;
    throw new XmlError('malformed', 'XML is not well-formed', { cause });
  }
  const elements = elementsOf(nodes);
  const root = elements[0];
  if (root === undefined || elements.length > 1) {
    throw new XmlError('malformed', 'XML document without a single root element');
  }
  return root;
}

/** The first child with that name. */
export function findChild(element: XmlElement, name: string): XmlElement | undefined {
  return element.children.find((child) => child.name === name);
}

/** The text of the first child with that name, white space around it removed. */
export function findChildText(element: XmlElement, name: string): string | undefined {
  return findChild(element, name)?.text.trim();
}

/** All children with that name, in order. */
export function listChildren(element: XmlElement, name: string): readonly XmlElement[] {
  return element.children.filter((child) => child.name === name);
}

const needsEscape = /[&<>"'\u0000-\u001f\u007f-\u009f\ufffe\uffff]/;
const escapes = /[&<>"'\u0000-\u001f\u007f-\u009f\ufffe\uffff]/g;

/**
 * Text as XML character data. Control characters become numeric references, so that none is lost; quotes the named
 * ones, as not every client's parser knows numeric references.
 */
export function escapeXml(text: string): string {
  return needsEscape.test(text) ? text.replace(escapes, escapeCharacter) : text;
}

/** `<name>text</name>`, the text escaped. */
export function xmlElement(name: string, text: string | number | boolean): string {
  const escaped = typeof text === 'string' ? escapeXml(text) : String(text);
  return `<${name}>${escaped}</${name}>`;
}

/** Like `xmlElement`, and nothing at all when there is no text. */
export function xmlOptional(name: string, text: string | number | undefined): string {
  return text === undefined || text === '' ? '' : xmlElement(name, text);
}

function escapeCharacter(character: string): string {
  switch (character) {
    case '&':
      return '&amp;';
    case '<':
      return '&lt;';
    case '>':
      return '&gt;';
    case '"':
      return '&quot;';
    case "'":
      return '&apos;';
    default:
      return `&#x${character.charCodeAt(0).toString(16).toUpperCase()};`;
  }
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new XmlError('malformed', 'XML is not valid UTF-8', { cause });
  }
}

/** A parser keeps state between documents, so each document gets its own. */
function makeParser(): XMLParser {
  return new XMLParser({
    preserveOrder: true,
    ignoreAttributes: true,
    ignoreDeclaration: true,
    ignorePiTags: true,
    removeNSPrefix: true,
    parseTagValue: false,
    trimValues: false,
    processEntities: false,
    cdataPropName: '#cdata',
    maxNestedTags: nestingMax,
  });
}

function hasTooManyTags(bytes: Uint8Array): boolean {
  let tags = 0;
  for (let at = bytes.indexOf(0x3c); at !== -1; at = bytes.indexOf(0x3c, at + 1)) {
    tags += 1;
    if (tags > tagsMax) return true;
  }
  return false;
}

/** The parser's ordered form is an array of `{ name: children }` and `{ '#text': text }`. */
type Node = Readonly<Record<string, unknown>>;

function elementsOf(nodes: unknown): XmlElement[] {
  const elements: XmlElement[] = [];
  if (!Array.isArray(nodes)) return elements;
  for (const node of nodes as readonly Node[]) {
    const name = nameOf(node);
    if (name === undefined || name === '#text' || name === '#cdata') continue;
    const value = node[name];
    elements.push({ name, text: textOf(value), children: elementsOf(value) });
  }
  return elements;
}

function textOf(nodes: unknown): string {
  let text = '';
  if (!Array.isArray(nodes)) return text;
  for (const node of nodes as readonly Node[]) {
    const raw = node['#text'];
    if (typeof raw === 'string') text += decodeReferences(raw);
    else if (node['#cdata'] !== undefined) text += rawTextOf(node['#cdata']);
  }
  return text;
}

function rawTextOf(nodes: unknown): string {
  if (!Array.isArray(nodes)) return '';
  const texts = (nodes as readonly Node[]).map((node) => node['#text']);
  return texts.filter((text) => typeof text === 'string').join('');
}

function nameOf(node: Node): string | undefined {
  for (const name in node) if (name !== ':@') return name;
  return undefined;
}

const namedReferences: Readonly<Record<string, string>> = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  apos: "'",
};

function decodeReferences(text: string): string {
  if (!text.includes('&')) return text;
  return text.replace(/&([^;&]{0,16});?/g, (whole, name: string) => {
    const named = namedReferences[name];
    if (named !== undefined && whole.endsWith(';')) return named;
    const digits = /^#(?:x([0-9a-fA-F]+)|([0-9]+))$/.exec(name);
    if (digits === null || !whole.endsWith(';')) {
      throw new XmlError('malformed', 'unknown entity in XML');
    }
    const code = digits[1] === undefined ? Number(digits[2]) : Number.parseInt(digits[1], 16);
    if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
      throw new XmlError('malformed', 'character reference out of range in XML');
    }
    return String.fromCodePoint(code);
  });
}
