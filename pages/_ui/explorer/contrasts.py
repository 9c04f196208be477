"""What sets two kinds of cells apart inside each laboratory: the default where several laboratories have both."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import pandas as pd
import streamlit as st

from core.charts.contrasts import forest_chart
from core.charts.trust import Reliability, is_poor, why
from core.explorer.contrasts import Contrasts
from core.explorer.ranking import GroupName
from core.explorer.selection import Selection
from core.features.catalogue import CATALOGUE
from core.features.spec import Aspect
from core.populations.contrast import Contrast
from core.populations.dominance import Dominance
from core.reports.contrasts import agreement, best, html_report, ordered, plain, sentences, to_frame
from core.support.text import markdown
from pages._ui.common import cohort_data, model_in_use
from pages._ui.common.downloads import download_menu
from pages._ui.common.layout import current_look
from pages._ui.explorer.kept import kept_control
from pages._ui.explorer.state import change, explored

_DRAWN: Final = 12
_LIST_PX: Final = 388
_LONG_NAME: Final = 38  # characters, beyond which the name of a feature takes a second line
_LIST, _CHART = "List", "Chart"


def show_contrasts(found: Contrasts, words: Sequence[GroupName], selection: Selection) -> None:
    """Show what holds everywhere, how the sources agree, and all features aspect by aspect."""
    reliability = model_in_use.reliability_if_known()
    said = [each for aspect in Aspect if (each := best(found, aspect, reliability))]
    st.markdown("\n\n".join(f"#### {markdown(plain(each, found.names))}" for each in said[:1]))
    st.markdown("\n".join(f"- {markdown(plain(each, found.names))}" for each in said[1:]))
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="contrast_head"):
        listed = ordered(found, reliability)
        there = [aspect for aspect in Aspect if any(CATALOGUE[each.feature].aspect is aspect for each in listed)]
        aspect = kept_control("Of", there, "contrast_aspect")
        form = kept_control("Shown as", [_LIST, _CHART], "contrast_form")
        shown = [each for each in listed if CATALOGUE[each.feature].aspect is aspect]
        chart = forest_chart(
            shown[:_DRAWN],
            [each.source for each in found.sources],
            (words[0].plural, words[1].plural),
            reliability,
            current_look(),
        )
        now, revision = datetime.now().astimezone(), cohort_data.cohort().revision
        download_menu(
            "contrasts",
            f"inside_each_source_{'_'.join(found.names)}",
            chart,
            to_frame(found, reliability),
            lambda: html_report(found, selection, revision, reliability, now),
        )
    if form == _CHART:
        st.altair_chart(
            chart,
            width="stretch",
            key="contrast_chart",
            alt=f"The {min(_DRAWN, len(shown))} features that differ most in every source, with their differences",
        )
    else:
        _list(found, shown, reliability)
    who = sentences(found)[: len(found.sources) + len(found.too_few)]
    st.caption(
        "Both kinds are compared inside each source: stain, light and camera are the same on both sides, and nothing is"
        f" corrected. {markdown(' '.join(who))}"
    )
    _detail(found, explored().feature, reliability)
    with st.expander("How the sources agree", icon=":material/handshake:"):
        st.markdown("\n".join(f"- {markdown(agreement(family))}" for family in found.agreement()))


def _list(found: Contrasts, shown: Sequence[Contrast], reliability: Reliability) -> None:
    """Table of features; a click on a row looks at the feature below."""
    rows = [
        {
            "Feature": CATALOGUE[each.feature].label + ("  ·  poor" if is_poor(each.feature, reliability) else ""),
            "Everywhere": each.smallest,
            **{source.source: _told(each.by_source.get(source.source)) for source in found.sources},
            "Pooled": "" if each.pooled is None else f"{each.pooled:+.2f}",
            "I²": "" if each.i2 is None else f"{100 * each.i2:.0f} %",
        }
        for each in shown
    ]
    config: dict[str, Any] = {
        "Feature": st.column_config.TextColumn(pinned=True, width=265),
        "Everywhere": st.column_config.ProgressColumn(
            min_value=0,
            max_value=1,
            format="%.2f",
            width=95,
            help="The least of the sources' differences (Cliff's delta) where all point the same way; 0 where they do"
            " not.",
        ),
        **{
            source.source: st.column_config.TextColumn(width=160, help=markdown(source.source))
            for source in found.sources
        },
        "Pooled": st.column_config.TextColumn(width=65, help="Mean of the sources, random effects."),
        "I²": st.column_config.TextColumn(
            width=55, help="Share of the variance between the sources that chance does not explain."
        ),
    }
    key = hashlib.sha256(repr([each.feature for each in shown]).encode()).hexdigest()[:12]
    event: Any = st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        height=_LIST_PX,
        row_height=row_height([each.feature for each in shown]),
        key=f"contrasts-{key}",
        on_select="rerun",
        selection_mode="single-row",
        column_config=config,
        placeholder="",
    )
    if event.selection.rows:
        change(feature=shown[event.selection.rows[0]].feature)


def row_height(features: Sequence[str]) -> int | None:
    """Height of the rows of a list of features, in px: that of two lines where a name needs them; None for one line."""
    return 52 if any(len(CATALOGUE[name].label) > _LONG_NAME for name in features) else None


def _told(each: Dominance | None) -> str:
    if each is None:
        return "not compared"
    low, high = each.interval
    return f"{each.delta:+.2f} ({low:+.2f} to {high:+.2f})"


def _detail(found: Contrasts, feature: str, reliability: Reliability) -> None:
    """The feature that was clicked: what it is, and how far to trust it."""
    each = found.by_feature.get(feature)
    if each is None:
        if feature in found.refused:
            st.caption(f"{markdown(CATALOGUE[feature].label)} is not compared: {markdown(found.refused[feature])}.")
        return
    told = [CATALOGUE[feature].description, why(feature, reliability), found.refused.get(feature, "")]
    st.markdown(f"**{markdown(plain(each, found.names))}**")
    st.caption(" ".join(markdown(text) for text in told if text))
