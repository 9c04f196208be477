"""The results of a run: a sentence, the cells to look at first, the table, failures, and files to download."""

from collections.abc import Callable
from typing import Final

import numpy as np
import pandas as pd
import streamlit as st
from markupsafe import Markup
from numpy.typing import NDArray

from core.batch.jobs import Job, Standing
from core.batch.review import FailureGroup, Order, Overview, Review, lay_scale
from core.batch.settings import State
from core.charts.labels import given_scale, unit
from core.domain.errors import StoreError
from core.domain.flags import flags_told, quality_counts
from core.domain.options import Units
from core.domain.settings import load_settings
from core.domain.types import GivenScale
from core.features.catalogue import CATALOGUE
from core.image.listing import told
from core.populations.summaries import basis_of
from core.quality.ruler import RedCellScale, RulerAnswer, pooled
from core.support.text import markdown
from pages._ui.batch.add_to_cohort import add_to_cohort
from pages._ui.batch.look_through import look_through
from pages._ui.batch.pictures import review_of, scale_of
from pages._ui.batch.runs import duration
from pages._ui.common import model_in_use
from pages._ui.common.caching import cached
from pages._ui.common.downloads import file_name
from pages._ui.common.exchange import offer_exchange
from pages._ui.common.layout import empty_state
from pages._ui.common.state import RUN_PROBLEM
from pages._ui.common.widgets import say_passed_over

_GROUPS: Final = 100
# More kinds of failures than this scroll.
_GROUPS_IN_VIEW: Final = 6
_ROWS: Final = 100
# Cells. A file goes through the server's memory to the browser; larger ones are fetched from where they are.
_MOST_TO_BROWSER: Final = 100_000
_FEATURES: Final = (
    "combined_PixelSurface",
    "cell_shape2D_PixelSurface",
    "nucleus_shape2D_PixelSurface",
    "nucleus_shape2D_Elongation",
)
_REASONS: Final = Markup(
    '<table class="reasons"><tr><th>Images</th><th>Why they were not measured or counted</th></tr>{}</table>'
)
_REASON: Final = Markup("<tr><td>{}</td><td>{}<small>{}</small></td></tr>")
_LOOK, _TABLE, _FAILURES, _COHORT = "Look through", "All cells", "Failures", "Add to the cohort"


def show_results(job: Job, standing: Standing) -> None:
    """Show a run that has ended, whole or in part."""
    review = review_of(job)
    overview, failed = review.overview, len(review.failures)
    st.markdown(_summary(standing, review, typed=job.request.by_folder))
    if news := model_in_use.stain_news(overview.unlike_training, overview.cells):
        st.markdown(f":material/palette: {markdown(news)}")
    if standing.state is not State.FINISHED and standing.message:
        st.markdown(f":material/info: {markdown(standing.message)}")
    if standing.progress is not None:
        say_passed_over(told(standing.progress.passed_over))
    if not overview.cells and not failed:
        empty_state(
            "Nothing measured", "Press **Go on** to continue this run, or start a new one above.", "hourglass_empty"
        )
        return
    if overview.cells:
        _scale(job, review)
    _downloads(job, review, failed)
    views = [_LOOK, _TABLE, _COHORT] if overview.cells else []
    views += [_FAILURES] if failed else []
    view = st.segmented_control(
        "View",
        views,
        default=views[0],
        required=True,
        format_func=lambda name: f"{name} ({failed:,})" if name == _FAILURES else name,
        key="batch_view",
        label_visibility="collapsed",
    )
    if view == _LOOK:
        look_through(job, review)
    elif view == _TABLE:
        _table(job, review, overview)
    elif view == _COHORT:
        add_to_cohort(job, review, overview)
    else:
        _failures(review)


def _summary(standing: Standing, review: Review, *, typed: bool) -> str:
    overview, failed = review.overview, len(review.failures) - review.copies
    cells = "1 cell" if overview.cells == 1 else f"{overview.cells:,} cells"
    sentence = f"**{cells} measured in {duration(review.seconds)}**: "
    sentence += f"{quality_counts(overview.cells, overview.good, overview.remarked)}; "
    sentence += (
        f"{failed:,} {'image' if failed == 1 else 'images'} could not be measured." if failed else "no image failed."
    )
    if review.copies:
        sentence += f" {review.copies:,} {'is a copy' if review.copies == 1 else 'are copies'} of others, counted once."
    if typed and overview.unlabelled:
        sentence += f" {overview.unlabelled:,} of the cells {'has' if overview.unlabelled == 1 else 'have'} no type."
    progress = standing.progress
    if standing.state is State.FINISHED or progress is None or progress.total is None:
        return sentence
    return f"{sentence} {progress.total - progress.done:,} images are still to be done."


