"""What a run is asked to do: what is refused, what begins a new run, and what survives its file."""

import json
import math
from dataclasses import fields, replace

import pytest

from core.batch.settings import BatchSettings, Progress, Seen, State, run_key
from core.domain.errors import RecordError, UsageError
from core.domain.types import GivenScale, StainFactors
from core.image.depth import Depths
from core.support.records import from_json, from_plain, to_json

SETTINGS = BatchSettings("in", um_per_px=0.1)
VERSIONS = {"numpy": "2", "python": "3"}
# Another value for every setting; a new setting must be added here, and then to one of the two groups below.
OTHERS = {
    "input": "elsewhere",
    "pattern": "blood/*.png",
    "um_per_px": 0.2,
    "cells": "all",
    "feature_engine": "reference",
    "overlay": True,
    "outlines": True,
    "label_from": "folder",
    "patient_from": "regex:(?P<patient>p[0-9])_",
    "limit": 3,
    "time_limit_s": 5.0,
    "memory_limit_mb": 512,
    "units": "um",
    "depths": Depths(12, (("TIFF|1", 12),)),
    "stain": StainFactors("ours-to-bcn", 0.85, 0.91, 1.04),
}
NOT_DECIDING = {"limit", "time_limit_s", "memory_limit_mb", "units"}
PROGRESS = Progress(
    state=State.RUNNING,
    total=None,
    done=7,
    cells=9,
    flagged=1,
    failed=2,
    skipped=3,
    rate=1.5,
    seconds_left=None,
    started="2026-11-23T05:30:00+00:00",
    updated="2026-11-23T05:31:00+00:00",
    pid=42,
    message="7 images found so far",
    last=(Seen("Größe/b.png", 2, 0.91), Seen("a.png", 0, None)),
)


@pytest.mark.parametrize("scale", [GivenScale(0.0934, 0.07, "red cells", "0.0934 µm per pixel"), "file", "red-cells"])
def test_every_kind_of_scale_survives_json_and_begins_a_run_of_its_own(scale):
    settings = replace(SETTINGS, um_per_px=scale)
    assert from_json(BatchSettings, to_json(settings)) == settings
    assert run_key(settings, "0", VERSIONS) != run_key(SETTINGS, "0", VERSIONS)
    assert settings.one_scale == (scale if isinstance(scale, GivenScale) else None)


def test_a_run_has_one_scale_that_was_given():
    assert SETTINGS.scale == 0.1
    assert SETTINGS.one_scale == GivenScale(0.1, origin="given for the run")
    assert BatchSettings("in").one_scale is None


def test_every_setting_survives_json():
    other = BatchSettings(**OTHERS)
    assert all(getattr(other, f.name) != getattr(SETTINGS, f.name) for f in fields(BatchSettings)), (
        "OTHERS says something new of each"
    )
    for settings in (SETTINGS, other):
        assert from_json(BatchSettings, to_json(settings)) == settings


@pytest.mark.parametrize("name", [f.name for f in fields(BatchSettings)])
def test_what_decides_a_result_decides_the_key_and_limits_and_units_do_not(name):
    key, other = (
        run_key(settings, "sha", VERSIONS) for settings in (SETTINGS, replace(SETTINGS, **{name: OTHERS[name]}))
    )
    assert (key == other) == (name in NOT_DECIDING)


def test_model_versions_and_labels_decide_the_key_and_their_order_does_not():
    key = run_key(SETTINGS, "sha", VERSIONS)
    assert key == run_key(SETTINGS, "sha", dict(reversed(VERSIONS.items())), "")
    others = [
        run_key(SETTINGS, "other", VERSIONS),
        run_key(SETTINGS, "sha", VERSIONS | {"numpy": "3"}),
        run_key(SETTINGS, "sha", VERSIONS | {"scipy": "1"}),
        run_key(SETTINGS, "sha", VERSIONS, "digest of a table"),
    ]
    assert len({key, *others}) == 5


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"cells": "some"}, "cells must be one of auto, one, all, but is 'some'"),
        ({"feature_engine": "slow"}, "feature engine must be one of fast, reference, but is 'slow'"),
        ({"um_per_px": 99}, "between 0.005 and 10 µm per pixel, but is 99"),
        ({"um_per_px": 0.0}, "between 0.005 and 10 µm per pixel, but is 0.0"),
        ({"um_per_px": float("nan")}, "between 0.005 and 10 µm per pixel, but is nan"),
        ({"limit": 0}, "above 0, but are 60.0 s, 2048 MB and 0 images"),
        ({"time_limit_s": 0}, "above 0, but are 0 s"),
        ({"time_limit_s": math.inf}, "above 0, but are inf s"),
        ({"time_limit_s": math.nan}, "above 0, but are nan s"),
        ({"memory_limit_mb": -1}, "above 0, but are 60.0 s, -1 MB"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_what_came(wrong, words):
    with pytest.raises(UsageError, match=words):
        BatchSettings("in", **wrong)


def test_settings_of_another_version_are_named_with_those_known():
    with pytest.raises(
        RecordError, match="unknown fields colour, weight; known are cells, depths, feature_engine, input"
    ):
        from_plain(BatchSettings, {"input": "in", "weight": 1, "colour": 1})


def test_progress_survives_its_file():
    read = Progress.from_json(PROGRESS.to_json())
    assert read == PROGRESS
    assert read.state is State.RUNNING
    assert "Größe/b.png" in PROGRESS.to_json(), "a file to be read by people has no escapes"


@pytest.mark.parametrize(
    "text",
    [
        "",
        PROGRESS.to_json()[:-20],
        "[]",
        "{}",
        json.dumps(json.loads(PROGRESS.to_json()) | {"state": "asleep"}),
        json.dumps(json.loads(PROGRESS.to_json()) | {"last": [{"path": "a.png"}]}),
    ],
)
def test_damaged_progress_raises_what_a_reader_expects(text):
    with pytest.raises(RecordError):
        Progress.from_json(text)


def test_only_three_states_are_the_end():
    assert {state for state in State if state.ended} == {State.STOPPED, State.FINISHED, State.FAILED}
