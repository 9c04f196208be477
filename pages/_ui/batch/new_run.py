"""What is measured, and how: uploads or a folder under the configured roots, and the settings of a run."""

from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final

import streamlit as st

from core.batch.folders import listing, resolve
from core.batch.inputs import open_inputs
from core.batch.jobs import Job, Owner, Request
from core.batch.uploads import Uploads, Waiting
from core.domain.errors import CoreError
from core.domain.settings import load_settings
from core.image.file_scale import BY_RED_CELLS
from core.image.listing import IMAGE_SUFFIXES, told
from core.support.text import markdown, shown
from pages._ui.common.caching import cached
from pages._ui.common.layout import errors_in_words
from pages._ui.common.state import UPLOAD_PASSED, UPLOAD_PROBLEM, UPLOADS_TAKEN, widget_value
from pages._ui.common.widgets import say_passed_over, scale_chooser

# The browser's upload field stops answering at about a thousand files, and each stays in the server's memory until all
# have come.
_MOST_AT_ONCE: Final = 900
_MOST_COUNTED: Final = 10_000
_FILES, _OWN_FOLDER, _FOLDER = "Files or a ZIP", "A folder of this computer", "A folder of the server"
_CELLS: Final = {"auto": "as the image shows", "one": "the one in the middle", "all": "all of a field"}


@dataclass(frozen=True)
class Choice:
    """What was chosen: the folder or ZIP file, a title for it, and the uploads it comes from, if it does."""

    source: Path
    title: str
    uploads: Uploads | None = None
    waiting: Waiting | None = None


def choose_images(owner: Owner) -> Choice | None:
    """Let a person bring images or choose a folder; None while there is nothing to measure."""
    roots = [root for root in load_settings().roots if root.is_dir()]
    ways = [_FILES, _OWN_FOLDER, _FOLDER] if roots else [_FILES, _OWN_FOLDER]
    way = st.segmented_control(
        "What",
        ways,
        default=_FILES,
        required=True,
        key="batch_way",
        label_visibility="collapsed",
        persist_state="session",
    )
    with st.container(height=124, border=False, key="batch_what"):
        if way == _FOLDER:
            return _choose_folder(roots)
        return _bring(Uploads(owner.folder / "uploads", load_settings()), owner, directory=way == _OWN_FOLDER)


def _bring(uploads: Uploads, owner: Owner, *, directory: bool) -> Choice | None:
    taken = UPLOADS_TAKEN.get() or 0
    types = [suffix.removeprefix(".") for suffix in (*IMAGE_SUFFIXES, *([] if directory else [".zip"]))]
    files = st.file_uploader(
        "Images",
        types,
        accept_multiple_files="directory" if directory else True,
        key=f"batch_upload_{directory}_{taken}",
        label_visibility="collapsed",
    )
    if files:
        try:
            uploads.add(files, kept=owner.uploaded_bytes())
            UPLOAD_PROBLEM.clear()
            UPLOAD_PASSED.set(told(uploads.passed_over.by_ending))
        except CoreError as error:
            UPLOAD_PROBLEM.set(str(error))
        UPLOADS_TAKEN.set(taken + 1)  # a new field: the old one would keep the files in memory
        st.rerun()
    waiting = uploads.waiting()
    problem = UPLOAD_PROBLEM.get()
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if problem is not None:
            st.markdown(f":red[:material/error:] {markdown(problem)}", width="content")
        elif waiting.files:
            st.markdown(f"**{markdown(_described(waiting))}** ready to be measured", width="content")
        else:
            st.caption(
                f"Up to about {_MOST_AT_ONCE} files at a time, several times over; of more make one ZIP archive, or use"
                " a folder of the server."
            )
        if waiting.files:
            st.button(
                "Clear", on_click=_clear, args=(uploads,), key="batch_clear", type="tertiary", icon=":material/close:"
            )
    say_passed_over(UPLOAD_PASSED.get() or "")
    if not waiting.files:
        return None
    return Choice(Path(waiting.archive or "."), waiting.title, uploads, waiting)


def _clear(uploads: Uploads) -> None:
    uploads.clear()
    UPLOAD_PROBLEM.clear()
    UPLOAD_PASSED.clear()


