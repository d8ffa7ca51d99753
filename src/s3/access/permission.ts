// What a request asks of `iam`.

/** One thing that must be allowed. */
export type Permission = {
  readonly action: string;
  readonly bucket: string;
  /** Empty for the bucket as a whole. */
  readonly key: string;
  readonly versionId?: string | undefined;
  /** Part of a PutObject: who may write may say what the object is to be like. */
  readonly isPartOfWrite?: boolean;
};
