"""The parts of the single-cell page: measures, quality, the populations' tabs, downloads."""

import html
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

import streamlit as st

from core.cell_types import CELL_TYPES, CellType
from core.charts.labels import who, with_unit
from core.charts.overlay import outlined_png
from core.charts.ranges import SHAPE_GROUPS, TONE_GROUPS, comparable, overview_chart, published_view, range_chart, shades
from core.charts.strips import strip_html
from core.charts.theme import AnyChart, Look, population_colour
from core.features.catalogue import CATALOGUE
from core.imaging import encode_png
from core.masks import encode_grey
from core.report import (
    KEY_FEATURES,
    Placed,
    by_cell_type,
    comparison_table,
    feature_table,
    file_name,
    html_report,
    main_sources,
    most_different,
    nearest_in_words,
    obstacles,
    scale_source,
)
from core.statistics import INTENSITY_CAUTION, SMALL_GROUP, Basis, FeatureComparison, Nearness, ReferencePopulation, describe
from core.store.export import to_csv
from core.types import CellAnalysis
from pages._ui import resources

_BY_DISTANCE: Final = "By distance"
_AS_PUBLISHED: Final = "As published (log axis)"
_TABLE_HEIGHT: Final = 420
_FIRST_TABS: Final = (CellType.MONOCYTE, CellType.LYMPHOCYTE, CellType.HCL, CellType.APL)


def _sentences(items: Iterable[tuple[str, str]], *, wide: bool = False) -> str:
    """HTML of sentences, each with the class that sets its mark; texts are escaped, so names from outside are harmless."""
    body = "".join(f'<li class="{kind}">{html.escape(text)}</li>' for kind, text in items)
    return f'<ul class="sentences{" two-columns" if wide else ""}">{body}</ul>'


def show_measures(analysis: CellAnalysis, placed: Sequence[Placed]) -> None:
    """Show what a morphologist looks for first, each with a strip that shows where it lies among the populations."""
    sources = main_sources(placed)
    scale = analysis.image.um_per_px
    rows = []
    for feature in KEY_FEATURES:
        spec, value = CATALOGUE[feature], analysis.features.values.get(feature)
        strip = strip_html(feature, [(p.reference, p.of(feature)) for p in sources])
        if value is not None and spec.length_power and scale is not None:
            text = with_unit(spec, spec.in_um(value, scale), Basis.MICROMETRES)
        else:
            text = with_unit(spec, value, Basis.PIXELS)
        figure, _, unit = text.partition(" ")
        if not strip:
            reason = analysis.features.absent.get(feature) or (
                "give µm per pixel to compare" if spec.length_power else "nothing to compare with"
            )
            strip = f'<span class="none">{html.escape(reason)}</span>'
        name = f'<span class="name" title="{html.escape(spec.description)}">{html.escape(spec.label)}</span>'
        rows.append(f'<div>{name}<span class="value">{figure} <small>{unit}</small></span></div><div>{strip}</div>')
    st.html(f'<div class="measures">{"".join(rows)}</div>')


def show_quality(analysis: CellAnalysis) -> None:
    """Say in sentences what to know before trusting the numbers."""
    items = [("warn" if flag.severe else "info", flag.message) for flag in analysis.flags]
    if not items:
        items.append(("good", "Quality: nothing stands against using these numbers."))
    if not analysis.quality_ok:
        items.append(("warn", "Populations leave such a cell out: look at the outline before using any number."))
    items += [("info", f"On opening the image: {note}.") for note in analysis.image.notes]
    st.html(_sentences(items))


def show_nearest(found: Sequence[Nearness]) -> None:
    """Describe which population the cell is most typical of, and the runner-up."""
    if found:
        st.markdown(
            f":material/near_me: {nearest_in_words(found)} A description, no classification.",
            help=f"Over {found[0].features} shape features that need no scale: the distance of this cell from each population's centre, "
            "every feature counted in the population's own spread and at most six spreads. The per cent tells how many of the "
            "population's own cells lie at least that far out: the higher, the more typical this cell would be. "
            "Tone is left out, because staining differs between laboratories.",
        )


