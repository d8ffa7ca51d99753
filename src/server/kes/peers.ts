// Tells the other nodes on the same key store that a key has changed, so that they ask the store at once
// instead of within half a second. A courtesy, never a condition: nothing waits for it, what cannot be
// delivered is dropped, and a node that was not told finds out by itself.

import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Log } from '../../base/log.ts';
import type { KesPeersConfig } from '../../kes/config/extensions.ts';
import { KesConfigError } from '../../kes/config/yaml.ts';
import { KesClient } from '../../wire/kes-client.ts';
import { createClientCertificate, parseApiKey } from '../../wire/kes-identity.ts';

/** Delivers one notice. Rejects when it did not arrive. */
export type SendToPeer = (name: string) => Promise<void>;

/** A node to tell. */
export type KesPeer = {
  readonly origin: string;
  readonly send: SendToPeer;
  close(): void;
};

/** Notices under way to one peer at once. */
const sendsMax = 4;
/** Names waiting for one peer; more are dropped. */
const waitingMax = 10_000;
const sendWithinMs = 1_000;

/** Connects to nobody yet. Rejects with `KesConfigError`, or `KesIdentityError` for the API key. */
export async function openPeers(config: KesPeersConfig, deps: { log: Log }): Promise<PeerNotifier> {
  if (config.endpoints.length === 0) return new PeerNotifier([], deps);
  const certificate = await createClientCertificate(parseApiKey(config.apiKey));
  const tls = { ...certificate, ca: await readRoots(config.ca) };
  const timeoutMs = sendWithinMs;
  const peers = config.endpoints.map((endpoint): KesPeer => {
    const client = new KesClient({ endpoints: [endpoint], tls, timeoutMs, retriesMax: 0 });
    return {
      origin: client.origins[0] ?? endpoint,
      send: (name) => client.peerChanged(name, { timeoutMs }),
      close: () => client.close(),
    };
  });
  return new PeerNotifier(peers, deps);
}

async function readRoots(ca: string): Promise<string[]> {
  if (ca === '') return [];
  try {
    const isFolder = (await stat(ca)).isDirectory();
    const files = isFolder ? (await readdir(ca)).map((name) => path.join(ca, name)) : [ca];
    return await Promise.all(files.map((file) => readFile(file, 'utf8')));
  } catch (error) {
    const reason = (error as Error).message;
    throw new KesConfigError(`peers: cannot read 'ca': ${reason}`, { cause: error });
  }
}

/** Tells every peer of every change. */
export class PeerNotifier {
  readonly #queues: readonly PeerQueue[];

  constructor(peers: readonly KesPeer[], deps: { readonly log: Log }) {
    this.#queues = peers.map((peer) => new PeerQueue(peer, deps.log));
  }

  /** Never throws, never waits. */
  changed(name: string): void {
    for (const queue of this.#queues) queue.add(name);
  }

  /** Ends what is under way. */
  close(): void {
    for (const queue of this.#queues) queue.close();
  }
}

/** The names that one peer has to hear, each once however often it changed. */
class PeerQueue {
  readonly #peer: KesPeer;
  readonly #log: Log;
  readonly #waiting = new Set<string>();
  #sends = 0;
  #isFailing = false;
  #isClosed = false;

  constructor(peer: KesPeer, log: Log) {
    this.#peer = peer;
    this.#log = log;
  }

  add(name: string): void {
    if (this.#isClosed || this.#waiting.size >= waitingMax) return;
    this.#waiting.add(name);
    this.#start();
  }

  close(): void {
    this.#isClosed = true;
    this.#waiting.clear();
    this.#peer.close();
  }

  #start(): void {
    while (this.#sends < sendsMax) {
      const [name] = this.#waiting;
      if (name === undefined) return;
      this.#waiting.delete(name);
      this.#sends += 1;
      void this.#send(name);
    }
  }

  async #send(name: string): Promise<void> {
    try {
      await this.#peer.send(name);
      this.#report(undefined);
    } catch (error) {
      // By the time it can be reached again it has asked the store itself.
      this.#waiting.clear();
      this.#report(error as Error);
    }
    this.#sends -= 1;
    this.#start();
  }

  /** Says so once when a peer stops, or begins, to hear. */
  #report(error: Error | undefined): void {
    const isFailing = error !== undefined;
    if (this.#isClosed || isFailing === this.#isFailing) return;
    this.#isFailing = isFailing;
    const peer = this.#peer.origin;
    if (isFailing)
      this.#log.warn('a peer cannot be told of changes', { peer, error: error.message });
    else this.#log.info('a peer hears of changes again', { peer });
  }
}
