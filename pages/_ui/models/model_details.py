"""A model of the manifest: what it is, how good its outlines are, its features' reliability, and its training."""

import pandas as pd
import streamlit as st

from core.charts.training import dice_chart, loss_chart
from core.domain.flags import LEFT_OUT
from core.evaluation import adaptation
from core.evaluation.agreement import GOOD_FROM, MODERATE_FROM, Grade
from core.evaluation.model_comparison import title
from core.evaluation.training_runs import best_epoch
from core.features.catalogue import CATALOGUE
from core.features.search import matching
from core.quality.novelty import load
from core.reports.tables import reliability_table
from core.segmentation.model_card import ModelCard
from core.segmentation.model_registry import OF_FORMER_MODELS, KnownModels, ModelEntry, known_models, use_model
from core.store.export import to_csv
from core.support.text import markdown, shown
from pages._ui.common import model_in_use
from pages._ui.common.feature_choice import theme_filter
from pages._ui.common.layout import current_look, folded
from pages._ui.common.names import data_set_name, encoder_name
from pages._ui.models.account import show_account
from pages._ui.models.tables import training_log

_PARTS = ("nucleus", "cytoplasm", "cell")
# What was scored.
_OF_IT, _FOLDS, _LEFT_OUT = "this model", "cross-validated", "laboratory left out"


def _show_card(model: ModelEntry) -> None:
    """Show what the model is, in words, and whether its file is the one that was exported."""
    card = model.card
    problem = model_in_use.model_problem(model)
    st.markdown(
        f"### {markdown(model.model_id)}: {markdown(f'{title(card.architecture)} on {encoder_name(card.encoder)}')}"
    )
    if problem:
        st.error(markdown(problem), icon=":material/gpp_bad:")
    else:
        st.markdown(
            f":material/verified: The file is the exported one (SHA-256 {markdown(model.sha256[:16])}…),"
            f" {markdown(card.precision)}, made on {markdown(card.created)}."
        )
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown(f"**Meant for.** {markdown(card.intended_use)}")
        st.markdown(f"**Limits.** {markdown(card.limits)}")
    with right:
        st.markdown(f"**Trained on.** {markdown(card.training_data)}")
        st.markdown(f"**Split.** {markdown(card.split)}")
        st.markdown(f"**Licence.** {markdown(card.licence)}")
    localised = " A small network of its own finds the cells first." if card.localiser else ""
    st.caption(
        f"Window {card.input_size} x {card.input_size} px; outputs:"
        f" {markdown(', '.join(card.classes).replace('environment', 'surroundings'))}.{localised}"
    )


def _show_scores(card: ModelCard) -> None:
    """Show overlap with expert masks by data set and part, for the model and for cross-validated networks."""
    measured = [(_OF_IT, card.scores)] + [
        (_LEFT_OUT if scheme.startswith("leave-one-source-out") else _FOLDS, result["sources"])
        for scheme, result in card.validation.items()
    ]
    rows = [
        {
            "Scored": scored,
            "Images": f"{data_set_name(name)} ({summary['images']} images)",
            "Part": part,
            "Dice": summary[part]["dice_mean"],
            "Spread (SD)": summary[part]["dice_std"],
            "95 % interval of the mean": " to ".join(f"{edge:.3f}" for edge in summary[part]["dice_ci95"]),
            "Below 0.8": f"{100 * summary[part]['below_0.8']:.1f} %",
        }
        for scored, scores in measured
        for name, summary in scores.items()
        if isinstance(summary, dict)
        for part in _PARTS
        if part in summary
    ]
    if not rows:
        return
    st.markdown("### How good are the outlines?")
    others = (
        " Cross-validated, and with the laboratory left out: networks trained much like this one, scored on what they"
        " had never seen; the latter knew one laboratory only."
    )
    st.caption(
        "Dice: overlap with the expert's mask on images not used for training; 1 = the same pixels."
        f"{others if card.validation else ''}"
    )
    number = st.column_config.NumberColumn(format="%.3f")
    columns = {"Dice": number, "Spread (SD)": number}
    # All rows at once: those of a laboratory left out come last, and must not be what one has to scroll for.
    st.dataframe(pd.DataFrame(rows), hide_index=True, height="content", key="scores", column_config=columns)
    st.caption(
        "Two drawings of one identical image agree at 0.970 (nucleus), 0.894 (cytoplasm) and 0.981 (cell): above that,"
        " a score measures habit rather than truth."
    )


