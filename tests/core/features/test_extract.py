import math
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from PIL import Image

from core.compartments import Compartment
from core.errors import ImageError, MaskError
from core.features import reference
from core.features.catalogue import CATALOGUE, FeatureClass, Region
from core.features.extract import Engine, extract
from core.types import as_label_map

TOLERANCE = 1e-9
SIDE = 96
NUCLEUS, CYTOPLASM, ENVIRONMENT = (np.uint8(c) for c in (Compartment.NUCLEUS, Compartment.CYTOPLASM, Compartment.ENVIRONMENT))


def disc(row, column, radius):
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.hypot(y - row, x - column) < radius


def label_map(cytoplasm, nucleus):
    labels = np.zeros((SIDE, SIDE), dtype=np.uint8)
    labels[cytoplasm] = CYTOPLASM
    labels[nucleus] = NUCLEUS
    return as_label_map(labels)


def drawn_cells():
    whole, round_nucleus = disc(48, 46, 34), disc(47, 49, 21.5)
    return {
        "disc in a ring": label_map(whole, round_nucleus),
        "eccentric nucleus, crescent": label_map(whole, disc(40, 60, 24)),
        "nucleus of two lobes": label_map(whole, disc(38, 36, 12) | disc(58, 54, 11)),
        "touches two borders": label_map(disc(5, 8, 40), disc(2, 3, 22)),
        "holes in nucleus and cytoplasm": label_map(whole & ~disc(70, 46, 4), round_nucleus & ~disc(45, 50, 5)),
        "scattered cytoplasm": label_map(np.random.default_rng(4).random((SIDE, SIDE)) < 0.2, round_nucleus),
        "fills the image": label_map(np.ones((SIDE, SIDE), dtype=bool), round_nucleus),
    }


def drawn_images():
    rng = np.random.default_rng(11)
    y, x = np.mgrid[:SIDE, :SIDE]
    return {
        "8-bit values": rng.integers(0, 256, (SIDE, SIDE)).astype(np.float64),
        "bright, to 255": rng.integers(200, 256, (SIDE, SIDE)).astype(np.float64),
        "fractions": rng.uniform(0, 255, (SIDE, SIDE)),
        "shaded": 40 + 0.8 * x + 0.3 * y + rng.normal(0, 4, (SIDE, SIDE)),
        "two tones": np.where((x + y) % 2, 0.0, 255.0),
        "single tone": np.full((SIDE, SIDE), 130.0),
    }


CELLS, IMAGES = drawn_cells(), drawn_images()
GREY, CELL = IMAGES["shaded"], CELLS["eccentric nucleus, crescent"]


def largest_difference(ours, theirs):
    assert list(ours.values) == list(theirs.values)
    assert ours.absent == theirs.absent
    return max(
        abs(ours.values[name] - value) / abs(value) if value else abs(ours.values[name])
        for name, value in theirs.values.items()
        if value is not None
    )


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("cell", CELLS)
def test_engines_agree_on_drawn_cells(cell, image):
    assert largest_difference(extract(IMAGES[image], CELLS[cell]), extract(IMAGES[image], CELLS[cell], Engine.REFERENCE)) <= TOLERANCE


@pytest.mark.data
def test_engines_agree_on_real_cells(data_dir):
    regions, worst = 0, 0.0
    for folder in ("set1", "set2"):
        masks = sorted((data_dir / "wbc_zheng" / folder / "masks").glob("*.png"))
        for path in masks[::5]:
            with Image.open(path) as mask, Image.open(path.parent.parent / "images" / path.name) as image:
                codes, grey = np.asarray(mask.convert("L")), np.asarray(image.convert("L"), dtype=np.float64)
            labels = as_label_map(np.where(codes > 191, NUCLEUS, np.where(codes >= 64, CYTOPLASM, np.uint8(0))))
            ours, theirs = extract(grey, labels), extract(grey, labels, Engine.REFERENCE)
            worst = max(worst, largest_difference(ours, theirs))
            regions += sum(ours.values[f"{region}_shape2D_PixelSurface"] is not None for region in ("nucleus", "cytoplasm", "cell"))
    print(f"{regions} regions, largest relative difference {worst:.1e}")
    assert regions >= 60
    assert worst <= TOLERANCE


def test_values_in_micrometres_are_those_pyradiomics_measures_at_that_pixel_size():
    um_per_px = 0.0953
    pixels = extract(GREY, CELL)
    for region, mask in {"nucleus": CELL == NUCLEUS, "cytoplasm": CELL == CYTOPLASM, "cell": CELL >= CYTOPLASM}.items():
        for feature_class in (FeatureClass.SHAPE_2D, FeatureClass.FIRST_ORDER):
            theirs = reference.measure(feature_class, GREY, mask, pixel_size=um_per_px)
            for spec in CATALOGUE.values():
                if spec.region == region and spec.feature_class is feature_class:
                    assert spec.in_um(pixels.values[spec.name], um_per_px) == pytest.approx(theirs[spec.feature], rel=TOLERANCE)


def test_ratios_are_those_of_the_thesis():
    nucleus, cytoplasm = (reference.measure("shape2D", GREY, part == CELL) for part in (NUCLEUS, CYTOPLASM))
    values = extract(GREY, CELL).values
    for feature in {spec.feature for spec in CATALOGUE.values() if spec.region is Region.COMBINED} - {"PixelSurface"}:
        assert values[f"combined_{feature}"] == pytest.approx(nucleus[feature] / cytoplasm[feature], rel=TOLERANCE)
    share = nucleus["PixelSurface"] / (nucleus["PixelSurface"] + cytoplasm["PixelSurface"])
    assert values["combined_PixelSurface"] == pytest.approx(share, rel=TOLERANCE)


