// Keeps the shape of the project: who may import whom, sizes, names, leftovers. The tables are the rule;
// ARCHITECTURE.md tells why.

import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

/** Folder of `src/` → folders it may import from, besides itself. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  base: [],
  aead: ['base'],
  sigv4: ['base'],
  keys: ['base'],
  wire: ['base', 'aead'],
  sse: ['base', 'aead'],
  store: ['base', 'aead', 'sse'],
  iam: ['base', 'sigv4', 'store'],
  kms: ['base', 'wire', 'sse', 'keys'],
  keystores: ['base', 'sigv4', 'keys'],
  blob: ['base', 'sigv4', 'store'],
  kv: ['base', 'store'],
  s3: ['base', 'sigv4', 'sse', 'iam', 'store'],
  kes: ['base', 'wire', 'keys'],
  admin: ['base', 'wire', 'aead', 'sigv4', 'sse', 'iam', 'store'],
  cli: ['base', 'wire', 'aead', 'sigv4'],
  server: [
    'base',
    'aead',
    'sigv4',
    'keys',
    'wire',
    'sse',
    'store',
    'iam',
    'kms',
    'keystores',
    'blob',
    'kv',
    's3',
    'kes',
    'admin',
    'cli',
  ],
};

/** Packages that exactly one folder may import, so that replacing one is a local change. */
const packageHomes: Readonly<Record<string, readonly string[]>> = {
  lmdb: ['src/kv/'],
  msgpackr: ['src/store/'],
  'fast-xml-parser': ['src/base/'],
  pino: ['src/server/', 'src/cli/'],
  commander: ['src/cli/', 'src/server/'],
  'cli-progress': ['src/cli/'],
};

const linesMax = 500;
/** Tables and tests may be longer. */
const longFiles: ReadonlySet<string> = new Set(['src/store/types.ts']);

type SourceFile = { readonly file: string; readonly text: string };

function sources(pattern: string): SourceFile[] {
  return globSync(pattern)
    .map((file) => file.replaceAll('\\', '/'))
    .toSorted()
    .map((file) => ({ file, text: readFileSync(file, 'utf8') }));
}

const importPattern =
  /(?:^|\n)\s*(?:import|export)\b[^'"`;]*?from\s+'([^']+)'|import\(\s*'([^']+)'\s*\)/g;

function importsOf(source: SourceFile): string[] {
  return [...source.text.matchAll(importPattern)].map((match) => match[1] ?? match[2] ?? '');
}

function folderOf(file: string): string {
  return file.split('/')[1] ?? '';
}

const code = sources('src/**/*.ts');

test('every folder imports only from the rings above its own', () => {
  const wrong: string[] = [];
  for (const source of code) {
    const folder = folderOf(source.file);
    const allowed = mayImport[folder];
    if (source.file.endsWith('.test.ts')) continue;
    assert.ok(allowed, `${source.file}: folder ${folder} has no row in the import table`);
    for (const target of importsOf(source).filter((name) => name.startsWith('.'))) {
      const resolved = path.posix.join(path.posix.dirname(source.file), target);
      const other = folderOf(resolved);
      if (other !== folder && !allowed.includes(other))
        wrong.push(`${source.file} imports ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test('relative imports end in .ts and stay inside the project', () => {
  const wrong = code.flatMap((source) =>
    importsOf(source)
      .filter((name) => name.startsWith('.') && !name.endsWith('.ts'))
      .map((name) => `${source.file}: ${name}`),
  );
  assert.deepEqual(wrong, []);
});

test('each driver package has one home', () => {
  const wrong = code.flatMap((source) =>
    importsOf(source)
      .filter((name) => packageHomes[name] !== undefined)
      .filter((name) => !(packageHomes[name] ?? []).some((home) => source.file.startsWith(home)))
      .map((name) => `${source.file} imports ${name}`),
  );
  assert.deepEqual(wrong, []);
});

test('no two files import each other, directly or in a circle', () => {
  const graph = new Map<string, string[]>();
  for (const source of code) {
    const targets = [
      ...source.text.matchAll(
        /(?:^|\n)\s*(?:import|export)\s(?!type\b)[^'"`;]*?from\s+'(\.[^']+)'/g,
      ),
    ];
    graph.set(
      source.file,
      targets.map((match) => path.posix.join(path.posix.dirname(source.file), match[1] ?? '')),
    );
  }
  const done = new Set<string>();
  const circles: string[] = [];
  const visit = (file: string, trail: readonly string[]): void => {
    if (trail.includes(file)) {
      circles.push([...trail.slice(trail.indexOf(file)), file].join(' → '));
      return;
    }
    if (done.has(file)) return;
    for (const next of graph.get(file) ?? []) visit(next, [...trail, file]);
    done.add(file);
  };
  for (const file of graph.keys()) visit(file, []);
  assert.deepEqual(circles, []);
});

test(`no source file is longer than ${linesMax} lines`, () => {
  const long = code
    .filter((source) => !source.file.endsWith('.test.ts') && !longFiles.has(source.file))
    .map((source) => ({ file: source.file, lines: source.text.split('\n').length - 1 }))
    .filter((source) => source.lines > linesMax);
  assert.deepEqual(long, []);
});

test('files are named in kebab-case and say at their top what they are for', () => {
  const wrong = [
    ...code,
    ...sources('tools/**/*.ts'),
    ...sources('bench/**/*.ts'),
    ...sources('test/**/*.ts'),
  ]
    .filter((source) => {
      const name = path.posix.basename(source.file);
      if (!/^[a-z0-9]+(-[a-z0-9]+)*(\.test)?\.ts$/.test(name)) return true;
      // A unit test stands beside the file it tests, and its test names say what it is for.
      return !name.endsWith('.test.ts') && !/^(#!.*\n)?(\/\/|\/\*)/.test(source.text);
    })
    .map((source) => source.file);
  assert.deepEqual(wrong, []);
});

test('only the edges read the environment, arguments, or print', () => {
  const wrong = code
    .filter(
      (source) => !/^src\/(server|cli)\//.test(source.file) && !source.file.endsWith('.test.ts'),
    )
    .filter((source) => /\bprocess\.(env|argv)\b|\bconsole\.\w+\(/.test(source.text))
    .map((source) => source.file);
  assert.deepEqual(wrong, []);
});

test('no leftover markers, no any, no focused tests', () => {
  const wrong = [
    ...code,
    ...sources('test/**/*.ts'),
    ...sources('tools/**/*.ts'),
    ...sources('bench/**/*.ts'),
  ]
    .filter((source) => source.file !== 'test/tidy.test.ts')
    .filter(
      (source) =>
        /\bXXX\b|\bFIXME\b|\bTODO\b|\btest\.only\(/.test(source.text) ||
        /: any\b(?= *[;,)=\]>|&{\n])|\bas any\b/.test(
          source.text.replaceAll(/\/\/.*|\/\*[\s\S]*?\*\//g, ''),
        ),
    )
    .map((source) => source.file);
  assert.deepEqual(wrong, []);
});

test('every issue of the change log is one file with both parts', () => {
  const wrong = sources('changes/*.md')
    .filter((source) => !/^# .+\n\n[\s\S]+/.test(source.text))
    .map((source) => source.file);
  assert.deepEqual(wrong, []);
});
