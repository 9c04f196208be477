"""Image-mask pairs as torch data sets, and splits of them without leaks."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from core.domain.compartments import CHANNELS
from core.domain.errors import CoreError, DataSetError, UsageError
from core.evaluation.datasets import Sample, data_set, mask_coding_of
from core.evaluation.pairs import REGIONS, digest, divided, joined, read_pair, shown_by_none
from core.image.masks import cell_mask, region_mask
from core.image.window import Window
from core.quality.drawn import misfits
from core.segmentation.preprocessing import look_up, normalise, soften, white_balance
from core.support import files
from training.architectures.weights import Normalisation, normalisation
from training.augmentation import Augmentation, LabelledImage, seen_in
from training.config import TrainingConfig

logger = logging.getLogger(__name__)

# In the folder of a run: what the images, masks and groups were that it began with.
DATA_FILE: Final = "data.sha256"
# So many of a long list are named.
_NAMED: Final = 10


def masked_samples(names: tuple[str, ...]) -> list[Sample]:
    """All samples of the named data sets (or folders), equal image files in one group.

    Raises
    ------
    DataSetError
        If a data set has no masks, or two samples have one id.
    """
    samples = [sample for name in names for sample in data_set(name).samples()]
    if twice := [
        sample_id for sample_id, count in Counter(sample.sample_id for sample in samples).items() if count > 1
    ]:
        msg = (
            f"{len(twice)} images come twice, first {twice[0]}; name each data set once, and folders by names of"
            " their own"
        )
        raise DataSetError(msg)
    if without := [sample.sample_id for sample in samples if sample.mask is None]:
        msg = f"training needs drawn masks, but {len(without)} samples have none, first {without[0]}"
        raise DataSetError(msg)
    return joined(samples)


def hold_to_data(folder: Path, samples: Sequence[Sample]) -> None:
    """Record in a run's folder what it works on; raises UsageError where it began with other images, masks or groups.

    A run that continued with others would test on what it has learnt from, and compare folds of different images.
    """
    content = hashlib.sha256()
    for sample in samples:
        content.update(f"{sample.sample_id} {sample.group} {sample.cell_type}\n".encode())
        content.update(digest(sample.image) + (digest(sample.mask) if sample.mask else b""))
        if sample.mask and (coding := mask_coding_of(sample.mask)):
            content.update(digest(coding))
    path = folder / DATA_FILE
    if path.exists() and path.read_text(encoding="utf-8").strip() != content.hexdigest():
        msg = (
            f"{folder} holds a run that began with other images, masks or labels; put them back to go on, or begin a"
            " new run elsewhere"
        )
        raise UsageError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(path, f"{content.hexdigest()}\n")


def load_labelled(sample: Sample) -> tuple[LabelledImage, int]:
    """Read a pair, as `core.evaluation.pairs.read_pair`; also the number of repaired mask pixels."""
    pair = read_pair(sample)
    return LabelledImage(sample.sample_id, pair.image.rgb, pair.labels), pair.mask.repaired


def read_pairs(samples: Sequence[Sample]) -> Iterator[tuple[LabelledImage, int]]:
    """Read all pairs, as `load_labelled` does; problems are reported at the end, of all pairs at once.

    Repaired masks are logged, the most repaired first: many pixels of one may be a coding of its own. So are masks
    that do not fit their image as drawn (`core.quality.drawn`).

    Raises
    ------
    DataSetError
        After the last good pair, if some cannot be used, or no mask shows a nucleus, or no cytoplasm.
    """
    faults: list[str] = []
    repaired: dict[str, tuple[int, float]] = {}
    showing: Counter[str] = Counter()
    for sample in samples:
        try:
            pair = read_pair(sample)
        except CoreError as error:
            faults.append(str(error))
            continue
        for flag in misfits(pair.image.rgb, pair.labels):
            logger.warning("%s: %s", sample.sample_id, flag.message)
        showing.update(region for region in REGIONS if region_mask(pair.labels, region).any())
        if pair.mask.repaired:
            repaired[sample.sample_id] = pair.mask.repaired, pair.repaired_share
        yield LabelledImage(sample.sample_id, pair.image.rgb, pair.labels), pair.mask.repaired
    if faults:
        rest = f"\n  and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        msg = f"{len(faults)} of {len(samples)} pairs cannot be used:\n  " + "\n  ".join(faults[:_NAMED]) + rest
        raise DataSetError(msg)
    for region in REGIONS:
        if not showing[region]:
            raise DataSetError(shown_by_none(region, len(samples)))
        if showing[region] < len(samples):
            logger.info("%d of %d masks show no %s", len(samples) - showing[region], len(samples), region)
    if repaired:
        worst = sorted(repaired, key=lambda sample_id: -repaired[sample_id][1])[:_NAMED]
        logger.info(
            "in %d masks %d pixels held no grey level of the coding and were given the nearest: %s",
            len(repaired),
            sum(strays for strays, _ in repaired.values()),
            ", ".join(f"{sample_id} {repaired[sample_id][0]} ({repaired[sample_id][1]:.1%})" for sample_id in worst),
        )


def split_samples(
    samples: list[Sample], config: TrainingConfig, known: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> dict[str, list[Sample]]:
    """The samples divided by the config's shares, as `core.evaluation.pairs.split_samples`."""
    return divided(samples, config.seed, config.validation, config.test, known)


