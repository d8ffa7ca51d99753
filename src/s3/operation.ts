// What the table of operations says of one operation.

import type { S3Handler } from './call.ts';

export type S3Scope = 'service' | 'bucket' | 'object';

/** `form`: the request is a browser form, which is read before anybody knows who sent it. */
export type S3OperationHandler = S3Handler | 'form' | 'not-implemented';

export type S3Operation = {
  /** As AWS names it; operations of other servers of this kind have their own names. */
  readonly name: string;
  readonly method: string;
  readonly scope: S3Scope;
  /** The query key that selects it; empty for the plain request. */
  readonly subresource: string;
  /** What must be there too: a further query key, or the header that makes a write a copy. */
  readonly also?: 'id' | 'copy-source';
  /** The permission of IAM and bucket policies. */
  readonly action: string;
  readonly handler: S3OperationHandler;
};
