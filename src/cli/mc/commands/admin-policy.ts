// `admin policy create|list|info|remove|attach|detach|entities`: named policies of a server, through its
// admin API.

import { readFile, writeFile } from 'node:fs/promises';

import type { PolicyChangeAnswer, PolicyEntitiesAnswer } from '../../../wire/admin.ts';
import { callAdmin } from '../admin-call.ts';
import type { McContext } from '../context.ts';
import { type Json, type JsonObject, McError, toMcError } from '../error.ts';
import { Failure } from '../failure.ts';
import { wrapList } from '../format.ts';
import { formatJson } from '../output.ts';

const base = '/minio/admin/v3';

/** `admin policy create TARGET POLICYNAME POLICYFILE` */
export async function runPolicyCreate(context: McContext, args: readonly string[]): Promise<void> {
  const [target = '', name = '', file = ''] = args;
  const bytes = await readPolicyFile(file);
  const problem = 'Unable to create new policy';
  if (bytes.length === 0) throw new Failure(problem, emptyPolicy());
  await callAdmin(context, target, {
    method: 'PUT',
    path: `${base}/add-canned-policy`,
    query: { name },
    bytes,
    problem,
  });
  report(context, name, 'Created');
}

/** `admin policy list TARGET`, sorted. */
export async function runPolicyList(context: McContext, args: readonly string[]): Promise<void> {
  const [target = ''] = args;
  const answer = await callAdmin(context, target, {
    method: 'GET',
    path: `${base}/list-canned-policies`,
    problem: 'Unable to list policy',
  });
  for (const name of Object.keys((answer ?? {}) as JsonObject).sort()) {
    context.out.message(documentOf(name), () => name);
  }
}

/** `admin policy info TARGET POLICYNAME`; with `--policy-file` also into a file. */
export async function runPolicyInfo(context: McContext, args: readonly string[]): Promise<void> {
  const [target = '', name = ''] = args;
  const answer = (await callAdmin(context, target, {
    method: 'GET',
    path: `${base}/info-canned-policy`,
    query: { name, v: '2' },
    problem: 'Unable to fetch policy',
  })) as JsonObject;
  const file = context.flags.find('policy-file');
  if (file !== undefined) await writePolicyFile(file, answer['Policy'] ?? null);
  context.out.message(documentOf(name, answer), () => formatJson(answer));
}

/** `admin policy remove TARGET POLICYNAME` */
export async function runPolicyRemove(context: McContext, args: readonly string[]): Promise<void> {
  const [target = '', name = ''] = args;
  await callAdmin(context, target, {
    method: 'DELETE',
    path: `${base}/remove-canned-policy`,
    query: { name },
    problem: 'Unable to remove policy',
  });
  report(context, name, 'Removed');
}

/** `admin policy attach TARGET POLICY [POLICY...] --user USER` */
export async function runPolicyAttach(context: McContext, args: readonly string[]): Promise<void> {
  await change(context, args, { verb: 'attach', member: 'policiesAttached' });
}

/** `admin policy detach TARGET POLICY [POLICY...] --user USER` */
export async function runPolicyDetach(context: McContext, args: readonly string[]): Promise<void> {
  await change(context, args, { verb: 'detach', member: 'policiesDetached' });
}

type Change = {
  readonly verb: 'attach' | 'detach';
  readonly member: 'policiesAttached' | 'policiesDetached';
};

/** What is so already counts as done. */
async function change(context: McContext, args: readonly string[], how: Change): Promise<void> {
  const [target = '', ...policies] = args;
  const problem = 'Unable to make user/group policy association';
  const entity = findEntity(context, problem);
  let done: readonly string[] = policies;
  try {
    const answer = (await callAdmin(context, target, {
      method: 'POST',
      path: `${base}/idp/builtin/policy/${how.verb}`,
      sealed: { policies, ...entity },
      isAnswerSealed: true,
      problem,
    })) as PolicyChangeAnswer;
    done = answer[how.member] ?? [];
  } catch (error) {
    const isDone =
      error instanceof Failure &&
      error.reason?.serverCode === 'XMinioAdminPolicyChangeAlreadyApplied';
    if (!isDone) throw error;
  }
  context.out.message({ status: 'success', [how.member]: done, ...entity }, () => {
    const [title, link] = how.verb === 'attach' ? ['Attached', 'To'] : ['Detached', 'From'];
    const who = entity.user === undefined ? `Group: ${entity.group}` : `User: ${entity.user}`;
    return `${title} Policies: [${done.join(' ')}]\n${link} ${who}`;
  });
}

