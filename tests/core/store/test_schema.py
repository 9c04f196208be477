import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from core.domain.cell_types import CellType
from core.domain.compartments import Compartment
from core.domain.errors import StoreError
from core.domain.types import BoundingBox, QualityFlag
from core.features.catalogue import CATALOGUE
from core.store.schema import SCHEMA_VERSION, Population, arrow_schema, cell_row, check_population_id, decode_rings
from tests.core.store.conftest import AREA, WHEN, make_analysis, make_population

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
    with pytest.raises(StoreError, match="um per pixel"):
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
