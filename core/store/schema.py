"""One wide row per cell: its columns, their meaning in the Parquet file, and how an analysis becomes a row."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.domain.cell_types import CellType
from core.domain.errors import StoreError
from core.domain.types import CellAnalysis
from core.features.catalogue import CATALOGUE
from core.features.spec import FeatureSpec
from core.support import records
from core.support.text import encodable

SCHEMA_VERSION: Final = 1

# Names the columns <region>_outline. The cytoplasm is what lies in the cell and not in the nucleus (even-odd over
# both), and the environment a ring around the cell (`core.image.masks`), so two outlines tell everything.
OUTLINE_REGIONS: Final = ("nucleus", "cell")

# Rings of x0, y0, x1, y1, ... in pixels of the image (of the cut-out, where `place` says so), filled by the even-odd
# rule.
_RINGS: Final = pa.list_(pa.list_(pa.float32()))

_IDENTITY: Final[tuple[tuple[str, pa.DataType, str], ...]] = (
    ("cell_id", pa.string(), "population, start of the image's SHA-256 and index of the cell in it: unique"),
    ("population", pa.string(), "identifier of the population: the name of its folder"),
    ("cell_type", pa.string(), "member of core.domain.cell_types.CellType"),
    ("source", pa.string(), "laboratory or data set the image comes from"),
    ("patient_id", pa.string(), "pseudonym of the patient; null if unknown"),
    ("diagnosis", pa.string(), "diagnosis of the patient as filed by the source; null if unknown"),
    ("tissue", pa.string(), "blood or marrow, as the source says"),
    ("image_name", pa.string(), "path of the image relative to its data set or folder"),
    ("image_sha256", pa.string(), "SHA-256 of the image file"),
    ("cell_index", pa.int32(), "number of the cell in its image, from 0"),
    ("place_left", pa.int32(), "left edge of the cut-out in its field, pixels; null if the image is the whole field"),
    ("place_top", pa.int32(), "top edge of the cut-out in its field, pixels"),
    ("place_width", pa.int32(), "width of the cut-out, pixels"),
    ("place_height", pa.int32(), "height of the cut-out, pixels"),
    ("image_width", pa.int32(), "width of the analysed image, pixels"),
    ("image_height", pa.int32(), "height of the analysed image, pixels"),
    ("um_per_px", pa.float64(), "micrometres per pixel; null if unknown"),
    ("model_id", pa.string(), "model that drew the outlines"),
    ("provider", pa.string(), "execution provider that ran the model"),
    ("confidence", pa.float64(), "Dice the network itself expects, 0 to 1"),
    ("other_cells", pa.int32(), "further leukocytes in the image, kept apart"),
    ("quality_flags", pa.list_(pa.string()), "codes of all quality flags"),
    ("severe_flags", pa.list_(pa.string()), "codes of the flags that keep the cell out of summaries"),
    ("quality_ok", pa.bool_(), "whether the cell enters population summaries: no severe flag"),
    ("absent", pa.string(), "JSON object: absent feature to reason"),
    *(
        (f"{region}_outline", _RINGS, f"outline of the {region}: rings of x, y in pixels, even-odd")
        for region in OUTLINE_REGIONS
    ),
    ("versions", pa.string(), "JSON object: software to version"),
    ("created", pa.timestamp("us", tz="UTC"), "when the cell was analysed"),
)

OUTLINE_COLUMNS: Final = tuple(f"{region}_outline" for region in OUTLINE_REGIONS)

# What people have added to a cell (`core.store.edit_log`): columns of the cohort, of no shard.
_ADDED: Final[tuple[tuple[str, pa.DataType, str], ...]] = (
    ("note", pa.string(), "remark of a reader; null if there is none"),
    ("excluded_reason", pa.string(), "why a reader left the cell out; null if it is in"),
)

# Present name to former one of columns that shards of before 0.2.0 still have: pandas hides a column `flags` behind
# `DataFrame.flags`.
FORMER_NAMES: Final = {"quality_flags": "flags"}

CellRow = dict[str, Any]  # one value per column of `arrow_schema`; null columns may be left out

# A spreadsheet takes text that starts like this for a formula (OWASP ASVS 1.2.10); file names and patient ids come from
# outside.
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")

_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def check_population_id(population_id: str) -> str:
    """Return the identifier if it can safely be a folder name; raises StoreError."""
    if not _SLUG.fullmatch(population_id):
        msg = (
            "a population's id must be 1 to 63 lower-case letters, digits, '_' or '-', starting with a letter or"
            f" digit, but is {population_id!r}; use for example 'hcl_blood'"
        )
        raise StoreError(msg)
    return population_id


@dataclass(frozen=True)
class Population:
    """What is true of all cells of a population; kept as `population.json` in its folder.

    `um_per_px` is the scale of its images where all share one, and `um_per_px_origin` says how it is known (or why it
    is not); `citation` and `terms` are the source's; `note` is what a reader must know before drawing conclusions;
    `created` is an ISO date. `generation` is the store's own: it names the shards that belong to the present state.
    """

    population_id: str
    cell_type: CellType
    title: str
    source: str
    tissue: str
    citation: str
    terms: str
    note: str
    created: str
    um_per_px: float | None = None
    um_per_px_origin: str = "unknown"
    generation: str = ""

    def __post_init__(self) -> None:
        """Check the identifier, the title, the scale and the generation; raises StoreError."""
        check_population_id(self.population_id)
        if not self.title.strip() or not self.source.strip():
            msg = f"population {self.population_id}: title and source must not be empty"
            raise StoreError(msg)
        if self.um_per_px is not None and not 0.005 <= self.um_per_px <= 10:
            msg = (
                f"population {self.population_id}: the scale must lie between 0.005 and 10 um per pixel, but is"
                f" {self.um_per_px}"
            )
            raise StoreError(msg)

        if not re.fullmatch("[0-9a-f]*", self.generation):
            msg = (
                f"population {self.population_id}: the generation must be a hexadecimal number, but is"
                f" {self.generation!r}"
            )
            raise StoreError(msg)

    def to_json(self) -> str:
        """Return the text of `population.json`."""
        return records.to_json({"schema_version": SCHEMA_VERSION, **vars(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, origin: str) -> "Population":
        """Read `population.json`; `origin` names the file in errors.

        Raises
        ------
        StoreError
            If it is damaged or of a later version.
        """
        try:
            raw = records.parsed(text)
            version = raw["schema_version"]
            if version > SCHEMA_VERSION:
                msg = (
                    f"{origin}: written by a later version (schema {version}, known is {SCHEMA_VERSION}); update"
                    " Leukoscope"
                )
                raise StoreError(msg)
            return records.from_plain(cls, raw, others=True)
        except (ValueError, KeyError, TypeError) as error:
            msg = f"{origin}: not a population's description ({error}); import the population again"
            raise StoreError(msg) from error


def cell_row(
    analysis: CellAnalysis,
    population: Population,
    *,
    outlines: Mapping[str, Sequence[NDArray[np.floating[Any]]]],
    patient_id: str | None = None,
    diagnosis: str | None = None,
    created: datetime | None = None,
) -> CellRow:
    """Row of one analysed cell.

    Parameters
    ----------
    analysis
        The cell; its image's name must be a relative path. Without a scale of its own it takes the population's.
    population
        Where the row will be filed.
    outlines
        For each of `OUTLINE_REGIONS` (a missing one is stored as no ring) a sequence of (N, 2) arrays of x, y in image
        pixels.
    patient_id, diagnosis
        As the source gives them; no names of persons.
    created
        Time of analysis, with time zone; now if not given.

    Raises
    ------
    StoreError
        If the image's name is absolute or leaves its folder, an outline region is unknown, or a value is not finite.
    """
    check_relative(analysis.image.name)
    return {
        **_filed_under(analysis, population),
        "patient_id": patient_id,
        "diagnosis": diagnosis,
        **_pictured(analysis, population),
        **_outlined(analysis, outlines),
        **_measured(analysis),
        "created": created or datetime.now(UTC),
    }


def _filed_under(analysis: CellAnalysis, population: Population) -> CellRow:
    return {
        "cell_id": f"{population.population_id}:{analysis.image.sha256[:16]}:{analysis.cell_index}",
        "population": population.population_id,
        "cell_type": population.cell_type.value,
        "source": population.source,
        "tissue": population.tissue,
    }


def _pictured(analysis: CellAnalysis, population: Population) -> CellRow:
    """The image, the place of the cell in it, and its scale."""
    image, place = analysis.image, analysis.place
    height, width = image.shape
    return {
        "image_name": encodable(image.name),
        "image_sha256": image.sha256,
        "cell_index": analysis.cell_index,
        **{f"place_{side}": getattr(place, side) if place else None for side in ("left", "top", "width", "height")},
        "image_width": width,
        "image_height": height,
        "um_per_px": image.um_per_px if image.um_per_px is not None else population.um_per_px,
    }


def _outlined(analysis: CellAnalysis, outlines: Mapping[str, Sequence[NDArray[np.floating[Any]]]]) -> CellRow:
    """The outline, and how it was drawn; raises StoreError for a region that is not kept."""
    if unknown := sorted(set(outlines) - set(OUTLINE_REGIONS)):
        msg = (
            f"{analysis.image.name}: outlines are kept of {', '.join(OUTLINE_REGIONS)}, but came for"
            f" {', '.join(unknown)}"
        )
        raise StoreError(msg)
    rings = {region: [ring.ravel().tolist() for ring in outlines.get(region, ())] for region in OUTLINE_REGIONS}
    return {
        "model_id": analysis.segmentation.model_id,
        "provider": analysis.segmentation.provider,
        "confidence": analysis.segmentation.confidence,
        "other_cells": analysis.segmentation.other_cells,
        **{f"{region}_outline": ring for region, ring in rings.items()},
    }


def _measured(analysis: CellAnalysis) -> CellRow:
    """Features, absent ones, and severe flags; raises StoreError for a value that is no number."""
    values = {name: analysis.features.values.get(name) for name in CATALOGUE}
    for name, value in values.items():
        if value is not None and not math.isfinite(value):
            msg = f"{analysis.image.name}: {name} must be a finite number or absent with a reason, but is {value}"
            raise StoreError(msg)
    return {
        "quality_flags": [flag.code for flag in analysis.flags],
        "severe_flags": [flag.code for flag in analysis.flags if flag.severe],
        "quality_ok": analysis.quality_ok,
        "absent": json.dumps(analysis.features.absent, sort_keys=True),
        "versions": json.dumps(analysis.versions, sort_keys=True),
        **values,
    }


def guarded(text: str) -> str:
    """Text that no spreadsheet takes for a formula: with an apostrophe before it where it would be one."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def decode_rings(rings: Sequence[NDArray[np.float32]] | None) -> tuple[NDArray[np.float32], ...]:
    """Return a stored outline as (N, 2) arrays of x, y in image pixels; none for a null, or one without its last y."""
    whole = () if rings is None else (ring for ring in rings if ring is not None and len(ring) % 2 == 0)
    return tuple(np.asarray(ring, dtype=np.float32).reshape(-1, 2) for ring in whole)