def _show_reliability(model: ModelEntry) -> None:
    """List how far each feature from this model's outlines can be trusted."""
    reliability = model_in_use.reliability(model)
    if not reliability:
        st.info(
            "Not yet measured for this model: no feature is marked. `python -m core reliability` measures it.",
            icon=":material/info:",
        )
        return
    everything = reliability_table(CATALOGUE, reliability)
    counts = everything["Trust"].value_counts()
    parts = [f"**{counts.get(grade, 0)} {grade}**" for grade in Grade]
    st.markdown(f"Of {len(everything)} features {', '.join(parts[:-1])} and {parts[-1]}.")
    st.caption(
        "Each feature was measured in this model's outline and in a drawn one, on images not used for training. Good:"
        f" their agreement (ICC, 1 = the same) is {GOOD_FROM} or more even at the lower end of its 95 % interval, and a"
        f" plausible disturbance of outline or image hardly moves it; moderate: {MODERATE_FROM} or more; poor: less, or"
        " easily moved. Light and stain shift features of tone, colour and texture in all images of a laboratory: that"
        " does not lower the grade, but such features want one laboratory, or calibration."
    )
    left, middle, right = st.columns([3, 2, 3], vertical_alignment="bottom")
    with left:
        words = st.text_input(
            "Search", placeholder="nucleus area, eosin, entropy …", key="reliability_words", persist_state="session"
        )
    with middle:
        theme = theme_filter("reliability_theme")
    with right:
        grades = st.pills("Trust", list(Grade), default=list(Grade), selection_mode="multi", key="reliability_grades")
    shown = reliability_table(
        [name for name in matching(words, theme) if name in reliability and reliability[name].grade in grades],
        reliability,
    )
    spreads = "in standard deviations between cells of a type"
    st.dataframe(
        shown,
        hide_index=True,
        height=460,
        key="reliability",
        column_config={
            "Feature": st.column_config.TextColumn(pinned=True, width=240),
            "ICC": st.column_config.NumberColumn(format="%.2f", help="ICC(2,1), absolute agreement; 1 = the same"),
            "Mononuclear": st.column_config.NumberColumn(
                format="%.2f", help="The same of the mononuclear cells alone, which are fewer"
            ),
            "Bias": st.column_config.NumberColumn(format="%.2f", help=f"Mean of model minus drawing, {spreads}"),
            "Limits": st.column_config.TextColumn(help=f"Bland and Altman's 95 % limits, {spreads}"),
            "Annotators": st.column_config.NumberColumn(
                format="%.2f", help=f"Difference between two drawings of one cell, {spreads}"
            ),
            "n": st.column_config.NumberColumn(format="%d", help="Cells"),
            "Most moved by": st.column_config.TextColumn(
                help=f"The disturbance that moves it most, and how far, {spreads}"
            ),
            "Calibrate for": st.column_config.TextColumn(
                help="Light or stain that moves it far: compare within one laboratory, or calibrate"
            ),
            "Why": st.column_config.TextColumn(width="large"),
        },
    )
    st.download_button(
        "The list (CSV)",
        lambda: to_csv(everything),
        f"leukoscope_trust_{model.model_id}.csv",
        key="download-reliability",
        icon=":material/table:",
        on_click="ignore",
    )


def _percent(share: list[float]) -> str:
    return f"{100 * share[0]:.0f} % ({100 * share[1]:.0f} to {100 * share[2]:.0f})"


