"""One wide row per cell: its columns, their meaning in the Parquet file, and how an analysis becomes a row."""

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core.domain.cell_types import CellType
from core.domain.errors import StoreError, UsageError
from core.domain.options import Units
from core.domain.types import BoundingBox, CellAnalysis, CellImage, StainFactors
from core.features.catalogue import CATALOGUE
from core.features.spec import FeatureClass, FeatureSpec, Unit
from core.support import records
from core.support.text import encodable

# 2: optical density is decadic, and the columns from `cell_label` to `centre_y`, of scale and of notes are there.
SCHEMA_VERSION: Final = 2

# Key of the Parquet file and of the description beside a CSV file that says what lengths are counted in.
UNITS_KEY: Final = "units"

# Names the columns <region>_outline. The cytoplasm is what lies in the cell and not in the nucleus (even-odd over
# both), and the environment a ring around the cell (`core.image.masks`), so two outlines tell everything.
OUTLINE_REGIONS: Final = ("nucleus", "cell")

# Rings of x0, y0, x1, y1, ... in pixels of the image (of the cut-out, where `place` says so), filled by the even-odd
# rule.
_RINGS: Final = pa.list_(pa.list_(pa.float32()))

# What a person decided of the outline (`core.store.outline_log`).
_REVIEWED: Final[tuple[tuple[str, pa.DataType, str], ...]] = (
    ("outline_by", pa.string(), "person, where one corrected the outline; null where it is the model's"),
    (
        "outline_status",
        pa.string(),
        "what a reader decided of the outline: accepted, corrected, rejected, unsure; null where nobody did",
    ),
    ("outline_who", pa.string(), "who decided that"),
    ("outline_when", pa.timestamp("us", tz="UTC"), "when that was decided"),
    ("outline_why", pa.string(), "the reasons that were given; null without any"),
    ("model_confidence", pa.float64(), "of a corrected cell: `confidence` of the model's outline"),
    *(
        (f"model_{region}_outline", _RINGS, f"of a corrected cell: the model's outline of the {region}")
        for region in OUTLINE_REGIONS
    ),
)

