"""Scales by name: kept, replaced, and not lost to a damaged file."""

import pytest

from core.domain.errors import StoreError, UsageError
from core.domain.types import RED_CELLS, GivenScale
from core.store.named_scales import PRESETS, NamedScale, known_scales, remember

OURS = GivenScale(0.0934, 0.07, RED_CELLS, "0.0934 um per pixel, from red cells of 147 images")


def test_the_last_scale_of_a_laboratory_is_kept_by_its_name_before_those_that_come_along(tmp_path):
    root = tmp_path / "cohort"
    assert known_scales(root).scales == PRESETS
    remember(root, "Lab A", GivenScale(0.1))
    remember(root, " Lab B ", OURS)
    remember(root, "Lab A", GivenScale(0.2, origin="given for the run"))
    known = known_scales(root)
    assert [scale.name for scale in known.scales] == ["Lab A", "Lab B", *(preset.name for preset in PRESETS)]
    assert known.problem is None
    assert known.named("Lab A").um_per_px == 0.2
    assert known.named("Lab C") is None
    ours = known.named("Lab B")
    assert (ours.given.um_per_px, ours.given.error, ours.given.source) == (0.0934, 0.07, RED_CELLS)
    assert ours.given.origin == f"that of Lab B: {OURS.origin}"
    assert len(ours.kept) == len("2026-12-01")
    assert not list(root.glob(".*"))


def test_without_a_name_or_a_scale_nothing_is_kept(tmp_path):
    remember(tmp_path / "cohort", "  ", OURS)
    remember(tmp_path / "cohort", "Lab", None)
    assert not (tmp_path / "cohort").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\xff\xfe\xfa",
        b'[{"name": "A", "um_per_px": "0.1", "error": null, "origin": ""}]',
        b'[{"name": "A", "um_per_px": 0, "error": null, "origin": ""}]',
    ],
)
def test_a_damaged_file_is_told_and_set_aside_when_the_next_scale_is_kept(tmp_path, content):
    (tmp_path / "scales.json").write_bytes(content)
    known = known_scales(tmp_path)
    assert known.scales == PRESETS
    assert "scales.json: the scales of laboratories cannot be read" in known.problem
    remember(tmp_path, "Lab", OURS)
    assert (known_scales(tmp_path).scales[0].name, known_scales(tmp_path).problem) == ("Lab", None)
    assert (tmp_path / "scales.damaged.json").read_bytes() == content


def test_a_full_disk_is_told_in_words(tmp_path, full_disk):
    full_disk("scales.json")
    with pytest.raises(StoreError, match="the scale of Lab could not be kept"):
        remember(tmp_path, "Lab", OURS)


def test_a_preset_has_a_source_and_a_preset_of_ones_own_name_stands_for_it(tmp_path):
    assert all(len(preset.origin) > 20 for preset in PRESETS)
    remember(tmp_path, PRESETS[0].name, OURS)
    assert [scale.name for scale in known_scales(tmp_path).scales].count(PRESETS[0].name) == 1
    assert known_scales(tmp_path).named(PRESETS[0].name).um_per_px == OURS.um_per_px


def test_an_impossible_scale_has_no_name():
    with pytest.raises(UsageError, match=r"between 0\.005 and 10"):
        NamedScale("A", 0.0, None, "")
    with pytest.raises(UsageError, match="a share from 0 to below 1"):
        GivenScale(0.1, 1.5)
