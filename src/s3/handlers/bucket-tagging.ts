// The tags of buckets.

import { bucketTagsMax, parseTaggingDocument, tagSetXml } from '../tags.ts';
import { bucketSetting } from './bucket-setting.ts';

const documentBytesMax = 1024 * 1024;

/** ?tagging of a bucket: at most 50 tags, shown sorted. */
export const bucketTagging = bucketSetting({
  member: 'tagging',
  root: 'Tagging',
  absent: 'NoSuchTagSet',
  documentBytesMax,
  isDigestRequired: true,
  parse: (document) =>
    parseTaggingDocument(document, { maxBytes: documentBytesMax, tagsMax: bucketTagsMax }),
  format: tagSetXml,
});