def arrow_schema() -> pa.Schema:
    """Columns of a shard: identity, then one float64 column per catalogue feature, in pixels.

    Each field's metadata holds `description` and, for features, `label`, `unit`, `depends_on` (magnification, stain)
    and `ibsi` where the IBSI has the quantity; the file's metadata the schema version.
    """
    return _schema(_IDENTITY)


def by_present_names(table: pa.Table) -> pa.Table:
    """A table of a shard of any version, with the columns called as they are today."""
    present = {former: name for name, former in FORMER_NAMES.items()}
    return table.rename_columns([present.get(name, name) for name in table.column_names])


def shards_sql(files: str) -> str:
    """SQL for the rows of shards (`files`) of any version, with every column of `every_column_schema`.

    The relation `every_column` must be there, empty.
    """
    former = ", ".join(FORMER_NAMES.values())
    present = ", ".join(f"coalesce({name}, {old}) AS {name}" for name, old in FORMER_NAMES.items())
    rows = f"SELECT * FROM every_column UNION ALL BY NAME SELECT * FROM read_parquet({files}, union_by_name = true)"
    return f"SELECT * EXCLUDE ({former}) REPLACE ({present}) FROM ({rows})"


def every_column_schema() -> pa.Schema:
    """Columns of the cohort and, after them, those by their former names."""
    schema = cohort_schema()
    for name, former in FORMER_NAMES.items():
        schema = schema.append(pa.field(former, schema.field(name).type))
    return schema


