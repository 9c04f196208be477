"""A look at pairs before a training: what it would do with each and with all of them, and what looks wrong.

The judgement is `core.evaluation.pairs`'; here nothing stops at a pair that cannot be used, and more is said of each.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from scipy import ndimage

from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.errors import CoreError, DataSetError, UsageError
from core.domain.settings import load_settings
from core.domain.types import CellImage, LabelMap
from core.evaluation.datasets import Sample, data_set
from core.evaluation.pairs import (
    REGIONS,
    DrawnPair,
    digest,
    divided,
    empty_part,
    joined,
    read_pair,
    shown_by_none,
    too_few_for_folds,
)
from core.image.drawn_masks import MAX_SPECK_SHARE
from core.image.imaging import load
from core.image.masks import cell_mask, region_mask
from core.quality.drawn import assess_drawn
from core.support.bounded import is_want_of_memory

# The shares that a training has unless its settings say otherwise.
VALIDATION: Final = 0.2
TEST: Final = 0.2
# From this share of the drawn area on repairs are more than slips: smoothed edges and JPEG repair a tenth to nine
# tenths, a coding that was guessed wrongly as much; 322 masks drawn pixel by pixel at most 0.012.
MOST_REPAIRED: Final = 0.2
# So many of a long list are named.
_NAMED: Final = 4
# What a flag of a drawn mask means for learning, where its own sentence speaks of measuring.
_FOR_LEARNING: Final[Mapping[str, str]] = MappingProxyType(
    {
        "no_nucleus": "The mask shows no nucleus, and a cell without one is what would be learnt: draw it as 255.",
        "no_cytoplasm": "The mask shows no cytoplasm, and a cell without any is what would be learnt: draw it as 128.",
        "no_nuclear_stain": "What is drawn takes hardly any nuclear stain: probably it is no leukocyte.",
        "several_drawn": (
            "Cells that touch are drawn as one, and would be learnt as one: part them by a line of background."
        ),
        "wide_nucleus": (
            "Much of what is drawn as nucleus takes no nuclear stain: it may be the whole cell. Draw the nucleus as 255"
            " and the rest of the cell as 128."
        ),
        "border": "The image's edge cuts the cell: what is visible is learnt from.",
        "at_border": "The cell touches the image's edge: what is visible is learnt from.",
        "small_cell": "The cell covers few pixels, so that its outline is coarse: a larger magnification is better.",
    }
)
# Flags after which somebody should look at the pair; others are told, and do not matter to a training.
_DOUBTFUL: Final = frozenset(
    {
        "swapped_mask", "misplaced_mask", "wide_nucleus", "several_drawn", "hollow_mask", "no_nuclear_stain",
        "no_nucleus", "no_cytoplasm", "small_cell",
    }
)  # fmt: skip


class PairUse(StrEnum):
    """What a training does with a pair."""

    REFUSED = "refused"
    LARGEST_CELL = "largest cell only"
    REPAIRED = "repaired"
    AS_IT_IS = "as it is"


class PairJudgement(StrEnum):
    """Who should do something about a pair, the worst first: its owner must, should look at it, or need not."""

    REFUSED = "refused"
    DOUBTFUL = "doubtful"
    GOOD = "good"


@dataclass(frozen=True)
class PairRemark:
    """One thing to know of a pair, in a sentence; after a `doubtful` one somebody should look at it."""

    code: str
    message: str
    doubtful: bool


@dataclass(frozen=True)
class CheckedPair:
    """What a training would do with a pair, in words `does`, and what looks wrong with it.

    `size` is the height and width of the image, None where it was not read; a mask that is read has the same.
    `repaired_share` counts repaired pixels beside those drawn as nucleus or cytoplasm, `regions` are those drawn.
    """

    pair: str
    use: PairUse
    does: str
    size: tuple[int, int] | None = None
    coding: str = ""
    repaired: int = 0
    repaired_share: float = 0.0
    regions: tuple[str, ...] = ()
    remarks: tuple[PairRemark, ...] = ()

    @property
    def judged(self) -> PairJudgement:
        """Whether it can be used, and somebody should look at it before."""
        if self.use is PairUse.REFUSED:
            return PairJudgement.REFUSED
        doubtful = self.use is PairUse.LARGEST_CELL or any(remark.doubtful for remark in self.remarks)
        return PairJudgement.DOUBTFUL if doubtful else PairJudgement.GOOD


class PairLookedAt(NamedTuple):
    """A checked pair with its picture and all that is drawn in it, where they could be read."""

    pair: CheckedPair
    image: CellImage | None = None
    drawn: LabelMap | None = None


@dataclass(frozen=True)
class CheckedSet:
    """All pairs of a data set, those to look at first, and what is to be said of them together.

    `faults` are why a training would not begin although every pair can be used; `hints` merely inform. `cell_types`
    count the pairs that can be used, `groups` the independent images among them, `parts` are how they would be divided.
    """

    name: str
    pairs: tuple[CheckedPair, ...]
    uses: dict[str, int]
    cell_types: dict[str, int]
    codings: dict[str, int]
    groups: int
    parts: dict[str, int]
    equal_images: tuple[tuple[str, ...], ...]
    faults: tuple[str, ...]
    hints: tuple[str, ...]

    @property
    def usable(self) -> bool:
        """Whether a training would refuse no pair, and not all of them either."""
        return not self.uses[PairUse.REFUSED] and not self.faults


# --- one pair ---------------------------------------------------------------------------------------------------------


def list_pairs(name: str) -> tuple[list[Sample], list[CheckedPair]]:
    """The pairs of a folder or known data set, and what of it has no partner.

    Raises
    ------
    UsageError
        If there is no such folder, it is laid out otherwise, or holds no drawn masks.
    """
    lone: list[Path] = []
    try:
        entry = data_set(name, lone)
        samples = entry.samples()
    except DataSetError as error:
        raise UsageError(str(error)) from error
    if samples and not any(sample.mask for sample in samples):
        msg = f"training needs drawn masks, but {entry.name} has none; known ones with masks are set1, set2 and bccd"
        raise UsageError(msg)
    root = load_settings().data / entry.folder
    return samples, [_without_partner(path, entry.name, root) for path in lone]


def _without_partner(path: Path, name: str, root: Path) -> CheckedPair:
    there, lacks = ("image", "masks") if path.parent.name == "images" else ("mask", "images")
    pair = "/".join((name, *path.parent.parent.relative_to(root).parts, path.stem))
    does = f"the {there} {path.name} stands alone: expected a file of the same name in {lacks}/ (its ending may differ)"
    return CheckedPair(pair, PairUse.REFUSED, does)


def look_at(sample: Sample) -> PairLookedAt:
    """Check one pair; whatever is wrong with it is said, never raised, but want of memory."""
    try:
        read = read_pair(sample)
        return PairLookedAt(_checked(sample, read), read.image, read.mask.labels)
    except CoreError as error:
        return _refused(sample, str(error).removeprefix(f"{sample.sample_id}: "))
    except Exception as error:  # the look does not end at the pair that meets a bug
        if is_want_of_memory(error):
            raise
        return _refused(sample, f"unexpected {type(error).__name__}: {error}; please report it")


def _checked(sample: Sample, read: DrawnPair) -> CheckedPair:
    use, does = _use(read)
    return CheckedPair(
        sample.sample_id,
        use,
        does,
        read.image.shape,
        read.mask.coding,
        read.mask.repaired,
        read.repaired_share,
        tuple(region for region in REGIONS if region_mask(read.labels, region).any()),
        tuple(_remarks(read)),
    )


def _refused(sample: Sample, why: str) -> PairLookedAt:
    """A pair that cannot be used, with its picture where that can be read."""
    image = None
    with suppress(CoreError):
        image = load(sample.image)
    return PairLookedAt(CheckedPair(sample.sample_id, PairUse.REFUSED, why, image.shape if image else None), image)


def _use(read: DrawnPair) -> tuple[PairUse, str]:
    """What a training does with a pair that it can read, and the same in words."""
    repaired = f"{read.mask.repaired:,} pixels repaired, {read.repaired_share:.2%} of what is drawn"
    left_out, cell = int(np.count_nonzero(read.others)), int(np.count_nonzero(cell_mask(read.labels)))
    if left_out >= MAX_SPECK_SHARE * cell:
        areas = np.bincount(ndimage.label(read.others)[0].ravel())[1:]
        number = 1 + max(1, int(np.count_nonzero(areas >= MAX_SPECK_SHARE * cell)))
        does = (
            f"only the largest of {number} cells or pieces is learnt from; the rest, {left_out / (left_out + cell):.0%}"
            " of what is drawn, is left out"
        )
        return PairUse.LARGEST_CELL, f"{does}; {repaired}" if read.mask.repaired else does
    return (PairUse.REPAIRED, f"used, {repaired}") if read.mask.repaired else (PairUse.AS_IT_IS, "used as it is")


def _remarks(read: DrawnPair) -> list[PairRemark]:
    remarks = [
        PairRemark(flag.code, _FOR_LEARNING.get(flag.code, flag.message), flag.code in _DOUBTFUL)
        for flag in assess_drawn(read.image, read.labels, specks=read.mask.specks)
    ]
    if read.repaired_share > MOST_REPAIRED:
        message = (
            f"So many pixels ({read.repaired_share:.0%} of what is drawn) held no level of the mask's coding and were"
            " given the nearest that the coding may be guessed wrongly: compare the outlines with the picture, or save"
            " the mask without smoothing as PNG."
        )
        remarks.append(PairRemark("many_repaired", message, doubtful=True))
    told = " ".join(flag.message for flag in read.image.flags)
    notes = [
        note for note in (*read.image.notes, *read.mask.notes) if note not in told and "--nucleus-mask" not in note
    ]
    return remarks + [PairRemark("note", f"{note[0].upper()}{note[1:]}.", doubtful=False) for note in notes]


# --- all of them ------------------------------------------------------------------------------------------------------


def conclude(name: str, samples: Sequence[Sample], pairs: Sequence[CheckedPair], folds: int) -> CheckedSet:
    """Put together what was found of each pair, among them those without a partner, which no sample has.

    Parameters
    ----------
    name
        What was looked at.
    samples
        All that have image and mask.
    pairs
        What was found of these, and of files without a partner.
    folds
        Into how many a comparison of architectures would deal them.
    """
    usable = {pair.pair: pair for pair in pairs if pair.use is not PairUse.REFUSED}
    learnt = joined([sample for sample in samples if sample.sample_id in usable])
    parts = divided(learnt, 0, VALIDATION, TEST)
    groups, equal = len({sample.group for sample in learnt}), _equal_images(learnt)
    return CheckedSet(
        name,
        tuple(sorted((_with_twins(pair, equal) for pair in pairs), key=_worst_first)),
        {use.value: sum(pair.use is use for pair in pairs) for use in PairUse},
        dict(Counter(sample.cell_type.value for sample in learnt).most_common()),
        dict(Counter(pair.coding for pair in usable.values()).most_common()),
        groups,
        {part: len(members) for part, members in parts.items()},
        equal,
        tuple(
            shown_by_none(region, len(usable))
            for region in REGIONS
            if usable and not any(region in pair.regions for pair in usable.values())
        ),
        tuple(filter(None, _hints(list(usable.values()), learnt, parts, folds))) if usable else (),
    )


def _worst_first(pair: CheckedPair) -> tuple[int, float, str]:
    return list(PairJudgement).index(pair.judged), -pair.repaired_share, pair.pair


def _equal_images(samples: Sequence[Sample]) -> tuple[tuple[str, ...], ...]:
    """The ids of samples whose image files are equal."""
    named: dict[bytes, list[str]] = {}
    for sample in samples:
        named.setdefault(digest(sample.image), []).append(sample.sample_id)
    return tuple(tuple(ids) for ids in named.values() if len(ids) > 1)


def _with_twins(pair: CheckedPair, equal: Sequence[Sequence[str]]) -> CheckedPair:
    others = [other for ids in equal if pair.pair in ids for other in ids if other != pair.pair]
    if not others:
        return pair
    message = f"The image is equal to that of {_listed(others)}: they are one group, never learnt from and tested on."
    return replace(pair, remarks=(*pair.remarks, PairRemark("equal_image", message, doubtful=False)))


def _listed(names: Sequence[str], between: str = ", ") -> str:
    return between.join(names[:_NAMED]) + f"{between}and {len(names) - _NAMED} more" * (len(names) > _NAMED)


def _hints(
    usable: Sequence[CheckedPair], learnt: Sequence[Sample], parts: Mapping[str, Sequence[Sample]], folds: int
) -> Iterator[str]:
    yield empty_part(parts)
    groups = Counter({sample.group: sample.cell_type for sample in learnt}.values())
    untested = sorted(groups.keys() - {sample.cell_type for sample in parts["test"]})
    if untested and parts["test"]:
        named = ", ".join(f"{CELL_TYPES[each].plural} ({groups[each]})" for each in untested)
        yield f"too few independent images for any to be tested on: {named}"
    yield too_few_for_folds(groups.total(), folds)
    for region in REGIONS:
        lacking = sum(region not in pair.regions for pair in usable)
        if 0 < lacking < len(usable):
            yield f"{lacking} of {len(usable)} masks show no {region}"
    codings = Counter(pair.coding for pair in usable).most_common()
    if len(codings) > 1:
        named = _listed([f"{coding} ({number})" for coding, number in codings], "; ")
        yield f"the masks are drawn in {len(codings)} ways: {named}"
    sizes = sorted({pair.size for pair in usable if pair.size}, key=lambda size: size[0] * size[1])
    if len(sizes) > 1:
        small, large = (f"{width} x {height}" for height, width in (sizes[0], sizes[-1]))
        yield (
            f"the images have {len(sizes)} sizes, from {small} to {large} pixels; every cell is cut out to fill its"
            " window, so that this does no harm"
        )


def in_words(checked: CheckedSet) -> list[str]:
    """What is to be said of all pairs together, a sentence a line."""
    counts = checked.uses
    said = {
        PairUse.AS_IT_IS: "used as they are",
        PairUse.REPAIRED: "used with pixels repaired",
        PairUse.LARGEST_CELL: "used for their largest cell only",
        PairUse.REFUSED: "refused",
    }
    lines = [
        f"{sum(counts.values())} pairs: "
        + ", ".join(f"{counts[use]} {words}" for use, words in said.items() if counts[use])
    ]
    if checked.groups:
        types = ", ".join(
            f"{number} {CELL_TYPES[CellType(name)].plural}" for name, number in checked.cell_types.items()
        )
        parts = ", ".join(f"{part} {number}" for part, number in checked.parts.items())
        lines += [f"cell types: {types}", f"{checked.groups} independent images, divided 60/20/20: {parts}"]
    lines += [f"one image under several names, kept in one part: {_listed(ids)}" for ids in checked.equal_images]
    return [*lines, *(f"warning: {fault}" for fault in checked.faults), *(f"note: {hint}" for hint in checked.hints)]
