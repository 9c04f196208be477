"""Choosers that several pages or many lines would otherwise repeat; each returns typed values."""

import math
from collections.abc import Callable, Sequence
from typing import Final

import streamlit as st

from core.charts.labels import given_scale, scale_words
from core.domain.errors import StoreError
from core.domain.settings import load_settings
from core.domain.types import CellImage, GivenScale
from core.image.imaging import encode_png
from core.image.listing import IMAGE_SUFFIXES
from core.quality.ruler import SINGLE_IMAGE_ERROR, single
from core.store.named_scales import KnownScales, NamedScale, known_scales, remember
from core.support.text import markdown, shown
from pages._ui.common.markup import sentences
from pages._ui.common.state import (
    ANALYSIS,
    CHOSEN,
    EXAMPLE_ASKED,
    EXAMPLES_TAKEN,
    FIELD,
    SCALE,
    SCALE_OF_IMAGE,
    SCALES_TAKEN,
    UPLOADED_IN,
    Chosen,
    widget_value,
)

# As in core.image.synthetic, which is imported only when one is drawn; a test holds the two together.
EXAMPLES: Final = ("lymphocyte", "monocyte", "hairy_cell")
_EXAMPLE_SEED: Final = 7
_EXAMPLE = "single_example"
_UPLOAD = "single_upload"
SCALE_FIELD: Final = "single_um_per_px"
# Takes images, with the scale that they have of themselves, into a tray; False where there is to be none.
Taker = Callable[[Sequence[Chosen], GivenScale | None], bool]
SCALE_HELP = (
    "Side of one pixel in micrometres. With it, sizes are given in µm and compared with the populations; without it,"
    " only what has no unit of length is compared. CellaVision images of about 360 x 360 px have roughly 0.095 µm per"
    " pixel."
)


def _upload_key() -> str:
    """Key of the upload field; it grows when an example takes the file's place, which empties the field."""
    return f"{_UPLOAD}_{EXAMPLES_TAKEN.get() or 0}"


def _take_upload(take: Taker) -> None:
    field = _upload_key()
    images = [Chosen(file.name, file.getvalue()) for file in widget_value(field) or ()]
    if not images and UPLOADED_IN.get() != field:
        return  # a field that was just made and says that it is empty, not one whose file was taken away
    UPLOADED_IN.set(field)
    if take(images, None):
        let_go_of_upload()
        return
    ANALYSIS.clear()
    FIELD.clear()
    CHOSEN.set(images[0]) if images else CHOSEN.clear()
    forget_scale_of_image()


def let_go_of_upload() -> None:
    """Empty the upload field."""
    EXAMPLES_TAKEN.set((EXAMPLES_TAKEN.get() or 0) + 1)


def forget_scale_of_image() -> None:
    """Empty the field of a scale that only the image before had: the next one may be of another microscope."""
    of_image, there = SCALE_OF_IMAGE.get(), widget_value(SCALE_FIELD)
    if of_image is not None and there is not None and math.isclose(of_image, there):
        st.session_state[SCALE_FIELD] = None
    SCALE_OF_IMAGE.clear()


def _example_label(name: str) -> str:
    return f"{name.replace('_', ' ').capitalize()}, drawn by the program"


def draw_example(name: str) -> tuple[Chosen, GivenScale]:
    """One of `EXAMPLES` as a file, as if somebody had brought it, and the scale that it is drawn in."""
    from core.image.synthetic import SYNTHETIC_CELLS, UM_PER_PX, draw_cell

    image, _ = draw_cell(_EXAMPLE_SEED, SYNTHETIC_CELLS[name])
    return Chosen(image.name, encode_png(image.rgb), example=True), GivenScale(UM_PER_PX)


def take_asked_example(take: Taker) -> None:
    """Take the example that was asked for; to be called before any widget of the page is made.

    The button only notes what is wanted: a callback that takes its time is broken off when the page is to run anew, and
    what was clicked would be lost.
    """
    asked = EXAMPLE_ASKED.get()
    if asked is not None:
        take_example(asked, take)
        EXAMPLE_ASKED.clear()


def take_example(name: str, take: Taker) -> None:
    """Let an example be the image at hand, not measured yet, or one of the tray's."""
    chosen, scale = draw_example(name)
    let_go_of_upload()
    if take([chosen], scale):
        return
    ANALYSIS.clear()
    FIELD.clear()
    CHOSEN.set(chosen)
    take_scale_of_image(scale)


