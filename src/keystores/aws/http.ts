// How the AWS SDK sends its requests here: over connections of ours, with their limits and proxies. A
// connection that fails is told to the SDK under a name it knows as worth another attempt.

import type { SecretsManagerClientConfig } from '@aws-sdk/client-secrets-manager';
import type { Dispatcher } from 'undici';
import { type CloudLimits, describeNetworkError, retryDelay, userAgent } from '../cloud-calls.ts';

/** Keys of an AWS identity, as in the configuration. */
export type AwsCredentials = {
  readonly accesskey?: string | undefined;
  readonly secretkey?: string | undefined;
  readonly token?: string | undefined;
};

type RetryStrategy = NonNullable<SecretsManagerClientConfig['retryStrategy']>;

/** As many attempts as the reference makes. */
const attemptsMax = 4;

/** The part of the SDK's request that an HTTP handler uses. */
type AwsHttpRequest = {
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number;
  readonly method: string;
  readonly path: string;
  readonly query?: Readonly<Record<string, string | string[] | null>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: unknown;
};

type AwsHttpResponse = {
  readonly statusCode: number;
  readonly headers: Record<string, string>;
  readonly body: unknown;
};

type AwsHttpHandler = {
  readonly metadata: { readonly handlerProtocol: string };
  handle(
    request: AwsHttpRequest,
    options?: { readonly abortSignal?: unknown },
  ): Promise<{ response: AwsHttpResponse }>;
  destroy(): void;
  updateHttpClientConfig(): void;
  httpHandlerConfigs(): Record<string, never>;
};

/** The caller destroys the connections. */
export function awsHttpHandler(connections: Dispatcher): AwsHttpHandler {
  const agent = userAgent();
  return {
    metadata: { handlerProtocol: 'http/1.1' },
    handle: async (request, options) => {
      const signal = options?.abortSignal;
      try {
        const answer = await connections.request({
          origin: `${request.protocol}//${request.hostname}${request.port ? `:${request.port}` : ''}`,
          path: `${request.path}${queryText(request.query)}`,
          method: request.method as Dispatcher.HttpMethod, // the SDK uses no others
          headers: { ...request.headers, 'user-agent': agent }, // never a signed one
          body: (request.body ?? null) as string | Uint8Array | null, // never a stream in these APIs
          signal: signal instanceof AbortSignal ? signal : null,
        });
        return {
          response: {
            statusCode: answer.statusCode,
            headers: flatten(answer.headers),
            body: answer.body,
          },
        };
      } catch (error) {
        if (signal instanceof AbortSignal && signal.aborted) throw error;
        throw Object.assign(new Error(describeNetworkError(error)), { name: 'TimeoutError' });
      }
    },
    destroy: () => {},
    updateHttpClientConfig: () => {},
    httpHandlerConfigs: () => ({}),
  };
}

function queryText(query: AwsHttpRequest['query'] = {}): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const each of [value].flat()) parameters.append(name, each ?? '');
  }
  return parameters.size === 0 ? '' : `?${parameters.toString()}`;
}

function flatten(headers: Dispatcher.ResponseData['headers']): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, String(value ?? '')]),
  );
}

/**
 * Repeats only what was refused for the time it was signed with, which the SDK has set right then: that was not
 * carried out. For what must not be done twice.
 */
export function awsNoRetries(limits: CloudLimits): RetryStrategy {
  return awsRetries(limits, (error) => {
    const { $metadata } = (error ?? {}) as { $metadata?: { clockSkewCorrected?: unknown } };
    return $metadata?.clockSkewCorrected === true;
  });
}

/** Repeats what the SDK holds for worth it: no answer, throttling, a status of 500 or more. */
export function awsRetries(
  limits: CloudLimits,
  isRepeatable: (error: unknown) => boolean = () => true,
): RetryStrategy {
  const tokenOf = (count: number) => ({
    getRetryCount: () => count,
    getRetryDelay: () => (count === 0 ? 0 : retryDelay(limits)),
    getRetryCost: () => 0,
    getLastRetryCost: () => undefined,
  });
  return {
    acquireInitialRetryToken: async () => tokenOf(0),
    refreshRetryTokenForRetry: async (token, { errorType, error }) => {
      const count = token.getRetryCount() + 1;
      if (errorType === 'CLIENT_ERROR' || count >= attemptsMax || !isRepeatable(error)) {
        throw new Error('no more attempts');
      }
      return tokenOf(count);
    },
    recordSuccess: () => {},
  };
}

/** What every AWS client is given: static keys if any part is configured, bounded attempts, our connections. */
export function awsClientOptions(
  credentials: AwsCredentials | undefined,
  transport: { readonly connections: Dispatcher; readonly limits: CloudLimits },
) {
  const { accesskey, secretkey, token } = credentials ?? {};
  return {
    ...(accesskey || secretkey || token
      ? {
          credentials: {
            accessKeyId: accesskey ?? '',
            secretAccessKey: secretkey ?? '',
            ...(token ? { sessionToken: token } : {}),
          },
        }
      : {}),
    maxAttempts: attemptsMax,
    retryStrategy: awsRetries(transport.limits),
    requestHandler: awsHttpHandler(transport.connections),
  };
}
