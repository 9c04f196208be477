import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.domain.cell_types import CellType
from core.domain.compartments import Compartment
from core.domain.errors import StoreError
from core.domain.objects import RedCells
from core.domain.types import RED_CELLS, BoundingBox, FileScale, QualityFlag, StainFactors
from core.features.catalogue import CATALOGUE
from core.store import queries
from core.store.database import Cohort
from core.store.schema import (
    SCHEMA_VERSION,
    Population,
    arrow_schema,
    as_today,
    cell_row,
    check_population_id,
    decode_rings,
    stain_of,
)
from core.store.shards import write_population
from tests.core.store.conftest import AREA, WHEN, make_analysis, make_population, make_rows

SQUARE = np.array([[1.5, 2.0], [9.5, 2.0], [9.5, 8.0]])


@pytest.mark.parametrize(
    "bad",
    ["", ".", "..", "../up", "a/b", "a\\b", "/abs", "C:x", "A", "a b", "a\n", "-x", "é", "x" * 64, "a\0b", ".hidden"],
)
def test_ids_that_could_leave_the_folder_are_refused(bad):
    with pytest.raises(StoreError, match="lower-case letters"):
        check_population_id(bad)
    with pytest.raises(StoreError):
        make_population(bad)


def test_a_plain_id_is_returned():
    assert check_population_id("hcl_blood-2") == "hcl_blood-2"


def test_population_survives_its_json():
    population = make_population(um_per_px=0.095, um_per_px_origin="red cells of 7.5 µm", note="Zahl 1, naïve")
    again = Population.from_json(population.to_json(), "here")
    assert again == population
    assert again.cell_type is CellType.MONOCYTE


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema_version": 1}', make_population().to_json().replace('"monocyte"', '"martian"')]
)
def test_a_damaged_description_names_its_file(text):
    with pytest.raises(StoreError, match=r"^here: "):
        Population.from_json(text, "here")


def test_a_description_of_a_later_version_asks_for_an_update():
    text = make_population().to_json().replace(f'"schema_version": {SCHEMA_VERSION}', '"schema_version": 99')
    with pytest.raises(StoreError, match="update Leukoscope"):
        Population.from_json(text, "here")


@pytest.mark.parametrize("scale", [0.0, -1.0, 11.0])
def test_an_impossible_scale_is_refused(scale):
    with pytest.raises(StoreError, match="µm per pixel"):
        make_population(um_per_px=scale)


def test_every_column_is_explained_and_every_feature_says_what_the_catalogue_says():
    schema = arrow_schema()
    assert all(schema.field(name).metadata[b"description"] for name in schema.names)
    for name, spec in CATALOGUE.items():
        assert schema.field(name).type == pa.float64()
        said = {key.decode(): value.decode() for key, value in schema.field(name).metadata.items()}
        assert (said["label"], said["unit"], said.get("ibsi")) == (spec.label, spec.unit.px, spec.ibsi_id)
        assert ("magnification" in said["depends_on"], "stain" in said["depends_on"]) == (
            not spec.scale_free,
            spec.intensity_dependent,
        )
    assert json.loads(schema.metadata[b"leukoscope_catalogue"]) == list(CATALOGUE)
    assert schema.metadata[b"leukoscope_schema_version"] == str(SCHEMA_VERSION).encode()


def test_a_row_holds_what_the_analysis_says():
    flags = (
        QualityFlag("touches_border", "The cell touches the edge.", severe=True),
        QualityFlag("blurred", "Not sharp.", severe=False),
    )
    analysis = make_analysis(
        7, values={AREA: None}, absent={AREA: "no nucleus"}, flags=flags, place=BoundingBox(1, 2, 30, 20)
    )
    population = make_population(um_per_px=0.1)
    row = cell_row(
        analysis, population, outlines={"nucleus": [SQUARE], "cell": []}, patient_id="p1", diagnosis="APL", created=WHEN
    )
    assert set(row) == set(arrow_schema().names)
    assert row["cell_id"] == f"mono:{analysis.image.sha256[:16]}:0"
    assert (row["image_width"], row["image_height"]) == (30, 20)
    assert (row["place_left"], row["place_top"], row["place_width"], row["place_height"]) == (1, 2, 30, 20)
    assert (row["quality_flags"], row["severe_flags"], row["quality_ok"]) == (
        ["touches_border", "blurred"],
        ["touches_border"],
        False,
    )
    assert row[AREA] is None
    assert json.loads(row["absent"]) == {AREA: "no nucleus"}
    assert row["um_per_px"] == 0.1
    assert row["nucleus_outline"] == [[1.5, 2.0, 9.5, 2.0, 9.5, 8.0]]
    table = pa.Table.from_pylist([row], schema=arrow_schema())
    np.testing.assert_array_equal(decode_rings(table["nucleus_outline"].to_pylist()[0])[0], SQUARE)
    assert decode_rings(table["cell_outline"].to_pylist()[0]) == ()
    assert decode_rings(None) == ()


