// Numbers and counts in words, and what is said of the whole picture.

const RAISED = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079";

export function plain(v, digits) {
  if (v !== 0 && (Math.abs(v) >= 1e7 || Math.abs(v) < 1e-4)) {
    const [lead, power] = v.toExponential(2).split("e");
    const raised = [...String(Number(power))].map((sign) => (sign === "-" ? "\u207b" : RAISED[sign])).join("");
    return `${Number(lead) === 1 ? "" : `${Number(lead)}\u00d7`}10${raised}`;
  }
  return thousands(v, { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "\u2212");
}

// Three significant digits, as core.charts.labels.number; a dash for what is absent.
export function number(v) {
  if (v === null || !Number.isFinite(v)) return "\u2013";
  if (v === 0 || Math.abs(v) >= 1e7 || Math.abs(v) < 1e-4) return plain(v, 0);
  return plain(v, Math.max(0, Math.min(6, 2 - Math.floor(Math.log10(Math.abs(v))))));
}

export function thousands(n, digits = {}) {
  return n.toLocaleString("en", digits);
}

export function cells(n) {
  return `${thousands(n)} cell${n === 1 ? "" : "s"}`;
}

// The line above the picture: what a hand can do now, and which cells are not to be seen.
export function status({ pick }, mode, marks) {
  const parts = [];
  if (mode === "lasso") parts.push("Draw around cells.");
  else if (mode === "box") parts.push("Drag a box over cells.");
  else if (pick) parts.push("Click a cell to look at it.");
  parts.push(...marks.said());
  if (marks.absent) parts.push(`${cells(marks.absent)} without a value here.`);
  return parts.join(" ");
}

// The picture for those who do not see it.
export function described({ x, y, groups, select, pick }) {
  const doing = [];
  if (pick) doing.push("Enter looks at the nearest cell");
  if (select) doing.push("with a tool chosen Enter sets corners, twice closes, Escape clears");
  const who = groups.map((group) => `${group.name} ${group.n}`).join(", ");
  return `Scatter of ${y.title} against ${x.title}; ${who}. ${["Arrows move a cross", ...doing].join("; ")}`;
}
