// What an S3 client is asked to do, as data: a plan of stages, each a list of steps that may run side by side.
// A driver (one small program per client) reads a plan as JSON from its input, carries it out with its client
// and prints one result per step. What the results must be is decided in s3-model.ts, never by a driver.

import { projectRoot } from '../support/programs.ts';
import { runClient } from './clients.ts';

/** How a write asks to be encrypted, or which key a read brings. */
export type Mode =
  | { readonly kind: 'none' }
  | { readonly kind: 's3' }
  | {
      readonly kind: 'kms';
      readonly keyId?: string;
      readonly context?: Readonly<Record<string, string>>;
    }
  /** `key` is 32 bytes of ASCII, so that a search for it needs no decoding. */
  | { readonly kind: 'c'; readonly key: string };

type Named = { readonly bucket: string; readonly key: string };

/** The payload of a write is `size` bytes of the plan's data file from `offset` on. */
export type PutStep = Named & {
  readonly op: 'put';
  readonly offset: number;
  readonly size: number;
  readonly mode: Mode;
  readonly metadata?: Readonly<Record<string, string>>;
  /** Upload in parts of this size when the object is larger; one request otherwise. */
  readonly partSize?: number;
  /** Ask the client for this checksum instead of its default. */
  readonly checksum?: string;
};

export type Step =
  | { readonly op: 'createBucket'; readonly bucket: string }
  | { readonly op: 'deleteBucket'; readonly bucket: string }
  /** The bucket's default encryption; `none` removes it. */
  | { readonly op: 'setDefault'; readonly bucket: string; readonly mode: Mode }
  | PutStep
  | (Named & { readonly op: 'head'; readonly mode: Mode; readonly versionId?: string })
  /** `range` is first and last byte. */
  | (Named & {
      readonly op: 'get';
      readonly mode: Mode;
      readonly versionId?: string;
      readonly range?: readonly [number, number];
    })
  | (Named & {
      readonly op: 'copy';
      readonly mode: Mode;
      readonly fromBucket: string;
      readonly fromKey: string;
      readonly fromVersionId?: string;
      readonly fromMode: Mode;
    })
  | {
      readonly op: 'list';
      readonly bucket: string;
      readonly prefix: string;
      readonly delimiter: string;
      readonly api: 1 | 2;
      readonly pageSize: number;
    }
  | { readonly op: 'delete'; readonly bucket: string; readonly keys: readonly string[] }
  | (Named & { readonly op: 'remove'; readonly versionId?: string })
  | {
      readonly op: 'versioning';
      readonly bucket: string;
      readonly status: 'Enabled' | 'Suspended';
    }
  | { readonly op: 'listVersions'; readonly bucket: string }
  /** Key and version of each, in one call. */
  | {
      readonly op: 'deleteVersions';
      readonly bucket: string;
      readonly versions: readonly (readonly [string, string])[];
    }
  | { readonly op: 'setPolicy'; readonly bucket: string; readonly policy: string }
  /** A URL for one request, which is then sent without the client. */
  | (Named & {
      readonly op: 'presign';
      readonly method: 'GET' | 'HEAD' | 'PUT' | 'DELETE';
      readonly signature: 2 | 4;
    })
  /** The address and fields of a browser's form. */
  | (Named & { readonly op: 'form'; readonly signature: 2 | 4 });

export type Stage = readonly Step[];

export type Connection = {
  readonly endpoint: string;
  readonly caFile?: string;
  readonly accessKey: string;
  readonly secretKey: string;
  readonly dataFile: string;
};

export type Plan = Connection & { readonly stages: readonly Stage[] };

/** What a client saw; members it does not show are absent. */
export type Result = {
  readonly error?: {
    readonly code: string;
    readonly status?: number;
    readonly message: string;
  };
  readonly etag?: string;
  readonly size?: number;
  readonly sha256?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly sse?: {
    readonly method?: string;
    readonly keyId?: string;
    readonly customerAlgorithm?: string;
    readonly customerKeyMd5?: string;
  };
  readonly checksums?: Readonly<Record<string, string>>;
  /** Key, size and ETag in the order of the listing. */
  readonly objects?: readonly (readonly [string, number, string])[];
  readonly prefixes?: readonly string[];
  readonly url?: string;
  readonly fields?: Readonly<Record<string, string>>;
  readonly versionId?: string;
  readonly isMarker?: boolean;
  /** Key, version, whether it is the latest, whether it is a delete marker. */
  readonly versions?: readonly (readonly [string, string, boolean, boolean])[];
};

/** Carries a plan out: one result per step, stage by stage. */
export type Driver = (plan: Plan) => Promise<readonly (readonly Result[])[]>;

/** A driver in a program of its own. */
export function programDriver(
  command: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Driver {
  return async (plan) => {
    const ran = await runClient(command, {
      input: JSON.stringify(plan),
      // No compiled copies of the drivers in the tree.
      env: { PYTHONDONTWRITEBYTECODE: '1', ...env },
      cwd: projectRoot,
      limitMs: 300_000,
    });
    if (ran.exitCode !== 0)
      throw new Error(`${command.join(' ')} failed (${ran.exitCode}):\n${ran.stderr.slice(-4000)}`);
    const results: readonly (readonly Result[])[] = JSON.parse(ran.stdout);
    return results;
  };
}

/** Runs the steps of each stage with at most `width` at a time: for drivers in this process. */
export async function runStages(
  plan: Plan,
  run: (step: Step) => Promise<Result>,
  width = 4,
): Promise<Result[][]> {
  const all: Result[][] = [];
  for (const stage of plan.stages) {
    const results: Result[] = [];
    let next = 0;
    const worker = async (): Promise<void> => {
      for (;;) {
        const at = next++;
        const step = stage[at];
        if (step === undefined) return;
        results[at] = await run(step);
      }
    };
    await Promise.all(Array.from({ length: width }, worker));
    all.push(results);
  }
  return all;
}
