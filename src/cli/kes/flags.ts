// GNU style flags: `--name value`, `--name=value`, `-n value`, `-nvalue`, joined short switches, `--` ends
// them, and flags and arguments may be mixed. Which flags a command has is data.

import { KesCommandError } from './command-error.ts';

export type FlagSpec = {
  readonly name: string;
  readonly short?: string;
  /** `list` may be given several times and takes comma lists. */
  readonly kind: 'switch' | 'text' | 'list';
  /** Shown in the help after the name, for flags with a value. */
  readonly value?: string;
  /** One line of help; flags without one are accepted and not shown. */
  readonly help?: string;
};

/** What was given: switches, last texts, collected lists, and the arguments in order. */
export type ParsedFlags = {
  readonly isHelp: boolean;
  readonly switches: ReadonlySet<string>;
  readonly texts: ReadonlyMap<string, string>;
  readonly lists: ReadonlyMap<string, readonly string[]>;
  readonly args: readonly string[];
};

/** Throws `KesCommandError` (`usage`). `-h` and `--help` are always known and end the parsing. */
export function parseFlags(argv: readonly string[], specs: readonly FlagSpec[]): ParsedFlags {
  const found = new Found(specs);
  const args: string[] = [];
  for (let index = 0; index < argv.length; index += 1) {
    const word = argv[index] ?? '';
    if (word === '--') {
      args.push(...argv.slice(index + 1));
      break;
    }
    if (word === '--help' || word === '-h') return { ...found.result(args), isHelp: true };
    if (!word.startsWith('-') || word === '-') {
      args.push(word);
      continue;
    }
    const takesNext = word.startsWith('--') ? found.long(word) : found.short(word);
    if (takesNext === undefined) continue;
    index += 1;
    const value = argv[index];
    if (value === undefined) throw usage(`flag needs an argument: ${word}`);
    found.set(takesNext, value);
  }
  return found.result(args);
}

/** Collects; `long` and `short` return the flag that still needs the next word as its value. */
class Found {
  readonly #specs: readonly FlagSpec[];
  readonly #switches = new Set<string>();
  readonly #texts = new Map<string, string>();
  readonly #lists = new Map<string, string[]>();

  constructor(specs: readonly FlagSpec[]) {
    this.#specs = specs;
  }

  long(word: string): FlagSpec | undefined {
    const equals = word.indexOf('=');
    const name = equals < 0 ? word.slice(2) : word.slice(2, equals);
    const spec = this.#specs.find((each) => each.name === name);
    if (!spec) throw usage(`unknown flag: --${name}`);
    if (equals >= 0) this.set(spec, word.slice(equals + 1));
    else if (spec.kind !== 'switch') return spec;
    else this.#switches.add(spec.name);
    return undefined;
  }

  short(word: string): FlagSpec | undefined {
    for (let at = 1; at < word.length; at += 1) {
      const letter = word[at];
      const spec = this.#specs.find((each) => each.short === letter);
      if (!spec) throw usage(`unknown shorthand flag: '${letter}' in ${word}`);
      if (spec.kind === 'switch') {
        this.#switches.add(spec.name);
        continue;
      }
      const rest = word.slice(at + 1).replace(/^=/, '');
      if (rest === '') return spec;
      this.set(spec, rest);
      return undefined;
    }
    return undefined;
  }

  set(spec: FlagSpec, value: string): void {
    if (spec.kind === 'text') this.#texts.set(spec.name, value);
    else if (spec.kind === 'list') {
      const items = value.split(',').map((item) => item.trim());
      if (items.includes('')) {
        throw usage(`invalid argument "${value}" for "--${spec.name}" flag: empty value`);
      }
      this.#lists.set(spec.name, [...(this.#lists.get(spec.name) ?? []), ...items]);
    } else if (/^(1|t|true)$/i.test(value)) this.#switches.add(spec.name);
    else if (/^(0|f|false)$/i.test(value)) this.#switches.delete(spec.name);
    else
      throw usage(`invalid argument "${value}" for "--${spec.name}" flag: expected true or false`);
  }

  result(args: readonly string[]): ParsedFlags {
    return {
      isHelp: false,
      switches: this.#switches,
      texts: this.#texts,
      lists: this.#lists,
      args,
    };
  }
}

function usage(text: string): KesCommandError {
  return new KesCommandError('usage', text);
}
