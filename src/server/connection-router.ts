// Hands accepted connections to workers in turn. While no worker can take them they wait here, so that a
// restart never refuses a connection: to a client it is only a slower one.

import type { Socket } from 'node:net';

/**
 * Who can take connections: a worker. `accept` is false when it is gone and the connection is not taken; one
 * that goes before it has got the connection gives it back later.
 */
export type ConnectionTarget = {
  accept(socket: Socket, giveBack: (socket: Socket) => void): boolean;
};

/** Connections that may wait while no worker is there; more are closed. */
export const waitingConnectionsMax = 10_000;

export class ConnectionRouter {
  #targets: readonly ConnectionTarget[] = [];
  #waiting: Socket[] = [];
  #turn = 0;
  #isClosed = false;

  /** Gives the connection to the next worker, or keeps it until there is one. */
  route(socket: Socket): void {
    for (let tries = this.#targets.length; tries > 0; tries -= 1) {
      const target = this.#targets[this.#turn % this.#targets.length];
      this.#turn += 1;
      if (target?.accept(socket, (back) => this.route(back))) return;
    }
    if (!this.#isClosed && this.#waiting.length < waitingConnectionsMax) {
      this.#waiting.push(socket);
    } else {
      socket.destroy();
    }
  }

  /** From now on these workers take the connections, those that waited first. Empty: connections wait. */
  setTargets(targets: readonly ConnectionTarget[]): void {
    this.#targets = targets;
    if (targets.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const socket of waiting) this.route(socket);
  }

  /** Closes what still waits, and what comes back from now on. */
  close(): void {
    this.#isClosed = true;
    this.#targets = [];
    for (const socket of this.#waiting.splice(0)) socket.destroy();
  }
}
