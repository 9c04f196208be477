"""Whether a new model becomes the one in use: not when it is worse than that one on images that neither knows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from core.domain.errors import ModelError
from core.domain.options import Device
from core.evaluation.datasets import Sample
from core.evaluation.paired import DiceDifference, in_words, paired_by_data_set, to_plain
from core.segmentation.model_registry import KnownModels, ModelEntry
from core.segmentation.segmenter import OnnxSegmenter
from training.evaluate import REGIONS, ImageScore, dice_by_image, evaluate, summarise
from training.scored import untouched

# By so much Dice may a region be worse, on all images and in each data set: less is within what two drawings differ by.
MAX_LOSS: Final = 0.005
# Below this mean Dice of nucleus or cytoplasm a network draws no cells.
LEAST_DICE: Final = 0.5


@dataclass(frozen=True)
class BesideModelInUse:
    """The model in use, beside which a new one was scored, and the differences by data set; or why there are none.

    Where there is no model at all there is no reason either.
    """

    beside: ModelEntry | None
    differences: dict[str, dict[str, DiceDifference]] = field(default_factory=dict)
    why_none: str = ""

    def to_plain(self) -> dict[str, Any]:
        """For the card and for JSON; empty where nothing was compared."""
        if self.beside is None or not self.differences:
            return {}
        scored = {name: to_plain(part) for name, part in self.differences.items()}
        return {"model_id": self.beside.model_id, "sha256": self.beside.sha256, **scored}

    def in_words(self, new: str) -> str:
        """Lines for people."""
        if self.beside is None or not self.differences:
            return f"not compared with another model: {self.why_none or 'there is none yet'}"
        former = self.beside.model_id if self.beside.model_id != new else f"the former {new}"
        return "\n".join(
            f"beside {former}, which is in use, on test images that neither learnt from,"
            f" {'all' if name == 'all' else name}:\n{in_words(part, former, new)}"
            for name, part in self.differences.items()
            if name != "all" or len(self.differences) > 2
        )

    def losses(self) -> list[str]:
        """Where the new model is worse by more than it may."""
        return [
            f"{region} by {-100 * found.difference:.2f} points {'on all images' if name == 'all' else f'in {name}'}"
            for name, part in self.differences.items()
            for region, found in part.items()
            if (name == "all" or len(self.differences) > 2) and region in REGIONS and found.difference < -MAX_LOSS
        ]


def compared(scores: Sequence[ImageScore], samples: Sequence[Sample], known: KnownModels) -> BesideModelInUse:
    """Score the model in use on those of the samples that it has not learnt from, beside the scores of a new model."""
    beside = known.in_use
    if beside is None:
        return BesideModelInUse(
            None, why_none=f"{known.chosen}, which is in use, is not there" if known.entries else ""
        )
    if beside.split is None or not beside.split.is_file():
        return BesideModelInUse(
            beside, why_none=f"nobody knows which images {beside.model_id}, which is in use, learnt from"
        )
    if not (common := untouched(samples, [beside.split])):
        return BesideModelInUse(beside, why_none=f"{beside.model_id}, which is in use, learnt from all test images")
    try:
        others = evaluate(OnnxSegmenter.from_entry(beside, Device.CPU), common)
    except ModelError as error:
        return BesideModelInUse(beside, why_none=str(error))
    groups = {sample.sample_id: sample.group for sample in common}
    return BesideModelInUse(beside, paired_by_data_set(dice_by_image(others), dice_by_image(scores), groups))


def why_not(scores: Sequence[ImageScore], comparison: BesideModelInUse, *, wished: bool | None) -> str:
    """The reason for which a new model does not become the one in use; empty if it does.

    `wished` is True with `--default`, which does without a comparison but not without cells, and False with
    `--not-default`.
    """
    if wished is False:
        return "as --not-default says"
    summary = summarise(scores)
    for region in ("nucleus", "cytoplasm"):
        if region in summary and not summary[region]["dice_mean"] >= LEAST_DICE:
            return f"its Dice of the {region} is {summary[region]['dice_mean']:.2f}, below {LEAST_DICE:g}"
    if wished:
        return ""
    if losses := comparison.losses():
        return f"it is worse than {comparison.beside.model_id if comparison.beside else ''}: {', '.join(losses)}"
    return comparison.why_none


def check_replaced(model_id: str, known: KnownModels, reason: str) -> None:
    """Raise ModelError where a new model that is not to be used, for a reason, would take the name of that in use."""
    if reason and model_id == known.chosen:
        msg = (
            f"{model_id} is in use and would be replaced, but the new one is not to be used: {reason}; nothing was"
            " exported. Give --out another name"
        )
        raise ModelError(msg)
