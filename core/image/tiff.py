"""Which of the pictures in a TIFF file is measured, and what its tags say of it: pages, planes, depth, sign, scale.

A TIFF holds pages, and metadata of OME, ImageJ and others says what they are to each other. Rules, in this order:

- Previews (NewSubfileType 1) and masks are left aside where there is anything else. Of the rest the largest picture is
  taken, the first of equals; of a pyramid its full resolution.
- Three channels of one sample, or three grey pages of which nothing is known, are the red, green and blue of one
  picture (`core.image.channels` says which is which). Two channels, or more than three, are refused.
- Of focal planes the one in the middle is taken, of whatever else is counted (times, pages, places) the first.

What Pillow reads right is left to it, so that its pixels stay what they were; the rest is read by tifffile.
"""

import io
import struct
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final
from xml.etree import ElementTree as ET

import numpy as np
import tifffile
from numpy.typing import NDArray

from core.domain.errors import ImageError
from core.domain.types import FileScale
from core.image import file_scale
from core.image.channels import BY_NAME, Colour, UnknownChannelsError, colour_order, telling
from core.image.depth import Stated
from core.image.listing import FOREIGN, WHOLE_SLIDE, unreadable
from core.image.remarks import Remarks

# Compressions and photometric interpretations that Pillow reads.
_PILLOW_COMPRESSIONS: Final = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946})
_PILLOW_PHOTOMETRICS: Final = frozenset({0, 1, 2, 3, 5, 6})
_PILLOW_BITS: Final = frozenset({1, 2, 4, 8})
_MIN_IS_WHITE, _GREY, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8
_LAB_KINDS: Final = frozenset({8, 9, 10})
_OF_SENSORS: Final = frozenset({32803, 34892})
_UNSIGNED, _SIGNED, _FLOAT, _COMPLEX = 1, 2, 3, (5, 6)
_MAX_SAMPLE_VALUE, _MAKE, _MODEL, _ORIENTATION, _PROFILE = 281, 271, 272, 274, 34675
_PREMULTIPLIED, _STRAIGHT = 1, 2
_LARGEST_SAMPLE: Final = 65_535
_AXES: Final = {"Z": "focal plane", "T": "time point", "C": "channel"}


