// Below the picture: its groups, each of which can be brought out, its other signs, and its colour bar.

import { stamp } from "./symbols.js";
import { cells, thousands, number } from "./words.js";

export function fillLegend(view) {
  const { data, marks, plane } = view;
  const others = [];
  if (marks.someInNoGroup) others.push(["nowhere", data.none]);
  if (data.own) others.push(["own", plane.holds(data.own) ? "this cell" : "this cell lies beyond the axes"]);
  if (data.highlighted.length) others.push(["found", "highlighted"]);
  view.legend.replaceChildren(
    ...data.groups.map((group, g) => groupEntry(view, group, g)),
    ...others.map(([name, words]) => sample(name, words)),
  );
}

function groupEntry(view, group, g) {
  const { data, marks, state } = view;
  const { muted } = data.look;
  const [colour, edge] = data.colour ? [muted, muted] : [group.colour, group.edge];
  const entry = element("button", { type: "button", title: "Bring this group out; once more for all" });
  entry.append(
    Object.assign(stamp(marks.symbol(group), colour, edge, 5).canvas, { className: "sign" }),
    element("span", { textContent: group.name }),
    element("span", { className: "n", textContent: thousands(group.n) }),
  );
  entry.setAttribute("aria-label", `${group.name}, ${cells(group.n)}`);
  entry.setAttribute("aria-pressed", String(state.group === g));
  entry.onclick = () => view.bringOut(g);
  return entry;
}

function sample(name, textContent) {
  const entry = element("span", { className: "sample" });
  entry.append(element("span", { className: `sign ${name}` }), element("span", { textContent }));
  return entry;
}

function element(tag, properties) {
  return Object.assign(document.createElement(tag), properties);
}

export function fillColourBar({ find, data: { colour } }) {
  find("bar").hidden = !colour;
  if (!colour) return;
  find("bar-title").textContent = colour.title;
  find("low").textContent = number(colour.low);
  find("high").textContent = number(colour.high);
  find("ramp").style.background = `linear-gradient(to right, ${colour.stops.join(", ")})`;
}
