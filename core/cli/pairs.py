"""`leukoscope check`: images and drawn masks, looked at before a network is trained on them."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Final

from core.cli.common import add_json, count_images, positive
from core.cli.programs import INSTALL_TRAINING
from core.domain.errors import UsageError
from core.domain.settings import load_settings
from core.evaluation.datasets import Sample
from core.evaluation.pair_check import (
    CheckedPair,
    CheckedSet,
    PairJudgement,
    PairUse,
    conclude,
    in_words,
    list_pairs,
    look_at,
)
from core.reports.pairs import picture, sheet
from core.support import bounded, files, records
from core.support.text import shown

_FOLDS: Final = 5
# So many pairs are named that are refused for one reason, and so many characters of it are said of the others.
_ALIKE: Final = 3
_SHORT: Final = 60


def check(parser: argparse.ArgumentParser) -> None:
    """Look at a folder of pairs."""
    text = "folder with images/ and masks/ of equal names, or one such folder per cell type; or a known data set's name"
    parser.add_argument("pairs", metavar="PAIRS", help=text)
    parser.add_argument("--all", action="store_true", help="name the good pairs, too, which are only counted otherwise")
    text = "also write a contact sheet to look at: one file of HTML, which holds copies of the pictures"
    parser.add_argument("--sheet", type=Path, metavar="FILE", help=text)
    text = f"of a comparison of architectures, for which there may be too few images (default {_FOLDS})"
    parser.add_argument("--folds", type=positive, default=_FOLDS, metavar="K", help=text)
    add_json(parser)
    parser.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> int:
    out: Path | None = arguments.sheet
    if out is not None and not (out.suffix.lower() == ".html" and out.parent.is_dir()):
        msg = f"--sheet: expected a name that ends in .html, in a folder that is there, but got {out}; choose another"
        raise UsageError(msg)
    samples, found = list_pairs(arguments.pairs)
    pictures: dict[str, str] = {}
    for pair, svg in _looked_at(samples, pictured=out is not None):
        found.append(pair)
        pictures[pair.pair] = svg
    checked = conclude(Path(arguments.pairs).resolve().name, samples, found, arguments.folds)
    if out is not None:
        files.write_text(out, sheet(checked, pictures, datetime.now().astimezone()))
        print(f"the sheet is {shown(str(out))}; it holds copies of the pictures", file=sys.stderr)
    next_step = _next(arguments.pairs, checked)
    if arguments.json:
        pairs = [{**vars(pair), "judged": pair.judged} for pair in checked.pairs]
        print(records.to_json({**vars(checked), "pairs": pairs, "usable": checked.usable, "next": next_step}))
    else:
        for line in _told(checked, every=arguments.all):
            print(line)
        for line in (*in_words(checked), f"next: {next_step}"):
            print(shown(line))
    return 0 if checked.usable else 1


# --- looking at them --------------------------------------------------------------------------------------------------


def _looked_at(samples: Sequence[Sample], *, pictured: bool) -> Iterator[tuple[CheckedPair, str]]:
    """Every pair with its picture, in a process that a file may end or hold up without harm to the rest."""
    settings, show = load_settings(), count_images(len(samples))
    limits = bounded.WorkLimits(settings.max_seconds, settings.max_memory_mb)
    opening = partial(bounded.limit_memory, limits.megabytes, threads=os.cpu_count() or 1)
    seen = bounded.each(partial(_look, pictured), samples, opening, _lost, limits)
    for number, one in enumerate(seen, start=1):
        show(number)
        yield one


def _look(pictured: bool, sample: Sample, _: None, __: bounded.Alive) -> tuple[CheckedPair, str]:
    looked_at = look_at(sample)
    return looked_at.pair, picture(looked_at) if pictured else ""


def _lost(sample: Sample, what: str) -> tuple[CheckedPair, str]:
    why = f"{what}; scale the image down, or raise LEUKOSCOPE_MAX_SECONDS or LEUKOSCOPE_MAX_MEMORY_MB"
    return CheckedPair(sample.sample_id, PairUse.REFUSED, why), ""


# --- what is said of them ---------------------------------------------------------------------------------------------


def _told(checked: CheckedSet, *, every: bool) -> Iterator[str]:
    """Pairs to look at, with their doubtful remarks; of `every` pair all remarks.

    A fault of the whole folder, which refuses all its pairs alike, is told of the first few.
    """
    left, refused = Counter[str](), Counter[str]()
    for pair in checked.pairs:
        if pair.use is PairUse.REFUSED:
            refused[pair.does] += 1
            if refused[pair.does] > _ALIKE and not every:
                continue
        if pair.judged is PairJudgement.GOOD and not every:
            left.update({remark.code for remark in pair.remarks})
            continue
        size = f"{pair.size[1]} x {pair.size[0]}" if pair.size else ""
        yield f"{pair.judged:8} {shown(f'{pair.pair}: ' + ', '.join(filter(None, (size, pair.coding, pair.does))))}"
        for remark in pair.remarks:
            if every or remark.doubtful:
                yield f"{'':8} {shown(remark.message)}"
    for why, number in refused.items():
        if number > _ALIKE and not every:
            yield f"refused  for the same reason: {number - _ALIKE:,} more ({shown(shorten(why, _SHORT))})"
    if left:
        said = ", ".join(f"{number} {code.replace('_', ' ')}" for code, number in left.most_common())
        yield f"remarks on good pairs, which --all shows: {said}"


def _next(pairs: str, checked: CheckedSet) -> str:
    if checked.uses[PairUse.REFUSED]:
        return "mend the refused pairs or take them out, and check again: a training begins only when none is refused"
    if checked.faults or not all(checked.parts.values()):
        return "mend what the warnings and notes say, and check again: a training would not begin"
    train = (
        f"name {pairs} under data_sets in a copy of training/configs/finetune.toml, and run `python -m training"
        " finetune --config COPY --out runs/mine`"
    )
    return train if find_spec("torch") else f"run `{INSTALL_TRAINING}`, which needs 6 GB; then {train}"
