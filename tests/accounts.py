"""An account of an adapted model, as an adaptation leaves it."""

from dataclasses import replace
from typing import Any

from core.evaluation.adaptation import AdaptationAccount, FeatureBias, LearningPoint
from core.evaluation.paired import DiceDifference


def difference(first: float, second: float, images: int = 12) -> DiceDifference:
    """Of two models whose images all differ alike."""
    off = round(second - first, 4)
    return DiceDifference(images, images, first, second, off, (off, off))


def made_account(**changed: Any) -> AdaptationAccount:
    """An account of 24 cells that gained five points."""
    account = AdaptationAccount(
        model_id="mine",
        base_id="shipped",
        laboratory="our <lab>",
        created="2026-12-01",
        command="leukoscope adapt cells --out mine",
        minutes=7.5,
        cells=24,
        groups=20,
        blind=0,
        known_images=0,
        share=1.0,
        held_back={"nucleus": difference(0.9, 0.92), "mean": difference(0.8, 0.85)},
        blind_sample={},
        known={},
        curve=(
            LearningPoint(0, 0.8, 0.75, 0.85),
            LearningPoint(8, 0.83, 0.8, 0.86),
            LearningPoint(16, 0.85, 0.82, 0.88),
        ),
        features=(FeatureBias("nucleus_shape2D_Elongation", 0.5, 0.3, 0.7, 0.1, -0.1, 0.3),),
        unlike=(0.25, 0.0),
        novelty_limit=2.5,
        refused="",
    )
    return replace(account, **changed)
