// A key presses the button that names it. None reaches Streamlit, which has keys of its own.

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const PAN_PX = 40;

export function listenToKeys(editor, signal) {
  const { root, view } = editor;
  const on = (element, name, act) => element.addEventListener(name, act, { signal });

  const act = (event, from) => {
    const { shiftKey } = event;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.altKey) return false;
    if (event.ctrlKey || event.metaKey) {
      if (key !== "z" && key !== "y") return false;
      if (key === "y" || shiftKey) editor.redo();
      else editor.undo();
      return true;
    }
    const step = ARROWS[key];
    if (step && from.matches("input")) return false; // they move the slider
    if (step && editor.cross) editor.moveCross(step, shiftKey ? 10 : 1);
    else if (step) view.moveBy(-step[0] * PAN_PX, -step[1] * PAN_PX), editor.seen();
    else if (key === " ") editor.space = true;
    else if (key === "Enter" && editor.cross) editor.pressCross(shiftKey);
    else if (key === "[" || key === "]") editor.resizeBrush(key === "[" ? -1 : 1);
    else {
      const button = root.querySelector(`[data-key~=${CSS.escape(key)}]`);
      button?.click();
      return Boolean(button);
    }
    return true;
  };

  on(root, "keydown", (event) => {
    event.stopPropagation();
    const [from] = event.composedPath();
    if (event.isComposing) return;
    if (event.key === "Escape") editor.escape();
    else if (from.matches("input[type=text], textarea, select")) {
      if (event.key !== "Enter" || !from.matches("input")) return;
      editor.panel.confirm();
    } else if (from.matches("button") && (event.key === "Enter" || event.key === " ")) return;
    else if (!act(event, from)) return;
    event.preventDefault();
  });
  on(root, "keyup", (event) => {
    event.stopPropagation();
    if (event.key === " ") editor.space = false;
  });
  on(window, "blur", () => (editor.space = false));
}
