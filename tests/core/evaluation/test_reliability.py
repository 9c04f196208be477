import csv
import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from core.domain.compartments import Compartment
from core.domain.errors import DataSetError, ModelError
from core.domain.options import Device
from core.domain.types import LabelMap
from core.evaluation.agreement import Disturbance, load_report
from core.evaluation.datasets import data_set, drawn_twice
from core.evaluation.reliability import (
    IMAGES,
    OUTLINES,
    SCALES,
    disturbed,
    drawing,
    drawn_sample,
    measure,
    measure_all,
    measure_reliability,
    store,
    unseen_samples,
)
from core.features.catalogue import CATALOGUE
from core.features.extract import extract
from core.image.masks import cell_mask, encode_grey, region_mask, with_environment
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.segmentation.model_registry import MANIFEST, find_model

SIDE = 150
CELLS = 7


def without_split(model) -> dict[str, str]:
    """The seals of a model whose split is another one."""
    return {kind: sha256 for kind, sha256 in model.sealed.items() if kind != "split"}


@pytest.fixture(scope="module")
def drawn_data(tmp_path_factory):
    """Set 1 of drawn lymphocytes; the first two are one photograph, of which the second drawing is a pixel wider."""
    root = tmp_path_factory.mktemp("data")
    folder = root / "wbc_zheng" / "set1"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as handle:
        table = csv.writer(handle)
        table.writerow(["image_id", "class_label", "cell_type", "duplicate_group"])
        for number in range(CELLS):
            image, labels = draw_cell(max(number, 1), SYNTHETIC_CELLS["lymphocyte"])
            Image.fromarray(image.rgb).resize((SIDE, SIDE)).save(folder / "images" / f"{number}.png")
            mask = np.asarray(Image.fromarray(encode_grey(labels)).resize((SIDE, SIDE), Image.Resampling.NEAREST))
            mask = (
                ndimage.grey_dilation(mask, footprint=ndimage.generate_binary_structure(2, 1)) if number == 1 else mask
            )
            Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
            table.writerow([number, 2, "lymphocyte", "d1" if number < 2 else ""])
    return root


@pytest.fixture
def entry(drawn_data, model_entry, tmp_path, monkeypatch):
    """The shipped model as if it had been tested on the drawn cells."""
    monkeypatch.setenv("LEUKOSCOPE_DATA", str(drawn_data))
    split = tmp_path / "split.json"
    split.write_text(
        json.dumps({"train": ["set1/0"], "validation": [], "test": [f"set1/{n}" for n in range(1, CELLS)]})
    )
    return replace(model_entry, split=split, sealed=without_split(model_entry))