def image_chooser(take: Taker) -> bool:
    """Show the row that leads to a result: upload, example, scale, button. Returns whether the button was pressed.

    `take` is asked first whether a tray takes what is uploaded or drawn.
    """
    columns = st.columns([4.4, 2.1, 2.7, 2.4], vertical_alignment="bottom", gap="small")
    with columns[0]:
        types = [suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES]
        st.file_uploader(
            "Image of a stained blood cell, or a field of several",
            types,
            accept_multiple_files=True,
            key=_upload_key(),
            on_change=_take_upload,
            args=(take,),
            max_upload_size=max(1, load_settings().max_bytes // 2**20),
        )
    with columns[1]:
        st.menu_button(
            "Try an example",
            EXAMPLES,
            key=_EXAMPLE,
            on_click=lambda: EXAMPLE_ASKED.set(widget_value(_EXAMPLE)),
            format_func=_example_label,
            icon=":material/draw:",
            width="stretch",
        )
    with columns[2]:
        scale = scale_chooser(SCALE_FIELD)
    with columns[3]:
        pressed = st.button(
            "Calculate features",
            type="primary",
            width="stretch",
            disabled=CHOSEN.get() is None,
            shortcut="Mod+Enter",
            key="calculate",
        )
    if scale is None:
        SCALE.clear()
    else:
        SCALE.set(scale)
    return pressed


def offer_scale(image: CellImage) -> None:
    """Offer the scale that the image's file states, where it is not the one in use, and what its red cells hint at."""
    stated = image.file_scale
    if stated is not None and stated.um_per_px != image.um_per_px:
        _offer(
            f"Use {stated.um_per_px:.4g} µm per pixel, as the file says ({markdown(stated.source)})",
            "use_file_scale",
            GivenScale(stated.um_per_px),
        )
    hint = single(image.red_cells) if image.um_per_px is None else None
    if hint is not None and image.red_cells is not None:
        _offer(
            f"Use about {hint.um_per_px:.2g} µm per pixel, from {image.red_cells.discs} red cells of this image (one"
            f" image may be {100 * SINGLE_IMAGE_ERROR:.0f} % off)",
            "use_red_cells",
            hint,
        )


def _offer(label: str, key: str, scale: GivenScale) -> None:
    st.button(
        label,
        key=key,
        on_click=take_scale_of_image,
        args=(scale,),
        type="tertiary",
        icon=":material/straighten:",
    )


def take_scale_of_image(scale: GivenScale) -> None:
    """Put a scale into the field that holds for the image at hand alone."""
    take_scale(SCALE_FIELD, scale)
    SCALE_OF_IMAGE.set(scale.um_per_px)


def take_scale(field: str, scale: GivenScale) -> None:
    """Put a scale into a field, with what is known of it beside the number."""
    st.session_state[field] = scale.um_per_px
    SCALES_TAKEN.set((SCALES_TAKEN.get() or {}) | {field: scale})


def say_passed_over(passed: str) -> None:
    """Say which files were passed over, as `core.image.listing.told` has it; names are shown letter by letter."""
    if passed:
        st.html(sentences([("info", f"{passed[0].upper()}{passed[1:]}.")]))


def scale_chooser(key: str, *, disabled: bool = False) -> GivenScale | None:
    """Field for the scale, with known ones to choose from and a name to keep it under; None where unknown."""
    with st.container(horizontal=True, gap="xxsmall", vertical_alignment="bottom"):
        scale = _scale_in(key, _scale_field(key, disabled=disabled))
        with st.popover("", icon=":material/bookmark:", help="Scales by name", key=f"{key}_named", disabled=disabled):
            _named_scales(key, scale)
    return scale


def scale_in_field(key: str) -> GivenScale | None:
    """The scale in a field, inside a callback."""
    return _scale_in(key, widget_value(key))


def _scale_in(key: str, um_per_px: float | None) -> GivenScale | None:
    """The scale of the number in a field: the one that was taken into it, unless the number was changed since."""
    taken = (SCALES_TAKEN.get() or {}).get(key)
    if um_per_px is None:
        return None
    return taken if taken is not None and math.isclose(taken.um_per_px, um_per_px) else GivenScale(um_per_px)


def _named_scales(key: str, scale: GivenScale | None) -> None:
    """Choose a scale by its name, or keep the one in the field under a name."""
    root = load_settings().cohort
    known = known_scales(root)
    st.selectbox(
        "Scale of",
        [one.name for one in known.scales],
        index=None,
        placeholder="a laboratory or an analyser",
        format_func=lambda name: _called(known.named(name)),
        key=f"{key}_of",
        on_change=_take_named,
        args=(key, known),
    )
    if known.problem:
        st.caption(f":material/warning: {markdown(known.problem)}")
    if scale is None:
        st.caption("A scale in the field can be kept here under a name.")
        return
    if scale.origin:
        st.caption(f"In use: {markdown(given_scale(scale))}.")
    name = st.text_input("Keep the scale in the field as that of", max_chars=60, key=f"{key}_name")
    if st.button("Keep", key=f"{key}_keep", disabled=not name.strip()):
        try:
            remember(root, name, scale)
            st.rerun()
        except StoreError as error:
            st.error(markdown(str(error)))


def _called(scale: NamedScale | None) -> str:
    return "" if scale is None else f"{shown(scale.name)}: {scale_words(scale.um_per_px, scale.error)}"


def _take_named(key: str, known: KnownScales) -> None:
    name = widget_value(f"{key}_of")
    chosen = known.named(name) if name is not None else None
    if chosen is not None:
        take_scale(key, chosen.given)


def _scale_field(key: str, *, disabled: bool) -> float | None:
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
        disabled=disabled,
    )
