"""A run over several images inside the page: progress in words, failures kept with their reasons, nothing lost to one bad image."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core import pipeline
from core.archives import read_images
from core.charts.overlay import outlined_png
from core.errors import CoreError
from core.imaging import IMAGE_SUFFIXES, decode
from core.report import analyses_table, mask_files
from core.types import CellAnalysis
from pages._ui import resources
from pages._ui.state import BATCH, BatchOutcome

MOST_IMAGES: Final = 500  # a page must not run for hours; the command line takes any number and resumes
_LATEST: Final = 6
_UNCERTAIN: Final = 12
_PICTURE_PX: Final = 150


class Upload(Protocol):
    """A file a person uploaded."""

    name: str

    def getvalue(self) -> bytes:
        """Return the file's bytes."""
        ...


def uploaded_images(files: Sequence[Upload]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every uploaded image, those inside ZIP archives included."""
    for file in files:
        if file.name.lower().endswith(".zip"):
            yield from read_images(file.getvalue(), file.name, resources.settings())
        else:
            yield file.name, file.getvalue()


def image_folders() -> list[Path]:
    """Folders under the data folder that hold images themselves; the only folders a page may read."""
    root = resources.settings().data
    if not root.is_dir():
        return []
    folders = (folder for folder in sorted(root.rglob("*")) if folder.is_dir() and folder.resolve().is_relative_to(root.resolve()))
    return [folder for folder in folders if any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir())]


def folder_images(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every image directly in a folder, by name."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            yield path.name, path.read_bytes()


def run(images: Iterable[tuple[str, bytes]], total: int | None, um_per_px: float | None) -> None:
    """Analyse images one by one, show how far it is, and keep the outcome for the session."""
    bar = st.progress(0.0, text="Loading the model")
    segmenter = resources.segmenter()
    latest_slot = st.empty()
    tables: list[pd.DataFrame] = [analyses_table([])]
    masks: dict[str, bytes] = {}
    latest: deque[CellAnalysis] = deque(maxlen=_LATEST)
    least: list[CellAnalysis] = []
    failures: list[tuple[str, str]] = []
    measured = flagged = 0
    started = time.monotonic()
    for done, (name, data) in enumerate(islice(images, MOST_IMAGES), start=1):

        def tell(doing: str, share: float, done: int = done, name: str = name) -> None:
            bar.progress(
                min(1.0, (done - 1 + share) / total) if total else 0.5, text=f"Image {done}, {name}: {doing[0].lower()}{doing[1:]}"
            )

        try:
            image = decode(data, name, um_per_px)
            cells = [_alone(cell) for cell in pipeline.analyse_cells(image, segmenter, progress=tell)]
        except CoreError as error:
            failures.append((name, str(error)))
        else:
            tables.append(analyses_table(cells))
            masks |= mask_files(f"{done:04d}_{Path(name).stem}", image.shape, cells)
            latest.extend(cells)
            measured, flagged = measured + len(cells), flagged + sum(not cell.quality_ok for cell in cells)
            least = sorted([*least, *cells], key=lambda cell: cell.segmentation.confidence)[:_UNCERTAIN]
        elapsed = time.monotonic() - started
        of, left = (f" of {total}", f", about {elapsed / done * (total - done):.0f} s left") if total else ("", "")
        words = f"{done}{of} images, {measured} cells, {flagged} flagged, {len(failures)} failed; {done / elapsed:.1f} a second{left}"
        bar.progress(min(1.0, done / total) if total else 0.5, text=words)
        if latest and (done % _LATEST == 0 or done == total):
            gallery([_picture(cell) for cell in latest], latest_slot.container(height=230, border=False))
    bar.empty()
    latest_slot.empty()
    BATCH.set(
        BatchOutcome(
            table=pd.concat([table for table in tables if len(table)] or tables, ignore_index=True),
            masks=masks,
            failures=tuple(failures),
            uncertain=tuple(_picture(cell) for cell in least),
            seconds=time.monotonic() - started,
        )
    )


def _alone(cell: CellAnalysis) -> CellAnalysis:
    """The cell with pixels of its own: a cut-out would keep its whole field in memory."""
    return replace(cell, image=replace(cell.image, rgb=cell.image.rgb.copy())) if cell.place else cell


def _picture(analysis: CellAnalysis) -> tuple[str, bytes]:
    number = f", cell {analysis.cell_index + 1}" if analysis.place else ""
    caption = f"{analysis.segmentation.confidence:.2f}  {analysis.image.name}{number}"
    return caption, outlined_png(analysis.image, analysis.segmentation.labels, min_side_px=_PICTURE_PX)


def gallery(pictures: Sequence[tuple[str, bytes]], place: DeltaGenerator) -> None:
    """Show small pictures in a row that wraps, each with its caption."""
    with place.container(horizontal=True, gap="small"):
        for caption, picture in pictures:
            st.image(picture, caption, width=_PICTURE_PX)