def cohort_schema() -> pa.Schema:
    """Columns of the relation `cells`: those of a shard, with those that readers have added after the identity."""
    return _schema((*_IDENTITY, *_ADDED))


def _schema(own: Sequence[tuple[str, pa.DataType, str]]) -> pa.Schema:
    fields = [pa.field(name, kind, metadata={"description": text}) for name, kind, text in own]
    features = [pa.field(spec.name, pa.float64(), metadata=_feature_metadata(spec)) for spec in CATALOGUE.values()]
    metadata = {"leukoscope_schema_version": str(SCHEMA_VERSION), "leukoscope_catalogue": json.dumps(list(CATALOGUE))}
    return pa.schema(fields + features, metadata=metadata)


def _feature_metadata(spec: FeatureSpec) -> dict[str, str]:
    depends_on = [
        what for what, does in (("magnification", not spec.scale_free), ("stain", spec.intensity_dependent)) if does
    ]
    metadata = {
        "description": spec.description,
        "label": spec.label,
        "unit": spec.unit.px,
        "depends_on": ", ".join(depends_on),
    }
    return metadata | ({"ibsi": spec.ibsi_id} if spec.ibsi_id else {})


def check_relative(name: str) -> None:
    """Raise StoreError for an absolute path, which tells about the machine and its user, or one with `..`."""
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or ".." in re.split(r"[/\\]", name):
        msg = f"an image's name must be a path inside its folder, but is {name!r}; give it relative to the data set"
        raise StoreError(msg)
