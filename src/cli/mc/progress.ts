// Progress of transfers: a bar on a terminal, nothing in a pipe or with `--quiet` or `--json`, and the
// summary at the end. Bytes are counted as they are read from or written to the local side.

import type { Writable } from 'node:stream';

import { SingleBar } from 'cli-progress';

import { boxTable, formatAmount, formatClock } from './format.ts';
import type { Output } from './output.ts';

/** Counts the bytes of one command. */
export class Progress {
  readonly #out: Output;
  readonly #started = performance.now();
  readonly #bar: SingleBar | undefined;
  #totalBytes = 0;
  #doneBytes = 0;
  #caption = '';
  #isShown = false;

  constructor(out: Output, stream: Writable) {
    this.#out = out;
    if (!out.isInteractive) return;
    this.#bar = new SingleBar({
      stream: stream as NodeJS.WritableStream,
      format: ' {caption}{done} / {size} [{bar}] {percentage}% {speed}',
      barCompleteChar: '━',
      barIncompleteChar: ' ',
      hideCursor: true,
      clearOnComplete: false,
      stopOnComplete: false,
      fps: 5,
    });
  }

  get doneBytes(): number {
    return this.#doneBytes;
  }

  get totalBytes(): number {
    return this.#totalBytes;
  }

  /** More work was found. */
  addTotal(bytes: number): void {
    this.#totalBytes += bytes;
    if (this.#isShown) this.#bar?.setTotal(this.#totalBytes);
    else this.#bar?.start(this.#totalBytes, this.#doneBytes, this.#payload());
    this.#isShown = true;
  }

  add(bytes: number): void {
    this.#doneBytes += bytes;
    this.#bar?.update(Math.min(this.#doneBytes, this.#totalBytes), this.#payload());
  }

  caption(text: string): void {
    this.#caption = `${text}: `;
  }

  /** Takes the bar away, so that a message can be printed. */
  stop(): void {
    this.#bar?.stop();
  }

  /** The last thing a transfer command prints. `total` is what it says was to be done. */
  finish(total = this.#totalBytes): void {
    this.stop();
    const elapsedMs = Math.max(performance.now() - this.#started, 0.001);
    const isIdle = this.#doneBytes === 0;
    const speed = isIdle ? 0 : this.#doneBytes / (elapsedMs / 1000);
    if (this.#out.isJson) {
      this.#out.json({
        status: 'success',
        total,
        transferred: this.#doneBytes,
        duration: isIdle ? 0 : Math.round(elapsedMs * 1e6),
        speed,
      });
      return;
    }
    if (this.#bar !== undefined) return;
    this.#out.line(
      boxTable([
        ['Total', 'Transferred', 'Duration', 'Speed'],
        [
          formatAmount(total),
          formatAmount(this.#doneBytes),
          isIdle ? formatClock(0) : formatClock(elapsedMs),
          `${formatAmount(speed)}/s`,
        ],
      ]),
    );
  }

  #payload(): object {
    const seconds = Math.max((performance.now() - this.#started) / 1000, 0.001);
    return {
      caption: this.#caption,
      done: formatAmount(this.#doneBytes),
      size: formatAmount(this.#totalBytes),
      speed: `${formatAmount(this.#doneBytes / seconds)}/s`,
    };
  }
}

/** The same bytes, counted. A second reading of the same body takes the first one's count back. */
export function countedBody(
  open: () => AsyncIterable<Uint8Array>,
  count: (bytes: number) => void,
): () => AsyncIterable<Uint8Array> {
  let counted = 0;
  return () => {
    if (counted > 0) count(-counted);
    counted = 0;
    return (async function* () {
      for await (const chunk of open()) {
        counted += chunk.length;
        count(chunk.length);
        yield chunk;
      }
    })();
  };
}
