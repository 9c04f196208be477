"""Pictures of decided cells, found by their checksum in folders that somebody names; none is kept."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from core.domain.errors import CoreError
from core.domain.types import CellImage
from core.image.imaging import decode
from core.image.listing import find_images
from core.store.outline_log import CellKey
from core.support import files


class FoldersOfPictures:
    """The images in some folders, and below, by their SHA-256; looked through when the first is asked for."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders

    @cached_property
    def _paths(self) -> dict[str, Path]:
        found = {}
        for path in self._listed():
            try:
                with path.open("rb") as file:
                    found[hashlib.file_digest(file, "sha256").hexdigest()] = path
            except OSError:
                continue
        return found

    def _listed(self) -> Iterable[Path]:
        for folder in self._folders:
            try:
                yield from find_images([folder])
            except CoreError:  # a folder without images
                continue

    def path_of(self, image_sha256: str) -> Path | None:
        """The file of an image; None where no folder has it."""
        return self._paths.get(image_sha256)

    def of(self, cell: CellKey) -> CellImage | None:
        """The picture of what was outlined; None where no folder has it."""
        path = self.path_of(cell.image_sha256)
        try:
            image = None if path is None else decode(files.read_bytes(path), path.name)
        except (CoreError, OSError):
            return None
        return None if image is None else cut_out(image, cell)


def cut_out(image: CellImage, cell: CellKey) -> CellImage | None:
    """The part of an image that was outlined; None where the image has another size."""
    if (place := cell.place) is not None:
        rgb = image.rgb[place.top : place.top + place.height, place.left : place.left + place.width].copy()
        image = replace(image, rgb=rgb, field_shape=image.shape)
    return image if image.shape == cell.shape else None