def test_the_image_scale_goes_before_the_population_scale():
    assert cell_row(make_analysis(um_per_px=0.2), make_population(um_per_px=0.1), outlines={})["um_per_px"] == 0.2
    assert cell_row(make_analysis(), make_population(), outlines={})["um_per_px"] is None


@pytest.mark.parametrize(
    "name",
    ["/home/anna/cell.png", "C:\\Users\\anna\\cell.png", "../cell.png", "a/../../b.png", "\\\\server\\share\\x.png"],
)
def test_names_that_tell_about_the_machine_are_refused(name):
    with pytest.raises(StoreError, match="inside its folder"):
        cell_row(make_analysis(name=name), make_population(), outlines={})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_is_refused(value):
    with pytest.raises(StoreError, match="absent with a reason"):
        cell_row(make_analysis(values={AREA: value}), make_population(), outlines={})


def test_an_unknown_outline_is_refused():
    with pytest.raises(StoreError, match="background"):
        cell_row(make_analysis(), make_population(), outlines={Compartment.BACKGROUND.label: [SQUARE]})


def test_two_cells_of_one_image_have_two_ids():
    first = make_analysis(3)
    ids = {cell_row(cell, make_population(), outlines={})["cell_id"] for cell in (first, replace(first, cell_index=1))}
    assert len(ids) == 2


def test_a_cell_of_a_field_has_its_place_in_the_whole_image():
    labels = np.zeros((20, 30), np.uint8)
    labels[4:8, 10:20] = Compartment.NUCLEUS
    first = make_analysis(place=BoundingBox(100, 50, 30, 20))
    analysis = replace(
        first,
        image=replace(first.image, field_shape=(480, 640), notes=("cut out of a field",)),
        segmentation=replace(first.segmentation, labels=labels),
        cell_index=2,
    )
    row = cell_row(analysis, None, outlines={})
    assert (row["image_width"], row["image_height"]) == (640, 480)
    assert [row[f"box_{side}"] for side in ("left", "top", "width", "height")] == [110, 54, 10, 4]
    assert (row["centre_x"], row["centre_y"]) == (115, 56)
    assert (row["cell_index"], row["cell_label"]) == (2, 3)
    assert row["notes"] == ["cut out of a field"]
    assert row["units"] == "px"
    assert row["cell_id"] == f"{analysis.image.sha256[:16]}:2"
    assert {row[name] for name in ("population", "cell_type", "source", "tissue", "patient_id")} == {None}


@pytest.mark.parametrize(
    ("own", "stated", "population", "expected"),
    [
        (0.2, None, 0.1, (0.2, "given", None)),
        (0.2, 0.3, None, (0.2, "given", 0.3)),
        (0.3, 0.3, None, (0.3, "file", 0.3)),
        (None, 0.3, 0.1, (0.1, "population", 0.3)),
        (None, 0.3, None, (None, None, 0.3)),
    ],
)
def test_a_row_says_where_the_scale_is_from_and_what_the_file_states(own, stated, population, expected):
    analysis = make_analysis(um_per_px=own)
    if stated is not None:
        analysis = replace(analysis, image=replace(analysis.image, file_scale=FileScale(stated, "XResolution")))
    row = cell_row(analysis, make_population(um_per_px=population), outlines={})
    assert (row["um_per_px"], row["um_per_px_source"], row["um_per_px_in_file"]) == expected


def test_a_row_has_the_error_of_its_scale_and_what_the_red_cells_of_its_image_said():
    analysis = make_analysis(um_per_px=0.1)
    measured = replace(analysis.image, um_per_px_error=0.07, um_per_px_source=RED_CELLS, red_cells=RedCells(5, 75.0))
    row = cell_row(replace(analysis, image=measured), None, outlines={})
    assert (row["um_per_px_error"], row["um_per_px_source"]) == (0.07, "red cells")
    assert (row["red_cells"], row["red_cell_px"]) == (5, 75.0)
    row = cell_row(analysis, None, outlines={})
    assert {row[name] for name in ("um_per_px_error", "red_cells", "red_cell_px")} == {None}
    population = replace(make_population(um_per_px=0.1), um_per_px_error=0.1)
    row = cell_row(make_analysis(), population, outlines={})
    assert (row["um_per_px"], row["um_per_px_error"], row["um_per_px_source"]) == (0.1, 0.1, "population")


