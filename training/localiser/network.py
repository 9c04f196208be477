"""The localiser's network: the encoder's first stages, a way back up to a quarter of the resolution, one small head."""

import math
from typing import Any, Final

import timm
import torch
from torch import nn

from core.segmentation.localiser_card import SIDES, STRIDE
from training.architectures.weights import PACKAGED_WEIGHTS, load_packaged, require_encoder
from training.localiser.boxes import KINDS

ARCHITECTURE: Final = "localiser"
# The encoder's stages down to a sixteenth of the resolution.
_STAGES: Final = 5
# A peak is rare: at first the network says so everywhere.
_RARE: Final = 0.02
# About the half of a typical object's side, in pixels.
_TYPICAL: Final = 20.0


class _Separable(nn.Sequential):
    """A convolution per channel, then one across channels: as good as a full one at a tenth of its cost."""

    def __init__(self, width: int, out: int, size: int = 5, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(width, width, size, stride, size // 2, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.Conv2d(width, out, 1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
        )


def _lateral(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))


class LocaliserNetwork(nn.Module):
    """Logits of the kinds and log distances (N, K + 4, H/4, W/4) of images (N, 3, H, W), sides multiples of 32."""

    def __init__(self, encoder: str, width: int, *, pretrained: bool = True, frozen: int = 0) -> None:
        super().__init__()
        require_encoder(encoder)
        encoder_stages: Any = timm.create_model(encoder.removeprefix("tu-"), features_only=True, out_indices=(1, 2, 3))
        if pretrained:
            load_packaged(encoder_stages, PACKAGED_WEIGHTS[encoder]())
        # timm keeps the deeper stages and computes them, though nobody asks for them.
        del encoder_stages.blocks[_STAGES:]
        self.encoder = encoder_stages
        quarter, eighth, sixteenth = encoder_stages.feature_info.channels()
        self.from_quarter, self.from_eighth = _lateral(quarter, width), _lateral(eighth, width)
        self.from_sixteenth = _lateral(sixteenth, 2 * width)
        self.context = nn.Sequential(
            _Separable(2 * width, 2 * width, stride=2),
            _Separable(2 * width, 2 * width),
            _Separable(2 * width, 2 * width),
        )
        self.to_eighth, self.to_quarter = _Separable(2 * width, width), _Separable(width, width)
        self.head = nn.Sequential(_Separable(width, width), _Separable(width, width))
        self.kinds, self.distances = nn.Conv2d(width, len(KINDS), 1), nn.Conv2d(width, 4, 1)
        nn.init.normal_(self.kinds.weight, std=0.01)
        nn.init.constant_(self.kinds.bias, math.log(_RARE / (1 - _RARE)))  # type: ignore[arg-type]
        nn.init.constant_(self.distances.bias, math.log(_TYPICAL))  # type: ignore[arg-type]
        self._frozen = [encoder_stages.conv_stem, encoder_stages.bn1, *encoder_stages.blocks[:frozen]] if frozen else []
        for part in self._frozen:
            part.requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> "LocaliserNetwork":
        """As torch's; what is frozen keeps its statistics, too."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The maps."""
        quarter, eighth, sixteenth = self.encoder(images)
        deep = torch.relu(self.from_sixteenth(sixteenth))
        deep = deep + _doubled(self.context(deep))
        middle = self.to_eighth(_doubled(deep)) + self.from_eighth(eighth)
        fine = self.to_quarter(_doubled(torch.relu(middle))) + self.from_quarter(quarter)
        shared = self.head(torch.relu(fine))
        return torch.cat([self.kinds(shared), self.distances(shared)], dim=1)


def _doubled(features: torch.Tensor) -> torch.Tensor:
    return nn.functional.interpolate(features, scale_factor=2.0, mode="nearest")


assert SIDES % (8 * STRIDE) == 0  # the deepest features have a whole number of points
