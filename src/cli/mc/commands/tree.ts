// `tree`: folders, with `--files` also what is in them.

import { openS3, parseTarget } from '../context.ts';
import type { McContext, Target } from '../context.ts';
import { toMcError } from '../error.ts';
import { Failure } from '../failure.ts';
import { statLocal, walkLocal } from '../local.ts';
import { asBucketError, headBucket } from '../s3-objects.ts';
import { listBuckets, listObjects } from '../s3-list.ts';
import { runLs } from './ls.ts';

type Node = { readonly name: string; readonly isFolder: boolean };

/** `tree [-f] [-d DEPTH] TARGET…` */
export async function runTree(context: McContext, args: readonly string[]): Promise<void> {
  if (context.out.isJson) {
    await runLs({ ...context, flags: context.flags.with('recursive') }, args);
    return;
  }
  for (const text of args.length === 0 ? ['.'] : args) {
    try {
      const target = await parseTarget(context, text);
      if (target.kind === 's3' && target.bucket !== '') {
        await headBucket(await openS3(context, target.alias), target.bucket);
      }
      if (target.kind === 'local') await statLocal(target.path);
      context.out.line(text.replace(/\/$/, ''));
      await draw(context, { target, below: '', indent: '', depth: 1 });
    } catch (error) {
      throw new Failure(`Unable to tree \`${text}\`.`, toMcError(error));
    }
  }
}

async function draw(
  context: McContext,
  level: { target: Target; below: string; indent: string; depth: number },
): Promise<void> {
  const { target, below, indent, depth } = level;
  const depthMax = context.flags.number('depth', -1);
  if (depthMax >= 0 && depth > depthMax + 1) return;
  const nodes: Node[] = [];
  for await (const node of children(context, target, below)) {
    if (node.isFolder || context.flags.has('files')) nodes.push(node);
  }
  nodes.sort((left, right) => Number(left.isFolder) - Number(right.isFolder));
  for (const [index, node] of nodes.entries()) {
    const isLast = index === nodes.length - 1;
    const name = node.name.replace(/\/$/, '');
    context.out.line(
      `${indent}${isLast ? '└─ ' : '├─ '}${context.out.paint(name, node.isFolder ? 'cyanBold' : 'bold')}`,
    );
    if (!node.isFolder) continue;
    await draw(context, {
      target,
      below: below + node.name,
      indent: indent + (isLast ? '   ' : '│  '),
      depth: depth + 1,
    });
  }
}

async function* children(context: McContext, target: Target, below: string): AsyncGenerator<Node> {
  if (target.kind === 'local') {
    for await (const entry of walkLocal(target.path, { isRecursive: false, below })) {
      yield { name: entry.name.slice(below.length), isFolder: entry.isFolder };
    }
    return;
  }
  const client = await openS3(context, target.alias);
  const path = [target.bucket, target.key.replace(/\/$/, ''), below]
    .filter((part) => part !== '')
    .join('/');
  if (path === '') {
    for (const { name } of await listBuckets(client)) yield { name: `${name}/`, isFolder: true };
    return;
  }
  const slash = path.indexOf('/');
  const bucket = slash < 0 ? path : path.slice(0, slash);
  const key = slash < 0 ? '' : path.slice(slash + 1);
  const prefix = key === '' || key.endsWith('/') ? key : `${key}/`;
  try {
    for await (const entry of listObjects(client, { bucket, prefix, isRecursive: false })) {
      const name = entry.key.slice(prefix.length);
      if (name !== '') yield { name, isFolder: entry.isFolder };
    }
  } catch (error) {
    throw asBucketError(error, bucket);
  }
}
