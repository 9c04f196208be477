"""The parts of the single-cell page: measures, quality, the populations' tabs, downloads."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Final

import streamlit as st
from markupsafe import Markup

from core.charts.labels import of_cell, scale_caution, who
from core.charts.overlay import outlined_png
from core.charts.ranges import comparable, overview_chart, published_view, range_chart, shades
from core.charts.rows import MOST_ROWS, REGION_WORDS, Block, blocks, halves, in_thesis, leading, part, regions, themes
from core.charts.sparklines import not_placed, sparkline_html
from core.charts.theme import AnyChart, Look, population_colour
from core.charts.trust import Reliability, is_poor
from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.flags import UNLIKE_TRAINING
from core.domain.options import Paper
from core.domain.settings import load_settings
from core.domain.types import CellAnalysis, QualityFlag
from core.evaluation.agreement import Grade
from core.features.catalogue import CATALOGUE, KEY_FEATURES
from core.features.spec import Theme
from core.image.imaging import encode_png
from core.image.masks import encode_grey
from core.populations.comparison import INTENSITY_CAUTION, FeatureComparison, describe
from core.populations.nearness import Nearness
from core.populations.placement import (
    Placed,
    by_cell_type,
    distances,
    main_sources,
    models_beside,
    obstacles,
    scale_source,
)
from core.populations.summaries import SMALL_GROUP, ReferencePopulation
from core.reports.cell import html_pages, html_report
from core.reports.conclusions import most_different
from core.reports.first_page import FirstPage, first_page
from core.reports.pdf import pdf_pages
from core.reports.tables import comparison_table, feature_table
from core.store.export import to_csv
from core.support.text import markdown
from pages._ui.common import cohort_data, model_in_use
from pages._ui.common.downloads import file_name
from pages._ui.common.markup import faint, legend, measures, sentences
from pages._ui.common.state import TRAY
from pages._ui.single_cell.keeping import show_case

_BY_DISTANCE: Final = "By distance"
_AS_PUBLISHED: Final = "As published (log axis)"
_TABLE_HEIGHT: Final = 420
_PINNED_PX: Final = 250
_FIRST_TABS: Final = (CellType.MONOCYTE, CellType.LYMPHOCYTE, CellType.HCL, CellType.APL)


def show_measures(
    analysis: CellAnalysis, placed: Sequence[Placed], reliability: Reliability, most: int | None = None
) -> None:
    """Show what a morphologist looks for first, each with a sparkline of its place among the populations."""
    sources = main_sources(placed)
    rows = []
    for feature in KEY_FEATURES[:most]:
        spec = CATALOGUE[feature]
        strip = sparkline_html(feature, [(p.reference, p.of(feature)) for p in sources])
        if not strip:
            strip = faint(not_placed(feature, analysis))
        value, image = analysis.features.values.get(feature), analysis.image
        rows.append((feature, of_cell(spec, value, image.um_per_px, image.um_per_px_error), strip))
    st.html(measures(rows, reliability))


def show_quality(analysis: CellAnalysis) -> None:
    """Say in sentences what to know before trusting the numbers."""
    items = [("warn" if flag.severe else "info", _told(flag)) for flag in analysis.flags]
    if not items:
        items.append(("good", "Quality: nothing stands against using these numbers."))
    if not analysis.quality_ok:
        items.append(("warn", "Populations leave such a cell out: look at the outline before using any number."))
    if analysis.outline_quality is not None:
        quality = f"{analysis.outline_quality:.2f}"
        items.append(("info", f"A careful drawing would probably agree with the outline to {quality} (Dice)."))
    if caution := scale_caution(analysis.image.um_per_px, analysis.image.um_per_px_error):
        items.append(("info", caution))
    items += [("info", f"On opening the image: {note}.") for note in analysis.further_notes]
    st.html(sentences(items))


def _told(flag: QualityFlag) -> str:
    """The words of a flag; of a new stain with what the model is worth there."""
    return (flag.code == UNLIKE_TRAINING and model_in_use.stain_news(1, 1)) or flag.message


def show_models(analysis: CellAnalysis, placed: Sequence[Placed]) -> None:
    """Say where another model outlined the cell than the populations that it is set beside."""
    if note := models_beside(analysis, [p.reference for p in placed]):
        st.markdown(f":material/warning: {markdown(note)}")


def _choose_part() -> list[str]:
    """Ask what to compare, and in which region where there is too much to read; returns features in catalogue order."""
    columns = st.columns([3, 2], gap="medium")
    with columns[0]:
        theme = st.pills(
            "What to compare", themes(), default=Theme.SHAPE, required=True, key="part_theme", persist_state="session"
        )
    choices = regions(theme)
    if not choices:
        return part(theme)
    with columns[1]:
        region = st.pills(
            "Of the",
            choices,
            default=choices[0],
            required=True,
            format_func=REGION_WORDS.__getitem__,
            key=f"part_region-{theme.name}",
            persist_state="session",
        )
    return part(theme, region)


def _columns_of(
    features: Sequence[str], distance: dict[str, float], reliability: Reliability, key: str
) -> list[list[Block]]:
    """Rows of a chart in columns; of many features only reliable ones that differ most, unless all are asked for."""
    shown = list(features)
    if len(features) > MOST_ROWS and not st.toggle(f"Draw all {len(features)}", key=f"all-{key}"):
        shown = leading(features, distance, reliability)
        st.caption(f"Drawn: the {len(shown)} in which this cell lies farthest from a median, poor ones left for last.")
    return halves(blocks(shown, reliability))


def _overview_tab(placed: Sequence[Placed], reliability: Reliability, look: Look) -> None:
    banded = [p for p in placed if p.reference.n >= SMALL_GROUP and not p.reference.published]
    if not banded:
        st.info(
            "There is no population to compare with yet. `make cohort` builds the reference cohort.",
            icon=":material/info:",
        )
        return
    features = _choose_part()
    distance = distances(banded)
    present = [name for name in features if name in distance]
    if not present:
        _say_why_not(banded, features)
        return
    st.markdown(
        "All populations at once: blue below a population's median, orange above, a triangle outside its 2-98 % range."
    )
    columns = _columns_of(present, distance, reliability, "overview")
    places = [(p.reference, p.comparisons) for p in banded]
    _side_by_side(
        [overview_chart(places, column, reliability, look) for column in columns],
        "overview",
        "Place of this cell in every population",
    )
    _say_intensity(present)


def _say_why_not(placed: Iterable[Placed], features: Sequence[str]) -> None:
    """Fill the place of a chart that cannot be drawn with the reasons."""
    reasons = dict.fromkeys(text for place in placed for text in obstacles(place, features))
    st.info("\n\n".join(map(markdown, reasons)), icon=":material/info:")


def _say_intensity(features: Iterable[str]) -> None:
    dependent = [CATALOGUE[name].intensity_dependent for name in features]
    if any(dependent):
        which = "These features" if all(dependent) else "Some of these features (projections, vacuoles, granularity)"
        st.caption(f"{which} depend on stain, light and camera: another laboratory shifts them.")


def _side_by_side(charts: Sequence[AnyChart], key: str, alt: str) -> None:
    for index, (column, chart) in enumerate(zip(st.columns(len(charts), gap="medium"), charts, strict=True)):
        with column:
            st.altair_chart(chart, width="stretch", key=f"{key}-{index}", alt=alt)


def _source_label(place: Placed) -> str:
    kind = "  ·  published table" if place.reference.published else ""
    return f"**{markdown(place.reference.title)}**  ·  {markdown(who(place.reference))}{kind}"


def _differences(place: Placed, reliability: Reliability) -> None:
    def item(comparison: FeatureComparison) -> tuple[str, str]:
        return (
            "above" if comparison.direction is not None and comparison.direction.value == "above" else "below",
            describe(comparison),
        )

    shapes, tones = most_different(place, reliability)
    which = "reliable feature" if reliability else "feature"
    if not shapes and not tones:
        st.markdown(f"Every {which} that can be compared lies within the 2-98 % range.")
        return
    if shapes:
        st.html(sentences(map(item, shapes), wide=True))
    else:
        st.markdown(f"In shape and structure, every {which} that can be compared lies within the 2-98 % range.")
    if tones:
        st.caption(f"In tone, colour and texture. {INTENSITY_CAUTION}")
        st.html(sentences(map(item, tones), wide=True))


def _key(scale: Placed, others: Sequence[ReferencePopulation], *, any_poor: bool) -> Markup:
    """Key to the range chart, with the same marks as the chart."""
    colour = population_colour(scale.reference.cell_type)
    line = f"border:1.5px dashed {colour}" if scale.reference.published else f"background:{colour}59;border-left:0"
    entries = [
        (
            f"width:26px;height:11px;border-radius:3px;{line}",
            f"{scale.reference.title}: 2-98 %, with a tick at the median",
        ),
        ("width:10px;height:10px;border-radius:50%;background:currentColor", "this cell, inside"),
        (f"border:6px solid transparent;border-left:11px solid {colour};border-right:0", "this cell, outside"),
    ]
    if any_poor:
        entries.append(
            (
                "width:10px;height:10px;border-radius:50%;border:2px solid #9CA3AF",
                "faint, hollow: poor, do not rely on it",
            )
        )
    for reference, shade in zip(others, shades(scale.reference, others), strict=True):
        if reference.published:
            mark = "width:26px;height:11px;border:1px dashed currentColor"
        elif reference.n < SMALL_GROUP:
            mark = f"width:8px;height:8px;border-radius:50%;background:{shade}"
        else:
            mark = f"width:26px;height:3px;background:{shade}"
        entries.append((mark, reference.title))
    return legend(entries)


def _population_tab(
    kind: CellType, sources: list[Placed], placed: Sequence[Placed], reliability: Reliability, look: Look
) -> None:
    st.caption(CELL_TYPES[kind].description)
    chosen = sources[0]
    if len(sources) > 1:
        index = st.radio(
            "Compare with",
            range(len(sources)),
            format_func=lambda i: _source_label(sources[i]),
            key=f"source-{kind}",
            persist_state="session",
        )
        chosen = sources[index]
    else:
        st.markdown(_source_label(chosen))
    note = cohort_data.notes().get(chosen.reference.population)
    if note:
        st.caption(markdown(note))
    if chosen.model_note:
        st.caption(f":material/warning: {markdown(chosen.model_note)}")
    scale = scale_source(chosen, placed)
    if chosen.reference.n < SMALL_GROUP:
        st.warning(
            f"Only {chosen.reference.n} cells: they are drawn as points, and no percentile is given."
            + (f" The rows are spread out by {markdown(scale.reference.title)}, for orientation." if scale else ""),
            icon=":material/scatter_plot:",
        )
    else:
        st.markdown("#### Where this cell differs most")
        _differences(chosen, reliability)
    st.markdown("#### Feature by feature")
    features = _choose_part()
    if not any(chosen.of(name).comparable for name in features):
        _say_why_not([chosen], features)
        return
    for text in obstacles(chosen, features):
        st.caption(markdown(text))
    if scale is not None:
        _range_charts(kind, chosen, sources, scale, features, reliability, look)
    show_table(chosen, features, reliability, key=f"table-{kind}")


def _range_charts(
    kind: CellType,
    chosen: Placed,
    sources: Sequence[Placed],
    scale: Placed,
    features: Sequence[str],
    reliability: Reliability,
    look: Look,
) -> None:
    view = _BY_DISTANCE
    if scale is chosen and any(in_thesis(CATALOGUE[name]) for name in features):
        views = [_BY_DISTANCE, _AS_PUBLISHED]
        view = st.segmented_control(
            "View", views, default=view, required=True, key=f"view-{kind}", label_visibility="collapsed"
        )
    alt = (
        f"Place of this cell among {chosen.reference.title}, feature by feature; the table below holds the same numbers"
    )
    if view == _AS_PUBLISHED:
        chart = published_view(chosen.comparisons, chosen.reference, features, reliability, look)
        _side_by_side([chart], f"published-{kind}", alt)
        return
    others = [
        p.reference for p in sources if p is not scale and any(name in p.reference.summaries for name in features)
    ]
    distance, stands = distances([scale]), comparable(scale.comparisons, features)
    present = [c.feature for c in stands if c.feature in distance]
    columns = _columns_of(present, distance, reliability, str(kind))
    drawn = [name for column in columns for block in column for name in block.features]
    st.html(_key(scale, others, any_poor=any(is_poor(name, reliability) for name in drawn)))
    charts = [range_chart(scale.comparisons, scale.reference, others, column, reliability, look) for column in columns]
    if charts:  # there is none where the population varies in nothing
        _side_by_side(charts, f"ranges-{kind}", alt)
    if len(stands) > len(present):
        st.caption(
            f"In the table only: {len(stands) - len(present)} in which {markdown(scale.reference.plural)} hardly vary."
        )
    _say_intensity(present)


def _widest(labels: Iterable[str]) -> int:
    """Width in pixels of a column that shows the longest of the labels, with enough room left for the numbers."""
    return min(340, max(150, 7 * max(map(len, labels))))


def show_table(place: Placed, features: Sequence[str], reliability: Reliability, key: str) -> None:
    """Show features with range, mean and spread, grade and meaning; sortable, the poor ones last."""
    number = st.column_config.NumberColumn(format="%.4g")
    columns = dict.fromkeys(("This cell", "2 %", "50 %", "98 %", "Mean", "SD"), number)
    table = comparison_table(place, reliability, features)
    width = _widest(table["Feature"])
    st.dataframe(
        table.style.apply(lambda row: ["color: #757d88" if row["Trust"] == Grade.POOR else ""] * len(row), axis=1),
        hide_index=True,
        height=min(_TABLE_HEIGHT, 38 + 35 * len(features)),
        key=key,
        placeholder="",
        column_config={
            **columns,
            # Long names are not pinned: on a narrow screen there would be nothing but them.
            "Feature": st.column_config.TextColumn(pinned=width <= _PINNED_PX, width=width),
            "Trust": st.column_config.TextColumn(
                help="How well it agrees with the same feature from a drawn outline; the last columns say why"
            ),
            "Percentile": st.column_config.NumberColumn(
                format="%.0f", help="Per cent of the population below this cell"
            ),
            "Robust z": st.column_config.NumberColumn(
                format="%.1f", help="Distance from the median in the population's typical spreads"
            ),
            "Place": st.column_config.TextColumn(help="Inside, above or below the 2-98 % range"),
            "SD": st.column_config.NumberColumn(format="%.4g", help="Standard deviation"),
            "n": st.column_config.NumberColumn(format="%d", help="Cells of the population that have this feature"),
            "Why": st.column_config.TextColumn(width="medium", help="The reason for the grade"),
            "Meaning": st.column_config.TextColumn(width="large"),
        },
    )


def _say_trust(reliability: Reliability, *, corrected: bool) -> None:
    """Say what the grades mean, with the way to the list."""
    if corrected:
        st.caption(
            "Trust: measured for the model's outlines, and not known for one that a person corrected; none is marked."
            " The populations were measured in outlines of the model."
        )
        return
    if not reliability:
        st.caption("How far each feature can be trusted is not yet measured for this model: none is marked.")
        return
    poor = sum(is_poor(name, reliability) for name in CATALOGUE)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="trust"):
        st.caption(
            "Trust: how well a feature from this model's outline agrees with the same from a drawn one. "
            + (
                f"The {poor} poor ones come last, faint, and decide nothing."
                if poor != 1
                else "The 1 poor one comes last, faint, and decides nothing."
            )
        )
        st.page_link("pages/4_Model_selection.py", label="All grades", icon=":material/verified:")


@st.fragment
def show_populations(placed: Sequence[Placed], reliability: Reliability, look: Look, *, corrected: bool) -> None:
    """Show a tab for all populations together and one for each cell type; only the open one is built."""
    _say_trust(reliability, corrected=corrected)
    grouped = by_cell_type(placed)
    kinds = [kind for kind in _FIRST_TABS if kind in grouped] + [kind for kind in grouped if kind not in _FIRST_TABS]
    names = ["General", *(CELL_TYPES[kind].name for kind in kinds)]
    tabs = st.tabs(names, on_change="rerun", key="population_tabs")
    if tabs[0].open:
        with tabs[0]:
            _overview_tab(placed, reliability, look)
    for tab, kind in zip(tabs[1:], kinds, strict=True):
        if tab.open:
            with tab:
                _population_tab(kind, grouped[kind], placed, reliability, look)


def show_downloads(
    analysis: CellAnalysis, placed: Sequence[Placed], nearness: Nearness, reliability: Reliability
) -> None:
    """Offer everything as files; a report is made when it is asked for."""
    now = datetime.now().astimezone()
    name = analysis.image.name
    if analysis.place:
        name = f"{PurePath(name).stem}_cell{analysis.cell_index + 1}{PurePath(name).suffix}"
    labels = analysis.segmentation.labels

    references = [p.reference for p in placed]
    known = references, nearness, model_in_use.default_model(), reliability, now
    tray = TRAY.get()
    notes = "" if tray is None else tray.images[tray.at].record.notes

    def tables() -> bytes:
        settings = {"Allowed image size": f"{load_settings().max_pixels:,} pixels"}
        return html_report(analysis, *known, settings, notes).encode()

    def page() -> list[FirstPage]:
        return [first_page(analysis, *known, notes)]

    reports = {
        "One page (PDF, A4)": (lambda: pdf_pages(page(), Paper.A4), file_name(name, "pdf")),
        "One page (PDF, Letter)": (lambda: pdf_pages(page(), Paper.LETTER), file_name(name, "pdf")),
        "One page (HTML)": (lambda: html_pages(page()).encode(), file_name(name, "html")),
        "With all tables (HTML)": (tables, file_name(name, "html", "tables")),
    }
    with st.container(horizontal=True, gap="small", key="downloads"):
        with st.popover("Report", icon=":material/description:", key="report"):
            for label, (make, called) in reports.items():
                st.download_button(label, make, called, key=f"download-{label}", on_click="ignore", type="tertiary")
        download(
            "Features (CSV)",
            lambda: to_csv(feature_table(analysis, placed, reliability)),
            file_name(name, "csv"),
            ":material/table:",
            "One row per feature, with its place in every population",
        )
        download(
            "Mask (PNG)",
            lambda: encode_png(encode_grey(labels)),
            file_name(name, "png", "mask"),
            ":material/contrast:",
            "Grey levels: 255 nucleus, 170 cytoplasm, 85 surroundings, 0 background",
        )
        if (base := analysis.base) is not None:
            download(
                "Model's mask (PNG)",
                lambda: encode_png(encode_grey(base.labels)),
                file_name(name, "png", "model_mask"),
                ":material/contrast:",
                "The mask as the model drew it, before the correction",
            )
        download(
            "Outlines (PNG)",
            lambda: outlined_png(analysis.image, labels),
            file_name(name, "png", "outlines"),
            ":material/image:",
            "The image with its outlines, enlarged",
        )
        if tray is None:
            show_case(None)


def download(label: str, make: Callable[[], bytes], name: str, icon: str, hint: str) -> None:
    """Show a button for a file that is made only when it is asked for."""
    st.download_button(label, make, name, key=f"download-{label}", icon=icon, help=hint, on_click="ignore")
