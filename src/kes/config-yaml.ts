// Reading the YAML of a configuration: environment references, and lenient access to members. A scalar
// that is wholly `${NAME}` stands for the environment variable NAME and is then read like the scalar it
// replaces; anywhere else the text stays as it is.

import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';

/** Anything wrong with a configuration. `message` is meant for the operator and is complete. */
export class KesConfigError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'KesConfigError';
  }
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** A YAML value after reference substitution. Scalars are texts, as they were written. */
export type ConfigValue = string | undefined | ConfigValue[] | { [name: string]: ConfigValue };

/** Members whose scalars are never references. */
const literalMembers = new Set(['allow', 'deny', 'version']);

/** Parses a YAML document whose root is a map. Throws `KesConfigError`. */
export function parseConfigYaml(text: string, env: Environment): { [name: string]: ConfigValue } {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, schema: 'failsafe' });
  const problem = document.errors[0];
  if (problem !== undefined)
    throw new KesConfigError(`yaml: ${problem.message}`, { cause: problem });
  const read = (node: unknown, isLiteral: boolean): ConfigValue => {
    if (isMap(node)) {
      const entries = node.items.map(({ key, value }): [string, ConfigValue] => {
        const name = isScalar(key) ? String(key.value) : String(key);
        return [name, read(value, literalMembers.has(name))];
      });
      return Object.fromEntries(entries);
    }
    if (isSeq(node)) return node.items.map((item) => read(item, isLiteral));
    // The failsafe schema leaves every scalar a text.
    if (!isScalar<string>(node) || isEmptyScalar(node)) return undefined;
    const scalar = node.value;
    return isLiteral ? scalar : resolveReference(scalar, { env, line: lineOf(node, lines) });
  };
  const root = read(document.contents, false);
  if (root === undefined) return {};
  if (typeof root === 'string' || Array.isArray(root)) {
    throw new KesConfigError('yaml: the configuration is not a map');
  }
  return root;
}

function isEmptyScalar(node: { value: string | null; type?: unknown }): boolean {
  return node.value === null || (node.type === 'PLAIN' && ['', '~', 'null'].includes(node.value));
}

function lineOf(node: Node, lines: LineCounter): number {
  return lines.linePos(node.range?.[0] ?? 0).line;
}

function resolveReference(text: string, at: { env: Environment; line: number }): string {
  const trimmed = text.trim();
  if (!trimmed.startsWith('${') || !trimmed.endsWith('}')) return text;
  const name = trimmed.slice(2, -1).trim();
  const value = at.env[name];
  if (value === undefined) {
    throw new KesConfigError(
      `kesconf: referenced env. variable '${name}' in line '${at.line}' not found`,
    );
  }
  return value;
}
