"""Choosers that several pages or many lines would otherwise repeat; each returns typed values."""

from typing import Final

import streamlit as st

from core.domain.settings import load_settings
from core.domain.types import CellImage
from core.image.imaging import encode_png
from core.image.listing import IMAGE_SUFFIXES
from core.support.text import markdown
from pages._ui.common.markup import sentences
from pages._ui.common.state import ANALYSIS, CHOSEN, EXAMPLES_TAKEN, FIELD, SCALE, Chosen, widget_value

# As in core.image.synthetic, which is imported only when one is drawn; a test holds the two together.
EXAMPLES: Final = ("lymphocyte", "monocyte", "hairy_cell")
_EXAMPLE_SEED: Final = 7
_EXAMPLE = "single_example"
_UPLOAD = "single_upload"
_SCALE_FIELD = "single_um_per_px"
SCALE_HELP = (
    "Side of one pixel in micrometres. With it, sizes are given in µm and compared with the populations; without it,"
    " only what has no unit of length is compared. CellaVision images of about 360 x 360 px have roughly 0.095 µm per"
    " pixel."
)


def _upload_key() -> str:
    """Key of the upload field; it grows when an example takes the file's place, which empties the field."""
    return f"{_UPLOAD}_{EXAMPLES_TAKEN.get() or 0}"


def _take_upload() -> None:
    file = widget_value(_upload_key())
    ANALYSIS.clear()
    FIELD.clear()
    CHOSEN.clear() if file is None else CHOSEN.set(Chosen(file.name, file.getvalue()))


def _example_label(name: str) -> str:
    return f"{name.replace('_', ' ').capitalize()}, drawn by the program"


def _take_example() -> None:
    from core.image.synthetic import SYNTHETIC_CELLS, draw_cell

    image, _ = draw_cell(_EXAMPLE_SEED, SYNTHETIC_CELLS[widget_value(_EXAMPLE)])
    EXAMPLES_TAKEN.set((EXAMPLES_TAKEN.get() or 0) + 1)
    ANALYSIS.clear()
    FIELD.clear()
    CHOSEN.set(Chosen(image.name, encode_png(image.rgb), example=True))
    st.session_state[_SCALE_FIELD] = image.um_per_px


def image_chooser() -> bool:
    """Show the row that leads to a result: upload, example, scale, button. Returns whether the button was pressed."""
    columns = st.columns([5, 2.2, 2, 2.4], vertical_alignment="bottom", gap="small")
    with columns[0]:
        types = [suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES]
        st.file_uploader(
            "Image of a stained blood cell, or a field of several",
            types,
            key=_upload_key(),
            on_change=_take_upload,
            max_upload_size=max(1, load_settings().max_bytes // 2**20),
        )
    with columns[1]:
        st.menu_button(
            "Try an example",
            EXAMPLES,
            key=_EXAMPLE,
            on_click=_take_example,
            format_func=_example_label,
            icon=":material/draw:",
            width="stretch",
        )
    with columns[2]:
        um_per_px = scale_field(_SCALE_FIELD)
    with columns[3]:
        pressed = st.button(
            "Calculate features",
            type="primary",
            width="stretch",
            disabled=CHOSEN.get() is None,
            shortcut="Mod+Enter",
            key="calculate",
        )
    if um_per_px is None:
        SCALE.clear()
    else:
        SCALE.set(um_per_px)
    return pressed


def offer_scale(image: CellImage) -> None:
    """Offer the scale that the image's file states, where it is not the one in use."""
    stated = image.file_scale
    if stated is None or stated.um_per_px == image.um_per_px:
        return
    st.button(
        f"Use {stated.um_per_px:.4g} µm per pixel, as the file says ({markdown(stated.source)})",
        key="use_file_scale",
        on_click=_take_scale,
        args=(stated.um_per_px,),
        type="tertiary",
        icon=":material/straighten:",
    )


def _take_scale(um_per_px: float) -> None:
    st.session_state[_SCALE_FIELD] = um_per_px


def say_passed_over(passed: str) -> None:
    """Say which files were passed over, as `core.image.listing.told` has it; names are shown letter by letter."""
    if passed:
        st.html(sentences([("info", f"{passed[0].upper()}{passed[1:]}.")]))


def scale_field(key: str) -> float | None:
    """Field for the micrometres per pixel; None where unknown."""
    return st.number_input(
        "µm per pixel",
        0.005,
        10.0,
        None,
        0.001,
        format="%.4g",
        placeholder="unknown",
        key=key,
        help=SCALE_HELP,
        persist_state="session",
    )
