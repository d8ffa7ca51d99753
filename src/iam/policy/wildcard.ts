// Patterns of policies: `*` stands for any text, `?` for one character, `${key}` for a value of the request.
// What a variable brings in is text, never a wildcard. No regular expressions: the matcher keeps one place to
// go back to, so its time is bounded by the product of both lengths, whatever a stranger's pattern says.

/** Gives the one value of a policy variable, or undefined. The name is as written. */
export type VariableLookup = (name: string) => string | undefined;

type Piece =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'any' }
  | { readonly kind: 'one' }
  | { readonly kind: 'variable'; readonly name: string; readonly fallback: string | undefined };

/** A parsed pattern. Immutable. */
export type Pattern = {
  readonly source: string;
  readonly pieces: readonly Piece[];
  readonly hasVariables: boolean;
  readonly hasWildcards: boolean;
};

export type PatternOptions = {
  /** Whether `*` and `?` are wildcards. */
  readonly wildcards: boolean;
  /** Whether `${…}` names a variable. */
  readonly variables: boolean;
};

/** Thrown by `parsePattern` for a `${` that names nothing. */
export class PatternError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'PatternError';
  }
}

/** Parses a pattern. Throws `PatternError` when a variable is not closed or has an empty name. */
export function parsePattern(source: string, options: PatternOptions): Pattern {
  const pieces: Piece[] = [];
  let text = '';
  const push = (piece: Piece): void => {
    if (text !== '') pieces.push({ kind: 'text', text });
    text = '';
    // Several stars in a row say no more than one.
    if (piece.kind === 'any' && pieces.at(-1)?.kind === 'any') return;
    pieces.push(piece);
  };
  for (let at = 0; at < source.length; at += 1) {
    const character = source.charAt(at);
    if (options.variables && character === '$' && source.charAt(at + 1) === '{') {
      const end = source.indexOf('}', at);
      if (end === -1) throw new PatternError('a policy variable is not closed');
      const inside = source.slice(at + 2, end);
      if (inside === '*' || inside === '?' || inside === '$') text += inside;
      else push(parseVariable(inside));
      at = end;
    } else if (options.wildcards && character === '*') push({ kind: 'any' });
    else if (options.wildcards && character === '?') push({ kind: 'one' });
    else text += character;
  }
  if (text !== '') pieces.push({ kind: 'text', text });
  return {
    source,
    pieces,
    hasVariables: pieces.some(({ kind }) => kind === 'variable'),
    hasWildcards: pieces.some(({ kind }) => kind === 'any' || kind === 'one'),
  };
}

/** `name` or `name, 'default'`. */
function parseVariable(inside: string): Piece {
  const comma = inside.indexOf(',');
  const name = (comma === -1 ? inside : inside.slice(0, comma)).trim();
  if (name === '' || /[\s'"{}$]/.test(name)) {
    throw new PatternError('a policy variable has no valid name');
  }
  if (comma === -1) return { kind: 'variable', name, fallback: undefined };
  const quoted = inside.slice(comma + 1).trim();
  if (quoted.length < 2 || !quoted.startsWith("'") || !quoted.endsWith("'")) {
    throw new PatternError('the default of a policy variable is not quoted');
  }
  return { kind: 'variable', name, fallback: quoted.slice(1, -1) };
}

/** The names of the variables in a pattern. */
export function variablesOf(pattern: Pattern): string[] {
  return pattern.pieces.flatMap((piece) => (piece.kind === 'variable' ? [piece.name] : []));
}

/** A pattern with its variables replaced; undefined when one of them has no value. */
export function resolvePattern(pattern: Pattern, lookup: VariableLookup): Pattern | undefined {
  if (!pattern.hasVariables) return pattern;
  const pieces: Piece[] = [];
  for (const piece of pattern.pieces) {
    if (piece.kind !== 'variable') {
      pieces.push(piece);
      continue;
    }
    const text = lookup(piece.name) ?? piece.fallback;
    if (text === undefined) return undefined;
    if (text !== '') pieces.push({ kind: 'text', text });
  }
  return { ...pattern, pieces, hasVariables: false };
}

/** Whether the whole text matches. False when a variable of the pattern has no value. */
export function matchesPattern(pattern: Pattern, text: string, lookup: VariableLookup): boolean {
  const resolved = resolvePattern(pattern, lookup);
  return resolved !== undefined && matchesPieces(resolved.pieces, text);
}

/** The text of a pattern without wildcards; undefined when a variable has no value. */
export function textOfPattern(pattern: Pattern, lookup: VariableLookup): string | undefined {
  const resolved = resolvePattern(pattern, lookup);
  if (resolved === undefined) return undefined;
  return resolved.pieces.map((piece) => (piece.kind === 'text' ? piece.text : '')).join('');
}

/**
 * Every piece is placed at the first spot it fits; when a later one does not fit, the last star takes one
 * character more. Earlier stars never need another try, because their first fit leaves the most to the rest.
 */
function matchesPieces(pieces: readonly Piece[], text: string): boolean {
  let piece = 0;
  let at = 0;
  /** The piece after the last star, and where the text it has not taken begins. */
  let retryPiece = -1;
  let retryAt = 0;
  for (;;) {
    const current = pieces[piece];
    if (current?.kind === 'any') {
      piece += 1;
      if (piece === pieces.length) return true;
      retryPiece = piece;
      retryAt = at;
      continue;
    }
    const end = current === undefined ? (at === text.length ? at : -1) : endOf(current, text, at);
    if (current === undefined && end !== -1) return true;
    if (end !== -1) {
      piece += 1;
      at = end;
      continue;
    }
    if (retryPiece === -1 || retryAt >= text.length) return false;
    retryAt = nextStart(pieces[retryPiece], text, retryAt + 1);
    if (retryAt === -1) return false;
    piece = retryPiece;
    at = retryAt;
  }
}

/** Where the text after the piece begins, -1 when it does not fit here. */
function endOf(piece: Piece, text: string, at: number): number {
  if (piece.kind === 'text') return text.startsWith(piece.text, at) ? at + piece.text.length : -1;
  if (at >= text.length) return -1;
  const isPair = (text.codePointAt(at) ?? 0) > 0xffff;
  return at + (isPair ? 2 : 1);
}

/** The next place worth trying the piece after a star at. */
function nextStart(piece: Piece | undefined, text: string, from: number): number {
  if (piece?.kind === 'text') return text.indexOf(piece.text, from);
  return from;
}
