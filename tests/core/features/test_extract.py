import math
import subprocess
import sys
from itertools import product

import numpy as np
import pytest

from core.domain.compartments import Compartment
from core.domain.errors import ImageError, MaskError
from core.domain.options import FeatureEngine
from core.domain.types import as_label_map
from core.features import reference
from core.features.catalogue import CATALOGUE
from core.features.extract import extract
from core.features.spec import FeatureClass, Region, Theme
from core.image.masks import with_environment

TOLERANCE = 1e-9
# Counts and order statistics.
EXACT = {"PixelSurface", "Minimum", "Maximum", "Range", "10Percentile", "90Percentile", "Median", "InterquartileRange"}
SIDE = 96
NUCLEUS, CYTOPLASM, ENVIRONMENT = (
    np.uint8(c) for c in (Compartment.NUCLEUS, Compartment.CYTOPLASM, Compartment.ENVIRONMENT)
)


def disc(row, column, radius):
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.hypot(y - row, x - column) < radius


def label_map(cytoplasm, nucleus):
    labels = np.zeros((SIDE, SIDE), dtype=np.uint8)
    labels[cytoplasm] = CYTOPLASM
    labels[nucleus] = NUCLEUS
    return with_environment(as_label_map(labels))


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
COLOUR = np.random.default_rng(7).integers(40, 220, (SIDE, SIDE, 3), dtype=np.uint8)
GREY, CELL = IMAGES["shaded"], CELLS["eccentric nucleus, crescent"]


def largest_difference(ours, theirs):
    """Largest relative difference, and the name of its feature."""
    assert list(ours.values) == list(theirs.values)
    assert ours.absent == theirs.absent
    return max(
        (difference(ours.values[name], value), name) for name, value in theirs.values.items() if value is not None
    )


def difference(ours, theirs):
    # An exact 0 against what rounding leaves of one.
    return 0.0 if abs(ours - theirs) <= 1e-14 else abs(ours - theirs) / max(abs(ours), abs(theirs))


# Every cell with two images and every image with at least two cells.
PAIRS = [(cell, list(IMAGES)[(number + shift) % len(IMAGES)]) for number, cell in enumerate(CELLS) for shift in (0, 3)]


@pytest.mark.parametrize(("cell", "image"), PAIRS)
def test_engines_agree_on_drawn_cells(cell, image):
    ours, theirs = extract(IMAGES[image], CELLS[cell]), extract(IMAGES[image], CELLS[cell], FeatureEngine.REFERENCE)
    for name in [
        name
        for name in theirs.values
        if "_od_" in name and name.endswith(("Skewness", "Kurtosis")) and image == "single tone"
    ]:
        # The mean of equal fractions is not quite the fraction: pyradiomics divides one rounding error by another.
        assert ours.values[name] in (0, None)
        theirs.values[name] = ours.values[name]
    assert largest_difference(ours, theirs)[0] <= TOLERANCE


@pytest.mark.data
def test_engines_agree_on_real_cells_of_all_sources(real_cells):
    regions, worst = 0, (0.0, "")
    for _, image, labels in real_cells:
        ours, theirs = extract(image.rgb, labels), extract(image.rgb, labels, FeatureEngine.REFERENCE)
        worst = max(worst, largest_difference(ours, theirs))
        assert all(
            ours.values[name] == theirs.values[name] for name, spec in CATALOGUE.items() if spec.feature in EXACT
        )
        regions += sum(
            ours.values[f"{region}_shape2D_PixelSurface"] is not None for region in ("nucleus", "cytoplasm", "cell")
        )
    print(f"{regions} regions of {len({name for name, *_ in real_cells})} sources, largest relative difference {worst}")
    assert regions >= 100
    assert worst[0] <= TOLERANCE


def test_values_in_micrometres_are_those_pyradiomics_measures_at_that_pixel_size():
    um_per_px = 0.0953
    pixels = extract(GREY, CELL)
    for region, mask in {"nucleus": CELL == NUCLEUS, "cytoplasm": CELL == CYTOPLASM, "cell": CELL >= CYTOPLASM}.items():
        for feature_class in (FeatureClass.SHAPE_2D, FeatureClass.FIRST_ORDER, FeatureClass.GLCM, FeatureClass.NGTDM):
            theirs = reference.measure(feature_class, GREY, mask, pixel_size=um_per_px)
            for spec in CATALOGUE.values():
                if spec.region == region and spec.feature_class is feature_class:
                    assert spec.in_um(pixels.values[spec.name], um_per_px) == pytest.approx(
                        theirs[spec.feature], rel=TOLERANCE
                    )


def test_ratios_are_those_of_the_thesis():
    nucleus, cytoplasm = (reference.measure("shape2D", GREY, part == CELL) for part in (NUCLEUS, CYTOPLASM))
    values = extract(GREY, CELL).values
    for feature in {spec.feature for spec in CATALOGUE.values() if spec.ratio_of} - {"PixelSurface"}:
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
    assert largest_difference(turned, extract(GREY, CELLS[cell]))[0] <= TOLERANCE


