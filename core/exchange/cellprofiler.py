"""CellProfiler Analyst: `cells.db` (SQLite) with a table of images and one of cells, and `cells.properties`."""

import sqlite3
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pandas as pd

from core.exchange.cells import HandedImage, Handing, features_in

# Of a cell, besides its numbers, its place and its features.
_KEPT: Final = (
    "cell_id", "cell_type", "source", "patient_id", "um_per_px", "confidence", "outline_quality", "quality_ok",
    "quality_flags", "outline_by", "outline_status", "model_id", "units",
)  # fmt: skip
_NUMBERS: Final = ("um_per_px", "confidence", "outline_quality")
_BOX: Final = ("box_left", "box_top", "box_width", "box_height")
_IMAGES: Final = (
    "ImageNumber INTEGER PRIMARY KEY, Image_PathName_RGB TEXT, Image_FileName_RGB TEXT, Image_Width INTEGER,"
    " Image_Height INTEGER, Image_SHA256 TEXT, Image_Count_Cells INTEGER"
)
_PROPERTIES: Final = """# Cells measured by Leukoscope, for CellProfiler Analyst.
# The folder in which the images lie goes here, with a / at its end, if the pictures are to be shown:
image_url_prepend =
db_type = sqlite
db_sqlite_file = cells.db
image_table = Per_Image
object_table = Per_Object
image_id = ImageNumber
object_id = ObjectNumber
cell_x_loc = Location_Center_X
cell_y_loc = Location_Center_Y
image_path_cols = Image_PathName_RGB
image_file_cols = Image_FileName_RGB
image_names = RGB
channels_per_image = 3
image_channel_colors = red, green, blue
object_name = cell, cells
image_tile_size = 96
classifier_ignore_columns = ImageNumber, ObjectNumber, Location_Center_X, Location_Center_Y, box_.*, um_per_px, units
"""


def write(handing: Handing, folder: Path) -> None:
    """Write both files, some images at a time; an absent feature is NULL."""
    folder.mkdir(parents=True)
    with closing(sqlite3.connect(folder / "cells.db")) as database, database:
        database.execute(f"CREATE TABLE Per_Image ({_IMAGES})")
        number = 0
        for images, frame in handing.frames():
            if number == 0:
                database.execute(_objects_sql(features_in(frame)))
            placed = [
                (count, cell.number) for count, image in enumerate(images, start=number + 1) for cell in image.cells
            ]
            rows = [_image(count, image) for count, image in enumerate(images, start=number + 1)]
            database.executemany("INSERT INTO Per_Image VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            cells = [(*place, *values) for place, values in zip(placed, _objects(frame), strict=True)]
            database.executemany(f"INSERT INTO Per_Object VALUES ({', '.join('?' * len(cells[0]))})", cells)
            number += len(images)
    (folder / "cells.properties").write_text(_PROPERTIES, encoding="utf-8")


def _objects_sql(features: list[str]) -> str:
    columns = ["ImageNumber INTEGER", "ObjectNumber INTEGER", "Location_Center_X REAL", "Location_Center_Y REAL"]
    columns += [f"{name} INTEGER" for name in _BOX]
    columns += [f"{name} {'REAL' if name in _NUMBERS else 'TEXT'}" for name in _KEPT]
    columns += [f'"{name}" REAL' for name in features]
    return f"CREATE TABLE Per_Object ({', '.join(columns)}, PRIMARY KEY (ImageNumber, ObjectNumber))"


def _image(number: int, image: HandedImage) -> tuple[Any, ...]:
    path = PurePosixPath(image.name.replace("\\", "/"))
    folder = "" if str(path.parent) == "." else str(path.parent)
    height, width = image.shape or (None, None)
    return number, folder, path.name, width, height, image.sha256, len(image.cells)


def _objects(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    wanted = frame[["centre_x", "centre_y", *_BOX, *_KEPT, *features_in(frame)]]
    return [tuple(map(_stored, values)) for values in wanted.itertuples(index=False, name=None)]


def _stored(value: Any) -> Any:  # noqa: ANN401 (any value of a table)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, bool):
        return str(value)
    return None if value is None or pd.isna(value) else value
