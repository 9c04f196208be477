import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from core.domain.compartments import CHANNELS, Compartment
from core.image.masks import cell_mask, region_mask
from core.image.window import Window
from core.segmentation.postprocessing import MIN_CELL_SHARE, MIN_LOBE_SHARE, label_cell

SIDE = 200
WINDOW = Window.whole((SIDE, SIDE))
Y, X = np.mgrid[:SIDE, :SIDE]


def disc(y, x, radius):
    return np.hypot(Y - y, X - x) <= radius


def probabilities(cell, nucleus, certainty=0.98):
    """What a network sure of itself would give for these masks (the nucleus is part of no other channel)."""
    maps = np.full((len(CHANNELS), *cell.shape), 1 - certainty, np.float32) / 2
    maps[CHANNELS.index(Compartment.CYTOPLASM)][cell & ~nucleus] = certainty
    maps[CHANNELS.index(Compartment.NUCLEUS)][nucleus] = certainty
    return maps


def label(cell, nucleus, window=WINDOW):
    return label_cell(probabilities(cell, nucleus), window)


def test_a_clear_cell_comes_out_as_it_is():
    cell, nucleus = disc(100, 100, 50), disc(95, 105, 25)
    found = label(cell, nucleus)
    np.testing.assert_array_equal(cell_mask(found.labels), cell)
    np.testing.assert_array_equal(region_mask(found.labels, "nucleus"), nucleus)
    assert region_mask(found.labels, "environment").any()
    assert found.confidence == pytest.approx(0.98, abs=0.02)


def test_confidence_falls_with_the_networks_certainty():
    cell, nucleus = disc(100, 100, 50), disc(100, 100, 25)
    sure, unsure = (label_cell(probabilities(cell, nucleus, certainty), WINDOW).confidence for certainty in (0.98, 0.7))
    assert 0 < unsure < 0.8 < sure <= 1


def test_nothing_is_no_cell():
    found = label(np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool))
    assert not found.labels.any()
    assert found.confidence == 0


def test_debris_is_no_cell():
    radius = np.sqrt(MIN_CELL_SHARE * SIDE**2 / np.pi)
    assert not label(disc(100, 100, 0.8 * radius), disc(100, 100, 3)).labels.any()
    assert label(disc(100, 100, 1.3 * radius), disc(100, 100, 3)).labels.any()


def test_of_two_cells_the_one_nearest_the_centre_is_taken():
    central, outer = disc(100, 90, 30), disc(100, 165, 33)
    nuclei = disc(100, 90, 15) | disc(100, 165, 16)
    found = label(central | outer, nuclei)
    np.testing.assert_array_equal(cell_mask(found.labels), central)
    assert not (region_mask(found.labels, "nucleus") & outer).any()


def test_the_centre_is_the_windows_not_the_images():
    left, right = disc(100, 50, 30), disc(100, 150, 30)
    nuclei = disc(100, 50, 15) | disc(100, 150, 15)
    for wanted, x in ((left, 50), (right, 150)):
        found = label(left | right, nuclei, Window(x - 60, 40, 120))
        np.testing.assert_array_equal(cell_mask(found.labels), wanted)


def test_a_crumb_at_the_centre_does_not_beat_a_cell_beside_it():
    crumb, cell = disc(100, 100, 9), disc(100, 150, 35)
    np.testing.assert_array_equal(cell_mask(label(crumb | cell, disc(100, 150, 20)).labels), cell)


@pytest.mark.parametrize("gap", [0, 1, 4])
def test_touching_cells_are_parted(gap):
    """Two discs of radius 35 that touch, or are joined by a bridge of three pixels' width."""
    wanted, other = disc(100, 80, 35), disc(100, 150 + gap, 35)
    bridge = (np.abs(Y - 100) <= 1) & (X > 80) & (X < 150)
    nuclei = disc(100, 80, 18) | disc(100, 150 + gap, 18)
    found = cell_mask(label(wanted | other | bridge, nuclei, Window(-20, 0, 200)).labels)
    assert np.count_nonzero(found ^ wanted) < 0.02 * wanted.sum()
    assert np.count_nonzero(found & other) < 0.01 * other.sum()


def test_the_ring_stays_out_of_the_other_cell():
    wanted, other = disc(100, 80, 35), disc(100, 152, 35)
    labels = label(wanted | other, disc(100, 80, 18) | disc(100, 152, 18), Window(-20, 0, 200)).labels
    np.testing.assert_array_equal(cell_mask(labels), wanted)
    assert not (region_mask(labels, "environment") & other).any()


def test_holes_are_filled():
    cell, vacuole, gap = disc(100, 100, 50), disc(130, 100, 6), disc(90, 100, 3)
    labels = label(cell & ~vacuole & ~gap, disc(90, 100, 25) & ~gap).labels
    np.testing.assert_array_equal(cell_mask(labels), cell)
    assert (labels[vacuole] == Compartment.CYTOPLASM).all()


def test_a_nucleus_outside_the_cell_is_left_out():
    cell = disc(100, 90, 40)
    stray = disc(100, 170, 6)
    labels = label(cell | stray, disc(100, 90, 20) | stray).labels
    assert not cell_mask(labels)[stray].any()
    assert (region_mask(labels, "nucleus") <= cell).all()


def test_specks_of_nucleus_are_dropped_and_lobes_kept():
    cell = disc(100, 100, 60)
    lobes = disc(85, 75, 16) | disc(110, 125, 12)
    speck = disc(140, 100, 3)
    assert speck.sum() < MIN_LOBE_SHARE * lobes.sum() < disc(110, 125, 12).sum()
    labels = label(cell, lobes | speck).labels
    np.testing.assert_array_equal(region_mask(labels, "nucleus"), lobes)
    assert (labels[speck] == Compartment.CYTOPLASM).all()


def test_a_naked_nucleus_is_a_cell_without_cytoplasm():
    nucleus = disc(100, 100, 30)
    found = label(nucleus, nucleus)
    np.testing.assert_array_equal(region_mask(found.labels, "nucleus"), nucleus)
    assert not region_mask(found.labels, "cytoplasm").any()
    assert found.confidence > 0.9


def test_projections_are_not_rounded_off():
    hairs = (np.abs(Y - 100) <= 2) & (np.abs(X - 100) < 75)
    cell = disc(100, 100, 50) | hairs
    np.testing.assert_array_equal(cell_mask(label(cell, disc(100, 100, 25)).labels), cell)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), grain=st.floats(1, 20), contrast=st.floats(0.5, 20))
def test_whatever_the_network_says_it_is_one_cell_without_holes(seed, grain, contrast):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(len(CHANNELS), 96, 96)), (0, grain, grain))
    maps = (1 / (1 + np.exp(-contrast * noise / noise.std()))).astype(np.float32)
    found = label_cell(maps, Window.whole((96, 96)))
    cell = cell_mask(found.labels)
    assert (found.labels.dtype, found.labels.shape) == (np.uint8, (96, 96))
    assert ndimage.label(cell)[1] <= 1
    np.testing.assert_array_equal(ndimage.binary_fill_holes(cell), cell)
    assert 0 <= found.confidence <= 1
    assert (found.confidence > 0) == cell.any()