def _overview_tab(placed: Sequence[Placed], look: Look) -> None:
    banded = [(p.reference, p.comparisons) for p in placed if p.reference.n >= SMALL_GROUP and not p.reference.published]
    if not banded:
        st.info("There is no population to compare with yet. `make cohort` builds the reference cohort.", icon=":material/info:")
        return
    st.markdown("All populations at once: blue below a population's median, orange above, a triangle outside its 2-98 % range.")
    _side_by_side(
        [overview_chart(banded, groups, look) for groups in (SHAPE_GROUPS, TONE_GROUPS)],
        "overview",
        "Place of this cell in every population",
    )
    st.caption(f"Tone: {INTENSITY_CAUTION}")


def _side_by_side(charts: Sequence[AnyChart], key: str, alt: str) -> None:
    for index, (column, chart) in enumerate(zip(st.columns(len(charts), gap="medium"), charts, strict=True)):
        with column:
            st.altair_chart(chart, width="stretch", key=f"{key}-{index}", alt=alt)


def _source_label(place: Placed) -> str:
    kind = "  ·  published table" if place.reference.published else ""
    return f"**{place.reference.title}**  ·  {who(place.reference)}{kind}"


def _differences(place: Placed) -> None:
    def item(comparison: FeatureComparison) -> tuple[str, str]:
        return ("above" if comparison.direction is not None and comparison.direction.value == "above" else "below", describe(comparison))

    shapes, tones = most_different(place)
    if not shapes and not tones:
        st.markdown("Every feature that can be compared lies within the 2-98 % range.")
        return
    if shapes:
        st.html(_sentences(map(item, shapes), wide=True))
    else:
        st.markdown("In shape, every feature that can be compared lies within the 2-98 % range.")
    if tones:
        st.caption(f"In tone. {INTENSITY_CAUTION}")
        st.html(_sentences(map(item, tones), wide=True))


def _legend(scale: Placed, others: Sequence[ReferencePopulation]) -> str:
    """Key to the range chart as HTML, with the same marks as the chart."""
    colour = population_colour(scale.reference.cell_type)
    line = f"border:1.5px dashed {colour}" if scale.reference.published else f"background:{colour}59;border-left:0"
    entries = [
        (f"width:26px;height:11px;border-radius:3px;{line}", f"{scale.reference.title}: 2-98 %, with a tick at the median"),
        ("width:10px;height:10px;border-radius:50%;background:currentColor", "this cell, inside"),
        (f"border:6px solid transparent;border-left:11px solid {colour};border-right:0", "this cell, outside"),
    ]
    for reference, shade in zip(others, shades(scale.reference, others), strict=True):
        if reference.published:
            mark = "width:26px;height:11px;border:1px dashed currentColor"
        elif reference.n < SMALL_GROUP:
            mark = f"width:8px;height:8px;border-radius:50%;background:{shade}"
        else:
            mark = f"width:26px;height:3px;background:{shade}"
        entries.append((mark, reference.title))
    spans = "".join(f'<span><i style="{style}"></i>{html.escape(text)}</span>' for style, text in entries)
    return f'<div class="legend">{spans}</div>'


def _population_tab(kind: CellType, sources: list[Placed], placed: Sequence[Placed], look: Look) -> None:
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
    note = resources.notes().get(chosen.reference.population)
    if note:
        st.caption(note)
    scale = scale_source(chosen, placed)
    if chosen.reference.n < SMALL_GROUP:
        st.warning(
            f"Only {chosen.reference.n} cells: they are drawn as points, and no percentile is given."
            + (f" The rows are spread out by {scale.reference.title}, for orientation." if scale else ""),
            icon=":material/scatter_plot:",
        )
    else:
        st.markdown("##### Where this cell differs most")
        _differences(chosen)
    for text in obstacles(chosen):
        st.caption(text)
    if scale is not None:
        _range_charts(kind, chosen, sources, scale, look)
    st.markdown("##### All features")
    show_table(chosen, key=f"table-{kind}")


