// Get, Put and DeleteObjectTagging: the tags of one version, which change without its becoming another.

import { emptyReply, type Reply, type ReplyHeaders, type S3Call, xmlReply } from '../call.ts';
import { addVersionOfRead, versionRefOf } from '../versions.ts';
import {
  formatTagging,
  objectTagsMax,
  parseTagging,
  parseTaggingDocument,
  tagSetXml,
} from '../tags.ts';

const limits = { maxBytes: 64 * 1024, tagsMax: objectTagsMax };

/** GET ?tagging: an empty set when there are no tags. */
export async function getObjectTagging(call: S3Call): Promise<Reply> {
  const object = await call.store.openObject({ ...versionRefOf(call) });
  const headers: ReplyHeaders = [];
  addVersionOfRead(headers, object);
  return xmlReply('Tagging', tagSetXml(parseTagging(object.info.attributes.tagging)), headers);
}

/** PUT ?tagging: these tags and no others. */
export async function putObjectTagging(call: S3Call): Promise<Reply> {
  await call.store.getBucket(call.target.bucket);
  const document = await call.readDocument(limits);
  const tagging = formatTagging(parseTaggingDocument(document, limits));
  return emptyReply(200, await replaceTags(call, tagging));
}

/** DELETE ?tagging, also when there are none. */
export async function deleteObjectTagging(call: S3Call): Promise<Reply> {
  return emptyReply(204, await replaceTags(call, ''));
}

async function replaceTags(call: S3Call, tagging: string): Promise<ReplyHeaders> {
  const { isVersioned } = await call.store.openObject(versionRefOf(call));
  const info = await call.store.putTagging(versionRefOf(call), tagging);
  const headers: ReplyHeaders = [];
  addVersionOfRead(headers, { info, isVersioned });
  return headers;
}
