import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { parseArguments } from './args.ts';
import type { FlagSpec } from './args.ts';
import { McError } from './error.ts';

const specs: readonly FlagSpec[] = [
  { name: 'recursive', aliases: ['r'], kind: 'boolean', help: '' },
  { name: 'name', kind: 'text', help: '', env: 'NAME' },
  { name: 'count', aliases: ['c'], kind: 'number', help: '' },
  { name: 'enc-s3', kind: 'list', help: '', env: 'ENC' },
];

const parse = (argv: readonly string[], env: Record<string, string> = {}) =>
  parseArguments(argv, specs, { env });

describe('parseArguments', () => {
  it('accepts flags before, between and after the arguments, with one dash or two', () => {
    const { flags, positional } = parse(['a', '-r', 'b', '--name', 'x', '-count=3', 'c']);
    assert.deepEqual(positional, ['a', 'b', 'c']);
    assert.equal(flags.has('recursive'), true);
    assert.equal(flags.find('name'), 'x');
    assert.equal(flags.number('count', 0), 3);
  });

  it('takes everything after -- and a single dash as arguments', () => {
    assert.deepEqual(parse(['-', '--', '-r']).positional, ['-', '-r']);
  });

  it('lets what is typed win over the environment, and joins lists', () => {
    const env = { NAME: 'env', ENC: 'a/b, c/d' };
    const { flags } = parse(['--name', 'typed', '--enc-s3', 'e/f'], env);
    assert.equal(flags.find('name'), 'typed');
    assert.deepEqual(flags.list('enc-s3'), ['a/b', 'c/d', 'e/f']);
  });

  it('turns a boolean off with =false', () => {
    assert.equal(parse(['--recursive=false']).flags.has('recursive'), false);
  });

  for (const [argv, text] of [
    [['--zz'], 'flag provided but not defined: -zz'],
    [['--name'], 'flag needs an argument: -name'],
    [['-c', 'x'], 'invalid value "x" for flag -c: not a number'],
  ] as const) {
    it(`refuses ${argv.join(' ')}`, () => {
      assert.throws(
        () => parse(argv),
        (error) => error instanceof McError && error.message === text,
      );
    });
  }
});
