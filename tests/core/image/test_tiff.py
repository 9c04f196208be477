"""Which picture of a TIFF is measured: pages, planes, previews, pyramids; and what its tags say of it."""

import io

import numpy as np
import pytest
import tifffile

from core.domain.errors import ImageError
from core.image.imaging import decode
from tests.core.image.pictures import GREY, PLANES, RGB, codes, shades, shows, tiff

OTHER = 255 - RGB
ASSEMBLED, ONE_PLANE = "colour_assembled", "one_plane"


# --- three grey planes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "minisblack"},
        {"photometric": "minisblack", "metadata": None},
        {"ome": True, "photometric": "minisblack", "metadata": {"axes": "CYX"}},
        {"imagej": True, "photometric": "minisblack", "metadata": {"axes": "CYX"}},
        {"imagej": True, "photometric": "minisblack", "metadata": {"axes": "CYX", "mode": "composite"}},
    ],
    ids=["tifffile", "no metadata", "OME", "ImageJ", "ImageJ composite"],
)
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_three_equal_grey_pages_are_a_colour_picture(options, compression):
    if options.get("imagej") and compression:
        pytest.skip("ImageJ stacks are not compressed")
    shows(tiff(PLANES, compression=compression, **options), RGB, [ASSEMBLED], "taken as red, green and blue")


@pytest.mark.parametrize("depth", [8, 12, 16])
def test_three_deep_pages_are_a_colour_picture(depth):
    planes = PLANES.astype(np.uint16) << (depth - 8)
    flags = [ASSEMBLED] if depth == 8 else [ASSEMBLED, "reduced_depth"]
    shows(tiff(planes, photometric="minisblack", ome=True, metadata={"axes": "CYX"}), RGB, flags)


def test_three_pages_written_one_by_one_are_a_colour_picture():
    shows(tiff(*PLANES, photometric="minisblack", metadata=None), RGB, [ASSEMBLED])


@pytest.mark.parametrize("names", [["Blue", "Green", "Red"], ["b", "g", "r"]])
def test_channels_are_what_the_file_calls_them(names):
    data = tiff(PLANES[::-1], ome=True, photometric="minisblack", metadata={"axes": "CYX", "Channel": {"Name": names}})
    shows(data, RGB, [ASSEMBLED], "by their names")


def test_channels_of_imagej_are_what_their_tables_show():
    tables = [np.zeros((3, 256), np.uint8) for _ in range(3)]
    for place, table in zip((2, 1, 0), tables, strict=True):
        table[place] = np.arange(256)
    data = tiff(PLANES[::-1], imagej=True, photometric="minisblack", metadata={"axes": "CYX", "LUTs": tables})
    shows(data, RGB, [ASSEMBLED], "by their colours")


def test_slices_of_imagej_called_red_green_and_blue_are_channels():
    labels = ["Red", "Green", "Blue"]
    data = tiff(PLANES, imagej=True, photometric="minisblack", metadata={"axes": "ZYX", "Labels": labels})
    shows(data, RGB, [ASSEMBLED], "by their names")


def test_fluorescences_are_refused_by_their_names():
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "FITC", "TRITC"]}}
    with pytest.raises(ImageError, match="its three channels are called DAPI, FITC, TRITC; save a picture in natural"):
        decode(tiff(PLANES, ome=True, photometric="minisblack", metadata=metadata), "a.tif")


@pytest.mark.parametrize("count", [2, 4, 5])
@pytest.mark.parametrize("kind", ["ome", "imagej"])
def test_two_channels_or_more_than_three_are_refused(count, kind):
    data = tiff(np.stack([GREY] * count), photometric="minisblack", metadata={"axes": "CYX"}, **{kind: True})
    with pytest.raises(ImageError, match=f"or three for red, green and blue, but the image has {count} channels"):
        decode(data, "a.tif")


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_so_many_samples_a_pixel_are_refused(count, dtype):
    samples = np.stack([GREY] * count, -1).astype(dtype)
    with pytest.raises(ImageError, match=f"{count} channels"):
        decode(tiff(samples, photometric="minisblack", planarconfig="contig", metadata=None), "a.tif")


