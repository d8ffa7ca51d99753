// `mc admin info` and the data usage figures. The shapes describe a cluster of drives; a Coffer server
// shows itself as one server with one drive in one set, which is what clients can draw.

import type { Kms } from '../../sse/kms.ts';
import type { BucketUsage, StoreTotals } from '../../store/types.ts';
import type {
  BucketUsageAnswer,
  DataUsageAnswer,
  DriveAnswer,
  InfoAnswer,
  PoolAnswer,
  ServerAnswer,
} from '../../wire/admin.ts';
import { AdminError } from '../admin-error.ts';
import type { AdminCall, AdminHandler, ServerFacts } from '../call.ts';

/** `GET /info`. Answers also while the store is not ready (`mode` is then `initializing`). */
export const showInfo: AdminHandler = async (call) => {
  const { parts } = call;
  const facts = await parts.facts();
  const totals = (await parts.store?.totals()) ?? {
    buckets: 0,
    objects: 0,
    bytes: 0,
    versions: 0,
    deleteMarkers: 0,
    byBucket: new Map(),
  };
  const drive = describeDrive(facts);
  const info: InfoAnswer = {
    mode: parts.store ? 'online' : 'initializing',
    domain: facts.domains,
    region: facts.region,
    sqsARN: [],
    deploymentID: facts.deploymentId,
    buckets: { count: totals.buckets },
    objects: { count: totals.objects },
    versions: { count: totals.versions },
    deletemarkers: { count: totals.deleteMarkers },
    usage: { size: totals.bytes },
    services: { kms: {}, kmsStatus: await describeKms(parts.kms), ldap: {} },
    backend: {
      backendType: 'Erasure',
      onlineDisks: 1,
      offlineDisks: 0,
      standardSCParity: 0,
      rrSCParity: 0,
      totalSets: [1],
      totalDrivesPerSet: [1],
    },
    servers: [describeServer(call, facts, drive)],
    pools: { '0': { '0': describePool(drive, totals) } },
  };
  return { json: info };
};

/** `GET /datausageinfo`. */
export const showDataUsage: AdminHandler = async ({ parts }) => {
  if (!parts.store) throw new AdminError('ServerNotInitialized');
  const [facts, totals] = await Promise.all([parts.facts(), parts.store.totals()]);
  const usage: DataUsageAnswer = {
    lastUpdate: new Date(parts.now()).toISOString(),
    objectsCount: totals.objects,
    versionsCount: totals.versions,
    deleteMarkersCount: totals.deleteMarkers,
    objectsTotalSize: totals.bytes,
    bucketsCount: totals.buckets,
    bucketsUsageInfo: Object.fromEntries(
      [...totals.byBucket].map(([bucket, usage]) => [bucket, describeUsage(usage)]),
    ),
    bucketsSizes: Object.fromEntries(
      [...totals.byBucket].map(([bucket, usage]) => [bucket, usage.bytes]),
    ),
    capacity: facts.drive.totalBytes,
    freeCapacity: facts.drive.availableBytes,
    usedCapacity: facts.drive.totalBytes - facts.drive.availableBytes,
  };
  return { json: usage };
};

function describeUsage(usage: BucketUsage): BucketUsageAnswer {
  const { objects, bytes, versions, deleteMarkers } = usage;
  return {
    size: bytes,
    objectsCount: objects,
    versionsCount: versions,
    deleteMarkersCount: deleteMarkers,
  };
}

async function describeKms(kms: Kms | undefined): Promise<{ status: string; endpoint: string }[]> {
  if (!kms) return [];
  try {
    const { endpoints } = await kms.status();
    return Object.entries(endpoints).map(([endpoint, status]) => ({ status, endpoint }));
  } catch {
    // A key service that refuses its status is shown as such; the rest of the page is still true.
    return [{ status: 'offline', endpoint: '' }];
  }
}

function describeServer(call: AdminCall, facts: ServerFacts, drive: DriveAnswer): ServerAnswer {
  const { residentBytes, heapBytes } = facts.memory;
  return {
    state: call.parts.store ? 'online' : 'initializing',
    endpoint: call.host,
    scheme: facts.scheme,
    uptime: Math.max(0, Math.round((call.parts.now() - facts.startedMs) / 1000)),
    version: facts.version,
    commitID: '',
    network: { [call.host]: 'online' },
    drives: [drive],
    poolNumber: 1,
    poolNumbers: [1],
    mem_stats: {
      Alloc: residentBytes,
      TotalAlloc: residentBytes,
      Mallocs: 0,
      Frees: 0,
      HeapAlloc: heapBytes,
    },
    go_max_procs: facts.processors,
    num_cpu: facts.processors,
    runtime_version: facts.runtimeVersion,
  };
}

function describeDrive({ drive, deploymentId }: ServerFacts): DriveAnswer {
  return {
    endpoint: drive.path,
    path: drive.path,
    state: 'ok',
    uuid: deploymentId,
    totalspace: drive.totalBytes,
    usedspace: drive.totalBytes - drive.availableBytes,
    availspace: drive.availableBytes,
    used_inodes: drive.inodesTotal - drive.inodesFree,
    free_inodes: drive.inodesFree,
    local: true,
    pool_index: 0,
    set_index: 0,
    disk_index: 0,
  };
}

function describePool(drive: DriveAnswer, totals: StoreTotals): PoolAnswer {
  return {
    id: 0,
    rawUsage: drive.usedspace,
    rawCapacity: drive.totalspace,
    usage: totals.bytes,
    objectsCount: totals.objects,
    versionsCount: totals.versions,
    deleteMarkersCount: totals.deleteMarkers,
    healDisks: 0,
  };
}
