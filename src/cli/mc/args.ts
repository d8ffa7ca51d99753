// Command-line flags. They may stand before, between and after the arguments, with one dash or two, as
// `--name value` or `--name=value`; `--` ends them. A flag may also come from an environment variable;
// what is typed wins, except that lists from both are joined.

import { McError } from './error.ts';

export type FlagSpec = {
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly kind: 'boolean' | 'text' | 'number' | 'list';
  readonly help: string;
  readonly env?: string;
  readonly isHidden?: boolean;
};

/** The flags of one call, by their main name. */
export class Flags {
  readonly #values: ReadonlyMap<string, readonly string[]>;
  constructor(values: ReadonlyMap<string, readonly string[]>) {
    this.#values = values;
  }

  has(name: string): boolean {
    const value = this.#values.get(name)?.at(-1);
    return value !== undefined && value !== 'false' && value !== '0';
  }

  /** The last value given, or undefined. */
  find(name: string): string | undefined {
    return this.#values.get(name)?.at(-1);
  }

  list(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  /** The last value as a number, or the default. */
  number(name: string, fallback: number): number {
    const value = this.find(name);
    return value === undefined ? fallback : Number(value);
  }

  /** The same with one boolean flag set. */
  with(name: string): Flags {
    return new Flags(new Map([...this.#values, [name, ['true']]]));
  }
}

export type ParsedArguments = {
  readonly flags: Flags;
  readonly positional: readonly string[];
};

export type ParseOptions = {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Stop at the first argument and leave it and everything after it in `positional`. */
  readonly isStoppingAtFirst?: boolean;
};

/** Throws `argument` with the text after "Invalid command usage, ". */
export function parseArguments(
  argv: readonly string[],
  specs: readonly FlagSpec[],
  options: ParseOptions,
): ParsedArguments {
  const byName = new Map<string, FlagSpec>();
  for (const spec of specs) {
    for (const name of [spec.name, ...(spec.aliases ?? [])]) byName.set(name, spec);
  }
  const values = fromEnvironment(specs, options.env);
  const typed = new Map<string, string[]>();
  const positional: string[] = [];
  for (let index = 0; index < argv.length; index++) {
    const word = argv[index] ?? '';
    if (word === '--') {
      positional.push(...argv.slice(index + 1));
      break;
    }
    if (!word.startsWith('-') || word === '-') {
      if (options.isStoppingAtFirst === true) {
        positional.push(...argv.slice(index));
        break;
      }
      positional.push(word);
      continue;
    }
    const { spec, value, usesNext } = readFlag(word, argv[index + 1], byName);
    if (usesNext) index++;
    const earlier = typed.get(spec.name) ?? [];
    typed.set(spec.name, [...earlier, value]);
  }
  for (const [name, list] of typed) {
    const isList = specs.find((spec) => spec.name === name)?.kind === 'list';
    values.set(name, isList ? [...(values.get(name) ?? []), ...list] : list);
  }
  return { flags: new Flags(values), positional };
}

function readFlag(
  word: string,
  next: string | undefined,
  byName: ReadonlyMap<string, FlagSpec>,
): { spec: FlagSpec; value: string; usesNext: boolean } {
  const stripped = word.replace(/^--?/, '');
  const equals = stripped.indexOf('=');
  const name = equals < 0 ? stripped : stripped.slice(0, equals);
  const spec = byName.get(name);
  if (spec === undefined) {
    throw new McError('argument', `flag provided but not defined: -${name}`);
  }
  if (spec.kind === 'boolean') {
    const value = equals < 0 ? 'true' : stripped.slice(equals + 1);
    return { spec, value, usesNext: false };
  }
  if (equals < 0 && next === undefined) {
    throw new McError('argument', `flag needs an argument: -${name}`);
  }
  const value = equals < 0 ? (next ?? '') : stripped.slice(equals + 1);
  if (spec.kind === 'number' && !/^-?\d+$/.test(value)) {
    throw new McError('argument', `invalid value "${value}" for flag -${name}: not a number`);
  }
  return { spec, value, usesNext: equals < 0 };
}

function fromEnvironment(
  specs: readonly FlagSpec[],
  env: ParseOptions['env'],
): Map<string, readonly string[]> {
  const values = new Map<string, readonly string[]>();
  for (const spec of specs) {
    const text = spec.env === undefined ? undefined : env[spec.env];
    if (text === undefined || text === '') continue;
    if (spec.kind === 'list') {
      values.set(
        spec.name,
        text.split(',').map((item) => item.trim()),
      );
    } else if (spec.kind === 'boolean') {
      values.set(spec.name, [/^(1|true|on|yes)$/i.test(text) ? 'true' : 'false']);
    } else values.set(spec.name, [text]);
  }
  return values;
}
