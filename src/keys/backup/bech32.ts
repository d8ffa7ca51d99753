// Bech32 (BIP 173) without its length limit, as age writes its keys: a readable prefix, `1`, five bits per
// character, and six characters that catch typing errors.

const alphabet = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l';
const generator = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3];
const checksumChars = 6;

/** The lower-case text of `bytes` under `prefix` (lower case). */
export function formatBech32(prefix: string, bytes: Uint8Array): string {
  const words = regroup(bytes, { from: 8, to: 5 }) ?? [];
  const sum = checksum([...expand(prefix), ...words, 0, 0, 0, 0, 0, 0]) ^ 1;
  const tail = Array.from({ length: checksumChars }, (_, at) => (sum >>> (5 * (5 - at))) & 31);
  return `${prefix}1${[...words, ...tail].map((word) => alphabet[word]).join('')}`;
}

/** Reads a text of either case, not mixed; undefined when it is none. The prefix comes in lower case. */
export function parseBech32(
  text: string,
): { readonly prefix: string; readonly bytes: Buffer } | undefined {
  const lower = text.toLowerCase();
  if (text !== lower && text !== text.toUpperCase()) return undefined;
  const mark = lower.lastIndexOf('1');
  if (mark < 1 || lower.length - mark - 1 < checksumChars) return undefined;
  const prefix = lower.slice(0, mark);
  if (!/^[\x21-\x7e]+$/.test(prefix)) return undefined;
  const words = Array.from(lower.slice(mark + 1), (char) => alphabet.indexOf(char));
  if (words.includes(-1) || checksum([...expand(prefix), ...words]) !== 1) return undefined;
  const bytes = regroup(words.slice(0, -checksumChars), { from: 5, to: 8 });
  return bytes && { prefix, bytes: Buffer.from(bytes) };
}

function expand(prefix: string): number[] {
  const codes = Array.from(prefix, (char) => char.charCodeAt(0));
  return [...codes.map((code) => code >>> 5), 0, ...codes.map((code) => code & 31)];
}

function checksum(words: readonly number[]): number {
  let sum = 1;
  for (const word of words) {
    const top = sum >>> 25;
    sum = ((sum & 0x1ffffff) << 5) ^ word;
    for (const [bit, value] of generator.entries()) if ((top >>> bit) & 1) sum ^= value;
  }
  return sum >>> 0;
}

/** Cuts a row of bits anew. Left-over bits must be zero, and fewer than a group, when bytes come out. */
function regroup(
  groups: Iterable<number>,
  bits: { readonly from: number; readonly to: number },
): number[] | undefined {
  const out: number[] = [];
  const mask = (1 << bits.to) - 1;
  let held = 0;
  let count = 0;
  for (const group of groups) {
    held = ((held << bits.from) | group) & 0xfff;
    count += bits.from;
    while (count >= bits.to) {
      count -= bits.to;
      out.push((held >>> count) & mask);
    }
  }
  if (bits.to === 5) {
    if (count > 0) out.push((held << (5 - count)) & mask);
  } else if (count >= bits.from || (held & ((1 << count) - 1)) !== 0) {
    return undefined;
  }
  return out;
}
