"""Colours as a file's profile means them, in sRGB: what the network was trained on and what hue is measured in."""

import io
from functools import lru_cache
from typing import Any, Final

import numpy as np
from PIL import Image, ImageCms

from core.image.remarks import Remarks

# Levels by which a profile may move a colour and still be sRGB: profiles of cameras differ in their rounding.
_NEAR_SRGB: Final = 3
_SPACES: Final = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
_SRGB_GAMMA: Final = 0.45455
_SRGB_PRIMARIES: Final = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
# EXIF: the colour space, and the index of interoperability that means Adobe RGB.
_EXIF_IFD: Final = 0x8769
_INTEROP_IFD: Final = 0xA005
_COLOUR_SPACE: Final = 0xA001


def in_srgb(image: Image.Image, profile: bytes | None, remarks: Remarks) -> Image.Image:
    """An image of mode L, RGB or CMYK as its profile means it: RGB in sRGB, or unchanged where that changes nothing.

    A profile of another kind than the image, or a damaged one, is told and not applied.
    """
    if not profile or image.mode not in _SPACES:
        return image
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        described = (opened.profile.profile_description or "of no name").strip("\0 \n")
        space = opened.profile.xcolor_space.strip()
    except (OSError, ImageCms.PyCMSError, ValueError):
        remarks.add("the colour profile is damaged", "profile_ignored")
        return image
    if space != _SPACES[image.mode]:
        remarks.add(f"the colour profile ({described}) is for {space} values", "profile_ignored")
        return image
    try:
        transform = _to_srgb(profile, image.mode)
    except ImageCms.PyCMSError:
        remarks.add(f"the colour profile ({described}) cannot be used", "profile_ignored")
        return image
    if transform is None:
        return image
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None
    remarks.add(f"from the profile {described!r}", "profile_converted")
    return converted


@lru_cache(maxsize=16)
def _to_srgb(profile: bytes, mode: str) -> Any | None:  # noqa: ANN401 (a class that Pillow hides)
    """What converts to sRGB; None where it would change no colour noticeably."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB", intent)
    if mode == "CMYK":
        return transform
    shades = np.linspace(0, 255, 18).astype(np.uint8)
    colours = np.stack(np.meshgrid(shades, shades, shades), -1).reshape(18, -1, 3) if mode == "RGB" else shades[None]
    before = Image.fromarray(np.ascontiguousarray(colours))
    after = ImageCms.applyTransform(before, transform)
    assert after is not None
    moved = np.abs(np.asarray(after, dtype=int) - np.asarray(before.convert("RGB"), dtype=int)).max()
    return transform if moved > _NEAR_SRGB else None


def tell_unconverted(image: Image.Image, remarks: Remarks) -> None:
    """Say that a file without a profile states other colours than sRGB in a way that is not converted."""
    info = image.info
    if "icc_profile" in info or "srgb" in info:
        return
    gamma, primaries = info.get("gamma"), info.get("chromaticity")
    if gamma is not None and abs(gamma - _SRGB_GAMMA) > 0.02:
        remarks.add(f"the file states a gamma of {gamma:.4g}, where sRGB has {_SRGB_GAMMA:.4g}", "profile_ignored")
    elif primaries is not None and max(abs(a - b) for a, b in zip(primaries, _SRGB_PRIMARIES, strict=True)) > 0.01:
        remarks.add("the file states other primary colours than sRGB", "profile_ignored")
    elif _says_adobe_rgb(image):
        remarks.add("the file says that its colours are Adobe RGB, without a profile", "profile_ignored")


def _says_adobe_rgb(image: Image.Image) -> bool:
    exif = image.getexif()
    space = exif.get_ifd(_EXIF_IFD).get(_COLOUR_SPACE)
    return space == 2 or (space == 0xFFFF and str(exif.get_ifd(_INTEROP_IFD).get(1, "")).startswith("R03"))
