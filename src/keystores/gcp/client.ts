// How the Google SDK is set up: REST over our connections, access tokens for a service account by the token
// exchange (or whatever the environment offers), and silence: its logging would print keys.

import type { SecretManagerServiceClient } from '@google-cloud/secret-manager';
import type { Dispatcher } from 'undici';
import { userAgent } from '../cloud-calls.ts';

/** A service account, as in the configuration. */
export type GcpCredentials = {
  readonly client_email?: string | undefined;
  readonly client_id?: string | undefined;
  readonly private_key_id?: string | undefined;
  readonly private_key?: string | undefined;
};

/** As in the configuration. Without `credentials`, the application default credentials. */
export type GcpSecretsSettings = {
  readonly project_id?: string | undefined;
  readonly endpoint?: string | undefined;
  readonly scopes?: readonly string[] | undefined;
  readonly credentials?: GcpCredentials | undefined;
};

const defaultScope = 'https://www.googleapis.com/auth/cloud-platform';

type Transport = {
  readonly url: URL;
  readonly connections: Dispatcher;
  readonly attemptMs: number;
};

type ClientOptions = NonNullable<ConstructorParameters<typeof SecretManagerServiceClient>[0]>;
type FetchLike = (input: unknown, init?: Record<string, unknown>) => Promise<unknown>;

/** Options for a client of the SDK. */
export async function gcpClientOptions(
  settings: GcpSecretsSettings,
  transport: Transport,
): Promise<ClientOptions> {
  const { url } = transport;
  const { credentials, scopes } = settings;
  const isTls = url.protocol === 'https:';
  const options = {
    fallback: true,
    protocol: isTls ? 'https' : 'http',
    apiEndpoint: url.hostname,
    port: url.port === '' ? (isTls ? 443 : 80) : Number(url.port),
    scopes: scopes?.length ? [...scopes] : [defaultScope],
    ...(credentials?.client_email
      ? {
          credentials: {
            type: 'service_account',
            client_email: credentials.client_email,
            client_id: credentials.client_id ?? '',
            private_key_id: credentials.private_key_id ?? '',
            // A key that came out of JSON unchanged still has its line ends escaped.
            private_key: (credentials.private_key ?? '').replaceAll('\\n', '\n'),
          },
        }
      : {}),
    clientOptions: {
      useAuthRequestParameters: false, // or it logs what is sent
      transporterOptions: { fetchImplementation: await makeFetch(transport), retry: false },
    },
  };
  return options as ClientOptions; // its type lacks what it passes on to the HTTP client
}

/** `fetch` over our connections, with a limit on every attempt and without headers that describe the machine. */
async function makeFetch(transport: Transport): Promise<FetchLike> {
  const { fetch } = await import('undici');
  const agent = userAgent();
  return (input, init = {}) => {
    const headers = new Headers(init['headers'] as Headers); // the SDK passes nothing else
    headers.delete('x-goog-api-client');
    headers.set('user-agent', agent);
    const limit = AbortSignal.timeout(transport.attemptMs);
    const given = init['signal'];
    return fetch(String(input), {
      method: typeof init['method'] === 'string' ? init['method'] : 'GET',
      headers: Object.fromEntries(headers),
      body: (init['body'] ?? null) as string | Uint8Array | null, // texts and buffers only
      redirect: 'manual',
      signal: given instanceof AbortSignal ? AbortSignal.any([given, limit]) : limit,
      dispatcher: transport.connections,
    });
  };
}

/**
 * Turns off what GOOGLE_SDK_NODE_LOGGING would print (requests, with keys in them), and has tokens exchanged
 * rather than signed by ourselves, as the reference does.
 */
export function silenceSdk(client: object): void {
  const nothing = (): void => {};
  const inner = client as { _log?: unknown; auth?: { useJWTAccessWithScope?: boolean } };
  inner._log = { info: nothing, warn: nothing, error: nothing, debug: nothing };
  if (inner.auth) inner.auth.useJWTAccessWithScope = false;
}
