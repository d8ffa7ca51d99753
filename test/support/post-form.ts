// Browser forms for tests: signed with V4, and written as the body that a browser would send.

import { createHmac, randomBytes } from 'node:crypto';
import { deriveSigningKey } from '../../src/sigv4/signing-key.ts';
import { formatAmzDate } from '../../src/sigv4/time.ts';

export type FormFields = readonly (readonly [name: string, value: string])[];

/** The fields of a form with a signed policy that allows other values of the same fields, or exactly these. */
export function signedForm(
  bucket: string,
  fields: FormFields,
  credentials: { readonly accessKey: string; readonly secretKey: string },
  allows: 'any value' | 'exact' = 'any value',
): FormFields {
  const timestamp = formatAmzDate(Date.now());
  const scope = { date: timestamp.slice(0, 8), region: 'us-east-1', service: 's3' };
  const conditions = [
    { bucket },
    ...fields.map(([name, value]) =>
      allows === 'exact' ? ['eq', `$${name}`, value] : ['starts-with', `$${name}`, ''],
    ),
  ];
  const document = { expiration: new Date(Date.now() + 60_000).toISOString(), conditions };
  const policy = Buffer.from(JSON.stringify(document)).toString('base64');
  const key = deriveSigningKey(credentials.secretKey, scope);
  return [
    ...fields,
    ['policy', policy],
    ['x-amz-algorithm', 'AWS4-HMAC-SHA256'],
    ['x-amz-credential', `${credentials.accessKey}/${scope.date}/us-east-1/s3/aws4_request`],
    ['x-amz-date', timestamp],
    ['x-amz-signature', createHmac('sha256', key).update(policy).digest('hex')],
  ];
}

/** The body of the form with its file last, and the header that goes with it. */
export function encodeForm(
  fields: FormFields,
  file: Uint8Array,
): { readonly headers: Record<string, string>; readonly body: Buffer } {
  const boundary = `form-${randomBytes(12).toString('hex')}`;
  const parts = fields.map(
    ([name, value]) =>
      `--${boundary}\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
  );
  const head = `--${boundary}\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\n`;
  return {
    headers: { 'content-type': `multipart/form-data; boundary=${boundary}` },
    body: Buffer.concat([
      Buffer.from(parts.join('') + head),
      file,
      Buffer.from(`\r\n--${boundary}--\r\n`),
    ]),
  };
}
