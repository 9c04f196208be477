"""From the bytes of a file to upright 8-bit pixels in sRGB: which decoder, how deep, which way up, which colours.

Pillow decodes what it decodes right; what is deeper than 8 bits, stored in several planes or in a compression of its
own goes through tifffile and imagecodecs. Errors are those of the decoders; `core.image.imaging` puts them in words.
"""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from core.domain.errors import ImageError
from core.domain.types import FileScale
from core.image.colour_profile import in_srgb, tell_unconverted
from core.image.depth import Depths, Stated, settled, to_8_bits
from core.image.file_scale import of_dpi
from core.image.remarks import Remarks
from core.image.tiff import TiffPicture, is_tiff, too_large_slide

# Pillow knows some forty formats; the exotic ones are rarely needed and have been the way in for decompression bombs.
FORMATS: Final = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")

# Worth knowing before trusting colour; palettes and other lossless conversions are not.
_GREY_NOTES: Final = MappingProxyType(
    {
        "1": "black-and-white image without shades",
        "L": "grey image, no colour",
        "LA": "grey image, no colour",
        "La": "grey image, no colour",
    }
)
# Numbers that one picture may unpack to, over its pixels: its samples, and a few planes stored in one piece.
_MOST_SAMPLES: Final = 16

CheckSize = Callable[[tuple[int, int]], None]


@dataclass(frozen=True, eq=False)
class DeepPixels:
    """Pixels that Pillow does not read, uint16 (H, W) or (H, W, samples), and what is to be known of them.

    `container` is the bits of a stored number, `stated` those that the file says are used; `kind` is the same for files
    of one camera. `alpha` is `premultiplied` or `straight` where the last sample is transparency.
    """

    values: NDArray[np.uint16]
    container: int
    kind: str
    stated: Stated | None
    alpha: str | None = None
    inverted: bool = False
    is_cmyk: bool = False

    @property
    def samples(self) -> int:
        """How many numbers a pixel has."""
        return 1 if self.values.ndim == 2 else int(self.values.shape[2])

    @property
    def colours(self) -> NDArray[np.uint16]:
        """The values without transparency and whatever else follows the colours, (H, W) or (H, W, 3 or 4)."""
        if self.samples <= 2:
            return self.values if self.values.ndim == 2 else self.values[..., 0]
        return self.values if self.is_cmyk else self.values[..., :3]

    @property
    def transparency(self) -> NDArray[np.uint16] | None:
        """The last sample, (H, W), where it is transparency."""
        return self.values[..., -1] if self.alpha is not None and self.samples in {2, 4} and not self.is_cmyk else None


@dataclass(frozen=True, eq=False)
class Opened:
    """A file before its depth, its direction and its colours are settled: an image of Pillow's, or deep pixels."""

    remarks: Remarks
    orientation: int
    profile: bytes | None
    scale: FileScale | None
    image: Image.Image | None = None
    deep: DeepPixels | None = None


def opened(data: bytes, name: str, check_size: CheckSize, max_pixels: int, *, only_deep: bool = False) -> Opened:
    """Read a file.

    Parameters
    ----------
    data
        The whole file.
    name
        What it is called in errors.
    check_size
        Called with width and height before a pixel is unpacked; raises ImageError for what is too large or too small.
    max_pixels
        As many numbers as a picture of so many pixels has are unpacked at most.
    only_deep
        Leave pixels that are not deep in the file.
    """
    remarks = Remarks()
    if not is_tiff(data):
        return _opened_by_pillow(data, check_size, remarks, only_deep=only_deep)
    with TiffPicture(data, name, remarks, _MOST_SAMPLES * max_pixels) as picture:
        try:
            check_size(picture.size)
        except ImageError as error:
            if picture.is_whole_slide:
                raise too_large_slide(name) from error
            raise
        told = remarks, picture.orientation, picture.profile, picture.scale
        if picture.frame is not None:
            return Opened(*told, None if only_deep else _tiff_frame(data, picture.frame))
        deep = DeepPixels(
            picture.values(), picture.container, picture.kind, picture.stated_depth, picture.alpha, picture.inverted,
            picture.is_cmyk,
        )  # fmt: skip
    if (deep.samples == 2 and deep.alpha is None) or deep.samples > 4:
        msg = (
            f"{name}: expected one grey channel, or three for red, green and blue, but the image has {deep.samples}"
            " channels; save the picture as RGB"
        )
        raise ImageError(msg)
    return Opened(*told, deep=deep)


def srgb_pixels(file: Opened, name: str, depths: Depths, *, as_codes: bool = False) -> NDArray[np.uint8]:
    """Upright pixels, uint8 (H, W, 3) in sRGB; as codes of a mask, whose numbers no profile changes."""
    image = file.image
    if file.deep is not None:
        image = _shallow(file.deep, name, depths, file.remarks)
        image.getexif()[ExifTags.Base.Orientation] = file.orientation
    assert image is not None, "a file opened for its depth alone has no pixels"
    ImageOps.exif_transpose(image, in_place=True)
    if file.orientation in range(2, 9):
        file.remarks.add(f"turned upright (orientation {file.orientation} in the file)", "turned_upright")
    return _rgb(image, None if as_codes else file.profile, file.remarks)