_IDENTITY: Final[tuple[tuple[str, pa.DataType, str], ...]] = (
    ("cell_id", pa.string(), "population, start of the image's SHA-256 and index of the cell in it: unique"),
    ("population", pa.string(), "identifier of the population: the name of its folder"),
    ("cell_type", pa.string(), "member of core.domain.cell_types.CellType"),
    ("source", pa.string(), "laboratory or data set the image comes from"),
    ("patient_id", pa.string(), "pseudonym of the patient; null if unknown"),
    ("diagnosis", pa.string(), "diagnosis of the patient as filed by the source; null if unknown"),
    ("tissue", pa.string(), "blood or marrow, as the source says"),
    ("image_path", pa.string(), "path of the image relative to its data set or folder"),
    ("image_sha256", pa.string(), "SHA-256 of the image file"),
    ("cell_index", pa.int32(), "number of the cell in its image, from 0"),
    ("cell_label", pa.int32(), "number of the cell in pictures and its grey level in the image of instances, from 1"),
    ("centre_x", pa.float64(), "centre of gravity of the cell in the whole image, pixels from the left edge"),
    ("centre_y", pa.float64(), "centre of gravity of the cell in the whole image, pixels from the upper edge"),
    ("box_left", pa.int32(), "left edge of the cell's bounding box in the whole image, pixels; null without a cell"),
    ("box_top", pa.int32(), "upper edge of the bounding box, pixels"),
    ("box_width", pa.int32(), "width of the bounding box, pixels"),
    ("box_height", pa.int32(), "height of the bounding box, pixels"),
    ("place_left", pa.int32(), "left edge of the cut-out in its field, pixels; null if the image is the whole field"),
    ("place_top", pa.int32(), "top edge of the cut-out in its field, pixels"),
    ("place_width", pa.int32(), "width of the cut-out, pixels"),
    ("place_height", pa.int32(), "height of the cut-out, pixels"),
    ("image_width", pa.int32(), "width of the whole image, pixels (of the cut-out in files of schema 1)"),
    ("image_height", pa.int32(), "height of the whole image, pixels (of the cut-out in files of schema 1)"),
    ("um_per_px", pa.float64(), "micrometres per pixel; null if unknown"),
    (
        "um_per_px_error",
        pa.float64(),
        "share by which the true scale may be larger or smaller (95 %); null if it was given exactly or is unknown",
    ),
    (
        "um_per_px_source",
        pa.string(),
        "where the scale is from: given, file (it states the same), red cells or population",
    ),
    ("um_per_px_in_file", pa.float64(), "micrometres per pixel that the image file states; null if it states none"),
    ("red_cells", pa.int32(), "whole red cells in the image; null if nobody looked for them"),
    ("red_cell_px", pa.float64(), "their median diameter, pixels; null without any"),
    ("units", pa.string(), "px or um: what lengths and areas among the features are counted in; all else is in pixels"),
    ("model_id", pa.string(), "model that drew the outlines"),
    ("provider", pa.string(), "execution provider that ran the model"),
    ("confidence", pa.float64(), "Dice the network itself expects, 0 to 1"),
    (
        "outline_quality",
        pa.float64(),
        "Dice of the cell that a careful drawing would probably reach with the outline, 0 to 1; null if not judged",
    ),
    ("other_cells", pa.int32(), "further leukocytes in the image, kept apart"),
    ("notes", pa.list_(pa.string()), "what opening the image did, in words"),
    ("quality_flags", pa.list_(pa.string()), "codes of all quality flags"),
    ("severe_flags", pa.list_(pa.string()), "codes of the flags that keep the cell out of summaries"),
    ("quality_ok", pa.bool_(), "whether the cell enters population summaries: no severe flag"),
    ("absent", pa.string(), "JSON object: absent feature to reason"),
    (
        "stain",
        pa.string(),
        "stain factors with which the cell was measured: name, then what the densities of red, green and blue were"
        " multiplied by; null: as the image came",
    ),
    *(
        (f"{region}_outline", _RINGS, f"outline of the {region}: rings of x, y in pixels, even-odd")
        for region in OUTLINE_REGIONS
    ),
    *_REVIEWED,
    ("versions", pa.string(), "JSON object: software to version"),
    ("created", pa.timestamp("us", tz="UTC"), "when the cell was analysed"),
)

# What is laid over a cell (`core.store.edit_log`, `core.store.calibrations`): columns of the cohort, of no shard.
_ADDED: Final[tuple[tuple[str, pa.DataType, str], ...]] = (
    ("note", pa.string(), "remark of a reader; null if there is none"),
    ("excluded_reason", pa.string(), "why a reader left the cell out; null if it is in"),
    (
        "calibrated_by",
        pa.string(),
        "calibration that is laid over the features, where one is chosen for the source; null: as measured",
    ),
)

# Rings: columns that a table of plain values leaves out.
OUTLINE_COLUMNS: Final = tuple(f"{whose}{region}_outline" for whose in ("", "model_") for region in OUTLINE_REGIONS)

# Present name to former one of columns that older shards still have: pandas hides a column `flags` behind
# `DataFrame.flags`, and shards of batches had another name for the cohort's column.
FORMER_NAMES: Final = {"quality_flags": "flags", "image_path": "image_name"}

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
    is not); `um_per_px_error` is the share by which the true one may be larger or smaller (95 %), None where that is
    not said. `citation` and `terms` are the source's; `note` is what a reader must know before drawing conclusions;
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
    um_per_px_error: float | None = None
    generation: str = ""

    def __post_init__(self) -> None:
        """Check the identifier, the title, the scale and the generation; raises StoreError."""
        check_population_id(self.population_id)
        if not self.title.strip() or not self.source.strip():
            msg = f"population {self.population_id}: title and source must not be empty"
            raise StoreError(msg)
        if self.um_per_px is not None and not 0.005 <= self.um_per_px <= 10:
            msg = (
                f"population {self.population_id}: the scale must lie between 0.005 and 10 µm per pixel, but is"
                f" {self.um_per_px}"
            )
            raise StoreError(msg)
        if self.um_per_px_error is not None and not 0 <= self.um_per_px_error < 1:
            msg = (
                f"population {self.population_id}: the error of the scale is a share from 0 to below 1, but is"
                f" {self.um_per_px_error}"
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
    population: Population | None,
    *,
    outlines: Mapping[str, Sequence[NDArray[np.floating[Any]]]],
    cell_type: CellType | None = None,
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
        Where the row will be filed; None where it is filed nowhere yet.
    outlines
        For each of `OUTLINE_REGIONS` (a missing one is stored as no ring) a sequence of (N, 2) arrays of x, y in image
        pixels.
    cell_type
        Its type, where it is not the population's.
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
        **_filed_under(analysis, population, cell_type),
        "patient_id": patient_id,
        "diagnosis": diagnosis,
        **_pictured(analysis, population),
        **_outlined(analysis, outlines),
        **_measured(analysis),
        "created": created or datetime.now(UTC),
    }


