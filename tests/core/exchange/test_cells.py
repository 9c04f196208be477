import json

import numpy as np
import pytest

from core.domain.errors import StoreError
from core.domain.options import Units
from core.exchange.cells import NO_OUTLINE, NO_SIZE, Handing, of_analyses, safe_part
from core.store.schema import UNITS_KEY
from tests.exchange import AREA, FIELD, HOLED, NESTED, ROWS, SHAPES, TWIN, handover, pictures, truth


def test_the_masks_are_those_of_which_the_outlines_were_made():
    found = {}
    for image in Handing(handover()).drawn_images():
        assert image.shape == SHAPES[image.name]
        for cell in image.cells:
            mask = cell.mask(image.size)
            whole = np.zeros(image.size, np.uint8)
            whole[mask.here] = mask.labels
            found[image.name, cell.number] = whole
    wanted = truth()
    assert found.keys() == wanted.keys()
    for key, labels in wanted.items():
        np.testing.assert_array_equal(found[key], labels)


def test_names_pair_by_stem_are_safe_and_never_the_same():
    stems = {image.name: image.stem for image in Handing(handover()).all_images()}
    assert stems == {FIELD: "field", HOLED: "a _b_/005", TWIN: "a _b_/005_jpg", NESTED: "_con/05.tar"}
    assert safe_part("...") == "_"
    assert safe_part("a\n\u202eb") == "a _b"


def test_images_of_one_name_in_two_populations_and_in_other_letters_have_files_of_their_own():
    named = [("x.png", "one"), ("x.png", "two"), ("X.png", None), ("x.PNG", None)]
    rows = [{"image_path": name, "population": population, "cell_index": 0} for name, population in named]
    hand = Handing(handover())
    hand.what = type(hand.what)("t", {}, lambda: rows)
    stems = [image.stem.casefold() for image in hand.all_images()]
    assert len(set(stems)) == len(stems) == 4
    assert stems[0] == "x"


def test_what_cannot_be_drawn_is_counted_with_its_reason():
    def changed(row):
        if row["image_path"] == FIELD:
            row["image_width"] = 300  # as earlier versions said that of the cut-out
        if row["image_path"] == HOLED:
            row["cell_outline"] = row["nucleus_outline"] = []
        return row

    handing = Handing(handover(changed))
    assert [image.name for image in handing.drawn_images()] == [TWIN, NESTED]
    assert handing.left_out == {NO_SIZE: 2, NO_OUTLINE: 1}
    assert (handing.images, handing.cells) == (2, 2)
    assert sum(len(image.cells) for image in handing.all_images()) == 5
    assert not handing.left_out


def test_tables_are_in_the_units_that_are_asked_for_and_say_so():
    ((_, in_px),) = Handing(handover()).frames()
    ((_, in_um),) = Handing(handover(), Units.MICROMETRES).frames()
    assert in_um[AREA].tolist() == pytest.approx((in_px[AREA] * 0.01).tolist())
    assert set(in_um[UNITS_KEY]) == {"um"}
    without_one_scale = handover(lambda row: row | {"um_per_px": None if row["image_path"] == TWIN else 0.1})
    with pytest.raises(StoreError, match="1 of 5 cells have no scale"):
        list(Handing(without_one_scale, Units.MICROMETRES).frames())


def test_provenance_names_models_persons_and_software():
    handing = Handing(handover(lambda row: row | {"outline_by": "person" if row["image_path"] == TWIN else None}))
    list(handing.all_images())
    said = handing.provenance()
    assert json.loads(said["outlined by"]) == [
        {"model": "a person", "cells": 1},
        {"model": "model-x", "sha256": "ab" * 32, "cells": 4},
    ]
    assert (said["images"], said["cells"]) == ("4", "5")


def test_cells_of_the_moment_are_the_same_as_their_rows():
    analyses = [one for one, _, _ in pictures()][:2]
    (image,) = Handing(of_analyses(FIELD, analyses)).drawn_images()
    assert [cell.row["cell_outline"] for cell in image.cells] == [row["cell_outline"] for row in ROWS[:2]]
    assert [cell.number for cell in image.cells] == [1, 2]
