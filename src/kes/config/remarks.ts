// What is in a configuration and has no effect: members that no setting has, and settings of routes that do
// not exist. They are ignored, as they always were, but a mistyped `deny` must not stay unnoticed.

import { z } from 'zod';
import { kesRoutes } from '../../wire/kes.ts';
import type { ConfigRemark } from './policy.ts';
import { configFileSchema } from './schema.ts';
import type { ConfigPath, ConfigValue } from './yaml.ts';

/** Every member of a file that has no effect. */
export function memberRemarks(root: { readonly [name: string]: ConfigValue }): ConfigRemark[] {
  return [
    ...(root['root'] === undefined
      ? []
      : [{ message: "'root' is ignored: 'admin.identity' is the admin", at: ['root'] }]),
    ...unknownMembers(configFileSchema, root, []),
    ...unknownRoutes(root['api']),
  ];
}

function unknownRoutes(api: ConfigValue): ConfigRemark[] {
  if (typeof api !== 'object' || Array.isArray(api)) return [];
  const paths = kesRoutes.map(({ prefix }) => prefix);
  return Object.keys(api)
    .filter((path) => !paths.includes(path))
    .map((path) => ({
      message: `api path '${path}' is ignored: no route has it${suggest(path, paths)}`,
      at: ['api', path],
    }));
}

function unknownMembers(schema: z.ZodType, value: ConfigValue, at: ConfigPath): ConfigRemark[] {
  const inner = schema instanceof z.ZodOptional ? (schema.unwrap() as z.ZodType) : schema;
  if (typeof value !== 'object') return [];
  if (Array.isArray(value)) {
    const element = elementOf(inner);
    if (element === undefined) return [];
    return value.flatMap((item, index) => unknownMembers(element, item, [...at, index]));
  }
  if (inner instanceof z.ZodRecord) {
    const each = inner.valueType as z.ZodType;
    return Object.entries(value).flatMap(([name, item]) =>
      unknownMembers(each, item, [...at, name]),
    );
  }
  if (!(inner instanceof z.ZodObject)) return [];
  const shape = inner.shape as Readonly<Record<string, z.ZodType>>;
  return Object.entries(value).flatMap(([name, item]): ConfigRemark[] => {
    const known = Object.hasOwn(shape, name) ? shape[name] : undefined;
    if (known !== undefined) return unknownMembers(known, item, [...at, name]);
    const full = [...at, name].join('.');
    const message = `member '${full}' is not known and is ignored${suggest(name, Object.keys(shape))}`;
    return [{ message, at: [...at, name] }];
  });
}

function elementOf(schema: z.ZodType): z.ZodType | undefined {
  if (schema instanceof z.ZodArray) return schema.element as z.ZodType;
  if (!(schema instanceof z.ZodUnion)) return undefined;
  return (schema.options as z.ZodType[]).map(elementOf).find((element) => element !== undefined);
}

/** `: did you mean 'x'?`, or nothing when no known name is near. */
function suggest(written: string, known: readonly string[]): string {
  const near = known
    .map((name) => ({ name, distance: editDistance(written.toLowerCase(), name.toLowerCase()) }))
    .toSorted((a, b) => a.distance - b.distance)[0];
  const reach = Math.max(1, Math.floor(written.length / 3));
  return near !== undefined && near.distance <= reach ? `: did you mean '${near.name}'?` : '';
}

const comparedLengthMax = 64;

/** How many letters must be added, removed, changed or swapped with their neighbour. */
export function editDistance(one: string, other: string): number {
  if (one.length > comparedLengthMax || other.length > comparedLengthMax) return one.length;
  let before: number[] = [];
  let above = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (let row = 1; row <= one.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= other.length; column += 1) {
      const isSame = one[row - 1] === other[column - 1];
      let least = Math.min(
        (above[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (above[column - 1] ?? 0) + (isSame ? 0 : 1),
      );
      const isSwap = one[row - 1] === other[column - 2] && one[row - 2] === other[column - 1];
      if (isSwap && row > 1) least = Math.min(least, (before[column - 2] ?? 0) + 1);
      current.push(least);
    }
    before = above;
    above = current;
  }
  return above[other.length] ?? 0;
}
