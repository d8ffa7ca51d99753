// Connections that lead the host names of cloud providers to doubles on this machine, so that adapters are
// tested with the very addresses they use for real. A host that is not in the table is unknown.

import { Agent, buildConnector, type Dispatcher } from 'undici';

/** `hosts`: host name → origin of a double. */
export function connectionsTo(hosts: Readonly<Record<string, string>>): Dispatcher {
  // What the doubles' certificates say is not what these tests are about.
  const connector = buildConnector({ rejectUnauthorized: false, timeout: 2_000 });
  return new Agent({
    headersTimeout: 2_000,
    bodyTimeout: 2_000,
    maxResponseSize: 8 * 1024 * 1024,
    connect: (options, callback) => {
      const target = hosts[options.hostname];
      if (target === undefined) {
        const error = new Error(`getaddrinfo ENOTFOUND ${options.hostname}`);
        callback(Object.assign(error, { code: 'ENOTFOUND' }), null);
        return;
      }
      const { hostname, port, host } = new URL(target);
      connector({ ...options, hostname, host, port }, callback);
    },
  });
}