class TiffPicture:
    """The one picture of a TIFF file that is measured; open as long as its pixels are wanted.

    Parameters
    ----------
    data
        The whole file.
    name
        What it is called in errors.
    remarks
        Gets what was chosen and left aside.
    most_values
        How many numbers may be unpacked at once.

    Raises
    ------
    ImageError
        If its pictures are no picture of a stained cell, such as two channels or a camera's raw values.
    """

    def __init__(self, data: bytes, name: str, remarks: Remarks, most_values: int) -> None:
        self._data = data
        self._name = name
        self._remarks = remarks
        self._most_values = most_values
        # Other files that OME metadata may name are never opened.
        self._file = tifffile.TiffFile(io.BytesIO(data), _multifile=False)
        try:
            self._every = self._every_series()
            self._series = self._chosen()
            self._page: Any = self._series.keyframe
            self._check_kind()
            self._ome = _ome_pixels(self._file, self._every.index(self._series))
            self._axes = _Axes(self._series, *self._channels())
        except UnknownChannelsError as error:
            self._file.close()
            msg = (
                f"{name}: expected a colour picture, but its three channels are {error}; save a picture in natural"
                " colour (brightfield) as RGB"
            )
            raise ImageError(msg) from error
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "TiffPicture":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    # --- what its tags say ---

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as stored."""
        return int(self._page.imagewidth), int(self._page.imagelength)

    @property
    def is_whole_slide(self) -> bool:
        """Whether a slide scanner made the file."""
        page = self._file.pages.first
        return bool(page.is_svs or page.is_ndpi or page.is_scn or page.is_bif or self._file.is_philips)

    @property
    def frame(self) -> int | None:
        """The frame as Pillow counts them, where Pillow reads the picture right; None where `values` are wanted."""
        page = self._page
        plain = (
            page.compression in _PILLOW_COMPRESSIONS
            and page.photometric in _PILLOW_PHOTOMETRICS
            and page.bitspersample in _PILLOW_BITS
            and page.sampleformat == _UNSIGNED
            and self._has_usual_samples
        )
        return self._axes.single_page(self._series) if plain else None

    @property
    def _has_usual_samples(self) -> bool:
        """Whether a pixel has as many values as its kind of colour has, with or without transparency."""
        page = self._page
        more = page.samplesperpixel - {_RGB: 3, _CMYK: 4, _YCBCR: 3}.get(page.photometric, 1)
        return bool(more == 0 or (more == 1 and (page.photometric == _RGB or self.alpha is not None)))

    @property
    def orientation(self) -> int:
        """The EXIF orientation, 1 to 8."""
        return int(self._tag(_ORIENTATION) or 1)

    @property
    def profile(self) -> bytes | None:
        """The colour profile."""
        value = self._tag(_PROFILE)
        return bytes(value) if isinstance(value, bytes) else None

    @property
    def stated_depth(self) -> Stated | None:
        """The bits of the container that are used, where the file says."""
        if 8 < self._page.bitspersample < 16:
            return Stated(self._page.bitspersample, "BitsPerSample")
        told = self._ome.get("SignificantBits", "") if self._ome is not None else ""
        if told.isdecimal() and 8 <= int(told) <= 16:
            return Stated(int(told), "OME SignificantBits")
        largest = np.max(np.atleast_1d(self._tag(_MAX_SAMPLE_VALUE) or 0))
        # The tag may also be the brightest value that occurs, which says nothing of the camera.
        bits = int(largest).bit_length()
        return Stated(bits, "MaxSampleValue") if 8 <= bits <= 16 and largest == 2**bits - 1 else None

    @property
    def kind(self) -> str:
        """What files of one camera share."""
        page = self._page
        made = [str(self._tag(code) or "").strip() for code in (_MAKE, _MODEL)]
        return "|".join(["TIFF", str(int(page.compression)), str(int(page.photometric)), self._axes.colours, *made])

    @property
    def scale(self) -> FileScale | None:
        """The scale that the file states."""
        remarks, metadata = self._remarks, self._file.imagej_metadata or {}
        resolution = self._resolution()
        if self._ome is not None and "PhysicalSizeX" in self._ome.attrib:
            return _ome_scale(self._ome, remarks)
        if isinstance(metadata.get("unit"), str) and resolution is not None:
            in_um = file_scale.unit_um(metadata["unit"])
            x, y = resolution
            return None if in_um is None else file_scale.of_sides(in_um / x, in_um / y, "ImageJ metadata", remarks)
        described = file_scale.of_description(str(self._file.pages.first.description), remarks)
        if described is not None or resolution is None:
            return described
        return file_scale.of_tags(*resolution, int(self._tag("ResolutionUnit") or 2), remarks)

    def _resolution(self) -> tuple[float, float] | None:
        x, y = (_ratio(self._tag(name)) for name in ("XResolution", "YResolution"))
        return None if x is None and y is None else (x or y or 0.0, y or x or 0.0)

    def _tag(self, code: int | str) -> Any:  # noqa: ANN401 (tags hold anything)
        tag = self._page.tags.get(code)
        return None if tag is None else tag.value

    # --- its pixels ---

    def values(self) -> NDArray[np.uint16]:
        """Whole numbers of at least 0, (H, W) or (H, W, samples), brighter for more light, or CMYK.

        Grey of which 0 is white is still to be inverted (`inverted`), for which its depth must be known.
        """
        self._check_numbers()
        values = self._axes.read(self._series, self._check_stored)
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > _LARGEST_SAMPLE:
            msg = (
                f"{self._name}: expected pixel values from 0 to 65,535, but they run from {low:,} to {high:,}; save it"
                " as an 8-bit PNG"
            )
            raise ImageError(msg)
        if values.dtype.kind == "i":
            self._remarks.add("signed whole numbers, none below 0")
        return values.astype(np.uint16)

    @property
    def container(self) -> int:
        """The bits of a stored number: 8 where all of them count, 16 where some may be unused."""
        return 8 if self._page.bitspersample <= 8 else 16

    @property
    def inverted(self) -> bool:
        """Whether 0 is white."""
        return bool(self._page.photometric == _MIN_IS_WHITE)

    @property
    def is_cmyk(self) -> bool:
        """Whether the samples are inks."""
        return bool(self._page.photometric == _CMYK)

    @property
    def alpha(self) -> str | None:
        """How the sample after the colours is transparency: premultiplied, straight; or None."""
        extra = int(next(iter(self._page.extrasamples or ()), 0))
        return {_PREMULTIPLIED: "premultiplied", _STRAIGHT: "straight"}.get(extra)

    def _check_numbers(self) -> None:
        page = self._page
        what = {_FLOAT: "floating-point values"}.get(page.sampleformat)
        what = "complex values" if page.sampleformat in _COMPLEX else what
        if what is not None:
            raise self._unlike_rgb(what)
        shift = (self._file.imagej_metadata or {}).get("c0")
        if isinstance(shift, int | float) and shift < 0:
            msg = (
                f"{self._name}: expected pixel values from 0 on, but ImageJ says that they are signed (from {shift:,});"
                " save it as an 8-bit PNG"
            )
            raise ImageError(msg)
        width, height = self.size
        if width * height * page.samplesperpixel * max(1, page.imagedepth) > self._most_values:
            msg = f"{self._name}: expected one plane of grey or colour, but a pixel has {page.samplesperpixel} values"
            raise ImageError(msg)

    def _check_stored(self, page: Any) -> None:  # noqa: ANN401 (a page or a frame of tifffile)
        """Raise for a plane that is not all there: its missing parts would be read as black."""
        if page is None:
            msg = "a plane is missing"
            raise ValueError(msg)
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            if not 0 < offset + count <= len(self._data) or count == 0:
                msg = "its pixels are not all in the file"
                raise ValueError(msg)

    def _unlike_rgb(self, what: str) -> ImageError:
        return ImageError(
            f"{self._name}: expected grey or RGB pixels in whole numbers, but the image has {what}; save it as an"
            " 8-bit PNG"
        )

    # --- which picture it is ---

    def _chosen(self) -> Any:  # noqa: ANN401 (a series of tifffile)
        pictures = [one for one in self._every if not (one.keyframe.is_reduced or one.keyframe.is_mask)] or self._every
        chosen = max(pictures, key=_area)
        if self._file.ome_metadata and chosen.kind != "ome":
            self._remarks.add("its OME metadata name pages that are not in this file", "one_plane")
        for one in self._every:
            if one not in pictures:
                what = "a mask" if one.keyframe.is_mask else "a preview"
                self._remarks.add(f"{what} of {one.keyframe.imagewidth} x {one.keyframe.imagelength} left aside")
        if len(chosen.levels) > 1:
            self._remarks.add(f"the full resolution of a pyramid of {len(chosen.levels)} taken")
        if len(pictures) > 1:
            number = pictures.index(chosen) + 1
            which = "first" if number == 1 else "largest"
            self._remarks.add(f"picture {number} of {len(pictures)} used, the {which}", "one_plane")
        return chosen

    def _every_series(self) -> list[Any]:
        try:
            every = list(self._file.series)
        except (ValueError, KeyError, IndexError, TypeError, RuntimeError, struct.error):
            every = []  # metadata that contradict the pages
        every = [one for one in every if one.keyframe.shape and len(one)]
        if not every:
            page = self._file.pages.first
            every = [tifffile.TiffPageSeries([page], page.shape, page.dtype, page.axes)]
        return every

    def _check_kind(self) -> None:
        page = self._page
        if page.photometric in _OF_SENSORS:
            raise unreadable(self._name, next(kind for kind in FOREIGN if ".dng" in kind.suffixes))
        what = "Lab colours" if page.photometric in _LAB_KINDS else None
        what = "a palette of more than 8 bits" if page.photometric == _PALETTE and page.bitspersample > 8 else what
        if what is not None:
            raise self._unlike_rgb(what)

    def _channels(self) -> tuple[Callable[[], tuple[tuple[int, int, int], str]], Remarks, str]:
        """What says which channel is which colour, asked only where there are three."""
        metadata = self._file.imagej_metadata or {}
        if self._ome is not None:
            told = [one for one in self._ome if one.tag.endswith("Channel")]
            names: list[str] = [one.get("Name", "") for one in told]
            names = [name or one.get("Fluor", "") for name, one in zip(names, told, strict=True)]
            colours = [_ome_colour(one.get("Color")) for one in told]
        else:
            labels = metadata.get("Labels") or []
            names = telling([str(label) for label in labels]) if isinstance(labels, list) else []
            colours = [_lut_colour(lut) for lut in metadata.get("LUTs") or []]
        return (lambda: colour_order(names[:3], colours[:3])), self._remarks, self._name


class _Axes:
    """What each axis of a series means, and where along it the picture is.

    `order` is asked which of three channels is which colour.
    """

    def __init__(
        self,
        series: Any,  # noqa: ANN401 (a series of tifffile)
        order: Callable[[], tuple[tuple[int, int, int], str]],
        remarks: Remarks,
        name: str,
    ) -> None:
        self._shape: tuple[int, ...] = tuple(series.shape)
        self._letters = str(series.axes)
        self._inner = self._inner_axes(series)
        self._at: dict[int, int] = {}  # axis to place
        self._channels: int | None = None
        self._order = (0, 1, 2)
        self._samples = next((i for i, letter in enumerate(self._letters) if letter == "S"), None)
        counted = [i for i, letter in enumerate(self._letters) if letter not in "YXS"]
        several = [i for i in counted if self._shape[i] > 1]
        grey = self._samples is None or self._shape[self._samples] == 1
        if grey:
            self._channels = self._colour_axis(several, order, name)
        if self._channels is not None:
            self._order, how = order()
            what = "channels" if self._letters[self._channels] == "C" else "pages"
            remarks.add(f"three {what} taken as red, green and blue, {how}", "colour_assembled")
        for axis in counted:
            if axis != self._channels:
                self._at[axis] = self._shape[axis] // 2 if self._letters[axis] == "Z" else 0
            if axis in several and axis != self._channels:
                what = _AXES.get(self._letters[axis], "page")
                remarks.add(f"{what} {self._at[axis] + 1} of {self._shape[axis]} used", "one_plane")

    @property
    def colours(self) -> str:
        """Whether the picture is grey or coloured."""
        coloured = self._channels is not None or (self._samples is not None and self._shape[self._samples] >= 3)
        return "colour" if coloured else "grey"

    def single_page(self, series: Any) -> int | None:  # noqa: ANN401 (a series of tifffile)
        """The frame of the file that holds the picture as it is; None where it has to be put together or cut out."""
        lead = len(self._shape) - len(self._inner)
        if self._channels is not None or series.is_truncated or lead < 0 or any(at >= lead for at in self._at):
            return None
        page = series[self._number(lead)]
        # Pillow does not go to pages that hang below others.
        return int(page.index) if page is not None and len(page.treeindex) == 1 else None

    def read(self, series: Any, check: Callable[[Any], None]) -> NDArray[Any]:  # noqa: ANN401 (a series of tifffile)
        """The pixels, (H, W) or (H, W, samples); `check` is called with every page before it is unpacked."""
        lead = len(self._shape) - len(self._inner)
        if lead < 0 or series.is_truncated:
            check(series[0])
            return self._cut(series.asarray(), 0)
        if self._channels is None or self._channels >= lead:
            page = series[self._number(lead)]
            check(page)
            return self._cut(page.asarray(), lead)
        planes = []
        for place in self._order:
            page = series[self._number(lead, place)]
            check(page)
            planes.append(self._cut(page.asarray(), lead))
        return np.stack(planes, axis=-1)

    def _inner_axes(self, series: Any) -> tuple[int, ...]:  # noqa: ANN401 (a series of tifffile)
        """The sides of one page, where they are the last of the series; else all, and more than it has."""
        inner = tuple(series.keyframe.shape)
        return inner if self._shape[len(self._shape) - len(inner) :] == inner else (*self._shape, 0)

    def _colour_axis(
        self, several: Sequence[int], order: Callable[[], tuple[tuple[int, int, int], str]], name: str
    ) -> int | None:
        channels = next((i for i in several if self._letters[i] == "C"), None)
        if channels is not None:
            if self._shape[channels] != 3:
                msg = (
                    f"{name}: expected one grey channel, or three for red, green and blue, but the image has"
                    f" {self._shape[channels]} channels; save the picture as RGB"
                )
                raise ImageError(msg)
            return channels
        if len(several) != 1 or self._shape[several[0]] != 3:
            return None
        # Nothing is known of pages that are no times and no depths; slices may be called red, green and blue.
        counted = self._letters[several[0]] in "ZT"
        return several[0] if not counted or order()[1] == BY_NAME else None

    def _number(self, lead: int, channel: int = 0) -> int:
        """Number of the page at the chosen place."""
        place = tuple(channel if axis == self._channels else self._at.get(axis, 0) for axis in range(lead))
        return int(np.ravel_multi_index(place, self._shape[:lead])) if lead else 0

    def _cut(self, block: NDArray[Any], lead: int) -> NDArray[Any]:
        """The plane of a block that has the axes from `lead` on, samples last."""
        axes = range(lead, len(self._shape))
        plane = block[tuple(self._at.get(axis, slice(None)) for axis in axes)]
        kept = [axis for axis in axes if axis not in self._at]
        last = self._channels if self._channels in kept else self._samples if self._samples in kept else None
        if last is None:
            return plane
        plane = np.moveaxis(plane, kept.index(last), -1)
        if last == self._channels:
            return plane[..., list(self._order)]
        return plane[..., 0] if plane.shape[-1] == 1 else plane


def is_tiff(data: bytes) -> bool:
    """Whether the bytes begin as a TIFF's do, a BigTIFF's among them."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def too_large_slide(name: str) -> ImageError:
    """The error for a slide that cannot be looked at as a whole."""
    return unreadable(name, WHOLE_SLIDE)


