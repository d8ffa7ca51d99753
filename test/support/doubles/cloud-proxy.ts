// A proxy in front of a server that is not ours, so that it misbehaves when a test tells it to: the faults
// are those of `double-server.ts`.

import { request as send } from 'undici';
import { type DoubleServer, startDoubleServer } from './double-server.ts';

export type FaultyProxy = DoubleServer;

/** Passes every request on to `target`, an origin. */
export async function startFaultyProxy(target: string): Promise<FaultyProxy> {
  return startDoubleServer(async (request) => {
    const { connection: _c, 'content-length': _l, ...headers } = request.headers;
    const query = request.query.size === 0 ? '' : `?${request.query.toString()}`;
    const answer = await send(`${target}${request.path}${query}`, {
      method: request.method as 'GET', // whatever it is, it is passed on
      headers,
      body: request.body.length === 0 ? null : request.body,
    });
    const kept = ['content-type', 'x-amzn-requestid', 'x-amzn-errortype'];
    return {
      status: answer.statusCode,
      headers: Object.fromEntries(
        kept.flatMap((name) => {
          const value = answer.headers[name];
          return value === undefined ? [] : [[name, String(value)]];
        }),
      ),
      body: new Uint8Array(await answer.body.arrayBuffer()),
    };
  });
}