@pytest.fixture(scope="module")
def report(drawn_data, model_entry, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEUKOSCOPE_DATA", str(drawn_data))
        split = tmp_path_factory.mktemp("split") / "split.json"
        split.write_text(json.dumps({"test": [f"set1/{n}" for n in range(1, CELLS)]}))
        told = []
        found = measure_reliability(
            replace(model_entry, split=split, sealed=without_split(model_entry)),
            jobs=2,
            device=Device.CPU,
            progress=lambda *state: told.append(state),
        )
        assert told == [(n, CELLS - 1) for n in range(1, CELLS)]
    return found


# --- disturbances ---


def test_every_disturbance_has_its_way(synthetic_cell, segmenter):
    assert [*OUTLINES, *IMAGES] == list(Disturbance)
    image, labels = synthetic_cell
    for disturbance in Disturbance:
        changed, found = disturbed(disturbance, image, labels, segmenter)
        assert changed.shape == found.shape
        assert np.array_equal(changed.rgb, image.rgb) == (disturbance in OUTLINES)
        assert not np.array_equal(found, labels)
        # It disturbs, it does not destroy: about the same share of the picture is cell.
        assert cell_mask(found).mean() == pytest.approx(cell_mask(labels).mean(), rel=0.1)


@pytest.mark.parametrize(("disturbance", "sign"), [(Disturbance.WIDER, 1), (Disturbance.NARROWER, -1)])
def test_both_outlines_move_by_a_pixel_and_the_ring_with_them(synthetic_cell, segmenter, disturbance, sign):
    image, labels = synthetic_cell
    _, moved = disturbed(disturbance, image, labels, segmenter)
    for region in ("nucleus", "cell"):
        before, after = region_mask(labels, region), region_mask(moved, region)
        inner, outer = (before, after) if sign > 0 else (after, before)
        assert np.array_equal(outer, ndimage.binary_dilation(inner)) or np.array_equal(
            inner, ndimage.binary_erosion(outer)
        )
        assert sign * (int(after.sum()) - int(before.sum())) > 0
    assert np.array_equal(moved, with_environment(moved))


def test_an_outline_on_the_images_edge_stays_there(segmenter, synthetic_cell):
    full = np.full((20, 20), Compartment.CYTOPLASM, dtype=np.uint8)
    full[5:15, 5:15] = Compartment.NUCLEUS
    _, moved = disturbed(Disturbance.NARROWER, synthetic_cell[0], LabelMap(full), segmenter)
    assert cell_mask(moved).all()
    assert region_mask(moved, "nucleus").sum() == 64


@pytest.mark.parametrize("disturbance", SCALES)
def test_rescaling_is_exact_in_both_directions(disturbance):
    y, x = np.mgrid[:90, :127]
    rgb = np.stack([2 * x % 256, y, np.zeros_like(x)], axis=2).astype(np.uint8)
    changed = IMAGES[disturbance](rgb)
    factor = SCALES[disturbance]
    assert changed.shape == (int(90 * factor), int(127 * factor), 3)
    inside = changed[5:-5, 5:-5].astype(float)
    assert np.diff(inside[..., 0], axis=1).mean() == pytest.approx(2 / factor, rel=0.01)
    assert np.diff(inside[..., 1], axis=0).mean() == pytest.approx(1 / factor, rel=0.01)


def test_light_and_stain_change_what_they_name():
    grey = np.full((8, 8, 3), 100, dtype=np.uint8)
    mean = {d: IMAGES[d](grey).mean(axis=(0, 1)).round().tolist() for d in list(Disturbance)[6:]}
    assert mean[Disturbance.DIMMER] == [90] * 3
    assert mean[Disturbance.BRIGHTER] == [110] * 3
    # 256 (101 / 256) ^ factor - 1
    assert mean[Disturbance.PALER] == [round(256 * (101 / 256) ** 0.85 - 1)] * 3
    assert mean[Disturbance.DEEPER] == [round(256 * (101 / 256) ** 1.15 - 1)] * 3
    red, green, blue = mean[Disturbance.BLUER]
    assert red < green == 100 < blue
    assert np.array_equal(
        IMAGES[Disturbance.BRIGHTER](np.full((8, 8, 3), 250, dtype=np.uint8)), np.full((8, 8, 3), 255)
    )


# --- the images ---


def test_the_test_part_is_what_the_split_says(entry):
    assert [sample.sample_id for sample in unseen_samples(entry)] == [f"set1/{n}" for n in range(1, CELLS)]


def test_a_model_without_a_split_says_what_to_do(entry):
    with pytest.raises(ModelError, match=r"no split beside it.*python -m export"):
        unseen_samples(replace(entry, split=None))


def test_missing_images_are_told_in_words(entry, tmp_path, monkeypatch):
    entry.split.write_text(json.dumps({"test": ["set1/1", "set1/100"]}))
    with pytest.raises(DataSetError, match=r"1 of 2 test images of .* are not in LEUKOSCOPE_DATA, first set1/100"):
        unseen_samples(entry)
    monkeypatch.setenv("LEUKOSCOPE_DATA", str(tmp_path))
    with pytest.raises(DataSetError, match=r"expected the folder wbc_zheng/set1 in LEUKOSCOPE_DATA"):
        unseen_samples(entry)


def test_images_of_ones_own_folder_are_found_where_it_is_named(entry, drawn_data):
    entry.split.write_text(json.dumps({"test": ["mine/1", "mine/2"]}))
    with pytest.raises(DataSetError, match=r"tested on images of mine.*--data path/to/mine"):
        unseen_samples(entry)
    folder = entry.split.parent / "mine"
    shutil.copytree(drawn_data / "wbc_zheng" / "set1", folder)
    assert [sample.sample_id for sample in unseen_samples(entry, [data_set(str(folder))])] == ["mine/1", "mine/2"]


def test_a_model_that_was_tested_on_nothing_says_so(entry):
    entry.split.write_text(json.dumps({"train": ["set1/0"], "test": []}))
    with pytest.raises(ModelError, match="tested on no image"):
        unseen_samples(entry)


def test_a_drawn_cell_is_cut_out_with_its_outlines(entry):
    image, labels = drawn_sample("set1/2", ["nowhere", "set1"])
    assert image.shape == labels.shape
    assert min(image.shape) < SIDE
    assert {Compartment.NUCLEUS, Compartment.CYTOPLASM} <= set(np.unique(labels).tolist())
    assert drawn_sample("set1/2", ["nowhere"]) is None
    assert drawn_sample("set1/100", ["set1"]) is None


def test_cells_drawn_twice_are_found_in_any_part(entry):
    ((first, second),) = drawn_twice(data_set("set1").samples())
    assert (first.sample_id, second.sample_id) == ("set1/0", "set1/1")
    assert not np.array_equal(drawing(first), drawing(second))


# --- the measurement ---


def test_rows_are_drawing_model_and_disturbances_in_original_pixels(entry, segmenter):
    sample = unseen_samples(entry)[2]
    table = measure(sample, segmenter)
    assert table.shape == (2 + len(Disturbance), len(CATALOGUE))
    image = np.asarray(Image.open(sample.image))
    assert np.array_equal(
        table[0], [np.nan if v is None else v for v in extract(image, drawing(sample)).values.values()], equal_nan=True
    )
    area = dict(
        zip(
            ("drawn", "model", *Disturbance),
            table[:, list(CATALOGUE).index("nucleus_shape2D_PixelSurface")],
            strict=True,
        )
    )
    assert area["model"] == pytest.approx(area["drawn"], rel=0.1)
    assert area[Disturbance.NARROWER] < area["model"] < area[Disturbance.WIDER]
    for disturbance in SCALES:
        assert area[disturbance] == pytest.approx(area["model"], rel=0.05)


def test_a_report_covers_the_catalogue(report, model_entry):
    assert list(report.features) == list(CATALOGUE)
    assert (report.model_id, report.model_sha256) == (model_entry.model_id, model_entry.sha256)
    assert (report.cells, report.pairs) == ({"set1": CELLS - 1}, (("set1/0", "set1/1"),))
    assert report.command == f"python -m core reliability --model {model_entry.model_id}"
    area = report.features["cell_shape2D_PixelSurface"]
    assert area.n == CELLS - 1
    assert area.log == CATALOGUE["cell_shape2D_PixelSurface"].log_axis
    # The second drawing is a pixel wider all round, and so is the disturbed outline.
    assert area.annotators == pytest.approx(area.disturbances[Disturbance.WIDER].shift, rel=0.3)
    assert area.disturbances[Disturbance.NARROWER].shift < 0


def test_light_moves_tone_and_leaves_size(report):
    tone, size = (report.features[name].disturbances for name in ("cell_firstorder_Mean", "cell_shape2D_PixelSurface"))
    assert tone[Disturbance.DIMMER].shift < 0 < tone[Disturbance.BRIGHTER].shift
    for disturbance in (Disturbance.DIMMER, Disturbance.BRIGHTER):
        assert abs(size[disturbance].shift) < abs(tone[disturbance].shift)


def test_it_is_kept_beside_the_model_and_named_in_the_manifest(report, model_entry, tmp_path):
    folder = model_entry.path.parent
    (tmp_path / MANIFEST).write_bytes((folder / MANIFEST).read_bytes())
    before = json.loads((tmp_path / MANIFEST).read_text())
    kept = store(report, replace(model_entry, path=tmp_path / model_entry.path.name))
    assert kept == find_model(folder=tmp_path).reliability
    assert list(load_report(kept).features) == list(CATALOGUE)
    assert sorted(path.name for path in tmp_path.iterdir()) == [MANIFEST, kept.name]
    after = json.loads((tmp_path / MANIFEST).read_text())
    assert after["models"][model_entry.model_id].pop("reliability") == kept.name
    seals = after["models"][model_entry.model_id]["sealed"]
    assert seals.pop("reliability") == hashlib.sha256(kept.read_bytes()).hexdigest()
    before["models"][model_entry.model_id].pop("reliability", None)
    before["models"][model_entry.model_id]["sealed"].pop("reliability", None)
    assert after == before


def test_processes_measure_what_one_measures(entry, segmenter):
    samples = unseen_samples(entry)[1:3]
    *_, last = measure_all(samples, entry, 2, Device.CPU)
    assert np.array_equal(last, measure(samples[1], segmenter), equal_nan=True)


# --- the shipped result, on real images ---


def test_the_shipped_reliability_is_that_of_the_shipped_model_and_catalogue():
    entry = find_model()
    assert entry.reliability is not None, "run `python -m core reliability --jobs 2`"
    kept = load_report(entry.reliability)
    assert (kept.model_id, kept.model_sha256) == (entry.model_id, entry.sha256)
    assert list(kept.features) == list(CATALOGUE), "run `python -m core reliability --jobs 2`"
    # Without those in which several cells are drawn.
    tested = len(json.loads(entry.split.read_text())["test"])
    assert 0.9 * tested < sum(kept.cells.values()) <= tested
    assert {"set1/112", "set1/139"} in [set(pair) for pair in kept.pairs]
    for name in ("combined_PixelSurface", "nucleus_shape2D_PixelSurface", "nucleus_firstorder_Mean"):
        found = kept.features[name]
        assert found.n == sum(kept.cells.values())
        assert found.icc > 0.8
        assert found.annotators < 1