# --- stacks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ome", "imagej"])
def test_of_focal_planes_the_middle_is_taken_and_told(kind):
    stack = np.stack([OTHER, OTHER, RGB, OTHER, OTHER])
    data = tiff(stack, photometric="rgb", metadata={"axes": "ZYXS"}, **{kind: True})
    shows(data, RGB, [ONE_PLANE], "focal plane 3 of 5 used")


@pytest.mark.parametrize("kind", ["ome", "imagej"])
def test_of_times_the_first_is_taken_and_told(kind):
    data = tiff(np.stack([GREY, 255 - GREY]), photometric="minisblack", metadata={"axes": "TYX"}, **{kind: True})
    shows(data, shades(GREY), [ONE_PLANE, "grey"], "time point 1 of 2 used")


def test_of_a_stack_in_several_colours_one_plane_is_put_together():
    stack = np.stack([255 - PLANES, PLANES, 255 - PLANES])
    data = tiff(stack, imagej=True, photometric="minisblack", metadata={"axes": "ZCYX"})
    shows(data, RGB, [ASSEMBLED, ONE_PLANE], "focal plane 2 of 3 used")


@pytest.mark.parametrize("count", [2, 4, 12])
def test_of_pages_of_which_nothing_is_known_the_first_is_taken_and_told(count):
    pages = [GREY] + [255 - GREY] * (count - 1)
    data = tiff(*pages, photometric="minisblack", metadata=None)
    shows(data, shades(GREY), [ONE_PLANE, "grey"], f"page 1 of {count} used")
    pages = [RGB] + [OTHER] * (count - 1)
    shows(tiff(*pages, photometric="rgb", metadata=None), RGB, [ONE_PLANE], f"page 1 of {count} used")


def test_a_stack_stored_in_one_piece_is_read():
    stack = np.stack([GREY, 255 - GREY])
    data = tiff(stack, imagej=True, photometric="minisblack", metadata={"axes": "TYX"}, truncate=True)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert len(file.pages) == 1
    shows(data, shades(GREY), [ONE_PLANE, "grey"])
    data = tiff(PLANES, imagej=True, photometric="minisblack", metadata={"axes": "CYX"}, truncate=True)
    shows(data, RGB, [ASSEMBLED])


# --- previews and pyramids --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metadata", [None, {}])
def test_a_preview_is_left_aside_wherever_it_is(metadata):
    preview = (np.ascontiguousarray(RGB[:17, :23]), {"subfiletype": 1})
    for pictures in ((preview, RGB), (RGB, preview)):
        shows(tiff(*pictures, photometric="rgb", metadata=metadata), RGB, [], "a preview of 23 x 17 left aside")


def test_a_preview_that_is_not_marked_as_one_is_told_by_its_size():
    small = np.ascontiguousarray(RGB[:17, :23])
    shows(tiff(small, RGB, photometric="rgb", metadata=None), RGB, [ONE_PLANE], "picture 2 of 2 used, the largest")


@pytest.mark.parametrize("in_sub_pages", [True, False])
def test_of_a_pyramid_the_full_resolution_is_taken(in_sub_pages):
    half, quarter = (np.ascontiguousarray(np.kron(OTHER, np.ones((4, 4, 1), np.uint8))[::f, ::f]) for f in (2, 4))
    whole = np.kron(RGB, np.ones((4, 4, 1), np.uint8))
    reduced = {"subfiletype": 1} if in_sub_pages else {}
    first = (whole, {"subifds": 2} if in_sub_pages else {})
    data = tiff(first, (half, reduced), (quarter, reduced), photometric="rgb", metadata=None, tile=(16, 16))
    shows(data, whole, [], "the full resolution of a pyramid of 3 taken")


def test_a_picture_that_hangs_below_its_preview_is_taken():
    preview = (np.ascontiguousarray(RGB[:17, :23]), {"subfiletype": 1, "subifds": 1})
    data = tiff(preview, RGB, photometric="rgb", metadata=None)
    shows(data, RGB, [], "a preview of 23 x 17 left aside")


