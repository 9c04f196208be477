// A card at the edge of the page that names a part of it at a time. It stops nobody from using the page, and stays away
// for good once it was ended, here and on every later visit of this browser.

const KEY = "leukoscope_tour_ended";
const HERE = "tour-here"; // the mark of the part that is spoken of (style.css of the pages)

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".tour");
  const find = (name) => root.querySelector(`.${name}`);
  const { steps, asked } = data;
  let at = Number(root.dataset.at ?? 0);

  const unmark = () => document.querySelectorAll(`.${HERE}`).forEach((part) => part.classList.remove(HERE));
  const end = () => {
    root.hidden = true;
    unmark();
    remember();
  };
  const show = (step, { scroll = true } = {}) => {
    at = step;
    root.dataset.at = at;
    root.hidden = false;
    find("count").textContent = `${at + 1} of ${steps.length}`;
    find("title").textContent = steps[at].title;
    find("text").textContent = steps[at].text;
    find("back").hidden = at === 0;
    find("end").hidden = at === steps.length - 1;
    find("next").textContent = at === steps.length - 1 ? "Done" : "Next";
    unmark();
    const part = document.querySelector(`.st-key-${steps[at].at}`);
    part?.classList.add(HERE);
    if (scroll) part?.scrollIntoView({ block: "nearest" });
  };

  find("end").onclick = end;
  find("back").onclick = () => show(at - 1);
  find("next").onclick = () => (at + 1 < steps.length ? show(at + 1) : end());
  root.onkeydown = (event) => event.key === "Escape" && end();

  const anew = Number(root.dataset.asked ?? 0) < asked;
  root.dataset.asked = asked;
  if (anew) show(0);
  else if (!root.hidden) show(at, { scroll: false }); // the page ran again, and made its parts anew
  else if (!ended()) show(0, { scroll: false });
  return unmark;
}

function ended() {
  try {
    return localStorage.getItem(KEY) !== null;
  } catch {
    return true; // what cannot be remembered would come again and again
  }
}

function remember() {
  try {
    localStorage.setItem(KEY, "1");
  } catch {
    // nothing is remembered here
  }
}
