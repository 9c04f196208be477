// What stands for the cells: Points, a symbol each, or Bins, the squares they are counted in. Both draw themselves
// (`draw`, and `symbol` in the legend), find the mark under a hand (`find`, `ringed`) and say what they show (`lines`
// of one mark, `said` and `absent` of all). This file holds what they share.

// Numbers as they are sent: base64 of little-endian arrays.
export function array(text, type) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new type(bytes.buffer);
}