function findEntity(
  { flags }: McContext,
  problem: string,
): { readonly user?: string; readonly group?: string } {
  const user = flags.find('user') ?? '';
  const group = flags.find('group') ?? '';
  if (user !== '' && group !== '') {
    throw new Failure(
      problem,
      new McError('argument', 'either a group or a user association must be given, not both'),
    );
  }
  if (user === '' && group === '') {
    throw new Failure(problem, new McError('argument', 'no user or group association was given'));
  }
  return user === '' ? { group } : { user };
}

/** `admin policy entities TARGET [--user U] [--group G] [--policy P]` */
export async function runPolicyEntities(
  context: McContext,
  args: readonly string[],
): Promise<void> {
  const [target = ''] = args;
  const { flags } = context;
  const result = (await callAdmin(context, target, {
    method: 'GET',
    path: `${base}/idp/builtin/policy-entities`,
    query: {
      user: flags.list('user'),
      group: flags.list('group'),
      policy: flags.list('policy'),
    },
    isAnswerSealed: true,
    problem: 'Unable to fetch policy entities',
  })) as Entities;
  // The types of the wire are plain JSON.
  const document = result as unknown as JsonObject;
  context.out.message({ status: 'success', result: document }, () =>
    entityLines(result).join('\n'),
  );
}

type Entities = PolicyEntitiesAnswer & {
  readonly groupMappings?: readonly {
    readonly group: string;
    readonly policies: readonly string[];
  }[];
};

function entityLines(result: Entities): string[] {
  const { userMappings = [], groupMappings = [], policyMappings = [] } = result;
  const holder = (kind: string, name: string, policies: readonly string[]): string[] => [
    `  ${kind}: ${name}`,
    '    Policies:',
    ...wrapList(policies).map((line) => `      ${line}`),
  ];
  const members = (title: string, names: readonly string[] | null): string[] =>
    names === null || names.length === 0
      ? []
      : [`    ${title} Mappings:`, ...names.map((name) => `      ${name}`)];
  return [
    `Query time: ${result.timestamp.replace(/\.\d+/, '')}`,
    ...(userMappings.length === 0 ? [] : ['User -> Policy Mappings:']),
    ...userMappings.flatMap(({ user, policies }) => holder('User', user, policies)),
    ...(groupMappings.length === 0 ? [] : ['Group -> Policy Mappings:']),
    ...groupMappings.flatMap(({ group, policies }) => holder('Group', group, policies)),
    ...(policyMappings.length === 0 ? [] : ['Policy -> Entity Mappings:']),
    ...policyMappings.flatMap(({ policy, users, groups }) => [
      `  Policy: ${policy}`,
      ...members('User', users),
      ...members('Group', groups),
    ]),
  ];
}

function report(context: McContext, name: string, done: string): void {
  const { out } = context;
  out.message(documentOf(name), () =>
    out.paint(`${done} policy \`${name}\` successfully.`, 'green'),
  );
}

function documentOf(name: string, info: JsonObject = { PolicyName: '', Policy: null }): JsonObject {
  return { status: 'success', policy: name, policyInfo: info, isGroup: false };
}

async function readPolicyFile(file: string): Promise<Uint8Array> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new Failure('Unable to get policy', fileError('open', file, error));
  }
}

async function writePolicyFile(file: string, policy: Json): Promise<void> {
  const text = formatJson(policy, 1).replaceAll('\n', '\n ');
  try {
    await writeFile(file, text);
  } catch (error) {
    throw new Failure('Could not open given policy file', fileError('open', file, error));
  }
}

const fileProblems: Readonly<Record<string, readonly [number, string]>> = {
  ENOENT: [2, 'no such file or directory'],
  EACCES: [13, 'permission denied'],
  EISDIR: [21, 'is a directory'],
};

function fileError(operation: string, file: string, error: unknown): McError {
  const [number, text] = fileProblems[(error as NodeJS.ErrnoException).code ?? ''] ?? [];
  if (text === undefined) return toMcError(error);
  return new McError('local', `${operation} ${file}: ${text}`, {
    detail: { Op: operation, Path: file, Err: number ?? 0 },
    cause: error,
  });
}

function emptyPolicy(): McError {
  const text = 'policy input cannot be empty';
  return new McError('argument', text, {
    detail: {
      Code: 'InvalidArgument',
      Message: text,
      BucketName: '',
      Key: '',
      RequestID: 'minio',
      HostID: '',
      Region: '',
    },
  });
}
