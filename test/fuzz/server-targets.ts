// A whole server fed with requests of strangers: bodies of every configuration call, query strings, headers, forms
// and their policies. Whatever comes, it answers; nothing is its own fault (500), and what it took as configuration
// it gives back.

import { parseXml } from '../../src/base/xml.ts';
import {
  accessKey,
  codeOf,
  type Harness,
  secretKey,
  startHarness,
} from '../conformance/s3-harness.ts';
import { encodeForm, type FormFields, signedForm } from '../support/post-form.ts';
import { sendRaw } from '../support/raw-request.ts';
import type { S3TestAnswer } from '../support/s3-test-client.ts';
import type { FuzzTarget } from './targets.ts';

const rule = '<ID>a</ID><Status>Enabled</Status>';
/** A method and a target behind the bucket, a line break, and the body. */
const documents = [
  'PUT ?versioning\n<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>',
  'PUT ?encryption\n<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>other-key</KMSMasterKeyID></ApplyServerSideEncryptionByDefault><BucketKeyEnabled>true</BucketKeyEnabled><BlockedEncryptionTypes><EncryptionType>SSE-C</EncryptionType></BlockedEncryptionTypes></Rule></ServerSideEncryptionConfiguration>',
  'PUT ?encryption&prefix=dir/\n<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>',
  `PUT ?lifecycle\n<LifecycleConfiguration><Rule>${rule}<Filter><And><Prefix>a</Prefix><Tag><Key>k</Key><Value>v</Value></Tag><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan></And></Filter><Expiration><Days>3</Days></Expiration><NoncurrentVersionExpiration><NoncurrentDays>2</NoncurrentDays><NewerNoncurrentVersions>4</NewerNoncurrentVersions></NoncurrentVersionExpiration></Rule></LifecycleConfiguration>`,
  `PUT ?lifecycle\n<LifecycleConfiguration><Rule>${rule}<Prefix/><Expiration><Date>2030-01-01T00:00:00Z</Date></Expiration><AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>`,
  'PUT ?cors\n<CORSConfiguration><CORSRule><ID>a</ID><AllowedOrigin>https://*.example.com</AllowedOrigin><AllowedMethod>GET</AllowedMethod><AllowedHeader>*</AllowedHeader><ExposeHeader>etag</ExposeHeader><MaxAgeSeconds>60</MaxAgeSeconds></CORSRule></CORSConfiguration>',
  'PUT ?tagging\n<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>',
  'PUT /object?tagging\n<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>',
  'PUT ?policy\n{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["*"]},"Action":"s3:GetObject","Resource":"arn:aws:s3:::fuzz/*","Condition":{"StringLike":{"aws:Referer":"a*"}}}]}',
  'PUT ?publicAccessBlock\n<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>false</IgnorePublicAcls></PublicAccessBlockConfiguration>',
  'PUT ?acl\n<AccessControlPolicy><Owner><ID>x</ID></Owner><AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="Group"><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee><Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>',
  'PUT ?object-lock\n<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>',
  'PUT /object?retention\n<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate></Retention>',
  'PUT /object?legal-hold\n<LegalHold><Status>OFF</Status></LegalHold>',
  'PUT /object?encryption\n<ObjectEncryption><SSE-KMS><KMSKeyArn>other-key</KMSKeyArn><BucketKeyEnabled>true</BucketKeyEnabled></SSE-KMS></ObjectEncryption>',
  'POST ?delete\n<Delete><Quiet>true</Quiet><Object><Key>x</Key><VersionId>null</VersionId><ETag>"a"</ETag><Size>3</Size><LastModifiedTime>Tue, 01 Jan 2030 00:00:00 GMT</LastModifiedTime></Object></Delete>',
  'POST /object?uploadId=UPLOAD\n<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"900150983cd24fb0d6963f7d28e17f72"</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part></CompleteMultipartUpload>',
];

/** What can be read back under the same query. */
const readable =
  /^PUT \?(encryption|lifecycle|cors|tagging|policy|publicAccessBlock|acl|versioning)$/;

