from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from core.domain.cell_types import CellType
from core.domain.types import FeatureSet, LabelMap, OutlineReview, QualityFlag
from core.features.catalogue import CATALOGUE, KEY_FEATURES
from core.pipeline import remeasured
from core.populations.nearness import Nearness, NearPopulation, Unnamed
from core.reports.first_page import first_page
from core.segmentation.model_registry import find_model
from core.store.outline_log import without_ring
from tests.populations import GRADES

UNLIKE = Nearness(unnamed=Unnamed.UNLIKE, shapes=12)
WHEN = datetime(2026, 11, 22, 17, 30, tzinfo=UTC)


def near(*places):
    """Nearness to populations by name and type."""
    return Nearness(
        tuple(NearPopulation(name, kind, name, 30, None, 0.4, 0.5, 62.4, True, False, None) for name, kind in places),
        shapes=12,
    )


@pytest.fixture
def made(cell, references):
    def made(analysis=cell, beside=references, nearness=UNLIKE, reliability=GRADES, notes=""):
        return first_page(analysis, beside, nearness, find_model(), reliability, WHEN, notes)

    return made


def test_the_page_has_seven_measures_each_with_its_strip(made):
    measures = made().measures
    assert [measure.label.removesuffix(" (poor)") for measure in measures] == [CATALOGUE[n].label for n in KEY_FEATURES]
    assert len(measures) == 7
    for measure in measures:
        assert measure.strip.startswith("<svg")
        assert measure.otherwise == ""
    assert sum(measure.label.endswith(" (poor)") for measure in measures) == 1, "as the grades of the tests say"


def test_without_a_scale_sizes_have_a_reason_for_their_strip_and_the_picture_says_so(made, cell):
    page = made(replace(cell, image=replace(cell.image, um_per_px=None)))
    said = {measure.label.removesuffix(" (poor)"): measure for measure in page.measures}
    assert said["Cell area"].otherwise == "give µm per pixel to compare"
    assert said["Cell area"].strip == ""
    assert said["Cell area"].value.endswith("px²")
    assert said["N:C area ratio"].strip
    assert "scale unknown" in page.picture
    assert ("Scale", "unknown") in page.provenance


def test_a_scale_that_is_not_exact_gives_sizes_a_range(made, cell):
    page = made(replace(cell, image=replace(cell.image, um_per_px_error=0.07)))
    area, ratio = page.measures[1], page.measures[0]
    assert area.below[0].startswith("(")
    assert " to " in area.below[0]
    assert ratio.below == ()
    assert any("known within 7 %" in remark.sentence for remark in page.quality)


def test_the_picture_is_the_cell_and_little_around_it(made, cell):
    picture = made().picture
    height, width = (int(side) for side in picture.split('viewBox="0 0 ')[1].split('"')[0].split())
    assert height == width < min(cell.image.shape)
    assert "vector-effect" not in picture, "lines as wide as the picture asks: not all that prints can do otherwise"
    assert " µm</text>" in picture


def test_severe_remarks_come_first_and_say_what_follows(made, cell):
    flags = (QualityFlag("blurred", "Blurred.", severe=False), QualityFlag("border", "Cut.", severe=True))
    quality = made(replace(cell, flags=flags)).quality
    assert quality[0] == ("Cut.", True)
    assert "Populations leave such a cell out" in quality[1].sentence
    assert quality[2].sentence == "Blurred."
    assert made().quality[0].sentence == "Nothing stands against using these numbers."


def test_differences_are_told_from_the_nearest_of_two_types(made):
    nearness = near(
        ("lymphocyte_drawn", CellType.LYMPHOCYTE),
        ("monocyte_other", CellType.MONOCYTE),
        ("monocyte_drawn", CellType.MONOCYTE),
    )
    differences = made(nearness=nearness).differences
    assert [found.beside.split(",")[0] for found in differences] == ["lymphocyte drawn", "monocyte other"]
    assert sum(len(found.sentences) for found in differences) <= 8
    assert any("than all monocytes" in sentence for sentence in differences[1].sentences)
    assert all("n = " in found.beside for found in differences)


