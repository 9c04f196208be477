"""What an adapted model takes over from the one it began with: its account, and what was measured of that model.

What a model knows of cells, by what its outlines are judged, and how far its features can be trusted was measured on
images that a laboratory rarely has. An adapted model draws nearly as the first one; each file says that it was carried
over, and the commands measure anew where the images are at hand.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from core.domain.errors import ModelError
from core.evaluation import adaptation, agreement
from core.evaluation.adaptation import ACCOUNT_FILE, AdaptationAccount
from core.quality import novelty, outline_quality
from core.segmentation.model_registry import ModelEntry, find_model, keep_beside

# A file beside the first model, in the manifest's words, and how it becomes the adapted model's.
_Carry = Callable[[Path, ModelEntry, dict[str, Any], AdaptationAccount, Path], None]


def carry_over(run: Path, adapted: ModelEntry) -> list[str]:
    """Put beside an adapted model what it takes over; returns what that was, nothing for a run that adapted none.

    Raises
    ------
    ModelError
        If the account is damaged.
    """
    if not (run / ACCOUNT_FILE).is_file():
        return []
    account = adaptation.load(run / ACCOUNT_FILE)
    beside = {"adaptation": f"{adapted.model_id}.adaptation.json"}
    adaptation.save(account, adapted.path.with_name(beside["adaptation"]))
    try:
        base = find_model(account.base_id)
    except ModelError:  # it began with the folder of a run, of which nothing was measured
        base = None
    for name, carry in _CARRIED.items():
        if base is not None and (source := getattr(base, name)) is not None:
            file = f"{adapted.model_id}.{name}.json"
            anew = f"python -m core {name} --model {adapted.model_id}"
            told = f"carried over from {base.model_id}; {anew} measures it anew"
            whose = {"model_id": adapted.model_id, "model_sha256": adapted.sha256, "command": told}
            carry(source, base, whose, account, adapted.path.with_name(file))
            beside[name] = file
    keep_beside(adapted.path.parent, adapted.model_id, beside)
    return [name for name in beside if name in _CARRIED]


def taught_in_words(run: Path) -> str:
    """What the card says of the data of an adapted model; empty for a run that adapted none."""
    if not (run / ACCOUNT_FILE).is_file():
        return ""
    account = adaptation.load(run / ACCOUNT_FILE)
    return f" It went on from the weights of {account.base_id} with {account.cells} cells of {account.laboratory}."


def _novelty(source: Path, base: ModelEntry, whose: dict[str, Any], account: AdaptationAccount, out: Path) -> None:
    knowledge = novelty.load(source, base.sha256)
    detector = replace(knowledge.detector, limit=account.novelty_limit or knowledge.detector.limit)
    novelty.save(replace(knowledge, detector=detector, **whose), out)


def _quality(source: Path, base: ModelEntry, whose: dict[str, Any], _: AdaptationAccount, out: Path) -> None:
    judge = outline_quality.load(source, base.sha256)
    outline_quality.save(replace(judge, **whose), out)


def _reliability(source: Path, _: ModelEntry, whose: dict[str, Any], __: AdaptationAccount, out: Path) -> None:
    agreement.save(replace(agreement.load_report(source), **whose), out)


_CARRIED: Final[dict[str, _Carry]] = {"novelty": _novelty, "quality": _quality, "reliability": _reliability}
