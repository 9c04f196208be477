"""U2-Net (Qin et al. 2020, Pattern Recognition 106:107404): a U of small Us, supervised at every scale."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional


def _up(features: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(features, size=like.shape[2:], mode="bilinear", align_corners=False)


def _half(features: torch.Tensor) -> torch.Tensor:
    return functional.max_pool2d(features, 2)


class _ConvNormReLU(nn.Sequential):
    """The paper's one layer: 3 x 3 convolution, batch normalisation, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, padding=dilation, dilation=dilation),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        )


@dataclass(frozen=True)
class _Stage:
    """A residual U-block RSU-L(channels_in, middle, channels_out); `dilated` is RSU-4F, which never shrinks its map."""

    layers: int
    channels_in: int
    middle: int
    channels_out: int
    dilated: bool = False


class ResidualUBlock(nn.Module):
    """RSU-L: a U-Net of L layers, its input added to its output, so that one stage sees many scales (section 3.1)."""

    def __init__(self, stage: _Stage) -> None:
        super().__init__()
        # The last layer of the way down is dilated in place of one more halving; in RSU-4F every layer is.
        dilations = [2**i for i in range(stage.layers)] if stage.dilated else [1] * (stage.layers - 1) + [2]
        self._shrinks = not stage.dilated
        self.entry = _ConvNormReLU(stage.channels_in, stage.channels_out)
        widths = [stage.channels_out] + [stage.middle] * stage.layers
        self.down = nn.ModuleList(
            _ConvNormReLU(a, b, d) for (a, b), d in zip(itertools.pairwise(widths), dilations, strict=True)
        )
        outputs = [stage.channels_out] + [stage.middle] * (stage.layers - 2)
        self.up = nn.ModuleList(
            _ConvNormReLU(2 * stage.middle, width, d) for width, d in zip(outputs, dilations, strict=False)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, channels_in, H, W) -> (N, channels_out, H, W)."""
        entry = self.entry(features)
        skips, current = [], entry
        bottom = len(self.down) - 1
        for level, layer in enumerate(self.down):
            # No halving before the first layer, nor before the bottom one.
            current = layer(_half(current) if self._shrinks and 0 < level < bottom else current)
            skips.append(current)
        current = skips.pop()
        for layer in reversed(self.up):
            skip = skips.pop()
            current = layer(torch.cat([_up(current, skip) if self._shrinks else current, skip], dim=1))
        return torch.add(entry, current)


class U2Net(nn.Module):
    """Six encoder and five decoder stages of residual U-blocks, side outputs at six scales, and their fusion.

    In training it returns [fused, side 1, ..., side 6], all logits (N, classes, H, W), each to be compared with the
    target (deep supervision); in evaluation the fused logits alone. H and W are multiples of 32.
    """

    def __init__(self, encoder: Sequence[_Stage], decoder: Sequence[_Stage], classes: int) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(map(ResidualUBlock, encoder))
        self.decoder = nn.ModuleList(map(ResidualUBlock, decoder))
        widths = [*(stage.channels_out for stage in reversed(decoder)), encoder[-1].channels_out]
        self.side = nn.ModuleList(nn.Conv2d(width, classes, 3, padding=1) for width in widths)
        self.fuse = nn.Conv2d(len(widths) * classes, classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # Section 4.3: "initialized by Xavier"; there is no pretrained encoder.
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, images: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Logits of images (N, 3, H, W): one tensor in evaluation, a list of seven in training."""
        skips: list[torch.Tensor] = []
        for level, block in enumerate(self.encoder):
            skips.append(block(_half(skips[-1]) if level else images))
        maps = [skips.pop()]
        for block in self.decoder:
            skip = skips.pop()
            maps.append(block(torch.cat([_up(maps[-1], skip), skip], dim=1)))
        # Side outputs from the finest map to the coarsest, each enlarged to the size of the first, which is the
        # image's.
        sides = [side(features) for side, features in zip(self.side, reversed(maps), strict=True)]
        sides = [sides[0], *(_up(side, sides[0]) for side in sides[1:])]
        fused: torch.Tensor = self.fuse(torch.cat(sides, dim=1))
        return [fused, *sides] if self.training else fused


def full(*, classes: int) -> nn.Module:
    """The paper's U2-Net, 176 MB in its one-class form (table 1, upper row)."""
    return U2Net(
        [
            _Stage(7, 3, 32, 64),
            _Stage(6, 64, 32, 128),
            _Stage(5, 128, 64, 256),
            _Stage(4, 256, 128, 512),
            _Stage(4, 512, 256, 512, dilated=True),
            _Stage(4, 512, 256, 512, dilated=True),
        ],
        [
            _Stage(4, 1024, 256, 512, dilated=True),
            _Stage(4, 1024, 128, 256),
            _Stage(5, 512, 64, 128),
            _Stage(6, 256, 32, 64),
            _Stage(7, 128, 16, 64),
        ],
        classes,
    )


def small(*, classes: int) -> nn.Module:
    """The paper's U2-Net-dagger, 4.7 MB in its one-class form: 16 channels in blocks, 64 out (table 1, lower row)."""
    layers, dilated = (7, 6, 5, 4, 4, 4), (False, False, False, False, True, True)
    encoder = [
        _Stage(n, 64 if level else 3, 16, 64, d) for level, (n, d) in enumerate(zip(layers, dilated, strict=True))
    ]
    decoder = [_Stage(n, 128, 16, 64, d) for n, d in zip(layers[4::-1], dilated[4::-1], strict=True)]
    return U2Net(encoder, decoder, classes)
