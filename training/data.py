"""Image-mask pairs as torch data sets, and honest splits of them."""

from collections import Counter
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from core.compartments import CHANNELS
from core.datasets import Sample, data_set
from core.errors import DataSetError
from core.imaging import load, load_grey
from core.masks import cell_mask, decode_grey, with_environment
from core.preprocessing import Window, normalise, resample, resample_labels
from training.augmentation import Augmentation, LabelledImage
from training.config import TrainingConfig

# tf_efficientnet_lite encoders were trained on (x - 127) / 128.
MEAN = (127 / 255,) * 3
STD = (128 / 255,) * 3


def masked_samples(names: tuple[str, ...]) -> list[Sample]:
    """All samples of the named data sets (or folders); raises DataSetError for one without masks, and for two samples of one id."""
    samples = [sample for name in names for sample in data_set(name).samples()]
    if twice := [sample_id for sample_id, count in Counter(sample.sample_id for sample in samples).items() if count > 1]:
        msg = f"{len(twice)} images come twice, first {twice[0]}; name each data set once, and folders by names of their own"
        raise DataSetError(msg)
    if without := [sample.sample_id for sample in samples if sample.mask is None]:
        msg = f"training needs drawn masks, but {len(without)} samples have none, first {without[0]}"
        raise DataSetError(msg)
    return samples


def load_labelled(sample: Sample) -> tuple[LabelledImage, int]:
    """Read a pair and ring the cell with its environment; also the number of repaired mask pixels.

    Raises DataSetError where image and mask differ in size.
    """
    if sample.mask is None:
        msg = f"{sample.sample_id} has no drawn mask"
        raise DataSetError(msg)
    image = load(sample.image)
    decoded = decode_grey(load_grey(sample.mask), sample.sample_id)
    if image.shape != decoded.labels.shape:
        msg = f"{sample.sample_id}: image and mask must agree in size, but are {image.shape} and {decoded.labels.shape}"
        raise DataSetError(msg)
    return LabelledImage(sample.sample_id, image.rgb, with_environment(decoded.labels)), decoded.repaired


def split_samples(samples: list[Sample], config: TrainingConfig) -> dict[str, list[Sample]]:
    """Train, validation and test: groups stay whole, each stratum (data set and cell type) is divided in proportion."""
    rng = np.random.default_rng(config.seed)
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.group, []).append(sample)
    strata: dict[str, list[str]] = {}
    for group, members in groups.items():
        strata.setdefault(f"{members[0].sample_id.split('/')[0]}:{members[0].cell_type}", []).append(group)
    parts: dict[str, list[Sample]] = {"train": [], "validation": [], "test": []}
    for stratum in sorted(strata):
        names = [strata[stratum][i] for i in rng.permutation(len(strata[stratum]))]
        test = round(config.test * len(names))
        validation = round(config.validation * len(names))
        for part, chosen in (
            ("test", names[:test]),
            ("validation", names[test : test + validation]),
            ("train", names[test + validation :]),
        ):
            parts[part].extend(sample for name in chosen for sample in groups[name])
    return parts


def to_channels(labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A label map (H, W) as binary channels (len(CHANNELS), H, W): mask level k becomes channel k."""
    return np.stack([labels == channel for channel in CHANNELS]).astype(np.float32)


class SegDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Pairs held in memory, as items (3, S, S) float32 and (len(CHANNELS), S, S) float32.

    With augmentation an item is a new draw in every epoch, deterministic by (seed, epoch, index); without, the cell at its
    canonical scale. An index beyond the number of pairs is another draw of a pair, the remainder's. `repaired` counts the mask pixels
    that held no value of their coding. `pseudo` are pairs whose masks nobody drew: one of them comes in place of a drawn one with the
    config's `pseudo_probability`, when augmenting.
    """

    def __init__(
        self,
        items: list[LabelledImage],
        config: TrainingConfig,
        *,
        augment: bool,
        repaired: int = 0,
        pseudo: Sequence[LabelledImage] = (),
    ) -> None:
        self.repaired = repaired
        self._pseudo = pseudo
        self._items = items
        self._config = config
        self._augmentation = Augmentation(config) if augment else None
        self.epoch = 0

    @classmethod
    def from_samples(cls, samples: Sequence[Sample], config: TrainingConfig, *, augment: bool, pseudo: Sequence[Sample] = ()) -> Self:
        """Read pairs from disk. Raises DataSetError for a pair that does not fit, or whose mask shows no cell."""
        pairs, unchecked = ([load_labelled(sample) for sample in some] for some in (samples, pseudo))
        if empty := [item.sample_id for item, _ in pairs + unchecked if not cell_mask(item.labels).any()]:
            msg = f"a mask must show a cell, but {len(empty)} show none: {empty[:10]}; leave these pairs out"
            raise DataSetError(msg)
        repaired = sum(repaired for _, repaired in pairs)
        return cls([item for item, _ in pairs], config, augment=augment, repaired=repaired, pseudo=[item for item, _ in unchecked])

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        item = self._items[index % len(self._items)]
        if self._augmentation is None:
            window = Window.around(cell_mask(item.labels), self._config.cell_fill)
            rgb = resample(item.rgb, window, self._config.input_size)
            labels = resample_labels(item.labels, window, self._config.input_size)
        else:
            rng = np.random.default_rng((self._config.seed, self.epoch, index))
            if self._pseudo and rng.random() < self._config.pseudo_probability:
                item = self._pseudo[int(rng.integers(len(self._pseudo)))]
            rgb, labels = self._augmentation(item, self._items, rng, epoch=self.epoch)
        return torch.from_numpy(normalise(rgb, MEAN, STD)), torch.from_numpy(to_channels(labels))
