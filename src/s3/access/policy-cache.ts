// Bucket policies, parsed once for as long as they stay the same. A policy that cannot be parsed any more denies
// everything; root can still read, replace and delete it.

import { parsePolicy, type Policy } from '../../iam/policy/policy.ts';
import { IamError } from '../../iam/iam-error.ts';

const policiesMax = 1000;

const denial = {
  Version: '2012-10-17',
  Statement: { Effect: 'Deny', Principal: '*', Action: 's3:*' },
} as const;

export class PolicyCache {
  /** By bucket, oldest first. */
  readonly #parsed = new Map<string, { readonly text: string; readonly policy: Policy }>();

  /** The policy of a bucket, whose record holds `text` now. */
  get(bucket: string, text: string): Policy {
    const known = this.#parsed.get(bucket);
    if (known?.text === text) return known.policy;
    const policy = parse(bucket, text);
    this.#parsed.delete(bucket);
    const oldest = this.#parsed.size >= policiesMax ? this.#parsed.keys().next().value : undefined;
    if (oldest !== undefined) this.#parsed.delete(oldest);
    this.#parsed.set(bucket, { text, policy });
    return policy;
  }
}

function parse(bucket: string, text: string): Policy {
  try {
    return parsePolicy(text, 'bucket', bucket);
  } catch (error) {
    if (!(error instanceof IamError)) throw error;
    const arn = `arn:aws:s3:::${bucket}`;
    const statement = { ...denial.Statement, Resource: [arn, `${arn}/*`] };
    return parsePolicy(JSON.stringify({ ...denial, Statement: statement }), 'bucket', bucket);
  }
}
