"""Tables of cells: CSV with its description, and a typed workbook of Excel with a sheet that says where it is from."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from core.domain.errors import UsageError
from core.exchange.cells import COLUMNS, Handing
from core.store.export import described, description_of, to_csv
from core.support.text import REPLACED

_MOST_ROWS: Final = 1_048_575  # of a sheet, beside its header
_MOST_LETTERS: Final = 32_767  # of a cell of a sheet
_CUT: Final = " [cut]"
ABOUT: Final = "about"


def write_csv(handing: Handing, folder: Path) -> None:
    """Write `cells.csv`, its description `cells.csv-metadata.json`, and `about.json` with the provenance."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "cells.csv"
    with path.open("wb") as file:
        for number, (_, frame) in enumerate(handing.frames()):
            text = to_csv(frame)
            file.write(text if number == 0 else text.partition(b"\r\n")[2])  # no column's name tears a line
    description_of(path).write_bytes(described(path.name, COLUMNS, handing.units))
    (folder / f"{ABOUT}.json").write_text(json.dumps(handing.provenance(), indent=1) + "\n", encoding="utf-8")


def write_xlsx(handing: Handing, path: Path) -> None:
    """Write a workbook with the sheets `cells` and `about`.

    Numbers, truth and times are what they are, and all else is text, which Excel never calculates, whatever it begins
    with.

    Raises
    ------
    UsageError
        If there are more cells than a sheet has rows.
    """
    from openpyxl import Workbook  # only this needs it

    book = Workbook(write_only=True)
    sheet = book.create_sheet("cells")
    sheet.freeze_panes = "B2"
    rows = 0
    for number, (_, frame) in enumerate(handing.frames()):
        rows += len(frame)
        if rows > _MOST_ROWS:
            msg = f"a sheet of Excel has {_MOST_ROWS:,} rows, but there are more cells; choose csv"
            raise UsageError(msg)
        if number == 0:
            sheet.append([_in_sheet(sheet, name) for name in frame.columns])
        for values in frame.itertuples(index=False, name=None):
            sheet.append([_in_sheet(sheet, value) for value in values])
    about = book.create_sheet(ABOUT)
    about.column_dimensions["A"].width, about.column_dimensions["B"].width = 24, 100
    for pair in handing.provenance().items():
        about.append([_in_sheet(about, text) for text in pair])
    book.save(path)


def _in_sheet(sheet: Any, value: Any) -> Any:  # noqa: ANN401 (openpyxl has no types)
    """A value as a sheet takes it."""
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    if isinstance(value, str) or (isinstance(value, Iterable) and not isinstance(value, np.generic)):
        text = value if isinstance(value, str) else "; ".join(map(str, value))
        text = ILLEGAL_CHARACTERS_RE.sub(REPLACED, text.encode("utf-8", "replace").decode())
        if len(text) > _MOST_LETTERS:
            text = text[: _MOST_LETTERS - len(_CUT)] + _CUT
        cell = WriteOnlyCell(sheet, text)
        cell.data_type = "s"  # else what begins with = were a formula
        cell.quotePrefix = True  # and after an edit, too
        return cell
    if value is None or pd.isna(value):
        return None
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None)  # a sheet knows no time zones
    return value.item() if isinstance(value, np.generic) else value