# --- opening ----------------------------------------------------------------------------------------------------------


def _opened_by_pillow(data: bytes, check_size: CheckSize, remarks: Remarks, *, only_deep: bool) -> Opened:
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    check_size(image.size)
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        remarks.add(f"frame 1 of {frames} used", "one_plane")
    orientation = int(image.getexif().get(ExifTags.Base.Orientation) or 1)
    tell_unconverted(image, remarks)
    told = remarks, orientation, image.info.get("icc_profile"), of_dpi(image.info.get("dpi"), remarks)
    if is_deep_png(data):
        return Opened(*told, deep=_deep_png(data))
    if not only_deep:
        image.load()
    return Opened(*told, image)


def _tiff_frame(data: bytes, frame: int) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=("TIFF",))
    if frame:
        image.seek(frame)
    image.load()  # which also turns it upright
    return image


def is_deep_png(data: bytes) -> bool:
    """Whether the bytes are those of a PNG with 16 bits a value."""
    return data.startswith(b"\x89PNG") and data[24:25] == b"\x10"


def _deep_png(data: bytes) -> DeepPixels:
    # Here, because most images are none.
    import imagecodecs

    values = imagecodecs.png_decode(data)
    colour_type = data[25]
    stated = _significant_bits(data, colours=3 if colour_type & 2 else 1)
    return DeepPixels(values, 16, f"PNG|{colour_type & 2}", stated, "straight" if colour_type & 4 else None)


def _significant_bits(data: bytes, colours: int) -> Stated | None:
    """What a PNG's chunk sBIT says, which comes before the pixels."""
    at = 8
    while at + 8 <= len(data):
        length, chunk = struct.unpack(">I4s", data[at : at + 8])
        if chunk == b"IDAT":
            return None
        if chunk == b"sBIT":
            bits = max(data[at + 8 : at + 8 + colours], default=0)
            return Stated(bits, "sBIT") if 8 <= bits <= 16 else None
        at += 12 + length
    return None


# --- depth and colours ------------------------------------------------------------------------------------------------


def _shallow(deep: DeepPixels, name: str, depths: Depths, remarks: Remarks) -> Image.Image:
    """The upper 8 of the bits that are used, as an image of the mode that the samples are."""
    bits, how = 8, ""
    if deep.container > 8:
        bits, how = settled(deep.colours, deep.kind, deep.stated, depths, name)
    eight, beyond = to_8_bits(deep.colours, bits)
    if bits > 8 or beyond:
        clipped = f"; {beyond:,} values beyond them set to white" if beyond else ""
        remarks.add(f"{bits} bits per value, {how}, the upper 8 kept{clipped}", "reduced_depth")
    if deep.inverted:
        eight = 255 - eight
    channels = eight[..., None] if eight.ndim == 2 else eight
    bands = [Image.fromarray(np.ascontiguousarray(channels[..., index])) for index in range(channels.shape[2])]
    transparency = deep.transparency
    if transparency is not None:
        # Programs write full opacity as the white of the container or of the depth.
        full = 2**bits - 1 if int(transparency.max(initial=0)) < 2**bits else 2**deep.container - 1
        bands.append(Image.fromarray((transparency.astype(np.uint32) * 255 // full).astype(np.uint8)))
        grey, colour = ("La", "RGBa") if deep.alpha == "premultiplied" else ("LA", "RGBA")
        return Image.merge(grey if len(bands) == 2 else colour, bands)
    return Image.merge({1: "L", 3: "RGB", 4: "CMYK"}[len(bands)], bands)


def _rgb(image: Image.Image, profile: bytes | None, remarks: Remarks) -> NDArray[np.uint8]:
    """8-bit pixels of any mode as uint8 (H, W, 3) in sRGB, alpha laid on white."""
    is_grey = image.mode in _GREY_NOTES
    if is_grey:
        remarks.add(_GREY_NOTES[image.mode], "grey")
    alpha = None
    if image.has_transparency_data:
        with_alpha = image.convert("RGBA")
        alpha = with_alpha.getchannel("A")
        if np.asarray(alpha).min() < 255:
            remarks.add("transparent parts laid on white", "transparent")
        else:
            alpha = None
        image = with_alpha.convert("RGB")
    if is_grey:
        image = image.convert("L")
    elif image.mode not in {"RGB", "CMYK"}:
        image = image.convert("RGB")
    image = in_srgb(image, profile, remarks)
    if image.mode == "CMYK":
        remarks.add("converted from CMYK", "profile_ignored")
    image = image.convert("RGB")
    if alpha is not None:
        image.putalpha(alpha)
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    rgb = np.array(image)
    if not is_grey and (rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all():
        remarks.add("grey image, saved as colour", "grey")
    return rgb
