// The headers of a request as all of this folder takes them.

/** Request headers, lower-case names; `x-amz-*` query parameters count as headers of that name. */
export type S3Headers = Readonly<Record<string, string | undefined>>;
