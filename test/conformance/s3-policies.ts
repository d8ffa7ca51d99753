// Setting bucket policies in tests, with what all statements have in common filled in.

import assert from 'node:assert/strict';
import { freshBucket, type Harness } from './s3-harness.ts';

export type Statement = {
  readonly Effect?: string;
  readonly Principal?: unknown;
  readonly Action: string | readonly string[];
  /** Behind `arn:aws:s3:::`; `BUCKET` stands for the bucket. */
  readonly Resource?: string;
  readonly Condition?: object;
};

const version = '2012-10-17';

/** Sets the policy of a bucket. */
export async function setPolicy(
  at: Harness,
  name: string,
  ...statements: readonly Statement[]
): Promise<void> {
  const filled = statements.map((statement) => ({
    Effect: 'Allow',
    Principal: '*',
    ...statement,
    Resource: [statement.Resource ?? [name, `${name}/*`]]
      .flat()
      .map((text) => `arn:aws:s3:::${text.replace('BUCKET', name)}`),
  }));
  const body = JSON.stringify({ Version: version, Statement: filled });
  assert.equal(await at.outcome('PUT', `/${name}?policy`, { body }), '204', body);
}

/** A fresh bucket with that policy and one object, `there`. */
export async function withPolicy(
  at: Harness,
  ...statements: readonly Statement[]
): Promise<string> {
  const name = freshBucket();
  assert.equal(await at.outcome('PUT', `/${name}`), '200');
  assert.equal(await at.outcome('PUT', `/${name}/there`, { body: 'x' }), '200');
  await setPolicy(at, name, ...statements);
  return name;
}
