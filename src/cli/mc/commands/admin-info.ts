// `admin info`: the servers, their drives and how full they are. Works with whatever part of the answer a
// server sends. A failure exits 1 in both forms.

import { openAdmin } from '../context.ts';
import type { McContext } from '../context.ts';
import { toMcError } from '../error.ts';
import type { Json } from '../error.ts';
import { Failure } from '../failure.ts';
import { boxTable, formatSize, plural } from '../format.ts';

type Drive = {
  readonly state?: string;
  readonly totalspace?: number;
  readonly usedspace?: number;
  readonly pool_index?: number;
};

type Server = {
  readonly state?: string;
  readonly endpoint?: string;
  readonly uptime?: number;
  readonly version?: string;
  readonly network?: Readonly<Record<string, string>>;
  readonly drives?: readonly Drive[];
  readonly poolNumber?: number;
};

type Count = { readonly count?: number };

type Info = {
  readonly mode?: string;
  readonly buckets?: Count;
  readonly objects?: Count;
  readonly versions?: Count;
  readonly deletemarkers?: Count;
  readonly usage?: { readonly size?: number };
  readonly backend?: {
    readonly onlineDisks?: number;
    readonly offlineDisks?: number;
    readonly standardSCParity?: number;
    readonly totalSets?: readonly number[];
    readonly totalDrivesPerSet?: readonly number[];
  };
  readonly servers?: readonly Server[];
};

/** `admin info [--offline] TARGET` */
export async function runAdminInfo(context: McContext, args: readonly string[]): Promise<void> {
  const [target = ''] = args;
  const { out, flags } = context;
  let admin;
  try {
    admin = await openAdmin(context, target);
  } catch (error) {
    throw new Failure('Unable to initialize admin connection.', toMcError(error));
  }
  let info: Info;
  try {
    info = (await admin.call('GET', '/minio/admin/v3/info', { metrics: 'false' })) as Info;
  } catch (error) {
    const reason = toMcError(error);
    if (!out.isJson) throw new Failure('Unable to get service info.', reason);
    out.json({ status: 'error', error: reason.message, info: {} });
    out.markFailed();
    return;
  }
  if (out.isJson) out.json({ status: 'success', info: info as unknown as Json });
  else out.line(formatInfo(context, info, flags.has('offline')));
}

function formatInfo(context: McContext, info: Info, isOfflineOnly: boolean): string {
  const servers = (info.servers ?? []).filter(
    (server) =>
      !isOfflineOnly ||
      server.state !== 'online' ||
      (server.drives ?? []).some((drive) => drive.state !== 'ok'),
  );
  const blocks = servers.map((server) => formatServer(context, server));
  if (isOfflineOnly)
    return blocks.length === 0 ? 'All nodes and drives are online.' : blocks.join('\n');
  const pools = poolTable(info);
  if (pools !== '') blocks.push(pools);
  const totals = formatTotals(info);
  return [...blocks, ...(totals === '' ? [] : [totals])].join('\n');
}

function formatServer(context: McContext, server: Server): string {
  const { out } = context;
  const isOnline = server.state === 'online';
  const lines = [`${out.paint('●', isOnline ? 'green' : 'red')}  ${server.endpoint ?? ''}`];
  if (isOnline) {
    lines.push(`   Uptime: ${formatUptime(server.uptime ?? 0)} `);
    const version = server.version ?? '';
    const isBuild = /^\d{4}-\d{2}-\d{2}T/.test(version) || version === '';
    lines.push(
      `   Version: ${isBuild || !version.startsWith('DEVELOPMENT') ? version : '<development>'}`,
    );
  } else lines.push(`   Uptime: ${server.state ?? 'offline'}`);
  const peers = Object.values(server.network ?? {});
  if (peers.length > 0) {
    const online = peers.filter((state) => state === 'online').length;
    lines.push(`   Network: ${online}/${peers.length} ${online === peers.length ? 'OK ' : ''}`);
  }
  const drives = server.drives ?? [];
  if (drives.length > 0) {
    const good = drives.filter((drive) => drive.state === 'ok').length;
    lines.push(`   Drives: ${good}/${drives.length} ${good === drives.length ? 'OK ' : ''}`);
    lines.push(`   Pool: ${server.poolNumber ?? 1}`);
  }
  return `${lines.join('\n')}\n`;
}

function poolTable(info: Info): string {
  const sets = info.backend?.totalSets ?? [];
  if (sets.length === 0) return '';
  const drives = (info.servers ?? []).flatMap((server) => server.drives ?? []);
  const rows = sets.map((count, index) => {
    const own = drives.filter((drive) => (drive.pool_index ?? 0) === index);
    const total = own.reduce((sum, drive) => sum + (drive.totalspace ?? 0), 0);
    const used = own.reduce((sum, drive) => sum + (drive.usedspace ?? 0), 0);
    const share = total === 0 ? '0.0' : ((used / total) * 100).toFixed(1);
    const stripe = info.backend?.totalDrivesPerSet?.[index] ?? 0;
    return [
      ordinal(index + 1),
      `${share}% (total: ${formatSize(total)})`,
      String(stripe),
      String(count),
    ];
  });
  return `${boxTable([['Pool', 'Drives Usage', 'Erasure stripe size', 'Erasure sets'], ...rows])}\n`;
}

function formatTotals(info: Info): string {
  const lines: string[] = [];
  const buckets = info.buckets?.count ?? 0;
  if (buckets > 0) {
    const parts = [`${formatSize(info.usage?.size ?? 0)} Used`];
    const add = (count: number, word: string) => parts.push(plural(count, word));
    add(buckets, 'Bucket');
    add(info.objects?.count ?? 0, 'Object');
    if ((info.versions?.count ?? 0) > 0) add(info.versions?.count ?? 0, 'Version');
    if ((info.deletemarkers?.count ?? 0) > 0) add(info.deletemarkers?.count ?? 0, 'Delete Marker');
    lines.push(parts.join(', '));
  }
  const { onlineDisks, offlineDisks, standardSCParity } = info.backend ?? {};
  if (onlineDisks !== undefined || offlineDisks !== undefined) {
    lines.push(
      `${plural(onlineDisks ?? 0, 'drive')} online, ${plural(offlineDisks ?? 0, 'drive')} offline, EC:${standardSCParity ?? 0}`,
    );
  }
  return lines.join('\n');
}

function ordinal(number: number): string {
  const suffix = ['th', 'st', 'nd', 'rd'][number % 100 > 10 && number % 100 < 14 ? 0 : number % 10];
  return `${number}${suffix ?? 'th'}`;
}

/** `now`, `58 seconds`, `1 minute`, `3 hours`, `2 days`. */
function formatUptime(seconds: number): string {
  if (seconds < 1) return 'now';
  const steps: readonly (readonly [number, string])[] = [
    [604_800, 'week'],
    [86_400, 'day'],
    [3600, 'hour'],
    [60, 'minute'],
    [1, 'second'],
  ];
  const [size, word] = steps.find(([length]) => seconds >= length) ?? [1, 'second'];
  return plural(Math.floor(seconds / size), word);
}