DENSITIES = {
    "nucleus_od_Mean": 1 / np.log(10),
    "nucleus_od_Variance": 1 / np.log(10) ** 2,
    "cell_eosin_TotalEnergy": 1 / np.log(10) ** 2,
    "cell_haematoxylin_10Percentile": 1 / np.log(10),
    "nucleus_od_Entropy": None,
    "cell_eosin_Uniformity": None,
    "nucleus_od_Skewness": 1.0,
    "nucleus_firstorder_Entropy": 1.0,
    AREA: 1.0,
}


def former_shard(path, values=2.0):
    """A shard as schema 1 wrote it: natural densities, another name for the image, columns that are missing."""
    row = cell_row(make_analysis(values=dict.fromkeys(DENSITIES, values)), make_population(), outlines={}, created=WHEN)
    table = pa.Table.from_pylist([row], schema=arrow_schema())
    new = ["units", "notes", "cell_label", "centre_x", "centre_y", "um_per_px_source", "um_per_px_in_file"]
    new += ["um_per_px_error", "red_cells", "red_cell_px", "stain"]
    table = table.drop_columns([*new, *(name for name in table.column_names if name.startswith("box_"))])
    pq.write_table(table.rename_columns({"image_path": "image_name", "quality_flags": "flags"}), path)
    return path


def expected(factor, value=2.0):
    return None if factor is None else pytest.approx(factor * value, rel=1e-12)


def test_a_shard_of_schema_1_is_read_with_today_s_names_and_densities(tmp_path):
    table = as_today(pq.read_table(former_shard(tmp_path / "old.parquet")))
    (row,) = table.to_pylist()
    assert row["image_path"] == "cells/00000.png"
    assert row["units"] == "px"
    assert {name: row[name] for name in DENSITIES} == {name: expected(factor) for name, factor in DENSITIES.items()}
    now = pa.Table.from_pylist([cell_row(make_analysis(), make_population(), outlines={})], schema=arrow_schema())
    assert as_today(now).equals(now)


def test_old_and_new_shards_stand_in_one_cohort_in_one_unit(tmp_path):
    """By SQL over the files, by the columns that are kept in memory, and by the rows that are kept on the disk."""
    population = make_population()
    write_population(tmp_path / "root", population, [make_rows(population, [1.0], start=5)])
    (new,) = (tmp_path / "root" / "mono").glob("*.parquet")
    former_shard(new.with_stem(f"{new.stem}0"))
    names = list(DENSITIES)
    with Cohort.open([tmp_path / "root"], tmp_path / "rows") as cohort:
        frame = queries.cells(cohort, "mono")
        old, fresh = frame["cell_id"].tolist()
        assert frame["image_path"].tolist() == ["cells/00000.png", "cells/00005.png"]
        assert frame["notes"].iloc[0] is None
        of_few = queries.cells(cohort, "mono", ["cell_id", *names])
        rows = cohort.features_of([old, fresh], names)
    for values in (frame[names].to_numpy(dtype=float), of_few[names].to_numpy(dtype=float), rows):
        factors = np.array([np.nan if factor is None else factor for factor in DENSITIES.values()])
        np.testing.assert_allclose(values[0], 2 * factors, rtol=1e-12)
        np.testing.assert_array_equal(values[1], np.ones(len(names)))


def test_a_row_names_the_stain_factors_it_was_measured_with():
    analysis, factors = make_analysis(), StainFactors("ours-to-bcn", 0.85, 0.91, 1.04)
    assert cell_row(analysis, None, outlines={})["stain"] is None
    row = cell_row(replace(analysis, image=replace(analysis.image, stain=factors)), None, outlines={})
    assert row["stain"] == "ours-to-bcn 0.85 0.91 1.04"
    assert stain_of(row) == factors
    assert stain_of({}) is None
    assert stain_of({"stain": float("nan")}) is None
    with pytest.raises(StoreError, match=r"a\.png: stain factors must be a name and three numbers"):
        stain_of({"stain": "ours-to-bcn 0.85", "image_path": "a.png"})
