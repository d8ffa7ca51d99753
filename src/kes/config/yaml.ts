// Reading the YAML of a configuration: environment references, aliases and merge keys, and lenient access
// to members. A scalar that is wholly `${NAME}` stands for the environment variable NAME and is then read
// like the scalar it replaces; anywhere else the text stays as it is. Rule kept here: what the file says is
// either in the result or refused with its line, so that no deny list ever vanishes.

import {
  type Alias,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  visit,
  type YAMLMap,
} from 'yaml';

/** Where something is in a configuration: names of members, and places in lists. */
export type ConfigPath = readonly PropertyKey[];

/** Anything wrong with a configuration. `message` is meant for the operator and is complete. */
export class KesConfigError extends Error {
  /** Counted from 1; undefined when no line of the file is to blame. */
  readonly line: number | undefined;
  /** The member that is wrong or missing, for whoever knows the lines. */
  readonly at: ConfigPath | undefined;

  constructor(message: string, options: ErrorOptions & { line?: number; at?: ConfigPath } = {}) {
    const { line, at, ...rest } = options;
    super(message, rest);
    this.name = 'KesConfigError';
    this.line = line;
    this.at = at;
  }
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** A YAML value after reference substitution. Scalars are texts, as they were written. */
export type ConfigValue = string | undefined | ConfigValue[] | { [name: string]: ConfigValue };

/** A configuration file as data, and where in the text each part of it is. */
export type ConfigDocument = {
  readonly root: { [name: string]: ConfigValue };
  /** The line of a member, or of the nearest thing around it that is there. */
  lineOf(path: ConfigPath): number | undefined;
};

/** Aliases can make a short text long: this many values are enough for any real file. */
const valuesMax = 100_000;
const depthMax = 64;

/** Parses a YAML document whose root is a map. Throws `KesConfigError`. */
export function parseConfigYaml(text: string, env: Environment): ConfigDocument {
  const lines = new LineCounter();
  // Pretty errors would quote the file, and with it what may be a password.
  const { document, targets } = parse(text, lines);
  const problem = document.errors[0];
  if (problem !== undefined) {
    const { line } = lines.linePos(problem.pos[0]);
    throw new KesConfigError(`yaml: ${withoutSource(problem.message)}`, { line });
  }
  const reader = new Reader(targets, { env, lines });
  const root = reader.read(document.contents, []);
  if (root === undefined) return { root: {}, lineOf: () => undefined };
  if (typeof root === 'string' || Array.isArray(root)) {
    throw new KesConfigError('yaml: the configuration is not a map', { line: 1 });
  }
  return { root, lineOf: (path) => reader.lineOf(path) };
}

/** The document, and what each alias stands for: the nearest node before it with that anchor. */
function parse(text: string, lines: LineCounter) {
  try {
    const document = parseDocument(text, {
      lineCounter: lines,
      schema: 'failsafe',
      prettyErrors: false,
    });
    const anchors = new Map<string, Node>();
    const targets = new Map<Alias, Node>();
    visit(document, {
      Value: (_key, node) => {
        if (node.anchor !== undefined) anchors.set(node.anchor, node);
      },
      Alias: (_key, alias) => {
        const target = anchors.get(alias.source);
        if (target !== undefined) targets.set(alias, target);
      },
    });
    return { document, targets };
  } catch {
    // Nesting beyond the stack of the library is the one way to get here.
    throw new KesConfigError('yaml: the configuration is nested too deeply');
  }
}

function withoutSource(message: string): string {
  if (message.includes('call stack')) return 'the configuration is nested too deeply';
  return message.replace(/:? *["'`][\s\S]*$/, '');
}

class Reader {
  readonly #targets: ReadonlyMap<Alias, Node>;
  readonly #env: Environment;
  readonly #counter: LineCounter;
  readonly #lines = new Map<string, number>();
  /** Nodes that are being read: one that comes again inside itself has no end. */
  readonly #open = new Set<unknown>();
  #values = 0;

  constructor(
    targets: ReadonlyMap<Alias, Node>,
    given: { readonly env: Environment; readonly lines: LineCounter },
  ) {
    this.#targets = targets;
    this.#env = given.env;
    this.#counter = given.lines;
  }

  lineOf(path: ConfigPath): number | undefined {
    for (let length = path.length; length > 0; length -= 1) {
      const line = this.#lines.get(keyOf(path.slice(0, length)));
      if (line !== undefined) return line;
    }
    return undefined;
  }

  read(written: unknown, path: ConfigPath): ConfigValue {
    const node = this.#resolve(written);
    this.#values += 1;
    if (this.#values > valuesMax || path.length > depthMax) {
      throw new KesConfigError('yaml: the configuration is too large', { line: this.#line(node) });
    }
    if (isMap(node)) return this.#inside(node, () => this.#readMap(node, path));
    if (isSeq(node)) {
      return this.#inside(node, () =>
        node.items.map((item, index) => {
          const place = [...path, index];
          this.#lines.set(keyOf(place), this.#line(item));
          return this.read(item, place) ?? '';
        }),
      );
    }
    // The failsafe schema leaves every scalar a text.
    if (!isScalar(node) || isEmptyScalar(node)) return undefined;
    const { value } = node;
    if (typeof value !== 'string') {
      throw new KesConfigError('yaml: write a plain text here, without a tag', {
        line: this.#line(node),
      });
    }
    return isLiteral(path) ? value : this.#substitute(value, node);
  }

  #readMap(map: YAMLMap, path: ConfigPath): { [name: string]: ConfigValue } {
    const entries = new Map<string, ConfigValue>();
    for (const [name, { key, value }] of this.#pairsOf(map)) {
      const place = [...path, name];
      this.#lines.set(keyOf(place), this.#line(key));
      entries.set(name, this.read(value, place));
    }
    return Object.fromEntries(entries);
  }

  /** The pairs of a map: its own, then those it merges that it does not have itself. */
  #pairsOf(map: YAMLMap): Map<string, Pair> {
    const pairs = new Map<string, Pair>();
    const merged: unknown[] = [];
    for (const pair of map.items) {
      const name = this.#nameOf(pair.key);
      if (isMergeKey(pair.key)) merged.push(pair.value);
      else pairs.set(name, pair);
    }
    for (const value of merged) {
      for (const source of this.#mergeSources(value)) {
        this.#inside(source, () => {
          for (const [name, pair] of this.#pairsOf(source)) {
            if (!pairs.has(name)) pairs.set(name, pair);
          }
        });
      }
    }
    return pairs;
  }

