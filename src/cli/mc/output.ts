// Everything a command prints goes through here: one JSON document per message with `--json`, plain lines
// otherwise, errors on standard error. Colour only on a terminal. Rule: JSON on anything but a terminal is
// one compact line per document, with `<`, `>` and `&` escaped, so that line-based consumers work.

import type { CliIo } from '../io.ts';
import type { Json, JsonObject } from './error.ts';
import { Failure, formatFailure } from './failure.ts';

export type Style =
  | 'bold'
  | 'red'
  | 'green'
  | 'yellow'
  | 'blue'
  | 'cyan'
  | 'greenBold'
  | 'cyanBold';

const styleCodes: Readonly<Record<Style, readonly [string, string]>> = {
  bold: ['1', '22'],
  red: ['31', '0'],
  green: ['32', '0'],
  yellow: ['33', '0'],
  blue: ['34', '0'],
  cyan: ['36', '0'],
  greenBold: ['32;1', '0'],
  cyanBold: ['36;1', '0'],
};

/** A document as the reference escapes it. */
export function formatJson(value: Json, indent = 0): string {
  const text = JSON.stringify(value, undefined, indent);
  return text.replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

export type OutputOptions = {
  readonly isJson: boolean;
  readonly isQuiet: boolean;
  readonly isColour: boolean;
};

/** Where a command writes; remembers whether anything failed. */
export class Output {
  readonly isJson: boolean;
  readonly isQuiet: boolean;
  readonly #io: CliIo;
  readonly #isColour: boolean;
  #hasFailed = false;

  constructor(io: CliIo, options: OutputOptions) {
    this.#io = io;
    this.isJson = options.isJson;
    this.isQuiet = options.isQuiet;
    this.#isColour = options.isColour && io.stdout.isTTY === true;
  }

  /** Whether an error was printed: the exit code is then 1. */
  get hasFailed(): boolean {
    return this.#hasFailed;
  }

  /** Whether a progress bar may be drawn. */
  get isInteractive(): boolean {
    return this.#io.stdout.isTTY === true && !this.isJson && !this.isQuiet;
  }

  /** Text in a colour, on a terminal. */
  paint(text: string, style: Style): string {
    if (!this.#isColour) return text;
    const [on, off] = styleCodes[style];
    return `\u001b[${on}m${text}\u001b[${off}m`;
  }

  /** One message in both forms. */
  message(document: JsonObject, human: () => string): void {
    if (this.isJson) this.json(document);
    else this.line(human());
  }

  line(text: string): void {
    this.#io.stdout.write(`${text}\n`);
  }

  text(text: string): void {
    this.#io.stdout.write(text);
  }

  json(document: JsonObject): void {
    if (this.#io.stdout.isTTY !== true) this.line(formatJson(document));
    else this.line(this.#colourJson(formatJson(document, 1)));
  }

  /** Raw bytes; resolves when more may follow. Rejects when the reader has gone. */
  async bytes(chunk: Uint8Array): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#io.stdout.write(chunk, (error) => {
        if (error === null || error === undefined) resolve();
        else reject(error);
      });
    });
  }

  /** Prints a failure and makes the exit code 1. */
  failure(failure: Failure): void {
    this.#hasFailed = true;
    if (this.isJson) {
      this.json({
        status: 'error',
        error: {
          message: failure.message,
          cause: {
            message: failure.reason?.message ?? '',
            error: failure.reason?.detail ?? {},
          },
          type: failure.isFatal ? 'fatal' : 'error',
        },
      });
      return;
    }
    this.#io.stderr.write(`mc: <ERROR> ${formatFailure(failure)}\n`);
  }

  /** Makes the exit code 1 without printing. */
  markFailed(): void {
    this.#hasFailed = true;
  }

  warn(text: string): void {
    this.#io.stderr.write(`${text}\n`);
  }

  #colourJson(text: string): string {
    if (!this.#isColour) return text;
    return text.replace(
      /^(\s*)("(?:[^"\\]|\\.)*")(: )/gm,
      (_, space: string, name: string, rest: string) =>
        `${space}${this.paint(name, 'blue')}${rest}`,
    );
  }
}
