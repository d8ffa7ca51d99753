// The log streams: every line from now on, until the client goes away. No history is kept.

import type { KesHandlers } from '../dispatcher.ts';
import type { KesReply } from '../exchange.ts';

/** Hands each line to whoever listens at that moment. */
export class LineHub {
  readonly #listeners = new Set<(line: string) => void>();

  /** Whether anybody listens: a line for nobody need not be made. */
  get isHeard(): boolean {
    return this.#listeners.size > 0;
  }

  publish(line: string): void {
    for (const listener of this.#listeners) listener(line);
  }

  subscribe(listener: (line: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

function streamOf(hub: LineHub): KesReply {
  return {
    status: 200,
    contentType: 'application/x-ndjson',
    stream: (write) => hub.subscribe(write),
  };
}

/** The handlers of the two streams. */
export function logHandlers(hubs: {
  readonly error: LineHub;
  readonly audit: LineHub;
}): KesHandlers {
  return {
    'log-error': async () => streamOf(hubs.error),
    'log-audit': async () => streamOf(hubs.audit),
  };
}
