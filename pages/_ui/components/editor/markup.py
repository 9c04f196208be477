"""What is in the editor at first: buttons with their signs, the canvas, lines of words, and what is asked."""

from typing import Final

from pages._ui.components.editor.words import REASONS

_PATHS: Final = {
    "push": '<circle cx="7.5" cy="10" r="5"/><path d="M10.5 10H18M15 7l3 3-3 3"/>',
    "nucleus": '<circle cx="10" cy="10" r="7.5"/><circle cx="10" cy="10" r="3.6" fill="currentColor"/>',
    "cytoplasm": '<circle cx="10" cy="10" r="5.6" stroke-width="4" stroke-opacity=".45"/>'
    '<circle cx="10" cy="10" r="7.7"/><circle cx="10" cy="10" r="3.4"/>',
    "erase": '<path d="M2.5 12.5 11 4l5.5 5.5-7 7H6.5zM6.7 8.3l5.5 5.5M9.5 16.5H17"/>',
    "wand": '<path d="M3 17 11.5 8.5M13.5 2.5v3M13.5 8.5v2M9.5 6.5h2M15.5 6.5h2.5M16.5 3.5l-1 1"/>',
    "drop": '<circle cx="7" cy="12" r="4.5"/><path d="m12.5 3 5 5M17.5 3l-5 5"/>',
    "fill": '<circle cx="10" cy="10" r="7.5"/><circle cx="10" cy="10" r="3" stroke-dasharray="2 1.6"/>'
    '<path d="M10 8.8v2.4M8.8 10h2.4"/>',
    "smooth": '<path d="M2 6l2.5 3L7 5l2 4" stroke-opacity=".5"/><path d="M2 15c4-6 7-6 9-3s4 2 7-2"/>',
    "undo": '<path d="M7 4 3 8l4 4M3.5 8H12a4.5 4.5 0 0 1 0 9H8"/>',
    "redo": '<path d="m13 4 4 4-4 4M16.5 8H8a4.5 4.5 0 0 0 0 9h4"/>',
    "revert": '<circle cx="10" cy="10" r="7" stroke-dasharray="2.4 2.4"/><path d="M10 6.5V10l2.5 1.8"/>',
    "toggleModel": '<path d="M2 10c3.5-6 12.5-6 16 0-3.5 6-12.5 6-16 0z" stroke-dasharray="3 1.8"/>'
    '<circle cx="10" cy="10" r="2.3"/>',
    "toggleCross": '<path d="M10 2v5M10 13v5M2 10h5M13 10h5"/>',
    "toggleKeys": '<rect x="2" y="5" width="16" height="10" rx="2"/>'
    '<path d="M5 8.5h0M8.3 8.5h0M11.7 8.5h0M15 8.5h0M6 12h8"/>',
}


def _icon(name: str) -> str:
    return f'<svg viewBox="0 0 20 20" aria-hidden="true">{_PATHS[name]}</svg>'


def _button(name: str, word: str, hint: str, *, key: str = "", kind: str = "deed", toggles: bool = False) -> str:
    pressed = ' aria-pressed="false"' if toggles else ""
    pressed += f' data-key="{key}"' if key else ""
    return (
        f'<button type="button" data-{kind}="{name}" title="{hint}" aria-label="{word}"{pressed}>'
        f"{_icon(name)}<b>{word}</b></button>"
    )


_TOOLS: Final = "".join(
    _button(name, word, f"{key.upper()}: {hint}", key=key, kind="tool", toggles=True)
    for name, word, key, hint in (
        ("push", "Push", "p", "drag from inside to widen a region, from outside to narrow the cell; Alt erases"),
        ("nucleus", "Nucleus", "n", "paint nucleus"),
        ("cytoplasm", "Cytoplasm", "c", "paint cytoplasm, not over the nucleus"),
        ("erase", "Eraser", "e", "take away"),
        ("wand", "Wand", "w", "press on a colour and drag for more of it; with Shift: nucleus"),
        ("drop", "Drop part", "x", "click a part that is not the cell, or a ringed spot"),
    )
)
_SIZE: Final = """<label class="sized"><span>Size</span>
  <input class="size" type="range" min="1" max="200" value="12" aria-label="Diameter of the brush, in pixels">
  <output class="size-said">12 px</output></label>"""
_RADIUS: Final = """<select class="radius" aria-label="How strongly the outline is smoothed, in pixels"
  title="How strongly, in pixels"><option>1</option><option>2</option><option>3</option></select>"""