def _balanced(item: LabelledImage) -> LabelledImage:
    return replace(item, rgb=look_up(item.rgb, white_balance(item.rgb)))


def to_channels(labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A label map (H, W) as binary channels (len(CHANNELS), H, W): mask level k becomes channel k."""
    return np.stack([labels == channel for channel in CHANNELS]).astype(np.float32)


class SegDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Pairs held in memory, as items (3, S, S) float32 and (len(CHANNELS), S, S) float32.

    With augmentation an item is a new draw in every epoch, deterministic by (seed, epoch, index); without, the cell at
    its canonical scale. An index beyond the number of pairs is another draw of a pair, the remainder's. `scale` is the
    normalisation of the input, by default that of the config's encoder. `pseudo` are pairs with pseudo-labels: when
    augmenting, one of them replaces a drawn one with the config's `pseudo_probability`.
    """

    def __init__(
        self,
        items: Sequence[LabelledImage],
        config: TrainingConfig,
        *,
        augment: bool,
        scale: Normalisation | None = None,
        pseudo: Sequence[LabelledImage] = (),
    ) -> None:
        self.scale = scale or normalisation(config.encoder)
        self._items, self._pseudo = (
            [_balanced(item) if config.white_balance else item for item in some] for some in (items, pseudo)
        )
        self._config = config
        self._augmentation = Augmentation(config) if augment else None
        self.epoch = 0

    @classmethod
    def from_samples(
        cls, samples: Sequence[Sample], config: TrainingConfig, *, augment: bool, scale: Normalisation | None = None
    ) -> Self:
        """Read pairs from disk, as `load_labelled` does."""
        return cls([load_labelled(sample)[0] for sample in samples], config, augment=augment, scale=scale)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        item = self._items[index % len(self._items)]
        labels: NDArray[np.uint8]
        if self._augmentation is None:
            window = Window.around(cell_mask(item.labels), self._config.cell_fill)
            rgb, labels = seen_in(item, window, self._config.input_size)
        else:
            rng = np.random.default_rng((self._config.seed, self.epoch, index))
            if self._pseudo and rng.random() < self._config.pseudo_probability:
                item = self._pseudo[int(rng.integers(len(self._pseudo)))]
            rgb, labels = self._augmentation(item, self._items, rng, epoch=self.epoch)
        rgb = soften(rgb, self._config.detail)
        return torch.from_numpy(normalise(rgb, *self.scale)), torch.from_numpy(to_channels(labels))