def corrected_row(
    row: CellRow, analysis: CellAnalysis, *, outlines: Mapping[str, Sequence[NDArray[np.floating[Any]]]]
) -> CellRow:
    """The row of a cell whose outline a person corrected: measured anew, and filed as it was.

    Parameters
    ----------
    row
        The cell's row as the model drew it.
    analysis
        The cell with its corrected outline (`core.pipeline.remeasured`).
    outlines
        The corrected outline, as for `cell_row`.
    """
    pictured = _pictured(analysis, None)
    return {
        **row,
        **{name: pictured[name] for name in pictured if name.startswith(("centre_", "box_"))},
        **_outlined(analysis, outlines),
        **_measured(analysis),
        **{f"model_{region}_outline": row[f"{region}_outline"] for region in OUTLINE_REGIONS},
    }


def cell_id(population_id: str | None, image_sha256: str, cell_index: int) -> str:
    """The identifier of a cell, also of one that is filed nowhere yet."""
    return ":".join([*([population_id] if population_id else []), image_sha256[:16], str(cell_index)])


def _filed_under(analysis: CellAnalysis, population: Population | None, cell_type: CellType | None) -> CellRow:
    kind = cell_type or (population.cell_type if population else None)
    population_id = population.population_id if population else None
    return {
        "cell_id": cell_id(population_id, analysis.image.sha256, analysis.cell_index),
        "population": population_id,
        "cell_type": kind.value if kind else None,
        "source": population.source if population else None,
        "tissue": population.tissue if population else None,
    }


def _pictured(analysis: CellAnalysis, population: Population | None) -> CellRow:
    """The image, the place of the cell in it, and its scale."""
    image, sides = analysis.image, ("left", "top", "width", "height")
    height, width = image.whole_shape
    x, y = analysis.centre or (None, None)
    return {
        "image_path": encodable(image.name),
        "image_sha256": image.sha256,
        "cell_index": analysis.cell_index,
        "cell_label": analysis.cell_index + 1,
        "centre_x": x,
        "centre_y": y,
        **{f"box_{side}": getattr(analysis.box, side, None) for side in sides},
        **{f"place_{side}": getattr(analysis.place, side, None) for side in sides},
        "image_width": width,
        "image_height": height,
        **_scaled(image, population),
        "red_cells": image.red_cells.discs if image.red_cells else None,
        "red_cell_px": image.red_cells.diameter_px if image.red_cells else None,
        UNITS_KEY: Units.PIXELS.value,
    }


def _scaled(image: CellImage, population: Population | None) -> CellRow:
    """The scale, where it is from, and what the file says of it."""
    scale, error, source = image.um_per_px, image.um_per_px_error, image.um_per_px_source or "given"
    stated = image.file_scale.um_per_px if image.file_scale else None
    if scale is None:
        scale, error, source = of_population(population)
    elif scale == stated:
        source = "file"
    return {
        "um_per_px": scale,
        "um_per_px_error": error,
        "um_per_px_source": source if scale is not None else None,
        "um_per_px_in_file": stated,
    }


def of_population(population: Population | None) -> tuple[float | None, float | None, str]:
    """The scale of a population for a cell without one of its own, its error, and what its source is called."""
    if population is None or population.um_per_px is None:
        return None, None, "population"
    return population.um_per_px, population.um_per_px_error, "population"


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
        "outline_quality": analysis.outline_quality,
        "other_cells": analysis.segmentation.other_cells,
        **{f"{region}_outline": ring for region, ring in rings.items()},
        **dict.fromkeys(name for name, *_ in _REVIEWED),
        "outline_by": analysis.segmentation.drawn_by.value if analysis.base else None,
        "model_confidence": analysis.base.confidence if analysis.base else None,
        **({f"outline_{name}": said for name, said in vars(analysis.review).items()} if analysis.review else {}),
    }


