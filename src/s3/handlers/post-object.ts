// PostObject: the upload of a browser form. The object is stored as PutObject stores it; only the answer differs,
// because a browser shows it or follows it.

import { xmlElement } from '../../base/xml.ts';
import type { Reply, ReplyHeaders } from '../call.ts';
import type { FormCall } from '../form/form-call.ts';
import { putObject } from './put-object.ts';

/** Stores the file of the form. 204, 200 or 201 as the form asks, or 303 to the page it names. */
export async function postObject(call: FormCall): Promise<Reply> {
  const { headers } = await putObject(call);
  const { bucket, key } = call.target;
  const etag = headers[headers.indexOf('etag') + 1] ?? '';
  const location = `${call.origin}/${bucket}/${encodeURIComponent(key).replaceAll('%2F', '/')}`;
  const page = redirectOf(call.answer.redirect, { bucket, key, etag });
  if (page !== undefined) return { status: 303, headers: [...headers, 'location', page] };
  const all: ReplyHeaders = [...headers, 'location', location];
  switch (call.answer.status) {
    case '200':
      return { status: 200, headers: all };
    case '201':
      return {
        status: 201,
        headers: all,
        body: `<?xml version="1.0" encoding="UTF-8"?>\n<PostResponse>${xmlElement('Location', location)}${xmlElement('Bucket', bucket)}${xmlElement('Key', key)}${xmlElement('ETag', etag)}</PostResponse>`,
      };
    default:
      return { status: 204, headers: all };
  }
}

/** A page that is not on the web is ignored, as S3 does. */
function redirectOf(
  text: string | undefined,
  made: { readonly bucket: string; readonly key: string; readonly etag: string },
): string | undefined {
  if (text === undefined || !URL.canParse(text)) return undefined;
  const url = new URL(text);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return undefined;
  for (const [name, value] of Object.entries(made)) url.searchParams.append(name, value);
  return url.href;
}
