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
      if (item.more) figure.insertAdjacentHTML("beforeend", '<span class="more"></span>');
    }
    figure.title = item.hint;
    if (item.more) figure.querySelector(".more").textContent = item.more;
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
  root.classList.toggle("row", data.row);
  if (data.row) reveal(root);
}

// Scrolls a row, and nothing else, until the chosen picture is in sight.
function reveal(root) {
  const chosen = root.querySelector(".chosen");
  if (!chosen || root.revealed === chosen.dataset.id) return;
  root.revealed = chosen.dataset.id;
  root.scrollLeft = chosen.offsetLeft - root.offsetLeft - (root.clientWidth - chosen.clientWidth) / 2;
}
