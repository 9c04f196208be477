"""The complete card is enough: a program that knows nothing else draws the same masks."""

import ast
import copy
import json
from pathlib import Path

import numpy as np
import pytest

import tests.card_reader as card_reader
from core.image.imaging import load
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.segmentation.processing import card_text, complete_card
from tests.card_reader import CardReader

LEAST_DICE = 0.999
# Of each collection the first, the last and what lies between at equal distances; 30 images in all.
COLLECTIONS = {
    "wbc_zheng/set1/images": 5,
    "wbc_zheng/set2/images": 5,
    "acevedo": 5,
    "deepapl": 5,
    "bccd/images": 5,
    "txl_pbc": 4,
    "hairy_cell_smear": 1,
}


@pytest.fixture(scope="module")
def card(model_entry, segmenter):
    """As a stranger reads it."""
    return json.loads(card_text(complete_card(model_entry, segmenter)))


@pytest.fixture(scope="module")
def reader(card, model_entry):
    return CardReader(card, model_entry.path.parent)


def worst_dice(one, other):
    """Over the levels that are in either."""
    levels = set(np.unique(one)) | set(np.unique(other)) - {0}
    return min(
        (2 * np.sum((one == k) & (other == k)) / (np.sum(one == k) + np.sum(other == k)) for k in levels), default=1
    )


def test_the_reader_knows_nothing_of_ours():
    tree = ast.parse(Path(card_reader.__file__).read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names == {"math", "numpy", "onnxruntime", "PIL", "scipy"}


def test_the_shipped_card_holds_what_the_code_does(model_entry, segmenter):
    shipped = model_entry.path.with_name(f"{model_entry.model_id}.card.json")
    made = card_text(complete_card(model_entry, segmenter))
    assert shipped.read_text(encoding="utf-8") == made, f"run `leukoscope models card > {shipped.name}`"


@pytest.mark.parametrize("kind", SYNTHETIC_CELLS)
def test_the_card_alone_leads_to_the_same_masks_of_drawn_cells(reader, segmenter, kind):
    for seed in range(2):
        image, _ = draw_cell(seed, SYNTHETIC_CELLS[kind])
        labels = segmenter.segment(image).labels
        assert len(np.unique(labels)) == 4
        assert worst_dice(reader.mask(np.array(image.rgb)), labels) >= LEAST_DICE


def test_the_card_alone_leads_to_the_same_masks_off_the_beaten_track(reader, segmenter):
    image, _ = draw_cell()
    rgb, rng = np.array(image.rgb), np.random.default_rng(3)
    empty = np.full((90, 140, 3), 225, np.uint8)
    odd = {
        "cut by the edge": rgb[:, 150:],
        "small": rgb[::4, ::4],
        "a wide field": np.concatenate([np.tile(rgb, (1, 3, 1)), np.full_like(np.tile(rgb, (1, 3, 1)), 230)]),
        "empty": empty,
        "noise": rng.integers(0, 255, (64, 200, 3), dtype=np.uint8),
        "dark": rgb // 6,
    }
    for name, shown in odd.items():
        shown = np.ascontiguousarray(shown)
        labels = segmenter.segment(type(image)(shown, name, "")).labels
        assert worst_dice(reader.mask(shown), labels) >= LEAST_DICE, name


@pytest.mark.parametrize(
    ("part", "step", "name", "value"),
    [
        ("processing", "white_balance", "target", 90),
        ("processing", "white_balance", "percentile", 2),
        ("processing", "mask", "cell_from", 0.99),
        ("processing", "mask", "least_cell", 1.0),
        ("processing", "ring", "share", 0.4),
        ("model", None, "cell_fill", 0.2),
        ("model", None, "detail", 16),
        ("model", None, "temperature", 50.0),
    ],
)
def test_the_reader_goes_by_the_numbers_of_the_card(card, reader, model_entry, part, step, name, value):
    image, _ = draw_cell()
    shown, changed = np.array(image.rgb), copy.deepcopy(card)
    (changed[part][step] if step else changed[part])[name] = value
    other = CardReader(changed, model_entry.path.parent)
    assert worst_dice(other.mask(shown), reader.mask(shown)) < LEAST_DICE


@pytest.mark.data
def test_the_card_alone_leads_to_the_same_masks_of_thirty_real_images(reader, segmenter, data_dir):
    seen, low = 0, {}
    for folder, count in COLLECTIONS.items():
        files = sorted(path for path in (data_dir / folder).rglob("*") if path.suffix in {".jpg", ".png", ".bmp"})
        for number in np.linspace(0, len(files) - 1, count).round().astype(int):
            image = load(files[number])
            dice = worst_dice(reader.mask(np.array(image.rgb)), segmenter.segment(image).labels)
            seen += 1
            if dice < LEAST_DICE:
                low[f"{folder}/{image.name}"] = round(float(dice), 5)
    assert (seen, low) == (30, {})
