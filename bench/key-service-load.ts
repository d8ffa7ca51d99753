// Measures the key service alone: generate and decrypt calls over one HTTP/2 session, as a store makes them.

import { readFileSync } from 'node:fs';
import { connect, type ClientHttp2Session } from 'node:http2';
import { createClientCertificate, parseApiKey } from '../src/wire/kes-identity.ts';
import type { KeyServicePair } from '../test/support/coffer-pair.ts';

export type KeyServiceFigure = {
  readonly op: 'generate' | 'decrypt';
  readonly inFlight: number;
  readonly round: number;
  readonly perSecond: number;
};

function call(session: ClientHttp2Session, path: string, body: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/json',
    });
    let text = '';
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => {
      text += chunk;
    });
    stream.on('end', () => resolve(text));
    stream.on('error', reject);
    stream.end(body);
  });
}

async function measure(
  session: ClientHttp2Session,
  request: { readonly path: string; readonly body: string },
  options: { readonly inFlight: number; readonly seconds: number },
): Promise<number> {
  const startedMs = performance.now();
  const deadline = startedMs + options.seconds * 1000;
  let calls = 0;
  const loop = async (): Promise<void> => {
    while (performance.now() < deadline) {
      await call(session, request.path, request.body);
      calls += 1;
    }
  };
  await Promise.all(Array.from({ length: options.inFlight }, loop));
  return (calls / (performance.now() - startedMs)) * 1000;
}

/** Rounds of generate and decrypt at 1 and 64 calls in flight. */
export async function measureKeyService(
  pair: KeyServicePair,
  options: { readonly seconds: number; readonly rounds: number },
): Promise<KeyServiceFigure[]> {
  const certificate = await createClientCertificate(parseApiKey(pair.apiKey));
  const session = connect(pair.endpoint, { ca: readFileSync(pair.caFile), ...certificate });
  const context = Buffer.from('{"bucket":"bucket/object"}').toString('base64');
  const generate = { path: `/v1/key/generate/${pair.keyName}`, body: JSON.stringify({ context }) };
  const made = JSON.parse(await call(session, generate.path, generate.body)) as {
    ciphertext: string;
  };
  const decrypt = {
    path: `/v1/key/decrypt/${pair.keyName}`,
    body: JSON.stringify({ ciphertext: made.ciphertext, context }),
  };
  const figures: KeyServiceFigure[] = [];
  for (let round = 0; round < options.rounds; round += 1) {
    for (const inFlight of [1, 64]) {
      for (const [op, request] of [
        ['generate', generate],
        ['decrypt', decrypt],
      ] as const) {
        const perSecond = await measure(session, request, { inFlight, seconds: options.seconds });
        figures.push({ op, inFlight, round, perSecond });
      }
    }
  }
  session.close();
  return figures;
}