def test_of_several_pictures_of_ome_the_largest_is_taken():
    small = np.ascontiguousarray(RGB[:20, :30])
    data = tiff(small, RGB, ome=True, photometric="rgb")
    shows(data, RGB, [ONE_PLANE], "picture 2 of 2")


def test_a_channel_whose_others_are_in_other_files_is_told():
    data = tiff(PLANES[1], ome=True, photometric="minisblack", metadata={"axes": "YX"})
    text = tifffile.TiffFile(io.BytesIO(data)).ome_metadata
    others = "".join(
        f'<TiffData FirstC="{place}" IFD="0" PlaneCount="1">'
        f'<UUID FileName="c{place}.ome.tif">urn:uuid:{place}</UUID></TiffData>'
        for place in range(3)
    )
    first = text.index("<TiffData")
    elsewhere = text[:first].replace('SizeC="1"', 'SizeC="3"') + others + text[text.index("</Pixels>") :]
    data = tiff(PLANES[1], photometric="minisblack", description=elsewhere.encode(), metadata=None)
    shows(data, shades(GREY), [ONE_PLANE, "grey"], "its OME metadata name pages that are not in this file")


# --- depth, sign, white -----------------------------------------------------------------------------------------------


DARK = (GREY.astype(np.uint16) << 4) // 5  # a dark picture of 12 bits: it could be a bright one of 10


@pytest.mark.parametrize(
    ("data", "source"),
    [
        (tiff(DARK, photometric="minisblack", extratags=[(281, "H", 1, 4095, True)]), "MaxSampleValue"),
        (tiff(DARK, photometric="minisblack", ome=True, metadata={"SignificantBits": 12}), "OME SignificantBits"),
    ],
)
def test_the_depth_that_the_file_states_counts(data, source):
    image = decode(data, "a.tif")
    np.testing.assert_array_equal(image.rgb[..., 0], DARK >> 4)
    assert image.notes[0] == f"12 bits per value, as the file says ({source}), the upper 8 kept"


def test_the_brightest_value_that_occurs_is_no_depth():
    data = tiff(GREY.astype(np.uint16) << 4, photometric="minisblack", extratags=[(281, "H", 1, 4080, True)])
    shows(data, shades(GREY), ["reduced_depth", "grey"], "judged by this image alone")


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_bits_are_read(bits):
    values = RGB.astype(np.uint16) << (bits - 8)
    data = tiff(values, photometric="rgb", bitspersample=bits, compression=None)
    shows(data, RGB, ["reduced_depth"], f"{bits} bits per value, as the file says (BitsPerSample)")


@pytest.mark.parametrize("depth", [8, 12, 16])
def test_grey_of_which_0_is_white_is_turned_round(depth):
    if depth == 8:
        data, flags = tiff(255 - GREY, photometric="miniswhite"), ["grey"]
    else:
        white = 2**depth - 1
        data = tiff((white - GREY.astype(np.uint32) * white // 255).astype(np.uint16), photometric="miniswhite")
        flags = ["reduced_depth", "grey"]
    image = decode(data, "a.tif")
    assert np.abs(image.rgb[..., 0].astype(int) - GREY).max() <= 1
    assert codes(image) == flags


def test_signed_numbers_are_read_where_none_is_below_0():
    data = tiff(GREY.astype(np.int16) << 4, photometric="minisblack")
    shows(data, shades(GREY), ["reduced_depth", "grey"], "signed whole numbers")
    data = tiff(GREY.astype(np.int16) - 5, photometric="minisblack")
    with pytest.raises(ImageError, match="they run from -5"):
        decode(data, "a.tif")
    shows(tiff((GREY // 2).astype(np.int8), photometric="minisblack"), shades(GREY // 2), ["grey"])


def test_signed_numbers_of_imagej_are_refused_by_their_cause():
    metadata = {"axes": "YX", "c0": -32768, "c1": 1, "cf": 0}
    with pytest.raises(ImageError, match="ImageJ says that they are signed"):
        decode(tiff(GREY.astype(np.uint16) + 32768, imagej=True, metadata=metadata), "a.tif")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex64])
def test_numbers_with_fractions_are_refused(dtype):
    with pytest.raises(ImageError, match="expected grey or RGB pixels in whole numbers, but the image has"):
        decode(tiff((RGB / 255).astype(dtype), photometric="rgb"), "a.tif")


def test_a_cameras_raw_picture_is_refused_by_its_cause():
    with pytest.raises(ImageError, match=r"a camera's raw file; develop it"):
        decode(tiff(GREY.astype(np.uint16), photometric=32803, metadata=None), "a.tif")


# --- compressions and colours -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["lzw", "zlib", "zstd", "lzma", "packbits", "jpeg2000", "png", "webp"])
@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}, {"predictor": True}])
def test_8_bit_colour_is_read_in_every_compression(compression, layout):
    if compression in {"packbits", "jpeg2000", "png", "webp"} and "predictor" in layout:
        pytest.skip("has no predictor")
    how = {"compressionargs": {"lossless": True}} if compression == "webp" else {}
    how = {"compressionargs": {"level": 0}} if compression == "jpeg2000" else how
    shows(tiff(RGB, photometric="rgb", compression=compression, **how, **layout), RGB)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd", "jpeg2000", "png"])
