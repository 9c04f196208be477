"""The cells that an adaptation learns from and is judged by: a laboratory's own, and those that the model knows."""

import csv
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.domain.errors import DataSetError
from core.evaluation.datasets import DATA_SETS, Sample, data_set
from training.augmentation import LabelledImage
from training.data import masked_samples, read_pairs

logger = logging.getLogger(__name__)

# Beside images/ and masks/ where `leukoscope corrections export` wrote them: who drew what, and what was drawn blind.
CORRECTIONS_FILE: Final = "corrections.csv"
# Each fold must hold one to learn from and one to score.
_FEWEST_A_FOLD: Final = 2


@dataclass(frozen=True, eq=False)
class DrawnCells:
    """Samples with their pairs in memory, by id."""

    samples: tuple[Sample, ...]
    items: dict[str, LabelledImage]

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def pairs(self) -> list[LabelledImage]:
        """The pairs in the order of the samples."""
        return [self.items[sample.sample_id] for sample in self.samples]

    @property
    def groups(self) -> dict[str, str]:
        """The group of each sample by its id."""
        return {sample.sample_id: sample.group for sample in self.samples}

    def of(self, ids: Sequence[str] | set[str]) -> "DrawnCells":
        """Those of the ids."""
        wanted = set(ids)
        chosen = tuple(sample for sample in self.samples if sample.sample_id in wanted)
        return DrawnCells(chosen, {sample.sample_id: self.items[sample.sample_id] for sample in chosen})


def read_cells(samples: Sequence[Sample]) -> DrawnCells:
    """Read the pairs, if there are any; raises DataSetError as `read_pairs`."""
    return DrawnCells(tuple(samples), {item.sample_id: item for item, _ in read_pairs(samples)} if samples else {})


def corrected_cells(folder: Path, folds: int) -> tuple[DrawnCells, DrawnCells]:
    """The cells of a folder to learn from, and those drawn blind, which alone may judge.

    Whatever shares a group (a patient, an image) with a blind cell is not learnt from.

    Raises
    ------
    DataSetError
        If pairs cannot be used, or there are fewer than two cells and one group for each fold.
    """
    cells = read_cells(masked_samples((str(folder),)))
    blind = _drawn_blind(folder, data_set(str(folder)).name)
    judging = {sample.group for sample in cells.samples if sample.sample_id in blind}
    learnt = cells.of([sample.sample_id for sample in cells.samples if sample.group not in judging])
    beside = len(cells) - len(learnt) - len(blind)
    if beside:
        logger.info("%d cells are left out: they are of a patient or image that a cell drawn blind is of", beside)
    groups = len(set(learnt.groups.values()))
    if len(learnt) < _FEWEST_A_FOLD * folds or groups < folds:
        msg = (
            f"expected at least {_FEWEST_A_FOLD * folds} corrected cells of {folds} patients or images to learn from,"
            f" but {folder} holds {len(learnt)} of {groups} (and {len(blind)} drawn blind); correct more cells"
        )
        raise DataSetError(msg)
    return learnt, cells.of(blind)


def _drawn_blind(folder: Path, name: str) -> set[str]:
    """Ids of the cells that were drawn without the model's outline; none in a folder of other masks."""
    path = folder / CORRECTIONS_FILE
    if not path.is_file():
        return set()
    with path.open(newline="", encoding="utf-8-sig") as handle:
        rows = list(csv.DictReader(handle))
    if rows and not {"image_id", "blind"} <= rows[0].keys():
        msg = f"{path} needs the columns image_id and blind; export the corrections again"
        raise DataSetError(msg)
    return {f"{name}/{row['image_id']}" for row in rows if row["blind"] == str(True)}


def known_cells(split: Mapping[str, Sequence[str]], without: DrawnCells) -> dict[str, DrawnCells]:
    """The images of a split by its parts, of data sets that the program knows, as far as they are on this computer.

    An image that is one of `without`, pixel by pixel, is left out: what is corrected now is no more what was known.
    """
    wanted = {sample_id for ids in split.values() for sample_id in ids}
    samples: list[Sample] = []
    for name in sorted({sample_id.split("/")[0] for sample_id in wanted} & DATA_SETS.keys()):
        try:
            samples += masked_samples((name,))
        except DataSetError as error:
            logger.warning("not at hand, so that nothing is shown of it again: %s", error)
    cells = read_cells([sample for sample in samples if sample.sample_id in wanted])
    seen = {_pixels(item) for item in without.pairs}
    new = {name for name, item in cells.items.items() if _pixels(item) not in seen}
    return {part: cells.of(new & set(ids)) for part, ids in split.items()}


def _pixels(item: LabelledImage) -> bytes:
    return hashlib.sha256(str(item.rgb.shape).encode() + item.rgb.tobytes()).digest()
