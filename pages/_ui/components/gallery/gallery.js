// Small pictures of cells, each with a line of words; where `pick` is set a click chooses one. Pictures that are there
// already stay, so nothing flickers while new ones come, and empty places keep the height.

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".gallery");
  const there = new Map([...root.children].map((figure) => [figure.dataset.id, figure]));
  const shown = data.items.map((item) => {
    const figure = there.get(item.id) ?? document.createElement(data.pick ? "button" : "div");
    if (!there.has(item.id)) {
      figure.dataset.id = item.id;
      figure.innerHTML = '<span class="picture"></span><span class="words"></span>';
      figure.title = item.hint;
    }
    if (figure.drawn !== item.picture) {
      figure.querySelector(".picture").innerHTML = item.picture; // drawn by the program, holds no text from outside
      figure.drawn = item.picture;
    }
    figure.querySelector(".words").textContent = item.words;
    figure.setAttribute("aria-label", `${item.words}, ${item.hint}`);
    figure.className = `place${item.flagged ? " flagged" : ""}${item.id === data.chosen ? " chosen" : ""}`;
    if (data.pick) figure.onclick = () => setTriggerValue("picked", item.id);
    return figure;
  });
  while (shown.length < data.places) {
    const empty = document.createElement("div");
    empty.className = "place empty";
    shown.push(empty);
  }
  root.replaceChildren(...shown);
}
