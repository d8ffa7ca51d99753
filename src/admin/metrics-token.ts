// The bearer token of metrics scrapers, as `mc admin prometheus generate` makes it: a JWT under HMAC
// with the secret key of the user it names. Only HMAC algorithms are known, so `none` and public-key
// tricks are refused by construction.

import { createHmac, timingSafeEqual } from 'node:crypto';

const algorithms: ReadonlyMap<unknown, string> = new Map([
  ['HS256', 'sha256'],
  ['HS384', 'sha384'],
  ['HS512', 'sha512'],
]);

const tokenCharsMax = 4_096;

/** Finds the secret key of an access key; undefined when there is none. */
export type SecretKeyFinder = (accessKey: string) => Promise<string | undefined>;

/** The access key that the token proves, or undefined for any token that proves nothing. */
export async function verifyMetricsToken(
  token: string,
  deps: { readonly findSecretKey: SecretKeyFinder; now(): number },
): Promise<string | undefined> {
  const [header, claims, signature, ...rest] = token.split('.');
  if (token.length > tokenCharsMax || !header || !claims || !signature || rest.length > 0) {
    return undefined;
  }
  const digest = algorithms.get(decode(header)?.['alg']);
  const values = decode(claims);
  if (!digest || !values || values['iss'] !== 'prometheus') return undefined;
  const accessKey = values['accessKey'] ?? values['sub'];
  const expires = values['exp'];
  if (typeof accessKey !== 'string' || accessKey === '') return undefined;
  if (typeof expires !== 'number' || expires * 1000 <= deps.now()) return undefined;
  const secretKey = await deps.findSecretKey(accessKey);
  if (secretKey === undefined) return undefined;
  const expected = createHmac(digest, secretKey).update(`${header}.${claims}`).digest();
  const given = Buffer.from(signature, 'base64url');
  const isRight = given.length === expected.length && timingSafeEqual(given, expected);
  return isRight ? accessKey : undefined;
}

function decode(part: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
    return { ...value };
  } catch {
    return undefined;
  }
}