const queries = [
  '?list-type=2&prefix=a&delimiter=%2F&max-keys=3&start-after=b&fetch-owner=true&encoding-type=url',
  '?versions&key-marker=a&version-id-marker=null&max-keys=2&prefix=o',
  '?uploads&key-marker=a&upload-id-marker=x&max-uploads=2',
  '?marker=a&max-keys=0',
  '?location',
  '/object?partNumber=1&versionId=null&response-content-type=text%2Fplain',
  '/object?attributes',
  '/object?uploadId=x&max-parts=2&part-number-marker=1',
  '/object?tagging&versionId=019d1c5e7a3b0c5500112233445566ff',
  '?list-type=2&continuation-token=AAAA',
];

/** One header to a line. */
const headerBlocks = [
  'range: bytes=0-1\nif-match: "a", W/"b"\nif-modified-since: Tue, 01 Jan 2030 00:00:00 GMT',
  'x-amz-server-side-encryption: aws:kms\nx-amz-server-side-encryption-aws-kms-key-id: other-key\nx-amz-server-side-encryption-context: eyJhIjoiYiJ9\nx-amz-server-side-encryption-bucket-key-enabled: true',
  'x-amz-server-side-encryption-customer-algorithm: AES256\nx-amz-server-side-encryption-customer-key: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nx-amz-server-side-encryption-customer-key-md5: cLy8ccqZTdm01k6jV3NoPQ==',
  'x-amz-copy-source: /fuzz/object?versionId=null\nx-amz-metadata-directive: REPLACE\nx-amz-copy-source-if-match: "x"\nx-amz-tagging-directive: REPLACE\nx-amz-tagging: a=b&c=d',
  'x-amz-meta-a: b\nx-amz-storage-class: STANDARD\nx-amz-acl: private\nx-amz-checksum-crc32: AAAAAA==\nx-amz-sdk-checksum-algorithm: CRC32\ncontent-md5: AAAA',
  'x-amz-object-lock-mode: GOVERNANCE\nx-amz-object-lock-retain-until-date: 2030-01-01T00:00:00Z\nx-amz-object-lock-legal-hold: ON\nx-amz-expected-bucket-owner: x\norigin: https://a.example.com',
  'x-amz-object-attributes: ETag,ObjectParts,Checksum\nx-amz-max-parts: 1\nx-amz-part-number-marker: 0\nexpires: x\ncontent-encoding: aws-chunked,gzip',
];

const form: FormFields = signedForm(
  'fuzz',
  [
    ['key', 'dir/${filename}'],
    ['x-amz-meta-a', 'b'],
    ['tagging', '<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>'],
    ['success_action_status', '201'],
  ],
  { accessKey, secretKey },
);

/** Printable ASCII without what the line of a request cannot hold. */
function lineText(input: Uint8Array): string {
  return Buffer.from(input)
    .toString('latin1')
    .replaceAll(/[^\x21-\x7e]/g, (character) => encodeURIComponent(character));
}

function assertAnswered(answer: Pick<S3TestAnswer, 'status' | 'body'>, what: string): void {
  if (answer.status === 500 || answer.status === 0) {
    throw new Error(`${what}: ${answer.status} ${answer.body.toString().slice(0, 500)}`);
  }
}

/** The targets, and the server behind them. */
export async function serverTargets(): Promise<{
  readonly targets: FuzzTarget[];
  readonly close: () => Promise<void>;
}> {
  const at = await startHarness();
  const anonymous = at.as('anonymous');
  await prepare(at);
  const sample = encodeForm(form, Buffer.from('file'));
  const targets: FuzzTarget[] = [
    {
      name: 'server: documents',
      samples: documents.map(text),
      run: (input) => sendDocument(at, input),
    },
    {
      name: 'server: queries',
      samples: queries.map(text),
      run: async (input) => {
        const target = `/fuzz${lineText(input)}`;
        for (const method of ['GET', 'HEAD']) {
          assertAnswered(await at.send(method, target), `${method} ${target}`);
        }
      },
    },
    {
      name: 'server: headers',
      samples: headerBlocks.map(text),
      run: (input) => sendHeaders(at, input),
    },
    {
      name: 'server: forms',
      samples: [sample.body],
      run: async (input) => {
        const body = Buffer.from(input);
        const answer = await anonymous.send('POST', '/fuzz', { headers: sample.headers, body });
        assertAnswered(answer, 'form');
      },
    },
    {
      name: 'server: raw requests',
      samples: [
        at.head('GET', '/fuzz/object', { headers: { range: 'bytes=0-1' } }),
        at.head('PUT', '/fuzz/raw', { headers: { 'content-length': '0' } }),
        `GET /fuzz?list-type=2 HTTP/1.1\r\nHost: ${at.host}\r\nOrigin: https://a.example.com\r\n\r\n`,
        `OPTIONS /fuzz/object HTTP/1.1\r\nHost: ${at.host}\r\nOrigin: https://a.example.com\r\nAccess-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: a, b\r\n\r\n`,
      ].map(text),
      run: (input) => sendBytes(at, input),
    },
  ];
  return {
    targets: targets.map((target) => ({ ...target, isSlow: true })),
    close: () => at.close(),
  };
}