def _measured(analysis: CellAnalysis) -> CellRow:
    """Features, absent ones, notes and flags; raises StoreError for a value that is no number."""
    values = {name: analysis.features.values.get(name) for name in CATALOGUE}
    for name, value in values.items():
        if value is not None and not math.isfinite(value):
            msg = f"{analysis.image.name}: {name} must be a finite number or absent with a reason, but is {value}"
            raise StoreError(msg)
    return {
        "notes": list(analysis.image.notes),
        "quality_flags": [flag.code for flag in analysis.flags],
        "severe_flags": [flag.code for flag in analysis.flags if flag.severe],
        "quality_ok": analysis.quality_ok,
        "absent": json.dumps(analysis.features.absent, sort_keys=True),
        "stain": str(analysis.image.stain) if analysis.image.stain else None,
        "versions": json.dumps(analysis.versions, sort_keys=True),
        **values,
    }


def guarded(text: str) -> str:
    """Text that no spreadsheet takes for a formula: with an apostrophe before it where it would be one."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def place_of(row: Mapping[Any, Any]) -> BoundingBox | None:
    """Where in its field the cell of a row was cut out; None where the image is the whole field."""
    sides = [row[f"place_{side}"] for side in ("left", "top", "width", "height")]
    # Null is None in Arrow's rows and nan in those of pandas.
    return None if sides[0] is None or math.isnan(sides[0]) else BoundingBox(*map(int, sides))


def stain_of(row: Mapping[Any, Any]) -> StainFactors | None:
    """The stain factors with which the cell of a row was measured; None without any.

    Raises
    ------
    StoreError
        If they are damaged: measured without them, the cell would be another.
    """
    text = row.get("stain")
    if not isinstance(text, str):
        return None
    try:
        return StainFactors.of_text(text)
    except UsageError as error:
        msg = f"{row.get('image_path') or 'a cell'}: {error}; analyse the image again with `--stain`"
        raise StoreError(msg) from error


def decode_rings(rings: Sequence[NDArray[np.float32]] | None) -> tuple[NDArray[np.float32], ...]:
    """Return a stored outline as (N, 2) arrays of x, y in image pixels; none for a null, or one without its last y."""
    whole = () if rings is None else (ring for ring in rings if ring is not None and len(ring) % 2 == 0)
    return tuple(np.asarray(ring, dtype=np.float32).reshape(-1, 2) for ring in whole)


def arrow_schema(units: Units = Units.PIXELS) -> pa.Schema:
    """Columns of a shard: identity, then one float64 column per catalogue feature.

    Each field's metadata holds `description` and, for features, `label`, `unit` (in `units`, pixels where stored),
    `depends_on` (magnification, stain) and `ibsi` where the IBSI has the quantity; the file's metadata the schema
    version and the units.
    """
    return _schema(_IDENTITY, units)


def cohort_schema(units: Units = Units.PIXELS) -> pa.Schema:
    """Columns of the relation `cells`: those of a shard, with those that readers have added after the identity."""
    return _schema((*_IDENTITY, *_ADDED), units)


def every_column_schema() -> pa.Schema:
    """Columns of the cohort and, after them, those by their former names."""
    schema = cohort_schema()
    for name, former in FORMER_NAMES.items():
        schema = schema.append(pa.field(former, schema.field(name).type))
    return schema


def _schema(own: Sequence[tuple[str, pa.DataType, str]], units: Units) -> pa.Schema:
    fields = [pa.field(name, kind, metadata={"description": text}) for name, kind, text in own]
    features = [
        pa.field(spec.name, pa.float64(), metadata=_feature_metadata(spec, units)) for spec in CATALOGUE.values()
    ]
    metadata = {"leukoscope_schema_version": str(SCHEMA_VERSION), "leukoscope_catalogue": json.dumps(list(CATALOGUE))}
    return pa.schema(fields + features, metadata={**metadata, UNITS_KEY: units.value})


def _feature_metadata(spec: FeatureSpec, units: Units) -> dict[str, str]:
    depends_on = [
        what for what, does in (("magnification", not spec.scale_free), ("stain", spec.intensity_dependent)) if does
    ]
    metadata = {
        "description": spec.description,
        "label": spec.label,
        "unit": spec.unit.um if units is Units.MICROMETRES else spec.unit.px,
        "depends_on": ", ".join(depends_on),
    }
    return metadata | ({"ibsi": spec.ibsi_id} if spec.ibsi_id else {})


def check_relative(name: str) -> None:
    """Raise StoreError for an absolute path, which tells about the machine and its user, or one with `..`."""
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or ".." in re.split(r"[/\\]", name):
        msg = f"an image's name must be a path inside its folder, but is {name!r}; give it relative to the data set"
        raise StoreError(msg)


# --- shards of schema 1 -----------------------------------------------------------------------------------------------


def _former_factor(spec: FeatureSpec) -> float | None:
    """What a value of schema 1 is multiplied by: there, optical density was natural. None where it has to be left out.

    Entropy and uniformity were counted in bins of another width.
    """
    powers = {Unit.DENSITY: 1, Unit.DENSITY_SQUARED: 2, Unit.DENSITY_SQUARED_AREA: 2}
    if spec.feature_class in _DENSITIES and spec.feature in ("Entropy", "Uniformity"):
        return None
    return math.log(10) ** -powers.get(spec.unit, 0)


_DENSITIES: Final = (FeatureClass.OPTICAL_DENSITY, FeatureClass.HAEMATOXYLIN, FeatureClass.EOSIN)
# Features whose values a shard of schema 1 holds otherwise, with the factor to be multiplied by (None: left out).
FORMER_FACTORS: Final = {name: factor for name, spec in CATALOGUE.items() if (factor := _former_factor(spec)) != 1}


def is_former(names: Collection[str]) -> bool:
    """Whether a shard with these columns is of schema 1."""
    return UNITS_KEY not in names and not FORMER_FACTORS.keys().isdisjoint(names)


def present_values(name: str, values: pa.Array) -> pa.Array:
    """The values of a column of a shard of schema 1 as they are today."""
    if name not in FORMER_FACTORS:
        return values
    factor = FORMER_FACTORS[name]
    return pa.nulls(len(values), pa.float64()) if factor is None else pc.multiply(values, factor)


def present_names(names: Iterable[str]) -> list[str]:
    """What the columns of a shard of any version are called today."""
    present = {former: name for name, former in FORMER_NAMES.items()}
    return [present.get(name, name) for name in names]


def as_today(table: pa.Table) -> pa.Table:
    """A table of a shard of any version, with names and values as they are today."""
    names = present_names(table.column_names)
    former = is_former(names)
    columns = [present_values(name, table[index]) if former else table[index] for index, name in enumerate(names)]
    if former:
        names.append(UNITS_KEY)
        columns.append(pa.array([Units.PIXELS.value] * len(table), pa.string()))
    return pa.table(columns, names=names)


def shards_sql(files: str) -> str:
    """SQL for the rows of shards (`files`) of any version, with every column of `every_column_schema`, as today.

    The relation `every_column` must be there, empty.
    """
    former = ", ".join(FORMER_NAMES.values())
    present = [f"coalesce({name}, {old}) AS {name}" for name, old in FORMER_NAMES.items()]
    present += [_present_sql(name, factor) for name, factor in FORMER_FACTORS.items()]
    rows = f"SELECT * FROM every_column UNION ALL BY NAME SELECT * FROM read_parquet({files}, union_by_name = true)"
    return f"SELECT * EXCLUDE ({former}) REPLACE ({', '.join(present)}) FROM ({rows})"


def _present_sql(name: str, factor: float | None) -> str:
    former = "NULL" if factor is None else f'{factor:.17e} * "{name}"'
    return f'CASE WHEN {UNITS_KEY} IS NULL THEN {former} ELSE "{name}" END AS "{name}"'


def renamed_sql(names: Collection[str]) -> str:
    """SQL that follows the `*` of a shard with these columns and calls them as they are called today."""
    renamed = ", ".join(f"{old} AS {name}" for name, old in FORMER_NAMES.items() if old in names)
    return f" RENAME ({renamed})" if renamed else ""
