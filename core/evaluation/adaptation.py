"""What a laboratory gained by a model that learnt its own cells: the account that is kept beside the adapted model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from core.domain.errors import ModelError, RecordError
from core.evaluation.datasets import DATA_SETS
from core.evaluation.paired import MEAN, REGIONS, DiceDifference
from core.evaluation.paired import in_words as paired_in_words
from core.features.catalogue import CATALOGUE
from core.support import files, records

ACCOUNT_FILE: Final = "adaptation.json"
PROGRESS_FILE: Final = "progress.json"
# Mean difference between a model's values and those of the drawn outline, in standard deviations between the drawn
# cells, from which on a feature is said to be biased.
BIASED: Final = 0.2
# A further gain below this Dice is not worth anybody's drawing.
WORTHWHILE: Final = 0.005

# By region (`core.evaluation.paired`).
Differences = Mapping[str, DiceDifference]


class LearningPoint(NamedTuple):
    """Mean Dice (nucleus and cytoplasm averaged) of held-back cells after learning from so many; 95 % interval."""

    cells: int
    dice: float
    low: float
    high: float


class FeatureBias(NamedTuple):
    """Model less drawing in standard deviations between drawn cells, of one feature: both models, 95 % intervals."""

    feature: str
    before: float
    before_low: float
    before_high: float
    after: float
    after_low: float
    after_high: float

    @property
    def went(self) -> bool:
        """Whether the first model was biased, beyond chance, and the second is no more."""
        return _is_biased(self.before, self.before_low, self.before_high) and not self.stays

    @property
    def stays(self) -> bool:
        """Whether the second model is biased, beyond chance."""
        return _is_biased(self.after, self.after_low, self.after_high)


def _is_biased(mean: float, low: float, high: float) -> bool:
    return abs(mean) >= BIASED and low * high > 0


@dataclass(frozen=True)
class AdaptationAccount:
    """How a model was adapted, and what that gained and cost.

    Parameters
    ----------
    model_id, base_id
        The adapted model, and the one it began with.
    laboratory
        Name of the folder of corrected cells.
    cells, groups, blind
        Corrected cells that it learnt from, how many patients or images they are of, and how many cells were drawn
        without the model's outline, which it did not learn from.
    known_images
        How many images that the first model had learnt from were shown again.
    share
        How much of the way from the first model's weights to the adapted ones was gone (1: all of it).
    held_back
        Corrected cells, each scored by a network that had not learnt from it nor from others of its group.
    blind_sample
        Cells drawn without the model's outline: these alone judge, as whoever corrects an outline follows it. Empty
        where there are none.
    known
        By data set, test images of the laboratories that the first model knows. Empty where they are not at hand.
    curve
        From no cell learnt from to most of them.
    features
        The key features' bias.
    unlike
        Shares of the held-back cells, of those drawn rightly, that both models take for something else than a
        leukocyte, first and adapted; None without knowledge beside the first.
    novelty_limit
        The distance from known cells beyond which the adapted model does so (`core.quality.novelty`).
    refused
        Why the adapted model should not be used; empty if nothing speaks against it.
    """

    model_id: str
    base_id: str
    laboratory: str
    created: str
    command: str
    minutes: float
    cells: int
    groups: int
    blind: int
    known_images: int
    share: float
    held_back: Differences
    blind_sample: Differences
    known: Mapping[str, Differences]
    curve: tuple[LearningPoint, ...]
    features: tuple[FeatureBias, ...]
    unlike: tuple[float, float] | None
    novelty_limit: float | None
    refused: str

    @property
    def judged_by(self) -> Differences:
        """What says how much was gained: the blind sample where there is one."""
        return self.blind_sample or self.held_back


@dataclass(frozen=True)
class AdaptationProgress:
    """What an adaptation is doing, in words, and the share of all that is done."""

    doing: str
    share: float

    @classmethod
    def of(cls, run: Path) -> "AdaptationProgress | None":
        """That of a run's folder; None where nothing was said yet."""
        try:
            return records.from_json(cls, files.read_bytes(run / PROGRESS_FILE))
        except (OSError, RecordError):
            return None

    def keep(self, run: Path) -> None:
        """Write it into a run's folder, where a page finds it."""
        files.write_text(run / PROGRESS_FILE, records.to_json(self))