def _show_knowledge(model: ModelEntry) -> None:
    """List what is recognised as no leukocyte, and how often a leukocyte is mistaken for that."""
    if model.novelty is None:
        st.info("Not yet learnt for this model. `python -m core novelty` does it.", icon=":material/info:")
        return
    knowledge = load(model.novelty, model.sha256)
    cells, falsely = knowledge.falsely_refused()
    measured = knowledge.measured
    _, rule = measured["granulocytes"]
    st.markdown(
        f"Of {cells:,} leukocytes **{100 * falsely:.1f} %** are {LEFT_OUT} of summaries as unlike a leukocyte or too"
        f" small. Of neutrophils and eosinophils of a laboratory left out {_percent(rule['recall'])} are marked as"
        f" granulocytes, of its mononuclear cells {_percent(rule['false'])}, falsely."
    )
    rows = [
        {
            "Shown": row["kind"],
            "From": data_set_name(row["source"]),
            "Pictures": row["n"],
            "Refused": _percent(row["refused"]),
            "AUC": row["auc_unseen"],
        }
        for row in measured["kinds"]
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key="knowledge",
        column_config={
            "Refused": st.column_config.TextColumn(help="Share with a severe flag, and its 95 % interval"),
            "AUC": st.column_config.NumberColumn(
                format="%.2f",
                help=(
                    "How well the distance from the known cells alone sets them apart from lymphocytes and monocytes of"
                    " a laboratory that was never fitted: 1 = always, 0.5 = not at all"
                ),
            ),
        },
    )


def _show_training(model: ModelEntry) -> None:
    """Draw the training log."""
    if model.log is None or not model.log.is_file():
        st.info("No training log lies beside this model.", icon=":material/info:")
        return
    log = training_log(model.log)
    best = best_epoch(log)
    st.markdown(
        f"{len(log)} epochs in {log['seconds'].sum() / 60:.0f} minutes; best on the validation images in epoch"
        f" {best['epoch']:.0f}: Dice {best['val_dice_nucleus']:.3f} for the nucleus, {best['val_dice_cytoplasm']:.3f}"
        " for the cytoplasm."
    )
    left, right = st.columns(2, gap="medium")
    with left:
        st.altair_chart(
            dice_chart(log),
            width="stretch",
            key="dice",
            alt="Dice of nucleus and cytoplasm on the validation images by epoch",
        )
    with right:
        st.altair_chart(
            loss_chart(log, current_look()),
            width="stretch",
            key="loss",
            alt="Loss of training and validation images by epoch",
        )


def _chosen(known: KnownModels) -> ModelEntry:
    """Let a person choose which model to look at; opens with the one in use."""

    # Which is in use is not said here: the browser goes on showing the words that an option had when it was chosen.
    def named(model_id: str) -> str:
        model = known.named(model_id)
        hides = ", hides the shipped one of that name" if model.hides_shipped else ""
        return f"{shown(model_id)} ({'shipped' if model.shipped else 'your own'}{hides})"

    ids = [model.model_id for model in known.entries]
    first = ids.index(known.in_use.model_id) if known.in_use else 0
    chosen = st.selectbox(
        "Model to look at", ids, index=first, format_func=named, key="model_shown", persist_state="session"
    )
    return known.named(chosen)


def _offer(model: ModelEntry, in_use: ModelEntry | None) -> None:
    """Let a person take the model for everything from now on, and say whom that concerns; raises ModelError."""
    if model is in_use:
        st.markdown(":material/check: **In use.** Cells are outlined by this model.")
        return
    if st.button("Use it from now on", key="use-model", type="primary", icon=":material/check:"):
        use_model(model.model_id)
        st.rerun()
    st.caption(
        f"In place of {markdown(in_use.model_id) if in_use else 'one that is not there any more'}: for everybody who"
        f" works with this program here, and for every command. {OF_FORMER_MODELS}"
    )


def show_model() -> None:
    """Show the model in use, or another that is there, which can be taken instead; raises ModelError without any."""
    known = known_models()
    if not known.entries:
        model_in_use.default_model()  # says what is missing
    model = known.in_use
    if model is None or len(known.entries) > 1:
        model = _chosen(known)
        _offer(model, known.in_use)
    _show_card(model)
    st.markdown(f"**Runs on** the {markdown(model_in_use.segmenter(model).provider)}.")
    if model.adaptation is not None:
        st.markdown("### What a laboratory gained by it")
        show_account(adaptation.load(model.adaptation))
    _show_scores(model.card)
    with folded("How far can each feature be trusted?", "All of them, by what outline and image do to them"):
        _show_reliability(model)
    with folded("What does it refuse?", "What is recognised as no leukocyte, and how often falsely"):
        _show_knowledge(model)
    with folded("How was it trained?", "Dice and loss by epoch"):
        _show_training(model)