def test_deep_colour_is_read_in_every_compression(compression):
    values = RGB.astype(np.uint16) << 4
    shows(tiff(values, photometric="rgb", compression=compression), RGB, ["reduced_depth"], "12 bits per value")


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("bigtiff", [True, False])
def test_deep_colour_is_read_however_its_bytes_lie(byteorder, planar, bigtiff):
    values = RGB.astype(np.uint16) * 257
    pixels = values if planar == "contig" else np.moveaxis(values, -1, 0)
    data = tiff(pixels.astype(f"{byteorder}u2"), photometric="rgb", planarconfig=planar, bigtiff=bigtiff, metadata=None)
    shows(data, RGB, ["reduced_depth"])


@pytest.mark.parametrize(
    ("extra", "flags"), [("unassalpha", ["reduced_depth", "transparent"]), ("unspecified", ["reduced_depth"])]
)
def test_deep_colour_with_a_fourth_value(extra, flags):
    alpha = np.full(GREY.shape, 65535, np.uint16)
    alpha[:10] = 0
    values = np.dstack([RGB.astype(np.uint16) * 257, alpha])
    expected = RGB.copy()
    if extra == "unassalpha":
        expected[:10] = 255
    shows(tiff(values, photometric="rgb", extrasamples=[extra], metadata=None), expected, flags)


def test_deep_colour_that_is_multiplied_with_its_transparency():
    alpha = np.full(GREY.shape, 65535, np.uint16)
    alpha[:10] = 0
    values = np.dstack([RGB.astype(np.uint16) * 257 * (alpha > 0)[..., None], alpha]).astype(np.uint16)
    expected = RGB.copy()
    expected[:10] = 255
    data = tiff(values, photometric="rgb", extrasamples=["assocalpha"], metadata=None)
    shows(data, expected, ["reduced_depth", "transparent"])


