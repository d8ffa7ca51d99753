// Base64 of headers and stored metadata: the standard alphabet with padding, and nothing else but
// line breaks, which are skipped. Node's own decoder accepts much more, so that two different texts
// could mean one value.

const strict = /^[A-Za-z0-9+/]*={0,2}$/;

/** The bytes, or undefined when the text is not strict base64. */
export function decodeBase64(text: string): Buffer | undefined {
  const joined = text.replaceAll(/[\r\n]/g, '');
  if (joined.length % 4 !== 0 || !strict.test(joined)) return undefined;
  return Buffer.from(joined, 'base64');
}

/** The same, for a value of one exact size. */
export function decodeBase64Sized(text: string, sizeBytes: number): Buffer | undefined {
  const bytes = decodeBase64(text);
  return bytes?.length === sizeBytes ? bytes : undefined;
}