def _title(name: str) -> str:
    """A data set that the program knows in words."""
    return DATA_SETS[name].title if name in DATA_SETS else name


def save(account: AdaptationAccount, path: Path) -> None:
    """Write the account, whole or not at all."""
    files.write_text(path, records.to_json(account, indent=1) + "\n")


def load(path: Path) -> AdaptationAccount:
    """Read an account; raises ModelError where it is missing or damaged."""
    try:
        return records.from_json(AdaptationAccount, files.read_bytes(path))
    except (OSError, RecordError) as error:
        msg = f"{path.name} is missing or damaged ({error}); adapt the model again"
        raise ModelError(msg) from error


def refusal(
    known: Mapping[str, Differences], held_back: Differences, blind_sample: Differences, most_lost: float
) -> str:
    """Why an adapted model should not be used, in words; empty if nothing speaks against it.

    Parameters
    ----------
    known
        Its differences to the first model in laboratories that that one knows, by data set.
    held_back, blind_sample
        Those on the laboratory's own cells; the blind ones speak against it only beyond chance, as they are few.
    most_lost
        What a known laboratory may lose in Dice.
    """
    lost = []
    for name, found in known.items():
        region = min(REGIONS, key=lambda region: found[region].difference)
        if found[region].difference < -most_lost:
            lost.append(f"{region} of {_title(name)} {100 * found[region].difference:+.1f} points")
    if lost:
        return f"it forgets what it knew: {', '.join(lost)}, and at most {100 * most_lost:g} points are allowed"
    blind = blind_sample.get(MEAN)
    worse = [held_back[MEAN].difference, *([blind.difference] if blind and blind.ci95 and blind.ci95[1] < 0 else [])]
    if min(worse) < 0:
        return f"it draws this laboratory's cells worse: {100 * min(worse):+.1f} points"
    return ""


def learnt(curve: Sequence[LearningPoint]) -> str:
    """What the learning curve says of further corrections, in a sentence."""
    (*_, before, last) = curve
    gain = last.dice - before.dice
    doublings = math.log2(last.cells / before.cells) if before.cells else 1.0
    each = gain / doublings
    told = f"From {before.cells} to {last.cells} cells the Dice changed by {100 * gain:+.1f} points"
    if each < WORTHWHILE:
        return f"{told}: more corrections of the same kind would hardly help."
    return (
        f"{told}; if it goes on so, {last.cells} further corrected cells add about {100 * each:.1f} points. That is a"
        " line through two points, no promise."
    )


def in_words(account: AdaptationAccount) -> list[str]:
    """The account as lines: what was gained, what it cost, what further corrections would bring."""
    taken = f"{100 * account.share:.0f} % of the way to" if account.share < 1 else "the whole way to"
    lines = [
        f"{account.model_id}: {account.base_id}, taught {account.cells} cells of {account.groups} patients or images in"
        f" {account.minutes:g} minutes, {taken} the adapted weights"
    ]
    for heading, found in compared(account).items():
        lines += [f"{heading}:", paired_in_words(found, "before", "now")]
    if not account.blind_sample:
        lines += ["Who corrects an outline follows it: only cells drawn blind tell what they would draw themselves."]
    if not account.known:
        lines += [f"What it lost in laboratories that {account.base_id} knows is not measured: no image is at hand."]
    lines += [learnt(account.curve)]
    if went := [CATALOGUE[bias.feature].label for bias in account.features if bias.went]:
        lines += [f"No longer biased: {', '.join(went)}"]
    if account.refused:
        lines += [f"Do not use it: {account.refused}."]
    return lines


def compared(account: AdaptationAccount) -> dict[str, Differences]:
    """What both models were compared on, the most telling first, by a heading in words."""
    found = {
        "Cells drawn without the model's outline": account.blind_sample,
        "Corrected cells, each by a network that had not learnt from it": account.held_back,
        **{f"{_title(name)}, which {account.base_id} knows": pairs for name, pairs in account.known.items()},
    }
    return {heading: pairs for heading, pairs in found.items() if pairs}