def _range_charts(kind: CellType, chosen: Placed, sources: Sequence[Placed], scale: Placed, look: Look) -> None:
    view = _BY_DISTANCE
    if scale is chosen:
        views = [_BY_DISTANCE, _AS_PUBLISHED]
        view = st.segmented_control("View", views, default=view, required=True, key=f"view-{kind}", label_visibility="collapsed")
    alt = f"Place of this cell among {chosen.reference.title}, feature by feature; the table below holds the same numbers"
    if view == _AS_PUBLISHED:
        halves: tuple[tuple[str, ...], ...] = tuple(g for g in (SHAPE_GROUPS, TONE_GROUPS) if comparable(chosen.comparisons, g))
        _side_by_side([published_view(chosen.comparisons, chosen.reference, groups, look) for groups in halves], f"published-{kind}", alt)
        return
    others = [p.reference for p in sources if p is not scale]
    st.html(_legend(scale, others))
    halves = tuple(groups for groups in (SHAPE_GROUPS, TONE_GROUPS) if comparable(scale.comparisons, groups))
    _side_by_side([range_chart(scale.comparisons, scale.reference, others, groups, look) for groups in halves], f"ranges-{kind}", alt)


def show_table(place: Placed, key: str) -> None:
    """Show every feature with its range, mean and spread, sortable; the meaning of each is the last column."""
    number = st.column_config.NumberColumn(format="%.4g")
    columns = dict.fromkeys(("This cell", "2 %", "50 %", "98 %", "Mean", "SD"), number)
    st.dataframe(
        comparison_table(place),
        hide_index=True,
        height=_TABLE_HEIGHT,
        key=key,
        placeholder="",
        column_config={
            **columns,
            "Feature": st.column_config.TextColumn(pinned=True, width=210),
            "Percentile": st.column_config.NumberColumn(format="%.0f", help="Per cent of the population below this cell"),
            "Robust z": st.column_config.NumberColumn(format="%.1f", help="Distance from the median in the population's typical spreads"),
            "Place": st.column_config.TextColumn(help="Inside, above or below the 2-98 % range"),
            "SD": st.column_config.NumberColumn(format="%.4g", help="Standard deviation"),
            "n": st.column_config.NumberColumn(format="%d", help="Cells of the population that have this feature"),
            "Meaning": st.column_config.TextColumn(width="large"),
        },
    )


@st.fragment
def show_populations(placed: Sequence[Placed], look: Look) -> None:
    """Show a tab for all populations together and one for each cell type; only the open one is built."""
    grouped = by_cell_type(placed)
    kinds = [kind for kind in _FIRST_TABS if kind in grouped] + [kind for kind in grouped if kind not in _FIRST_TABS]
    names = ["General", *(CELL_TYPES[kind].name for kind in kinds)]
    tabs = st.tabs(names, on_change="rerun", key="population_tabs")
    if tabs[0].open:
        with tabs[0]:
            _overview_tab(placed, look)
    for tab, kind in zip(tabs[1:], kinds, strict=True):
        if tab.open:
            with tab:
                _population_tab(kind, grouped[kind], placed, look)


def show_downloads(analysis: CellAnalysis, placed: Sequence[Placed]) -> None:
    """Offer everything as files; the report is made when it is asked for."""
    now = datetime.now().astimezone()
    name = analysis.image.name

    labels = analysis.segmentation.labels

    def report() -> bytes:
        model = resources.default_model()
        settings = {"Allowed image size": f"{resources.settings().max_pixels:,} pixels"}
        return html_report(analysis, [p.reference for p in placed], model, now, settings).encode()

    with st.container(horizontal=True, gap="small", key="downloads"):
        _download(
            "Report", report, file_name(name, now, "html"), ":material/description:", "Everything here in one file that opens offline"
        )
        _download(
            "Features (CSV)",
            lambda: to_csv(feature_table(analysis, placed)),
            file_name(name, now, "csv"),
            ":material/table:",
            "One row per feature, with its place in every population",
        )
        _download(
            "Mask (PNG)",
            lambda: encode_png(encode_grey(labels)),
            file_name(name, now, "png", "mask"),
            ":material/contrast:",
            "Grey levels: 255 nucleus, 170 cytoplasm, 85 surroundings, 0 background",
        )
        _download(
            "Outlines (PNG)",
            lambda: outlined_png(analysis.image, labels),
            file_name(name, now, "png", "outlines"),
            ":material/image:",
            "The image with its outlines, enlarged",
        )


def _download(label: str, make: Callable[[], bytes], name: str, icon: str, hint: str) -> None:
    """Show a button for a file that is made only when it is asked for."""
    st.download_button(label, make, name, key=f"download-{label}", icon=icon, help=hint, on_click="ignore")
