// Numbers in words; all other words come with the cell (words.py).

const several = (n, one, more) => `${n} ${n === 1 ? one : more}`;

export const piecesSaid = (n) => several(n, "piece lies", "pieces lie");

// "2 pieces lie off the cell, 1 hole in the cell", or nothing.
export function slipsSaid(marks) {
  const kinds = {
    piece: (n) => `${piecesSaid(n)} off the cell`,
    hole: (n) => several(n, "hole in the cell", "holes in the cell"),
    speck: (n) => several(n, "speck of nucleus", "specks of nucleus"),
    gap: (n) => several(n, "gap in the nucleus", "gaps in the nucleus"),
  };
  const said = Object.entries(kinds).map(([kind, words]) => [marks.filter((mark) => mark.kind === kind).length, words]);
  return said.filter(([n]) => n).map(([n, words]) => words(n)).join(", ");
}

export function areaSaid(px, umPerPx) {
  const pixels = `${px.toLocaleString("en")} px`;
  return umPerPx ? `${(px * umPerPx * umPerPx).toFixed(1)} \u00b5m\u00b2 (${pixels})` : pixels;
}

// "14:32", with the day where it was another one.
export function clock(when, now = Date.now()) {
  const then = new Date(when);
  const day = then.toDateString() === new Date(now).toDateString() ? {} : { day: "numeric", month: "long" };
  return then.toLocaleString("en-GB", { ...day, hour: "2-digit", minute: "2-digit" });
}
