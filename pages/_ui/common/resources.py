"""The ranking by all cells, which goes on in the background: one for all sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from core.domain.settings import load_settings as settings
from pages._ui.common.cohort_data import cohort

if TYPE_CHECKING:
    from core.explorer.order import IndexBuild
    from core.explorer.selection import Selection
    from core.explorer.separation import ExactRanking, Separated
    from core.explorer.view import Grouping
    from pages._ui.explorer.answers import Sides


def exact_ranking(
    selection: Selection, by: Grouping, sides: Sides, names: tuple[str, ...], key: str, sampled: Separated
) -> ExactRanking:
    """The ranking by all cells, which goes on in the background.

    `key` names the comparison at this state of the cohort.
    """
    return _exact_ranking(key, selection, by, sides, names, sampled)


def forget_exact_rankings() -> None:
    """Let what has failed be tried again."""
    _exact_ranking.clear()
    _index_build.clear()


@st.cache_resource(show_spinner=False, max_entries=6)
def _exact_ranking(
    key: str,  # noqa: ARG001 - the key
    _selection: Selection,
    _by: Grouping,
    _sides: Sides,
    _names: tuple[str, ...],
    _sampled: Separated,
) -> ExactRanking:
    from core.explorer import order, separation

    index = order.find_index(cohort(), settings().cache) or _index_build(
        str(order.index_path(cohort(), settings().cache))
    )
    return separation.ExactRanking(cohort(), index, _selection, _by, _sides, _names, _sampled)


@st.cache_resource(show_spinner=False, max_entries=1)
def _index_build(path: str) -> IndexBuild:  # noqa: ARG001 - the key: one for all sessions
    from core.explorer.order import IndexBuild

    return IndexBuild(cohort(), settings().cache)