def test_where_nothing_is_near_large_populations_are_set_beside(made):
    assert [found.beside.split(",")[0] for found in made().differences] == ["monocyte drawn", "lymphocyte drawn"]


def test_poor_features_tell_no_difference(made, cell, references):
    every = {name: replace(next(iter(GRADES.values())), grade="poor") for name in CATALOGUE}
    assert all("lies within" in found.sentences[0] for found in made(reliability=every).differences)


def test_a_corrected_cell_shows_the_models_outline_and_its_values(made, cell, segmenter):
    labels = without_ring(cell.segmentation.labels).copy()
    labels[: np.flatnonzero(labels.any(axis=1))[0] + 15] = 0
    review = OutlineReview("corrected", "A. Reader", WHEN, "touching red cell")
    page = made(replace(remeasured(cell, LabelMap(labels), segmenter), review=review), reliability={})
    assert list(page.further) == ["Without outlines", "Outlines of true-mask"]
    assert page.caption.startswith("Corrected outlines")
    old = next(measure.value for measure in made().measures if measure.label.startswith("Cell area"))
    assert page.measures[1].below == (f"model's outline: {old}",)
    assert page.measures[1].value != old
    assert dict(page.provenance)["Outline"].startswith("corrected by A. Reader, 2026-11-22")


def test_the_footer_says_where_everything_comes_from(made, cell):
    provenance = dict(made().provenance)
    assert list(provenance) == ["Image", "SHA-256", "Scale", "Model", "Leukoscope", "Date"]
    assert provenance["SHA-256"] == f"{cell.image.sha256[:16]}…"
    assert provenance["Model"] == "true-mask", "the checksum is that of another model"
    of_file = dict(made(replace(cell, versions={"model file": "c" * 64})).provenance)
    assert of_file["Model"] == f"true-mask, SHA-256 {'c' * 16}…"


def test_long_texts_are_cut_and_say_how_much_is_missing(made, cell):
    flags = tuple(QualityFlag(str(n), f"{n} " + 90 * "many words ", severe=n == 8) for n in range(9))
    page = made(replace(cell, flags=flags), notes="x" * 900 + "\nlast line")
    assert page.notes == "x" * 800 + " … (110 more characters)"
    assert page.quality[0].sentence.startswith("8 many words")
    assert "more characters)" in page.quality[0].sentence
    assert page.quality[-1].sentence == "Further remarks (7) are in the report with all tables."
    assert made(notes=" seen twice\nagain \n").notes == "seen twice\nagain"
    assert made(notes="line\n" * 12).notes == "\n".join(["line"] * 10) + " … (10 more characters)"


def test_only_as_many_populations_as_there_is_room_for_those_of_the_nearest_types(made, references):
    kinds = [kind for kind in CellType if kind is not CellType.MONOCYTE]
    many = [replace(references[0], cell_type=kind, population=kind, title=f"the {kind}") for kind in kinds]
    page = made(beside=[references[0], *many], nearness=near(("other", CellType.OTHER), ("blast", CellType.BLAST)))
    assert [said.split(":")[0] for said in page.populations] == [
        "monocyte drawn", "the lymphocyte", "the hcl", "the apl", "the blast", "the other",
    ]  # fmt: skip
    assert page.measures[0].strip.count("<rect") == 2 * 6


def test_a_page_of_an_image_without_a_cell_and_without_populations_can_be_made(made, cell):
    nothing = replace(
        cell,
        segmentation=replace(cell.segmentation, labels=np.zeros_like(cell.segmentation.labels)),
        features=FeatureSet(dict.fromkeys(CATALOGUE), dict.fromkeys(CATALOGUE, "no cell was found")),
        flags=(QualityFlag("no_cell", "No cell was found.", severe=True),),
    )
    page = made(nothing, (), Nearness(unnamed=Unnamed.NOTHING))
    assert {measure.otherwise for measure in page.measures} == {"no cell was found"}
    assert page.populations == page.differences == ()
    assert page.quality[0].sentence == "No cell was found."
