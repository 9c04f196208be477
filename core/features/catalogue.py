"""Every feature Leukoscope measures, in the order of the pages. The only list: add a row in `definitions`.

The columns are named `<region>_<class>_<Feature>` with pyradiomics' own class and feature names where it has them, the
ratios `combined_<Feature>`. Formulas follow the pyradiomics documentation (van Griethuysen et al. 2017, Cancer Res
77:e104); the identifiers are those of the Image Biomarker Standardisation Initiative (Zwanenburg et al. 2020, Radiology
295:328) and are given only where exactly that quantity is computed: IBSI defines shape in three dimensions only.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final

from core.domain.errors import FeatureError
from core.features.definitions.first_order import QUANTITIES, rows
from core.features.definitions.shape import SHAPES
from core.features.definitions.structure import COMBINED, STRUCTURES
from core.features.definitions.texture import TEXTURES
from core.features.spec import FeatureClass, FeatureRow, FeatureSpec, Region, Theme, Unit

CELL_REGIONS: Final = (Region.NUCLEUS, Region.CYTOPLASM, Region.CELL)
TONE_REGIONS: Final = (*CELL_REGIONS, Region.ENVIRONMENT)

# Pages show Energy in millions, and Skewness plus 1 where the axis is logarithmic, as the thesis does.
_DISPLAY_FACTOR: Final = {"Energy": 1e-6, "TotalEnergy": 1e-6}
_DISPLAY_OFFSET: Final = {"Skewness": 1.0}


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]


def _spec(
    region: Region, feature_class: FeatureClass, theme: Theme, group: str, label: str, row: FeatureRow
) -> FeatureSpec:
    middle = "" if region is Region.COMBINED else f"{feature_class}_"
    on_grey = feature_class is FeatureClass.FIRST_ORDER
    return FeatureSpec(
        name=f"{region}_{middle}{row.feature}",
        region=region,
        feature_class=feature_class,
        feature=row.feature,
        theme=theme,
        group=group,
        label=label,
        short=row.short,
        description=row.description.format(region=region),
        formula=row.formula,
        unit=row.unit,
        ibsi_id=row.ibsi_id,
        pixel_bound=row.pixel_bound,
        log_axis=row.log_axis,
        display_factor=_DISPLAY_FACTOR.get(row.feature, 1.0) if on_grey else 1.0,
        display_offset=_DISPLAY_OFFSET.get(row.feature, 0.0) if on_grey else 0.0,
    )


def _shapes(region: Region) -> Iterator[FeatureSpec]:
    for shape in SHAPES:
        text = shape.description + (shape.of_ring if region is Region.CYTOPLASM else "")
        row = FeatureRow(shape.feature, shape.unit, shape.short, shape.formula, text, log_axis=shape.log_axis)
        label = f"{region.capitalize()} {_lower(shape.short)}"
        yield _spec(region, FeatureClass.SHAPE_2D, Theme.SHAPE, f"{region.capitalize()} shape", label, row)


def _ratios() -> Iterator[FeatureSpec]:
    for shape in SHAPES:
        if shape.combined is None:
            continue
        nucleus, cytoplasm = (
            f"{region}_{FeatureClass.SHAPE_2D}_{shape.feature}" for region in (Region.NUCLEUS, Region.CYTOPLASM)
        )
        # Areas add up, so the area of the nucleus is set against the whole cell; nothing else in this table does.
        is_area = shape.unit is Unit.AREA
        what = _lower(shape.short)
        below = f"({what} of nucleus + {what} of cytoplasm)" if is_area else f"{what} of cytoplasm"
        short = "N:C area ratio" if is_area else f"{shape.short} N/C"
        yield FeatureSpec(
            name=f"{Region.COMBINED}_{shape.feature}",
            region=Region.COMBINED,
            feature_class=FeatureClass.RATIO,
            feature=shape.feature,
            theme=Theme.SHAPE,
            group="Combined",
            label=short if is_area else f"Nucleus / cytoplasm {what}",
            short=short,
            description=shape.combined,
            formula=f"{what} of nucleus / {below}",
            unit=Unit.NONE,
            ratio_of=(nucleus, (nucleus, cytoplasm) if is_area else (cytoplasm,)),
            log_axis=not is_area,
        )


def _structures(region: Region) -> Iterator[FeatureSpec]:
    for feature_class, (regions, members) in STRUCTURES.items():
        if region in regions:
            for row in members:
                label = f"{region.capitalize()} {_lower(row.short)}"
                yield _spec(region, feature_class, Theme.STRUCTURE, f"{region.capitalize()} structure", label, row)


def _tones(region: Region, feature_class: FeatureClass) -> Iterator[FeatureSpec]:
    quantity = QUANTITIES[feature_class]
    theme = Theme.TONE if feature_class is FeatureClass.FIRST_ORDER else Theme.COLOUR
    title = f"{region.capitalize()} {quantity.title}"
    for row in rows(quantity):
        yield _spec(region, feature_class, theme, title, f"{title}, {_lower(row.short)}", row)


def _textures(region: Region) -> Iterator[FeatureSpec]:
    for feature_class, (title, members) in TEXTURES.items():
        for row in members:
            label = f"{region.capitalize()} texture, {title}: {_lower(row.short)}"
            yield _spec(region, feature_class, Theme.TEXTURE, f"{region.capitalize()} texture, {title}", label, row)


def _all_specs() -> Iterator[FeatureSpec]:
    for region in CELL_REGIONS:
        yield from _shapes(region)
    yield from _ratios()
    for row in COMBINED:
        yield _spec(Region.COMBINED, FeatureClass.RATIO, Theme.STRUCTURE, "Nucleus in the cell", row.short, row)
    for region in CELL_REGIONS:
        yield from _structures(region)
    for region in TONE_REGIONS:
        yield from _tones(region, FeatureClass.FIRST_ORDER)
    for region in TONE_REGIONS:
        for feature_class in QUANTITIES:
            if feature_class is not FeatureClass.FIRST_ORDER:
                yield from _tones(region, feature_class)
    for region in CELL_REGIONS:
        yield from _textures(region)


CATALOGUE: Final[Mapping[str, FeatureSpec]] = MappingProxyType({spec.name: spec for spec in _all_specs()})

# What a morphologist looks for first, in this order.
KEY_FEATURES: Final = (
    "combined_PixelSurface",
    "cell_shape2D_PixelSurface",
    "nucleus_shape2D_PixelSurface",
    "cell_shape2D_MaximumDiameter",
    "nucleus_shape2D_MaximumDiameter",
    "nucleus_shape2D_Elongation",
    "cell_shape2D_Elongation",
)


def feature_spec(name: str) -> FeatureSpec:
    """Look up a feature by its column name.

    Raises
    ------
    FeatureError
        The catalogue has no such feature; the message names the closest ones.
    """
    if name not in CATALOGUE:
        close = get_close_matches(name, CATALOGUE, n=3)
        hint = (
            f"did you mean {', '.join(close)}?"
            if close
            else "names look like nucleus_shape2D_Elongation or combined_PixelSurface"
        )
        msg = f"the catalogue has no feature {name!r}; {hint}"
        raise FeatureError(msg)
    return CATALOGUE[name]
