"""U-Net (Ronneberger et al. 2015) that ends at half of the input's side: a bit over a third of UNet++'s multiply-adds.

Windows are reduced to half of the network's grid before they are shown (`detail` of the config), so that the last
decoder block would see nothing that the one before has not: logits are enlarged instead.
"""

from typing import Final

import torch
from segmentation_models_pytorch.base import SegmentationHead
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from segmentation_models_pytorch.encoders import get_encoder

# Channels of the decoder at a 16th, an 8th, a quarter and half of the input's side.
CHANNELS_OF_DECODER: Final = (128, 64, 48, 32)


class SlimUnet(torch.nn.Module):
    """(N, 3, H, W) -> logits (N, classes, H, W); H and W multiples of 32."""

    def __init__(self, encoder_name: str, encoder_weights: str | None, classes: int) -> None:
        super().__init__()
        self.encoder = get_encoder(encoder_name, weights=encoder_weights)
        self.decoder = UnetDecoder(self.encoder.out_channels, CHANNELS_OF_DECODER, n_blocks=len(CHANNELS_OF_DECODER))
        self.segmentation_head = SegmentationHead(CHANNELS_OF_DECODER[-1], classes, upsampling=2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits, on the grid of the images."""
        logits: torch.Tensor = self.segmentation_head(self.decoder(self.encoder(images)))
        return logits