function text(value: string): Uint8Array {
  return Buffer.from(value);
}

/** Puts back what requests may have taken away. */
async function prepare(at: Harness): Promise<void> {
  await at.send('PUT', '/fuzz');
  await at.send('PUT', '/fuzz/object', { body: 'abc' });
}

async function sendDocument(at: Harness, input: Uint8Array): Promise<void> {
  const bytes = Buffer.from(input);
  const end = bytes.indexOf('\n');
  const [method = '', query = ''] = bytes
    .subarray(0, Math.max(0, end))
    .toString('latin1')
    .split(' ');
  const verb = /^(GET|PUT|POST|DELETE)$/.test(method) ? method : 'PUT';
  const target = `/fuzz${lineText(Buffer.from(query, 'latin1'))}`;
  const body = bytes.subarray(end + 1);
  const answer = await at.send(verb, target, { body });
  assertAnswered(answer, `${verb} ${target}`);
  if (answer.status < 300 && readable.test(`${verb} ${query}`)) {
    const kept = await at.send('GET', target);
    if (kept.status !== 200) throw new Error(`${target} was taken and reads ${codeOf(kept)}`);
    if (query === '?policy') await at.send('DELETE', '/fuzz?policy');
    else parseXml(kept.body, { maxBytes: 1_000_000 });
  }
  if (answer.status < 300) await prepare(at);
}

/** The headers that are ones, on a write, a read and a copy. */
async function sendHeaders(at: Harness, input: Uint8Array): Promise<void> {
  const headers: Record<string, string> = {};
  for (const line of Buffer.from(input).toString('latin1').split('\n')) {
    const [, name = '', value = ''] = /^([!#$%&'*+.^_`|~0-9a-z-]+): ?(.*)$/.exec(line) ?? [];
    if (/[^\t\x20-\x7e\x80-\xff]/.test(value)) continue;
    // These say how the request itself is sent.
    if (
      name === '' ||
      /^(host|connection|content-length|transfer-encoding|expect|te|upgrade|trailer|keep-alive)$/.test(
        name,
      )
    )
      continue;
    headers[name] = value.trim();
  }
  assertAnswered(await at.send('PUT', '/fuzz/written', { headers, body: 'abc' }), 'PUT');
  assertAnswered(await at.send('GET', '/fuzz/object', { headers }), 'GET');
  assertAnswered(await at.send('GET', '/fuzz/object?attributes', { headers }), 'attributes');
  assertAnswered(await at.send('POST', '/fuzz/written?uploads', { headers }), 'upload');
}

async function sendBytes(at: Harness, input: Uint8Array): Promise<void> {
  const whole = Buffer.from(input);
  const end = whole.indexOf('\r\n\r\n');
  const head = whole.subarray(0, end === -1 ? whole.length : end).toString('latin1');
  const [line = '', ...lines] = head.split('\r\n');
  const [method = '', target = ''] = line.split(' ');
  const headers = lines.map((item): [string, string] => {
    const colon = item.indexOf(':');
    return [item.slice(0, colon), item.slice(colon + 1)];
  });
  const kept = headers.filter(
    ([name]) => !/^(content-length|transfer-encoding|expect|upgrade)$/i.test(name),
  );
  const answer = await sendRaw(at.port, { method, target, headers: kept, body: Buffer.alloc(0) });
  if (answer.status === 500) throw new Error(`${head}: ${answer.body}`);
}