def test_deep_inks_are_converted_as_shallow_ones():
    inks = np.dstack([255 - RGB, np.zeros(GREY.shape, np.uint8)])
    shallow = decode(tiff(inks, photometric="separated", metadata=None), "a.tif")
    deep = decode(tiff(inks.astype(np.uint16) * 257, photometric="separated", metadata=None), "a.tif")
    np.testing.assert_array_equal(shallow.rgb, deep.rgb)
    assert "converted from CMYK" in deep.notes


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("stored", ["colour", "deep", "three pages", "jpeg2000"])
def test_every_way_of_storing_is_turned_upright(orientation, stored):
    tag = {"extratags": [(274, "H", 1, orientation, True)], "metadata": None}
    upright = {
        1: RGB, 2: RGB[:, ::-1], 3: RGB[::-1, ::-1], 4: RGB[::-1], 5: RGB.swapaxes(0, 1), 6: np.rot90(RGB, -1),
        7: RGB[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(RGB),
    }[orientation]  # fmt: skip
    data = {
        "colour": lambda: tiff(RGB, photometric="rgb", **tag),
        "deep": lambda: tiff(RGB.astype(np.uint16) * 257, photometric="rgb", **tag),
        "three pages": lambda: tiff(*PLANES, photometric="minisblack", **tag),
        "jpeg2000": lambda: tiff(RGB, photometric="rgb", compression="jpeg2000", compressionargs={"level": 0}, **tag),
    }[stored]()
    image = decode(data, "a.tif")
    np.testing.assert_array_equal(image.rgb, upright)
    assert ("turned_upright" in codes(image)) == (orientation > 1)


# --- the scale --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "source"),
    [
        (tiff(RGB, photometric="rgb", ome=True, metadata={"PhysicalSizeX": 0.2, "PhysicalSizeY": 0.2}), "OME metadata"),
        (tiff(RGB, photometric="rgb", ome=True, metadata={"PhysicalSizeX": 200, "PhysicalSizeXUnit": "nm"}),
         "OME metadata"),
        (tiff(RGB, photometric="rgb", imagej=True, resolution=(5, 5), metadata={"unit": "um"}), "ImageJ metadata"),
        (tiff(RGB, photometric="rgb", imagej=True, resolution=(5, 5), metadata={"unit": "micron"}), "ImageJ metadata"),
        (tiff(RGB, photometric="rgb", imagej=True, resolution=(5000, 5000), metadata={"unit": "mm"}),
         "ImageJ metadata"),
        (tiff(RGB, photometric="rgb", resolution=(50_000, 50_000), resolutionunit=3), "resolution tags"),
        (tiff(RGB, photometric="rgb", resolution=(127_000, 127_000), resolutionunit=2), "resolution tags"),
        (tiff(RGB, photometric="rgb", description="Aperio|MPP = 0.2|", metadata=None), "Aperio description"),
    ],
)  # fmt: skip
def test_the_scale_is_offered_with_its_source(data, source):
    image = decode(data, "a.tif")
    assert image.file_scale is not None
    assert image.file_scale.um_per_px == pytest.approx(0.2, rel=1e-6)
    assert image.file_scale.source == source
    assert image.um_per_px is None
    assert f"the file says 0.2 µm per pixel ({source})" in image.notes[-1]
    assert decode(data, "a.tif", "file").um_per_px == image.file_scale.um_per_px
    contradicted = decode(data, "a.tif", 0.1)
    assert codes(contradicted) == ["scale_contradicted"]
    assert contradicted.um_per_px == 0.1


@pytest.mark.parametrize(
    "data",
    [
        tiff(RGB, photometric="rgb", resolution=(72, 72), resolutionunit=2),
        tiff(RGB, photometric="rgb", resolution=(600, 600), resolutionunit=2),
        tiff(RGB, photometric="rgb", resolution=(1, 1), resolutionunit=1),
        tiff(RGB, photometric="rgb", imagej=True, resolution=(1, 1), metadata={"unit": "pixel"}),
        tiff(RGB, photometric="rgb", ome=True, metadata={"PhysicalSizeX": 1, "PhysicalSizeXUnit": "pixel"}),
    ],
)
def test_what_is_meant_for_a_printer_or_is_no_length_is_no_scale(data):
    assert shows(data, RGB).file_scale is None


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pixels", [RGB.astype(np.uint16) * 257, PLANES], ids=["deep", "three pages"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_pixels_that_are_not_all_there_are_not_read_as_black(pixels, compression):
    kind = "rgb" if pixels.ndim == 3 and pixels.shape[-1] == 3 else "minisblack"
    data = bytearray(tiff(pixels, photometric=kind, compression=compression, metadata=None))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        page = file.pages[-1]
        tag = page.tags["StripByteCounts"]
        offset, count = tag.valueoffset, page.databytecounts[0]
    size = tag.dtype.itemsize if hasattr(tag.dtype, "itemsize") else {3: 2, 4: 4, 16: 8}[int(tag.dtype)]
    data[offset : offset + size] = (count + 10**4).to_bytes(size, "little") if size > 2 else b"\xff\xff"
    with pytest.raises(ImageError, match="damaged or cut short"):
        decode(bytes(data), "a.tif")
