// `admin user add|list|info|enable|disable|remove`: users of a server, through its admin API.

import type { UserInfoAnswer } from '../../../wire/admin.ts';
import { callAdmin } from '../admin-call.ts';
import { askKeys } from '../ask-keys.ts';
import type { McContext } from '../context.ts';

const base = '/minio/admin/v3';

/** `admin user add TARGET [ACCESSKEY [SECRETKEY]]`: asks for what is missing. */
export async function runUserAdd(context: McContext, args: readonly string[]): Promise<void> {
  const [target = '', ...given] = args;
  const { accessKey, secretKey } = await askKeys(context, given);
  const ownerId = context.flags.find('owner-id');
  const displayName = context.flags.find('display-name');
  await callAdmin(context, target, {
    method: 'PUT',
    path: `${base}/add-user`,
    query: { accessKey },
    sealed: {
      secretKey,
      status: 'enabled',
      ...(ownerId === undefined ? {} : { ownerId }),
      ...(displayName === undefined ? {} : { displayName }),
    },
    problem: 'Unable to add new user',
  });
  const { out } = context;
  out.message({ status: 'success', accessKey, secretKey, userStatus: 'enabled' }, () =>
    out.paint(`Added user \`${accessKey}\` successfully.`, 'green'),
  );
}

/** `admin user list TARGET`, sorted. */
export async function runUserList(context: McContext, args: readonly string[]): Promise<void> {
  const [target = ''] = args;
  const answer = (await callAdmin(context, target, {
    method: 'GET',
    path: `${base}/list-users`,
    isAnswerSealed: true,
    problem: 'Unable to list user',
  })) as Readonly<Record<string, UserInfoAnswer>> | undefined;
  const users = Object.entries(answer ?? {}).sort(([left], [right]) => (left < right ? -1 : 1));
  for (const [accessKey, user] of users) {
    context.out.message(documentOf(accessKey, user), () =>
      [column(user.status, 9), column(accessKey, 20), column(user.policyName ?? '', 20)].join('  '),
    );
  }
}

/** `admin user info TARGET USERNAME`. */
export async function runUserInfo(context: McContext, args: readonly string[]): Promise<void> {
  const [target = '', accessKey = ''] = args;
  const user = (await callAdmin(context, target, {
    method: 'GET',
    path: `${base}/user-info`,
    query: { accessKey },
    problem: 'Unable to get user info',
  })) as UserInfoAnswer & { readonly memberOf?: readonly string[] };
  const groups: { name: string; policies: readonly string[] }[] = [];
  for (const group of user.memberOf ?? []) {
    const found = (await callAdmin(context, target, {
      method: 'GET',
      path: `${base}/group`,
      query: { group },
      problem: 'Unable to get user info',
    })) as { readonly policy?: string };
    groups.push({ name: group, policies: (found.policy ?? '').split(',').filter(Boolean) });
  }
  const memberOf = groups.length === 0 ? {} : { memberOf: groups };
  const isOwnerShown = context.flags.has('owner');
  const { ownerId = '', displayName = '' } = user;
  context.out.message(
    {
      ...documentOf(accessKey, user),
      ...memberOf,
      ...(isOwnerShown ? { ownerId, displayName } : {}),
    },
    () =>
      [
        `AccessKey: ${accessKey}`,
        `Status: ${user.status}`,
        `PolicyName: ${user.policyName ?? ''}`,
        `MemberOf: [${groups.map(({ name }) => name).join(' ')}]`,
        ...(isOwnerShown ? [`OwnerID: ${ownerId}`, `DisplayName: ${displayName}`] : []),
      ].join('\n'),
  );
}

/** `admin user enable TARGET USERNAME` */
export async function runUserEnable(context: McContext, args: readonly string[]): Promise<void> {
  await setStatus(context, args, { status: 'enabled', verb: 'enable', done: 'Enabled' });
}

/** `admin user disable TARGET USERNAME` */
export async function runUserDisable(context: McContext, args: readonly string[]): Promise<void> {
  await setStatus(context, args, { status: 'disabled', verb: 'disable', done: 'Disabled' });
}

/** `admin user remove TARGET USERNAME` */
export async function runUserRemove(context: McContext, args: readonly string[]): Promise<void> {
  const [target = '', accessKey = ''] = args;
  await callAdmin(context, target, {
    method: 'DELETE',
    path: `${base}/remove-user`,
    query: { accessKey },
    problem: `Unable to remove ${accessKey}`,
  });
  report(context, accessKey, 'Removed');
}

async function setStatus(
  context: McContext,
  args: readonly string[],
  change: { readonly status: string; readonly verb: string; readonly done: string },
): Promise<void> {
  const [target = '', accessKey = ''] = args;
  await callAdmin(context, target, {
    method: 'PUT',
    path: `${base}/set-user-status`,
    query: { accessKey, status: change.status },
    problem: `Unable to ${change.verb} user`,
  });
  report(context, accessKey, change.done);
}

function report(context: McContext, accessKey: string, done: string): void {
  const { out } = context;
  out.message({ status: 'success', accessKey }, () =>
    out.paint(`${done} user \`${accessKey}\` successfully.`, 'green'),
  );
}

function documentOf(accessKey: string, { policyName = '', status }: UserInfoAnswer) {
  return {
    status: 'success',
    accessKey,
    ...(policyName === '' ? {} : { policyName }),
    userStatus: status,
  };
}

/** Filled or cut to a width. */
function column(text: string, width: number): string {
  return text.length > width ? `${text.slice(0, width - 3)}...` : text.padEnd(width);
}
