"""The comparison of architectures: who leads and how surely, the cost, the leak of copies, and where all fail."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pandas as pd
import streamlit as st

from core.charts.selection import (
    COSTS,
    MEASURE_NAMES,
    cost_chart,
    differences_chart,
    leak_chart,
    learning_chart,
    ranking_chart,
)
from core.domain.settings import load_settings
from core.evaluation import model_selection as results
from core.evaluation.comparison_tables import MEASURES, differences_table, of_protocol, ranking_table, with_costs
from core.evaluation.model_comparison import (
    MIN_FOLDS,
    PRACTICALLY_NOTHING,
    Leak,
    Measure,
    PairedDifference,
    Score,
    fair,
    few_images,
    hardest,
    leaks,
    paired_differences,
    ranking,
    title,
    verdict,
)
from core.store.export import to_csv
from core.support.text import markdown, shown
from pages._ui.common.layout import current_look, empty_state, folded
from pages._ui.common.names import data_set_name, encoder_name
from pages._ui.models.tables import drawn_cell, selection_table

_PROTOCOLS: Final = {"grouped": "Copies kept together", "as-published": "As published"}
_PROTOCOL_HELP: Final = (
    "Every image has sixteen copies, rotated and mirrored. *Copies kept together*: folds are drawn over the originals,"
    " so that a network is scored on cells it never saw. *As published*: folds are drawn over the copies, as in the"
    " thesis, so that a network may be scored on a rotated copy of an image that it learnt from."
)
_CURVES: Final = {
    "val_dice_nucleus": "Dice of the nucleus",
    "val_dice_cytoplasm": "Dice of the cytoplasm",
    "val_loss": "loss of the fold's images",
    "train_loss": "loss of the training images",
}
_CASES: Final = 6
_FIRST_CURVES: Final = 4
_ANNOTATORS: Final = (
    "Two drawings of one identical image agree at 0.970 (nucleus) and 0.894 (cytoplasm), 0.932 in the mean: above that,"
    " a score measures habit rather than truth."
)


def show_comparison() -> None:
    """Show a run of the results folder; raises StoreError where its files are damaged."""
    folders = results.run_folders(load_settings().selection)
    if not folders:
        empty_state(
            "No comparison yet",
            "`python -m training select --config training/configs/select-cpu.toml` compares the architectures by"
            " cross-validation and goes on where it was stopped. Each fold is shown here as it ends.",
            "leaderboard",
        )
        _show_published()
        return
    folder, protocol, measure, ks = _choices(folders)
    everything, images, epochs = (_table(folder, name) for name in ("folds", "images", "epochs"))
    folds = of_protocol(everything, protocol, ks)
    _show_state(folder, everything)
    if fair(folds).empty:
        st.info(
            "No fold is finished by every network yet; what there is comes below as it ends.",
            icon=":material/hourglass_top:",
        )
    else:
        scores, differences = ranking(folds, measure), paired_differences(folds, measure)
        st.markdown(f"### {markdown(verdict(scores, differences))}")
        if few := few_images(of_protocol(images, protocol, ks)):
            st.warning(few, icon=":material/warning:")
        _show_ranking(folder, folds, scores, measure)
        if differences:
            with folded("Is a difference more than chance?", "Every pair of networks over the same folds"):
                _show_differences(folder, scores, differences, measure)
        with folded("What does it cost?", "Time, size and arithmetic of each network beside its score"):
            _show_costs(folder, scores, measure)
    if leakage := leaks(everything, images, measure):
        with folded("What do rotated copies in the training images add?", "The score of the thesis's way beside ours"):
            _show_leak(leakage, measure)
    if not (shown := of_protocol(epochs, protocol, ks)).empty:
        with folded("Has each learnt to its end?", "Dice and loss by epoch"):
            _show_curves(shown)
    if not (scored := of_protocol(images, protocol, ks)).empty:
        with folded("Which cells are hardest?", f"The {_CASES} that all networks outline worst, as pictures"):
            _show_hardest(folds, scored, measure)


def _table(folder: Path, name: str) -> pd.DataFrame:
    return selection_table(folder, name)


def _choices(folders: list[Path]) -> tuple[Path, str, Measure, list[int]]:
    """The row of choosers: run, protocol, measure, and k where there are several."""
    columns = st.columns([2.4, 2.6, 3], vertical_alignment="bottom", gap="medium")
    with columns[0]:
        names = {folder.name: folder for folder in folders}
        folder = names[
            st.selectbox("Run", list(names), format_func=shown, key="selection_run", persist_state="session")
        ]
    table = _table(folder, "folds")
    present = [protocol for protocol in _PROTOCOLS if (table["protocol"] == protocol).any()] or ["grouped"]
    with columns[1]:
        protocol = st.segmented_control(
            "Folds",
            present,
            default=present[0],
            required=True,
            format_func=_PROTOCOLS.__getitem__,
            key=f"selection_protocol_{folder.name}",
            help=_PROTOCOL_HELP,
        )
    with columns[2]:
        measure = st.segmented_control(
            "Dice of",
            list(Measure),
            default=Measure.MEAN,
            required=True,
            format_func=MEASURES.__getitem__,
            key="selection_measure",
        )
    ks = sorted(int(k) for k in table["k"].unique())
    if len(ks) > 1:
        ks = st.pills("k", ks, default=ks, selection_mode="multi", key=f"selection_k_{folder.name}") or ks
    return folder, str(protocol), Measure(measure), ks


def _show_state(folder: Path, folds: pd.DataFrame) -> None:
    """Say how the run was made, how far it is, and what failed in it."""
    config = results.read_config(folder)
    done, planned = len(folds), results.planned(config)
    sets = ", ".join(data_set_name(str(name)) for name in config["data_sets"])
    encoder = encoder_name(str(config["encoder"]))
    drawn = f"{config['images_per_epoch']} images" if config["images_per_epoch"] else "all images"
    st.caption(
        f"{markdown(f'{sets}; encoder {encoder}')}, {config['input_size']} x {config['input_size']} px,"
        f" {config['epochs']} epochs of {drawn} each, the same for every network; seed {config['seed']}. Each fold is"
        " scored by the averaged weights after the last epoch."
    )
    if done < planned:
        st.info(
            f"{done} of {planned} folds are done; the same command goes on where it stopped.",
            icon=":material/hourglass_top:",
        )
    failed = folds[folds["status"] != "done"]
    if len(failed):
        lines = [
            f"- {markdown(title(r['architecture']))}, fold {r['fold']} of {r['k']}: {markdown(r['reason'])}"
            for r in failed.to_dict("records")
        ]
        st.warning(
            f"{len(failed)} folds failed and count for nobody; `--retry` trains them again.\n" + "\n".join(lines),
            icon=":material/warning:",
        )


def _show_ranking(folder: Path, folds: pd.DataFrame, scores: tuple[Score, ...], measure: Measure) -> None:
    rows = fair(folds)
    published = results.published(load_settings().reference) if measure is Measure.MEAN else None
    beside = published is not None and st.toggle("Published scores beside them", value=True, key="selection_published")
    st.altair_chart(
        ranking_chart(
            scores,
            rows,
            measure,
            current_look(),
            published if beside else None,
        ),
        width="stretch",
        key="ranking",
        alt=f"{MEASURE_NAMES[measure]} of each network, by fold",
    )
    images = int(rows.groupby("architecture")["images_validation"].sum().iloc[0])
    interval = (
        f"; no interval of fewer than {MIN_FOLDS} folds."
        if scores[0].low is None
        else " and its 95 % interval, widened because folds share training images."
    )
    st.caption(
        f"Small dots: folds; diamond and line: mean over {scores[0].folds} folds ({images} scored copies){interval}"
        + (
            " Hollow: the thesis's means, on EfficientNet-b6, over folds drawn over the copies; not measured here."
            if beside
            else ""
        )
        + f" {_ANNOTATORS}"
    )
    table = ranking_table(folds, scores)
    fine, coarse = (st.column_config.NumberColumn(format=form) for form in ("%.4f", "%.1f"))
    with st.expander("In numbers"):
        st.dataframe(
            table,
            hide_index=True,
            key="ranking-table",
            column_config={"Network": st.column_config.Column(pinned=True)}
            | dict.fromkeys(table.columns[2:-2], fine)
            | dict.fromkeys(table.columns[-2:], coarse),
        )
        _download(table, f"leukoscope_ranking_{folder.name}.csv", "ranking")


def _show_differences(
    folder: Path, scores: tuple[Score, ...], differences: tuple[PairedDifference, ...], measure: Measure
) -> None:
    names = [score.architecture for score in scores]
    beside = st.selectbox("Beside", names, format_func=title, key="selection_beside", width=260)
    st.altair_chart(
        differences_chart(differences, beside, current_look()),
        width="stretch",
        key="differences",
        alt=f"Paired differences of {MEASURE_NAMES[measure]} from {title(beside)}",
    )
    count = len(differences)
    st.caption(
        f"Differences over the same {differences[0].folds} folds with 95 % intervals; grey: less than"
        f" {100 * PRACTICALLY_NOTHING:g} points, which means nothing in practice. The corrected resampled t-test"
        f" (Nadeau and Bengio 2003), Holm's correction over {count} pair{'s' * (count != 1)}. Few folds find large"
        " differences only: not told apart is not the same as equal."
    )
    table = differences_table(differences)
    with st.expander(f"All {count} pairs"):
        st.dataframe(
            table,
            hide_index=True,
            key="pairs",
            column_config={
                "Points": st.column_config.NumberColumn(format="%.2f"),
                "p": st.column_config.NumberColumn(format="%.4f"),
                "p, Holm": st.column_config.NumberColumn(format="%.4f"),
                "Chance of a practical tie": st.column_config.NumberColumn(
                    format="%.0f %%",
                    help="Probability that the true difference is in the grey band (correlated Bayesian t-test)",
                ),
            },
        )
        _download(table, f"leukoscope_differences_{folder.name}.csv", "differences")


def _show_costs(folder: Path, scores: tuple[Score, ...], measure: Measure) -> None:
    costs = results.read_costs(folder)
    if not {score.architecture for score in scores} & set(costs["architecture"]):
        st.info(
            f"Not measured yet: `python -m export.cost` exports every network of {markdown(folder.name)} and times it.",
            icon=":material/info:",
        )
        return
    cost = st.segmented_control(
        "Cost",
        list(COSTS),
        default="milliseconds",
        required=True,
        format_func=lambda name: COSTS[name][0],
        key="selection_cost",
    )
    table = with_costs(scores, costs, str(cost))
    st.altair_chart(
        cost_chart(table, str(cost), measure, current_look()),
        width="stretch",
        key="cost",
        alt=f"{MEASURE_NAMES[measure]} against cost",
    )
    first = table.iloc[0]
    best = ", ".join(
        markdown(title(name)) for name in table.sort_values(str(cost)).loc[lambda rows: rows["best"], "architecture"]
    )
    st.caption(
        f"On the dashed line nobody is both better and cheaper: {best}. Measured by `python -m export.cost` on"
        f" {markdown(first['measured'][:10])}: fp32 ONNX in onnxruntime, one image of {first['input_size']} px at a"
        f" time, {first['threads']} thread, {markdown(first['machine'])}. Milliseconds belong to that machine; their"
        " ratios hold elsewhere."
    )
    with st.expander("In numbers"):
        listed = table.sort_values("milliseconds")
        shown = pd.DataFrame({"Network": listed["architecture"].map(title), "Dice": listed["mean"]})
        for name, (words, unit) in COSTS.items():
            shown[words.capitalize().replace("onnx", "ONNX").replace(" mb", " MB")] = listed[name] / unit
        shown["PyTorch eager, milliseconds"] = listed["torch_milliseconds"]
        number = st.column_config.NumberColumn(format="%.2f")
        st.dataframe(
            shown,
            hide_index=True,
            key="cost-table",
            column_config=dict.fromkeys(shown.columns[2:], number)
            | {"Dice": st.column_config.NumberColumn(format="%.4f")},
        )
        _download(shown, f"leukoscope_cost_{folder.name}.csv", "cost")


def _show_leak(leakage: Sequence[Leak], measure: Measure) -> None:
    sentences = [
        f"**{markdown(title(leak.architecture))}**: {100 * leak.added:+.2f} points on the {leak.originals} originals"
        f" (95 % interval {100 * leak.low:+.2f} to {100 * leak.high:+.2f}); as reported {leak.grouped:.4f} against"
        f" {leak.as_published:.4f}."
        for leak in leakage
    ]
    st.markdown("  \n".join(sentences))
    st.altair_chart(
        leak_chart(leakage, measure, current_look()),
        width="stretch",
        key="leak",
        alt="Dice with and without copies of the validated images in training",
    )
    st.caption(
        "The same images, networks and number of steps; only the folds differ. The original of each image was scored"
        " once by networks that had seen none of its copies, and once by networks that may have learnt from its rotated"
        " copies. The interval is over images, not over repeated trainings."
    )


def _show_curves(epochs: pd.DataFrame) -> None:
    names = list(epochs.groupby("architecture")["val_dice_cytoplasm"].max().sort_values(ascending=False).index)
    left, right = st.columns([4, 2], vertical_alignment="bottom")
    with left:
        chosen = st.multiselect(
            "Networks", names, default=names[:_FIRST_CURVES], format_func=title, key="selection_curves"
        )
    with right:
        column = st.selectbox("Curve", list(_CURVES), index=1, format_func=_CURVES.__getitem__, key="selection_curve")
    shown = epochs[epochs["architecture"].isin(chosen)]
    if shown.empty:
        st.info("Choose at least one network.", icon=":material/info:")
        return
    st.altair_chart(
        learning_chart(shown, column, _CURVES[column]), width="stretch", key="curves", alt=f"{_CURVES[column]} by epoch"
    )
    st.caption(
        "Line: mean over the folds; band: lowest to highest fold. Dice of the fold's originals, of the averaged"
        " weights."
    )


def _show_hardest(folds: pd.DataFrame, images: pd.DataFrame, measure: Measure) -> None:
    worst = hardest(images, measure, _CASES)
    data_sets = tuple(str(folds["data_sets"].iloc[0]).split("+"))
    columns = st.columns(_CASES, gap="small")
    missing = 0
    for column, row in zip(columns, worst.to_dict("records"), strict=False):
        with column:
            kind = row["cell_type"].replace("_", " ")
            drawn = drawn_cell(row["sample_id"], data_sets)
            if drawn is None:
                missing += 1
            else:
                st.image(drawn, width="stretch", alt=f"{kind} {row['sample_id']} with the expert's outlines")
            st.markdown(
                f"**{row['mean']:.3f}** ({row['worst']:.3f} to {row['best']:.3f})  \n"
                f":small[{markdown(kind)}, {markdown(row['sample_id'])}]"
            )
    where = (
        " The pictures of this data set are not on this computer." if missing else " Outlines: as drawn by the expert."
    )
    st.caption(f"Originals of lowest {MEASURE_NAMES[measure]}: mean over the networks, and their range.{where}")


def _show_published() -> None:
    table = results.published(load_settings().reference)
    if table is None:
        return
    st.markdown("### Published comparison of architectures")
    st.dataframe(
        pd.DataFrame(
            {
                "Network": table["architecture"].map(title),
                "Encoder": table["encoder"].map(encoder_name),
                "Mean Dice (%)": table["mean_dice_percent"],
                "Source": table["source"],
            }
        ).sort_values("Mean Dice (%)", ascending=False),
        hide_index=True,
        key="published",
        column_config={"Mean Dice (%)": st.column_config.NumberColumn(format="%.2f")},
    )
    st.caption("Published, not measured here.")


def _download(table: pd.DataFrame, name: str, key: str) -> None:
    st.download_button(
        "CSV", lambda: to_csv(table), name, key=f"download-{key}", icon=":material/table:", on_click="ignore"
    )