_WHOLE: Final = (
    _button("fill", "Fill holes", "F: fill holes in the cell and in the nucleus", key="f", kind="whole")
    + _button("smooth", "Smooth", "M: smooth the outline", key="m", kind="whole")
    + _RADIUS
)
_HISTORY: Final = (
    _button("undo", "Undo", "Ctrl+Z")
    + _button("redo", "Redo", "Ctrl+Shift+Z")
    + _button("revert", "Revert", "Back to the model's outline; can be undone", kind="whole")
)
_VIEW: Final = (
    '<button type="button" class="plain" data-zoom="0.6667" data-key="-" aria-label="Smaller">&minus;</button>'
    '<button type="button" class="plain zoom" data-deed="fit" data-key="0" title="The whole picture">100 %</button>'
    '<button type="button" class="plain" data-zoom="1.5" data-key="+ =" aria-label="Larger">+</button>'
    + _button("toggleModel", "Model", "O: show or hide the model's outline", key="o", toggles=True)
    + _button(
        "toggleCross", "Crosshair", "K: arrows move a crosshair, Enter starts and ends painting", key="k", toggles=True
    )
    + _button("toggleKeys", "Keys", "?: all keys", key="?", toggles=True)
)
_KEYS: Final = "".join(
    f"<div><dt>{keys}</dt><dd>{deed}</dd></div>"
    for keys, deed in (
        ("P N C E W X", "push, nucleus, cytoplasm, eraser, wand, drop part"),
        ("[ ]", "smaller, larger brush"),
        ("F M", "fill holes, smooth"),
        ("Ctrl+Z, Ctrl+Shift+Z", "undo, redo"),
        ("O", "model's outline"),
        ("+ &minus; 0", "larger, smaller, whole picture"),
        ("Arrows, Space and drag", "move the picture"),
        ("K", "draw by keys: arrows 1 px, with Shift 10 px, Enter paints"),
        ("A S R U", "accept, save, reject, unsure"),
        ("J or . and ,", "next, previous"),
        ("Esc", "leave a stroke, close what is open"),
        ("Ctrl and wheel, two fingers", "larger, smaller"),
    )
)


def _group(name: str, label: str, inside: str) -> str:
    return f'<div class="group {name}" role="group" aria-label="{label}">{inside}</div>'


def _bar(name: str, *buttons: tuple[str, str]) -> str:
    inside = "".join(f'<button type="button" data-deed="{deed}">{word}</button>' for deed, word in buttons)
    return f'<div class="bar bar-{name}" role="alert" hidden><span></span>{inside}</div>'


def _act(name: str, word: str, hint: str, key: str = "") -> str:
    seen = f" <kbd>{key[0].upper()}</kbd>" if key else ""
    keys = f' data-key="{key}"' if key else ""
    return f'<button type="button" data-act="{name}" title="{hint}"{keys}>{word}{seen}</button>'


_CHIPS: Final = "".join(f'<button type="button" aria-pressed="false">{reason}</button>' for reason in REASONS)


HTML: Final = f"""
<div class="editor">
  {_bar("tab", ("takeOver", "Take over"))}
  {_bar("draft", ("restore", "Restore"), ("forget", "Discard"))}
  {_bar("blind", ("unblind", "Show the model's outline"))}
  <div class="tools" role="toolbar" aria-label="Correcting the outline">
    {_group("draws", "Tools", _TOOLS)}{_group("brush", "Brush", _SIZE)}{_group("whole", "Whole outline", _WHOLE)}
    {_group("history", "Steps", _HISTORY)}{_group("view", "View", _VIEW)}
  </div>
  <dl class="keys" hidden>{_KEYS}</dl>
  <div class="place">
    <div class="stage"><canvas tabindex="0" role="application"
      aria-label="Cell with its outline. K draws by keys, question mark shows all keys."></canvas></div>
    <div class="handle" aria-hidden="true" title="Scroll the page here"><i></i></div>
  </div>
  <div class="said" role="status"><span class="numbers"></span><span><span class="tool-said"></span> &middot;
    <span class="measured"></span> &middot; <span class="state"></span></span></div>
  <div class="dice"></div>
  <div class="notes" role="status"><span></span><button type="button" data-whole="tidy" hidden>Remove</button></div>
  {_bar("server")}
  {_bar("save", ("tidySave", "Remove and save"), ("saveAsIs", "Save as it is"), ("escape", "Go on drawing"))}
  <div class="panel" role="dialog" hidden>
    <div class="panel-title"></div>
    <div class="chips" role="group" aria-label="Reasons">{_CHIPS}</div>
    <label class="why-field">In words <small class="why-hint">(if you like)</small>
      <textarea class="why" rows="2" maxlength="400"></textarea></label>
    <label class="who-field">Who you are: name or initials <small>(no patient names)</small>
      <input class="who" type="text" maxlength="60" autocomplete="off"></label>
    <div class="row"><button type="button" class="panel-ok main">OK</button>
      <button type="button" class="panel-cancel">Cancel</button></div>
  </div>
  <div class="acts" role="group" aria-label="This cell">
    {_act("accept", "Accept", "The outline is right", "a")}
    {_act("save", "Save", "Keep the correction", "s")}
    {_act("reject", "Reject", "No usable cell or outline", "r")}
    {_act("unsure", "Unsure", "For a second look", "u")}
    {_act("previous", "Previous", "The cell before", ",")}
    {_act("next", "Next", "The next cell", "j .")}
    <span class="quiet">{_act("take_back", "Take back", "Back to the model's outline and numbers")}
    {_act("discard", "Discard changes", "Back to what was saved")}{_act("close", "Close", "End correcting")}</span>
  </div>
  <div class="below"><span class="answer" role="status"></span><span class="position"></span></div>
</div>
"""