def test_nothing_beyond_the_environment_is_looked_at():
    other = np.where(CELL == 0, 255.0 - GREY.clip(0, 255), GREY)
    assert extract(other, CELL).values == extract(GREY, CELL).values


def test_the_environment_is_described_and_is_no_part_of_the_cell():
    bare = as_label_map(np.where(CELL == ENVIRONMENT, np.uint8(0), CELL))
    ringed, without = extract(GREY, CELL), extract(GREY, bare)
    assert ringed.values["environment_firstorder_Mean"] == pytest.approx(GREY[CELL == ENVIRONMENT].mean())
    assert without.absent["environment_firstorder_Mean"] == "no environment was found"
    for name, spec in CATALOGUE.items():
        looks_around = spec.feature_class in (FeatureClass.PROJECTIONS, FeatureClass.VACUOLES)
        if spec.region is not Region.ENVIRONMENT and not looks_around:
            assert without.values[name] == ringed.values[name]


def test_whole_greys_measure_alike_in_any_form():
    whole = np.random.default_rng(2).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    assert extract(whole, CELL) == extract(whole.astype(np.float64), CELL)
    colour = extract(np.dstack([whole] * 3), CELL)
    for name, value in extract(whole, CELL).values.items():
        if value is not None:
            assert colour.values[name] == pytest.approx(value, rel=1e-12)


def test_a_grey_image_has_no_colour():
    for name, reason in extract(GREY, CELL).absent.items():
        assert CATALOGUE[name].theme is Theme.COLOUR or CATALOGUE[name].feature_class is FeatureClass.PROJECTIONS
        assert reason == "the image is grey"
    grey_in_colour = extract(np.full((SIDE, SIDE, 3), 90, dtype=np.uint8), CELL)
    assert grey_in_colour.absent["nucleus_hue_Mean"] == "fewer than three pixels have a colour"
    assert grey_in_colour.values["nucleus_saturation_Mean"] == 0


@pytest.mark.parametrize("engine", FeatureEngine)
def test_exactly_the_catalogue_comes_in_its_order(engine):
    for labels in (CELL, label_map(CELL == CYTOPLASM, slice(0)), label_map(slice(0), slice(0))):
        features = extract(COLOUR, labels, engine)
        assert list(features.values) == list(CATALOGUE)
        assert list(features.absent) == [name for name, value in features.values.items() if value is None]


LINES = {
    "no nucleus was found": [],
    "the nucleus is a single pixel": [(4, 4)],
    "the nucleus is a single pixel wide": [(4, column) for column in range(3, 9)],
}


@pytest.mark.parametrize("engine", FeatureEngine)
@pytest.mark.parametrize("reason", LINES)
def test_a_region_that_cannot_be_measured_is_absent_with_its_reason(reason, engine):
    labels = label_map(disc(48, 46, 34), slice(0))
    for position in LINES[reason]:
        labels[position] = NUCLEUS
    features = extract(COLOUR, labels, engine)
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
    names = [
        name
        for name, spec in CATALOGUE.items()
        if spec.region is Region.NUCLEUS and spec.feature_class is FeatureClass.SHAPE_2D
    ]
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
    for unusable in (
        np.zeros((SIDE, SIDE, 3)),
        np.zeros((SIDE, SIDE, 4), dtype=np.uint8),
        np.zeros((SIDE, SIDE), dtype=np.uint16),
    ):
        with pytest.raises(ImageError, match="colour image"):
            extract(unusable, CELL)
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
    extract(grey, labels, FeatureEngine.REFERENCE)
    assert np.array_equal(grey, GREY)
    assert np.array_equal(labels, CELL)


def test_pyradiomics_says_nothing(capfd, caplog):
    extract(GREY, CELL, FeatureEngine.REFERENCE)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_importing_is_cheap():
    code = (
        "import sys, core.features.extract; print([m for m in ('radiomics', 'SimpleITK', 'pandas') if m in"
        " sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_larger_than_any_cell_is_refused_in_words():
    """A black picture of 25 megapixels is one nucleus to a network; every value of it would cost seconds."""
    side = 1500
    image, labels = np.zeros((side, side, 3), np.uint8), np.full((side, side), 3, np.uint8)
    with pytest.raises(ImageError, match=r"covers 2,250,000: no magnification shows a leukocyte that large"):
        extract(image, labels)
    far = np.zeros((2500, 2500), np.uint8)
    far[:9, :9] = far[-9:, -9:] = 3
    with pytest.raises(ImageError, match="what is drawn spans 2500 x 2500 pixels; draw one cell"):
        extract(np.zeros((2500, 2500, 3), np.uint8), far)
