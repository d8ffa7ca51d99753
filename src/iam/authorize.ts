// Decides whether an identity may do something. A pure function of its argument: whatever the decision
// depends on is looked up before and handed in. Anything that is not allowed is denied.

import type { Identity } from './identity.ts';

/** Values of condition keys (`s3:prefix`, `aws:SourceIp`, …), as the request itself states them. */
export type ConditionValues = Readonly<Record<string, readonly string[]>>;

/** One question. Actions are named as in policies: `s3:GetObject`, `admin:ServerInfo`, `kms:CreateKey`. */
export type AccessRequest = {
  readonly identity: Identity;
  readonly action: string;
  /** Absent for calls on the service as a whole. */
  readonly bucket?: string;
  /** Absent for calls on a bucket as a whole. */
  readonly key?: string;
  readonly conditions?: ConditionValues;
};

export type Decision = 'allow' | 'deny';

/** Root may do everything, a caller without a signature nothing. */
export function authorize(request: AccessRequest): Decision {
  switch (request.identity.kind) {
    case 'root':
      return 'allow';
    case 'anonymous':
    case 'user':
      return 'deny';
  }
}