  #mergeSources(written: unknown): YAMLMap[] {
    const node = this.#resolve(written);
    const items = isSeq(node) ? node.items.map((item) => this.#resolve(item)) : [node];
    return items.map((item) => {
      this.#values += 1;
      if (isMap(item) && this.#values <= valuesMax) return item;
      throw new KesConfigError("yaml: '<<' takes a map or a list of maps: write '<<: *name'", {
        line: this.#line(written),
      });
    });
  }

  #nameOf(key: unknown): string {
    if (isScalar(key) && typeof key.value === 'string' && key.value !== '__proto__') {
      return key.value;
    }
    throw new KesConfigError('yaml: the name of a member must be a plain text', {
      line: this.#line(key),
    });
  }

  #resolve(node: unknown): unknown {
    if (!isAlias(node)) return node;
    const target = this.#targets.get(node);
    if (target !== undefined) return target;
    throw new KesConfigError(`yaml: alias '*${node.source}' has no anchor before it`, {
      line: this.#line(node),
    });
  }

  #inside<T>(node: Node, work: () => T): T {
    if (this.#open.has(node)) {
      throw new KesConfigError('yaml: an alias refers to what it is part of', {
        line: this.#line(node),
      });
    }
    this.#open.add(node);
    try {
      return work();
    } finally {
      this.#open.delete(node);
    }
  }

  #substitute(text: string, node: Node): string {
    const trimmed = text.trim();
    if (!trimmed.startsWith('${') || !trimmed.endsWith('}')) return text;
    const name = trimmed.slice(2, -1).trim();
    const value = this.#env[name];
    if (value !== undefined) return value;
    const line = this.#line(node);
    throw new KesConfigError(
      `kesconf: referenced env. variable '${name}' in line '${line}' not found`,
      { line },
    );
  }

  #line(node: unknown): number {
    const start = (node as Node | null | undefined)?.range?.[0] ?? 0;
    return Math.max(1, this.#counter.linePos(start).line);
  }
}

function keyOf(path: ConfigPath): string {
  return JSON.stringify(path.map(String));
}

/** The scalars that are never references: the file's version, and the patterns of policies. */
function isLiteral([first, , third, ...more]: ConfigPath): boolean {
  if (first === 'version') return true;
  return first === 'policy' && (third === 'allow' || third === 'deny') && more.length < 2;
}

/** How YAML 1.1 and 1.2 spell null. */
const emptyTexts: ReadonlySet<unknown> = new Set(['', '~', 'null', 'Null', 'NULL']);

function isMergeKey(key: unknown): boolean {
  return isScalar(key) && key.value === '<<' && key.type === 'PLAIN';
}

function isEmptyScalar(node: { value: unknown; type?: unknown }): boolean {
  const isPlain = node.type === 'PLAIN';
  return node.value === null || (isPlain && emptyTexts.has(node.value));
}
