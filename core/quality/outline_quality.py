"""How well a cell is outlined: the Dice that a careful drawing would probably reach with it, told from its signs.

`core.evaluation.quality_fit` fits the numbers, over laboratories that the network had not seen; they lie in a file
beside the model. Where the outline is doubtful, it is said what seems to be wrong.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from core.domain.errors import ModelError, RecordError
from core.domain.types import Segmentation
from core.quality.novelty import LogisticScore
from core.quality.outline_signs import OUTLINE_SIGNS, Fault, outline_signs
from core.support import files, records

# Of whatever the signs say, no outline is believed to be better or worse.
_ENDS: Final = (0.01, 0.99)
# The share of a run's cells from which on a new stain is told of the run.
_MANY: Final = 0.2


@dataclass(frozen=True)
class JudgedOutline:
    """What is said of an outline: the Dice expected of it, whether it is too little, and what seems wrong.

    `usual` is what is expected of half of all outlines; `fault` is what seems wrong with a doubtful one, if that can
    be told.
    """

    quality: float
    doubtful: bool
    usual: float
    fault: Fault | None


@dataclass(frozen=True)
class OutlineJudge:
    """What is kept beside a model: a logistic score of the signs, the limit, and how well it works.

    Parameters
    ----------
    score
        Logarithm of expected Dice over what is missing to 1.
    limit
        An outline of which less is expected is doubtful.
    usual
        What is expected of half of all outlines that are right.
    trained_on
        Laboratories among those in `measured` that the network was trained on: what is said of them is too good.
    checked
        Cells of other laboratories whose outlines were compared with drawn ones: their number (`cells`), their mean
        Dice (`dice`) and the share below 0.8 (`poor`).
    measured
        Tables of `core.evaluation.quality_fit`.
    """

    model_id: str
    model_sha256: str
    created: str
    command: str
    score: LogisticScore
    limit: float
    usual: float
    trained_on: tuple[str, ...]
    checked: dict[str, float]
    measured: dict[str, Any]

    def judged(self, segmentation: Segmentation) -> JudgedOutline | None:
        """What to think of an outline; None without one, or where no localiser told where the cell is."""
        seen = outline_signs(segmentation)
        if seen is None:
            return None
        quality = self.expected(seen.values)
        doubtful = quality < self.limit
        return JudgedOutline(quality, doubtful, self.usual, seen.fault if doubtful else None)

    def expected(self, signs: Mapping[str, float]) -> float:
        """The Dice expected of an outline with these signs."""
        lowest, highest = _ENDS
        return min(max(1 / (1 + math.exp(-self.score.score(signs))), lowest), highest)


def save(judge: OutlineJudge, path: Path) -> None:
    """Write the file, whole or not at all."""
    files.write_text(path, to_json(judge))


def to_json(judge: OutlineJudge) -> str:
    """The text of the file."""
    return records.to_json(judge, indent=1, ascii_only=True) + "\n"


def load(path: Path, model_sha256: str) -> OutlineJudge:
    """Read the file of the model with that checksum.

    Raises
    ------
    ModelError
        If the file is missing, damaged, or was made with another file of the model or another list of signs.
    """
    again = "run `python -m core quality` again"
    try:
        judge = records.from_plain(OutlineJudge, records.parsed(files.read_bytes(path)))
    except (OSError, ValueError, RecordError) as error:
        msg = f"{path.name} in the models folder is missing or damaged ({error}); restore it or {again}"
        raise ModelError(msg) from error
    if judge.model_sha256 != model_sha256 or not set(judge.score.coefficients) <= set(OUTLINE_SIGNS):
        msg = f"{path.name} was made with another file of the model, or another version; {again}"
        raise ModelError(msg)
    return judge


def judge_of_file(path: Path | None, model_sha256: str) -> OutlineJudge | None:
    """What `load` reads; None for a model that has no such file."""
    return load(path, model_sha256) if path is not None else None


def stain_news(unlike: int, cells: int, judge: OutlineJudge | None) -> str | None:
    """What is said once of a run in which many cells have a stain that the model does not know; None of few.

    Parameters
    ----------
    unlike
        The cells that have it (flag `unlike_training`).
    cells
        All cells of the run.
    judge
        That of the model, if it has one.
    """
    if not cells or unlike < _MANY * cells:
        return None
    whose = "The stain of this cell is" if cells == 1 else f"The stain of {unlike:,} of {cells:,} cells is"
    news = f"{whose} unlike those the model was trained on, which says nothing against a cell by itself"
    if judge is None or not judge.checked:
        return f"{news}; look at some of the outlines."
    return (
        f"{news}. In laboratories it had never seen, its outlines were checked on {judge.checked['cells']:,.0f} drawn"
        f" cells: they agree to {judge.checked['dice']:.2f} (Dice), and {judge.checked['poor']:.1%} lie below 0.8. Look"
        " at some of yours."
    )
