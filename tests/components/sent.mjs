// Pictures as the program sends them (pages/_ui/components/scatter/scatter.py: packed), small enough to read.

export const base64 = (values, type) => Buffer.from(new type(values).buffer).toString("base64");

const look = { ink: "#000000", paper: "#ffffff", muted: "#888888", grid: "#dddddd" };

export const picture = {
  x: { title: "area", low: 0, high: 10, log: false },
  y: { title: "hue", low: 0, high: 10, log: false },
  groups: [
    { name: "A", n: 2, colour: "#ff0000", edge: "#aa0000", shape: "circle" },
    { name: "B", n: 1, colour: "#0000ff", edge: "#0000aa", shape: "square" },
  ],
  none: "in no group",
  look,
  colour: null,
  height: 460,
};

export const colour = { title: "size", low: 0, high: 1, stops: ["#000000", "#ffffff"] };
