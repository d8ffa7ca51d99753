// The flags that several commands share, and those of every command.

import type { FlagSpec } from './args.ts';

/** Flags of every command, also accepted before it. */
export const globalFlags: readonly FlagSpec[] = [
  {
    name: 'config-dir',
    aliases: ['C'],
    kind: 'text',
    help: 'folder of the configuration',
    env: 'MC_CONFIG_DIR',
  },
  { name: 'quiet', aliases: ['q'], kind: 'boolean', help: 'show no progress', env: 'MC_QUIET' },
  {
    name: 'disable-pager',
    aliases: ['dp'],
    kind: 'boolean',
    help: 'accepted; there is no pager',
    env: 'MC_DISABLE_PAGER',
  },
  { name: 'no-color', kind: 'boolean', help: 'print without colours', env: 'MC_NO_COLOR' },
  { name: 'json', kind: 'boolean', help: 'print JSON, one document per message', env: 'MC_JSON' },
  {
    name: 'debug',
    kind: 'boolean',
    help: 'print requests and answers, without secrets',
    env: 'MC_DEBUG',
  },
  {
    name: 'resolve',
    kind: 'list',
    help: 'HOST[:PORT]=IP instead of a name lookup',
    env: 'MC_RESOLVE',
  },
  { name: 'insecure', kind: 'boolean', help: 'do not verify TLS certificates', env: 'MC_INSECURE' },
  {
    name: 'limit-upload',
    kind: 'text',
    help: 'upload rate, for example 10MiB/s',
    env: 'MC_LIMIT_UPLOAD',
  },
  {
    name: 'limit-download',
    kind: 'text',
    help: 'download rate, for example 10MiB/s',
    env: 'MC_LIMIT_DOWNLOAD',
  },
  {
    name: 'custom-header',
    aliases: ['H'],
    kind: 'list',
    help: 'add a header to requests, as NAME:VALUE',
  },
  { name: 'conn-read-deadline', kind: 'text', help: 'accepted', isHidden: true },
  { name: 'conn-write-deadline', kind: 'text', help: 'accepted', isHidden: true },
  { name: 'help', aliases: ['h'], kind: 'boolean', help: 'show this help' },
];

export const recursiveFlag: FlagSpec = {
  name: 'recursive',
  aliases: ['r'],
  kind: 'boolean',
  help: 'with everything below',
};
export const versionIdFlag: FlagSpec = {
  name: 'version-id',
  aliases: ['vid'],
  kind: 'text',
  help: 'one version of the object',
};
export const olderThanFlag: FlagSpec = {
  name: 'older-than',
  kind: 'text',
  help: 'only what is older, for example 7d10h',
};
export const newerThanFlag: FlagSpec = {
  name: 'newer-than',
  kind: 'text',
  help: 'only what is newer, for example 7d10h',
};
export const storageClassFlag: FlagSpec = {
  name: 'storage-class',
  aliases: ['sc'],
  kind: 'text',
  help: 'storage class',
};
export const attrFlag: FlagSpec = {
  name: 'attr',
  kind: 'text',
  help: 'metadata, as "key=value;key=value"',
};
export const tagsFlag: FlagSpec = {
  name: 'tags',
  kind: 'text',
  help: 'object tags, as "key=value&key=value"',
};
export const checksumOption: FlagSpec = {
  name: 'checksum',
  kind: 'text',
  help: 'send a checksum: CRC64NVME, CRC32, CRC32C, SHA1 or SHA256',
};

export const customerKeyFlag: FlagSpec = {
  name: 'enc-c',
  kind: 'list',
  help: 'SSE-C: alias/prefix=KEY (hex or unpadded base64)',
};

/** `--enc-c`, `--enc-kms`, `--enc-s3`, and the two that were removed, which say so. */
export const encryptionFlags: readonly FlagSpec[] = [
  customerKeyFlag,
  { name: 'enc-kms', kind: 'list', help: 'SSE-KMS: alias/prefix=KEYNAME', env: 'MC_ENC_KMS' },
  { name: 'enc-s3', kind: 'list', help: 'SSE-S3: alias/prefix', env: 'MC_ENC_S3' },
  { name: 'encrypt', kind: 'text', help: 'removed', isHidden: true },
  { name: 'encrypt-key', kind: 'text', help: 'removed', isHidden: true },
];

/** Flags of `cp` and `mv`. */
export const copyFlags: readonly FlagSpec[] = [
  recursiveFlag,
  olderThanFlag,
  newerThanFlag,
  storageClassFlag,
  attrFlag,
  tagsFlag,
  { name: 'preserve', aliases: ['a'], kind: 'boolean', help: 'keep mode and times of files' },
  { name: 'disable-multipart', kind: 'boolean', help: 'upload every file in one request' },
  { name: 'retention-mode', kind: 'text', help: 'governance or compliance' },
  { name: 'retention-duration', kind: 'text', help: 'for example 30d or 1y' },
  { name: 'legal-hold', kind: 'text', help: 'on or off' },
  { name: 'max-workers', kind: 'number', help: 'copies at a time (default 8)' },
  checksumOption,
  ...encryptionFlags,
];

/** Flags of uploads of one object. */
export const partFlags: readonly FlagSpec[] = [
  {
    name: 'parallel',
    aliases: ['P'],
    kind: 'number',
    help: 'parts at a time (default 4)',
    env: 'MC_UPLOAD_MULTIPART_THREADS',
  },
  {
    name: 'part-size',
    aliases: ['s'],
    kind: 'text',
    help: 'bytes per part (default 16MiB)',
    env: 'MC_UPLOAD_MULTIPART_SIZE',
  },
];