def _scale(job: Job, review: Review) -> None:
    """Say the scale of a run; without one offer what its red cells tell, or say why they tell none."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="batch_scale"):
        if (scale := scale_of(job, review)) is not None:
            st.markdown(f":material/straighten: Scale: {markdown(given_scale(scale))}.", width="content")
            if review.laid_scale is not None:
                st.button(
                    "Without this scale",
                    key="batch_scale_off",
                    on_click=_lay,
                    args=(job, None),
                    type="tertiary",
                    icon=":material/close:",
                )
            return
        answer = _ruler(job)
        if isinstance(answer, RedCellScale):
            st.button(
                f"Use {markdown(given_scale(answer.taken()))}",
                key="batch_scale_on",
                on_click=_lay,
                args=(job, answer.taken()),
                type="tertiary",
                icon=":material/straighten:",
                help="Sizes are kept in pixels; the scale goes into the table, its files and the cohort.",
            )
        elif answer is not None:
            st.caption(f"No scale was given; {markdown(answer.words)}.")


@cached("data", max_entries=64, key=lambda job: (str(job.results), Review.revision(job.results)))
def _ruler(job: Job) -> RulerAnswer | None:
    """What the red cells of a run tell; None of a run that did not look at them."""
    said = review_of(job).red_cells()
    return pooled(said) if said else None


def _lay(job: Job, scale: GivenScale | None) -> None:
    try:
        lay_scale(job.results, scale)
    except StoreError as error:
        RUN_PROBLEM.set(str(error))


def _downloads(job: Job, review: Review, failed: int) -> None:
    if review.overview.cells > _MOST_TO_BROWSER:
        place = job.results.relative_to(load_settings().runs.resolve()).as_posix()
        st.markdown(
            f"Too large for a browser: the table, the masks and the failures are on the server, in {markdown(place)} of"
            " the folder of runs."
        )
        return
    files: list[tuple[str, str, str, str, Callable[[], bytes]]] = [
        ("Table (CSV)", "csv", "", "text/csv", review.csv),
        ("Table (Parquet)", "parquet", "", "application/vnd.apache.parquet", review.parquet),
        *(_in_um(review) if review.scale is not None else []),
        ("Masks (ZIP)", "zip", "masks", "application/zip", review.masks),
    ]
    if failed:
        files.append(("Failures (CSV)", "csv", "failures", "text/csv", review.failures_csv))
    title = job.request.title.rpartition("/")[2].removesuffix(".zip")
    with st.container(horizontal=True, gap="small"):
        for label, suffix, what, mime, make in files:
            name = file_name(f"{title}.zip", suffix, what, day=job.request.created.astimezone().date())
            st.download_button(
                label, make, name, mime, key=f"batch-{label}", on_click="ignore", icon=":material/download:"
            )
        if review.overview.cells:
            offer_exchange(
                "batch",
                title,
                review.overview.cells,
                lambda: review.handed_over(title),
                scaled=review.scale is not None,
            )


def _in_um(review: Review) -> list[tuple[str, str, str, str, Callable[[], bytes]]]:
    """The table once more, sizes in micrometres."""
    um = Units.MICROMETRES
    return [
        ("Table (CSV, µm)", "csv", "um", "text/csv", lambda: review.csv(um)),
        ("Table (Parquet, µm)", "parquet", "um", "application/vnd.apache.parquet", lambda: review.parquet(um)),
    ]


def _table(job: Job, review: Review, overview: Overview) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        order = st.segmented_control(
            "Order",
            list(Order),
            default=Order.LEAST_CERTAIN,
            required=True,
            key="batch_order",
            label_visibility="collapsed",
        )
        pages = -(-overview.cells // _ROWS)
        page = st.pagination(pages, key=f"batch_rows_{job.name}_{order}", max_visible_pages=7) if pages > 1 else 1
    columns = ["confidence", "outline_quality", "quality_ok", "quality_flags", "cell_type", "patient_id", "um_per_px"]
    rows = review.cells([*columns, *_FEATURES], Order(order), (page - 1) * _ROWS, _ROWS)
    scales = rows["um_per_px"].to_numpy(dtype=np.float64, na_value=np.nan)
    in_um = not np.isnan(scales).all()
    judged = "outline_quality" in rows
    shown = pd.DataFrame(
        {
            "Image": rows["image_path"],
            "Cell": rows["cell_index"] + 1,
            "Certainty": rows["outline_quality"].fillna(rows["confidence"]) if judged else rows["confidence"],
            "Quality": [
                flags_told(flags, good=bool(good))
                for flags, good in zip(rows["quality_flags"], rows["quality_ok"], strict=True)
            ],
            "Cell type": rows["cell_type"],
            "Patient": rows["patient_id"],
            **{_head(name, in_um=in_um): _sizes(name, rows[name], scales if in_um else None) for name in _FEATURES},
        }
    ).dropna(axis="columns", how="all")
    numbers = {
        name: st.column_config.NumberColumn(format="%.3g") for name in shown.columns if shown[name].dtype == "float64"
    }
    st.dataframe(shown, hide_index=True, height=420, column_config=numbers, key="batch_table")
    without = int(np.isnan(scales).sum()) if in_um else 0
    unscaled = f" {without:,} of these cells have no scale, and so no size here." if without else ""
    st.caption(f"A few of the features; the files hold all of them, and the scale.{unscaled}")


def _head(feature: str, *, in_um: bool) -> str:
    """Label of a feature with its unit, if it has one."""
    spec = CATALOGUE[feature]
    words = unit(spec, basis_of(spec, in_um=in_um))
    return f"{spec.label} ({words})" if words else spec.label


def _sizes(feature: str, values: pd.Series, um_per_px: NDArray[np.float64] | None) -> pd.Series:
    """Values as stored, in pixels; or with the cells' scales in micrometres, absent where the scale is."""
    power = CATALOGUE[feature].length_power
    return values if um_per_px is None or not power else values * um_per_px**power


def _failures(review: Review) -> None:
    groups = review.failure_groups()
    rows = [
        _REASON.format(f"{group.images:,}", group.reason[:1].upper() + group.reason[1:], _named(group))
        for group in groups[:_GROUPS]
    ]
    with st.container(height=420 if len(rows) > _GROUPS_IN_VIEW else "content", border=False, key="batch_failures"):
        st.html(_REASONS.format(Markup().join(rows)))
    st.caption(
        "Images that failed alike are counted together, with the reason of the first; the file of failures names each."
    )


def _named(group: FailureGroup) -> str:
    others = group.images - len(group.examples)
    return ", ".join(group.examples) + (f" and {others:,} others" if others else "")
