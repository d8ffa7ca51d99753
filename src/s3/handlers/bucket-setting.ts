// The three operations on a setting of a bucket that is one document: GET shows it or says that there is none, PUT
// replaces it whole, DELETE takes it away and is content when there is nothing to take.

import type { BucketSettings } from '../../store/types.ts';
import { emptyReply, type S3Handler, xmlReply } from '../call.ts';
import { S3Error, type S3ErrorCode } from '../errors.ts';

type Value<K extends keyof BucketSettings> = NonNullable<BucketSettings[K]>;

export type BucketSettingSpec<K extends keyof BucketSettings> = {
  readonly member: K;
  /** The root element of its document. */
  readonly root: string;
  /** What GET answers while it is not set. */
  readonly absent: S3ErrorCode;
  readonly documentBytesMax: number;
  /** Whether PUT needs Content-MD5 or a checksum. */
  readonly isDigestRequired: boolean;
  /** Throws `S3Error` for what cannot be stored. */
  parse(document: Uint8Array): Value<K>;
  /** What is in the root element. */
  format(value: Value<K>): string;
};

export type BucketSettingHandlers = {
  readonly get: S3Handler;
  readonly put: S3Handler;
  readonly remove: S3Handler;
};

/** The handlers of one setting. They throw `NoSuchBucket`, and what `parse` throws. */
export function bucketSetting<K extends keyof BucketSettings>(
  spec: BucketSettingSpec<K>,
): BucketSettingHandlers {
  const { member } = spec;
  return {
    get: async ({ store, target: { bucket } }) => {
      const value = (await store.getBucket(bucket)).settings[member];
      if (value === undefined) {
        throw new S3Error(spec.absent, undefined, { details: { BucketName: bucket } });
      }
      return xmlReply(spec.root, spec.format(value));
    },
    put: async (call) => {
      const { bucket } = call.target;
      const value = spec.parse(
        await call.readDocument({
          maxBytes: spec.documentBytesMax,
          isDigestRequired: spec.isDigestRequired,
        }),
      );
      await call.store.updateBucketSettings(bucket, (settings) => ({
        ...settings,
        [member]: value,
      }));
      return emptyReply(200);
    },
    remove: async ({ store, target: { bucket } }) => {
      await store.updateBucketSettings(bucket, (settings) => {
        const { [member]: _, ...rest } = settings;
        // What is left of the settings without one that may be absent.
        return rest as BucketSettings;
      });
      return emptyReply(204);
    },
  };
}