def _described(waiting: Waiting) -> str:
    number = "1 image" if waiting.files == 1 else f"{waiting.files:,} images"
    name = waiting.archive or (f"{waiting.folder}, {number}" if waiting.folder else number)
    return f"{name}, {waiting.size / 2**20:,.1f} MB"


def _choose_folder(roots: list[Path]) -> Choice | None:
    """A list for each level, so that nothing but what is below the roots can be named."""
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"), errors_in_words():
        root = roots[0]
        if len(roots) > 1:
            root = st.selectbox(
                "Place", roots, format_func=lambda path: shown(path.name or str(path)), key="batch_root", width=220
            )
        parts: list[str] = []
        while True:
            listed = listing(resolve(root, parts))
            options = ["", *listed.folders, *listed.archives]
            if len(options) == 1:
                break
            level = "/".join(parts)
            more = "Only the first are listed; use folders of fewer." if listed.more else None
            chosen = st.selectbox(
                f"in {markdown(parts[-1])}" if parts else "Folder",
                options,
                format_func=lambda name: shown(name) or "all that is here",
                key=f"batch_folder_{roots.index(root)}_{level}",
                help=more,
                width=220,
            )
            if not chosen:
                break
            parts.append(chosen)
            if chosen in listed.archives:
                break
    path = resolve(root, parts)
    images, passed = _count(path)
    say_passed_over(passed)
    title = "/".join(parts) or root.name
    if not images:
        st.caption("No images here; choose another folder.")
        return None
    number = f"more than {_MOST_COUNTED:,}" if images > _MOST_COUNTED else f"{images:,}"
    st.markdown(
        f"**{markdown(title)}**: {number} {'image' if images == 1 else 'images'}, with those of its sub-folders"
    )
    return Choice(path, title)


@cached("data", max_entries=64, key=lambda path: (str(path), path.stat().st_mtime), ttl=30)
def _count(path: Path) -> tuple[int, str]:
    """How many images are there, up to one more than are counted; and which files beside them are none, in words."""
    inputs = open_inputs(str(path))
    images = sum(1 for _ in islice(inputs.listed(), _MOST_COUNTED + 1))
    return images, told(inputs.passed_over.by_ending)


def start_button(owner: Owner, choice: Choice | None) -> Job | None:
    """Show the settings and the button that starts a run; returns the run when it was started."""
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom", key="batch_how"):
        by_red_cells = bool(widget_value("batch_by_red_cells"))
        with st.container(width=240):
            scale = scale_chooser("batch_um_per_px", disabled=by_red_cells)
        st.toggle(
            "Measure it from red cells",
            key="batch_by_red_cells",
            persist_state="session",
            help="Red cells in up to 200 of the images tell the scale first, within about 7 %. Where they tell none,"
            " the run ends at once and says why.",
        )
        cells = st.selectbox(
            "Cells of an image",
            list(_CELLS),
            format_func=_CELLS.__getitem__,
            key="batch_cells",
            width=200,
            persist_state="session",
            help="A photograph of a smear shows many cells; a picture from an analyser one in its middle.",
        )
        by_folder = st.toggle(
            "Cell types from folder names",
            key="batch_by_folder",
            persist_state="session",
            help="Of folders named after a cell type, as *monocyte* or *hairy_cells*. Images in no such folder are"
            " measured without a type.",
        )
        overlays = st.toggle(
            "Also pictures with outlines",
            key="batch_overlays",
            persist_state="session",
            help="One more picture for each image, to download.",
        )
        st.space("stretch")
        pressed = st.button(
            "Start measuring",
            type="primary",
            disabled=choice is None,
            key="batch_start",
            icon=":material/play_arrow:",
            width=200,
        )
    if not pressed or choice is None:
        return None
    waiting = choice.waiting
    request = Request(
        title=choice.title,
        created=datetime.now().astimezone(),
        source=choice.source,
        uploaded_bytes=waiting.size if waiting else None,
        um_per_px=BY_RED_CELLS if by_red_cells else scale,
        cells=cells,
        by_folder=by_folder,
        overlays=overlays,
    )
    job = owner.add(request, choice.uploads.folder if choice.uploads else None)
    job.start()
    return job
