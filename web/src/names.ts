/**
 * Names that come from elsewhere, as they may be shown. Characters that can't be seen, or that turn the order of
 * others round, stand as their code points, so that two names that differ look different.
 */

/** Controls, what is not drawn (zero-width and bidi characters, tags, fillers), lone surrogates, ends of lines. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/u;

/** Letters that are read from right to left. */
const RIGHT_TO_LEFT = /[\u0590-\u08FF\uFB1D-\uFDFF\uFE70-\uFEFC\u{10800}-\u{10FFF}\u{1E800}-\u{1EFFF}]/u;

export interface Piece {
  text: string;
  /** Whether the text stands for a character that would not be seen. */
  unseen: boolean;
}

/** A name cut into what is shown as it is, and what is not. */
export function pieces(name: string): Piece[] {
  const cut: Piece[] = [];
  for (const character of name) {
    const unseen = UNSEEN.test(character);
    const last = cut.at(-1);
    const text = unseen ? codePoint(character) : character;
    if (last && !unseen && !last.unseen) last.text += text;
    else cut.push({ text, unseen });
  }
  return cut;
}

/** The same as plain text, for titles, notices and names of controls, which can't hold elements. */
export function plain(name: string): string {
  const text = pieces(name)
    .map((piece) => (piece.unseen ? `⟨${piece.text}⟩` : piece.text))
    .join('');
  // What stands around it keeps its order.
  return RIGHT_TO_LEFT.test(text) ? `\u2068${text}\u2069` : text;
}

function codePoint(character: string): string {
  return `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`;
}