def test_the_place_in_the_image_does_not_matter():
    labels, grey = np.zeros((150, 180), dtype=np.uint8), np.zeros((150, 180))
    labels[31 : 31 + SIDE, 77 : 77 + SIDE], grey[31 : 31 + SIDE, 77 : 77 + SIDE] = CELL, GREY
    assert extract(grey, as_label_map(labels)).values == extract(GREY, CELL).values


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_right_angles_do_not_matter(cell, turns):
    turned = extract(np.rot90(GREY, turns), as_label_map(np.rot90(CELLS[cell], turns)))
    assert largest_difference(turned, extract(GREY, CELLS[cell])) <= TOLERANCE


def test_the_environment_is_no_part_of_the_cell():
    ringed = CELL.copy()
    ringed[disc(48, 46, 42) & (CELL == 0)] = ENVIRONMENT
    assert extract(GREY, as_label_map(ringed)).values == extract(GREY, CELL).values


@pytest.mark.parametrize("engine", Engine)
def test_exactly_the_catalogue_comes_in_its_order(engine):
    for labels in (CELL, label_map(CELL == CYTOPLASM, slice(0)), label_map(slice(0), slice(0))):
        features = extract(GREY, labels, engine)
        assert list(features.values) == list(CATALOGUE)
        assert list(features.absent) == [name for name, value in features.values.items() if value is None]


LINES = {
    "no nucleus was found": [],
    "the nucleus is a single pixel": [(4, 4)],
    "the nucleus is a single pixel wide": [(4, column) for column in range(3, 9)],
}


@pytest.mark.parametrize("engine", Engine)
@pytest.mark.parametrize("reason", LINES)
def test_a_region_that_cannot_be_measured_is_absent_with_its_reason(reason, engine):
    labels = label_map(disc(48, 46, 34), slice(0))
    for position in LINES[reason]:
        labels[position] = NUCLEUS
    features = extract(GREY, labels, engine)
    for name, spec in CATALOGUE.items():
        needs_nucleus = spec.region in (Region.NUCLEUS, Region.COMBINED)
        assert features.absent.get(name) == (reason if needs_nucleus else None)
        assert (features.values[name] is None) == needs_nucleus


def test_lines_in_any_direction_are_too_thin():
    for row_step, column_step, length in [(1, 0, 5), (0, 1, 5), (1, 1, 2), (1, -1, 6), (2, 1, 4)]:
        labels = label_map(slice(0), slice(0))
        for step in range(length):
            labels[20 + row_step * step, 40 + column_step * step] = CYTOPLASM
        features = extract(GREY, labels)
        assert features.absent["cytoplasm_shape2D_Elongation"] == "the cytoplasm is a single pixel wide"
        assert features.absent["combined_Elongation"] == "no nucleus was found and the cytoplasm is a single pixel wide"


def test_an_image_without_a_cell_gives_only_reasons():
    for shape in [(1, 1), (30, 20)]:
        features = extract(np.zeros(shape), as_label_map(np.zeros(shape, dtype=np.uint8)))
        assert set(features.values.values()) == {None}
        assert features.absent["cell_shape2D_Perimeter"] == "no cell was found"
        assert features.absent["cytoplasm_firstorder_Mean"] == "no cytoplasm was found"


def test_every_pattern_of_nine_pixels_gives_positive_shapes_or_a_reason():
    grey = np.arange(9, dtype=np.float64).reshape(3, 3)
    names = [name for name, spec in CATALOGUE.items() if spec.region is Region.NUCLEUS and spec.feature_class is FeatureClass.SHAPE_2D]
    for number, bits in enumerate(product((False, True), repeat=9)):
        mask = np.array(bits).reshape(3, 3)
        features = extract(grey, as_label_map(mask * NUCLEUS))
        if features.values[names[0]] is not None:
            assert all(math.isfinite(features.values[name]) and features.values[name] > 0 for name in names)
        if number % 16 == 9:
            try:
                theirs = reference.measure("shape2D", grey, mask)
            except ValueError:
                assert set(features.absent) >= set(names)
            else:
                if theirs["MinorAxisLength"] > 1e-6:  # else a diagonal, which we refuse
                    assert [features.values[name] for name in names] == pytest.approx(
                        [theirs[CATALOGUE[name].feature] for name in names], rel=TOLERANCE
                    )


def test_grey_values_that_would_mislead_are_refused():
    with pytest.raises(ImageError, match="uint8"):
        extract(GREY.astype(np.uint8), CELL)
    with pytest.raises(ImageError, match="float64 grey image"):
        extract(np.zeros((SIDE, SIDE, 3)), CELL)
    for value in (-1.0, 256.0, math.nan, math.inf):
        spoilt = GREY.copy()
        spoilt[0, 0] = value
        with pytest.raises(ImageError, match="between 0 and 255"):
            extract(spoilt, CELL)
    with pytest.raises(MaskError, match="same shape"):
        extract(GREY[:-1], CELL)


def test_the_image_and_the_labels_are_left_as_they_are():
    grey, labels = GREY.copy(), as_label_map(CELL.copy())
    grey.setflags(write=False)
    labels.setflags(write=False)
    extract(grey, labels)
    extract(grey, labels, Engine.REFERENCE)
    assert np.array_equal(grey, GREY)
    assert np.array_equal(labels, CELL)


def test_pyradiomics_says_nothing(capfd, caplog):
    extract(GREY, CELL, Engine.REFERENCE)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_importing_is_cheap():
    code = "import sys, core.features.extract; print([m for m in ('radiomics', 'SimpleITK', 'scipy', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