def _area(series: Any) -> int:  # noqa: ANN401 (a series of tifffile)
    return int(series.keyframe.imagewidth * series.keyframe.imagelength)


def _ratio(value: object) -> float | None:
    """A rational tag as a number; None where it has none."""
    if isinstance(value, tuple) and len(value) == 2:
        return value[0] / value[1] if value[0] and value[1] else None
    return float(value) if isinstance(value, int | float) and value else None


def _ome_pixels(file: Any, index: int) -> ET.Element | None:  # noqa: ANN401 (a file of tifffile)
    """The element of OME metadata that describes the pixels of a series."""
    if not file.ome_metadata:
        return None
    try:
        every = [one for one in ET.fromstring(file.ome_metadata).iter() if one.tag.endswith("}Pixels")]
    except ET.ParseError:
        return None
    return every[index] if index < len(every) else next(iter(every), None)


def _ome_scale(pixels: ET.Element, remarks: Remarks) -> FileScale | None:
    try:
        x = float(pixels.get("PhysicalSizeX", ""))
        y = float(pixels.get("PhysicalSizeY", "")) if "PhysicalSizeY" in pixels.attrib else None
    except ValueError:
        return None
    x_unit, y_unit = (pixels.get(f"PhysicalSize{axis}Unit") or "um" for axis in "XY")
    return file_scale.of_lengths(x, x_unit, y, y_unit, "OME metadata", remarks)


def _ome_colour(number: str | None) -> Colour | None:
    """Red, green and blue of OME's signed number, in which they are followed by the transparency."""
    try:
        value = int(number or "") & 0xFFFFFFFF
    except ValueError:
        return None
    return value >> 24, value >> 16 & 255, value >> 8 & 255


def _lut_colour(lut: NDArray[np.uint8]) -> Colour | None:
    """The colour of the brightest value of an ImageJ table."""
    if getattr(lut, "shape", None) != (3, 256):
        return None
    red, green, blue = (int(channel[-1]) for channel in lut)
    return red, green, blue
