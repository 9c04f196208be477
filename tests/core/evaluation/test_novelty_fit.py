import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from core.domain.errors import DataSetError, ModelError
from core.domain.options import CellChoice, Device
from core.evaluation.datasets import data_set
from core.evaluation.novelty_fit import (
    KNOWN_SOURCES,
    LEUKOCYTE,
    UNSEEN_SOURCES,
    Subject,
    evaluate,
    fit_detector,
    fit_granulocytes,
    knowledge_of,
    measure,
    measure_all,
    store,
    subjects,
)
from core.evaluation.ood_negatives import NegativeKind
from core.features.extract import extract
from core.image.masks import encode_grey
from core.image.synthetic import draw_cell
from core.quality.novelty import NOVELTY_TRAITS, TRAITS, load, traits
from core.segmentation.model_registry import MANIFEST, find_model

# How far, in standard deviations within a type, the laboratories' means lie apart in every trait.
APART = 0.5


def cells(rng, count, source, cell_type, shift=None, kind=LEUKOCYTE):
    """Rows as `measure` makes them: traits drawn from a normal distribution around the laboratory's own mean."""
    values = rng.normal(APART * ([*KNOWN_SOURCES, "deepapl"].index(source) if source else 0), 1, (count, len(TRAITS)))
    table = pd.DataFrame(values, columns=list(TRAITS))
    for name, by in (shift or {}).items():
        table[name] += by
    groups = [f"{source}/{cell_type}/{number}" for number in range(count)]
    known = kind == LEUKOCYTE and source in KNOWN_SOURCES
    return table.assign(
        kind=kind, source=source, cell_type=cell_type, group=groups, small=False, refused=False, known=known
    )


@pytest.fixture(scope="module")
def table():
    """Four known laboratories and one more, each with mononuclear cells and granulocytes.

    Impostors that differ, and some that do not.
    """
    rng = np.random.default_rng(0)
    lobed = {"lobulation": 4, "dent": 4, "dye": 4}
    parts = []
    for source in (*KNOWN_SOURCES, "deepapl"):
        parts += [
            cells(rng, 100, source, "lymphocyte"),
            cells(rng, 100, source, "monocyte"),
            cells(rng, 60, source, "neutrophil", lobed),
        ]
    parts.append(cells(rng, 10, "acevedo", "basophil"))
    parts.append(cells(rng, 40, "", "", dict.fromkeys(NOVELTY_TRAITS, 6), NegativeKind.PHOTOGRAPH))
    parts.append(cells(rng, 400, "acevedo", "", kind=NegativeKind.SPECK))
    nothing = cells(rng, 20, "", "", kind=NegativeKind.BLANK)
    nothing[list(TRAITS)] = math.nan
    parts.append(nothing.assign(refused=True))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def known(table):
    return table[(table["kind"] == LEUKOCYTE) & table["source"].isin(KNOWN_SOURCES)]


@pytest.fixture(scope="module")
def measured(table):
    return evaluate(table)


def row(rows, **wanted):
    (found,) = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    return found


# --- fitting ---


def test_the_cloud_spreads_as_the_cells_and_their_laboratories_do(known):
    cloud = fit_detector(known)
    assert cloud.mean == pytest.approx(1.5 * APART, abs=0.2)
    # Within 1, between those of four means a step apart each, and what one more laboratory adds.
    assert cloud.deviation == pytest.approx(math.sqrt(1 + 5 / 4 * 5 / 3 * APART**2), rel=0.15)
    assert np.allclose(np.diag(cloud.correlation), 1)
    # All traits of a laboratory are shifted alike, so they go together.
    off = cloud.correlation[np.triu_indices(len(NOVELTY_TRAITS), 1)]
    assert 0.2 < off.mean() < 0.5


@pytest.mark.parametrize("source", KNOWN_SOURCES)
def test_the_limit_lets_cells_of_a_laboratory_left_out_pass(known, source):
    here = known["source"] == source
    limit, without = fit_detector(known).limit, fit_detector(known[~here])
    beyond = [without.distance(dict(values)) > limit for _, values in known.loc[here, list(NOVELTY_TRAITS)].iterrows()]
    assert np.mean(beyond) <= 0.02


def test_the_limit_lets_99_in_100_of_every_type_and_laboratory_pass(known):
    cloud = fit_detector(known)
    beyond = [cloud.distance(dict(values)) > cloud.limit for _, values in known[list(NOVELTY_TRAITS)].iterrows()]
    rates = pd.Series(beyond, index=known.index).groupby([known["source"], known["cell_type"]]).agg(["mean", "size"])
    assert rates.loc[rates["size"] >= 50, "mean"].max() <= 0.02
    assert sum(beyond) < 0.02 * len(known)


def test_a_trait_by_which_granulocytes_differ_weighs_and_the_others_do_not(known):
    rule = fit_granulocytes(known)
    weights = {name: c.weight for name, c in rule.nucleus.coefficients.items()}
    assert min(weights["lobulation"], weights["dent"]) > 4 * max(
        abs(w) for n, w in weights.items() if n not in ("lobulation", "dent")
    )
    assert rule.colour.coefficients["dye"].weight > 1


def test_fitting_is_deterministic(known):
    first, again = fit_detector(known), fit_detector(known.copy())
    assert np.array_equal(first.correlation, again.correlation)
    assert fit_granulocytes(known) == fit_granulocytes(known.copy())


# --- evaluating ---


def test_what_differs_is_told_and_what_does_not_is_not(measured):
    photographs = row(measured["kinds"], kind=NegativeKind.PHOTOGRAPH)
    assert (photographs["n"], photographs["unlike"][0], photographs["auc_known"], photographs["auc_unseen"]) == (
        40,
        1,
        1,
        1,
    )
    assert photographs["refused"][0] > photographs["refused_before"][0] == 0
    alike = row(measured["kinds"], kind=NegativeKind.SPECK, source="acevedo")
    assert alike["unlike"][0] < 0.05
    assert alike["auc_known"] == pytest.approx(0.5, abs=0.07)


def test_where_there_is_no_cell_another_flag_refuses(measured):
    blank = row(measured["kinds"], kind=NegativeKind.BLANK)
    assert (blank["unlike"][0], blank["refused"][0], blank["refused_before"][0], blank["auc_unseen"]) == (0, 1, 1, 1)


def test_false_alarms_are_counted_by_what_was_fitted_without_the_cell(measured):
    rows = measured["cells"]
    assert len(rows) == 3 * 5 + 1
    for found in rows:
        assert found["unlike"][0] <= 0.1
        low, high = found["unlike"][1:]
        assert low <= found["unlike"][0] <= high
        assert found["unlike_left_out"][0] <= 0.1
    never = row(rows, source="deepapl", cell_type="monocyte")
    assert never["unlike"] == never["unlike_left_out"]


def test_granulocytes_are_told_with_the_laboratory_left_out(measured):
    for rule in measured["granulocytes"]:
        assert rule["recall"][0] > 0.8
        assert rule["false"][0] < 0.05
        assert rule["precision"][0] > 0.9
    assert row(measured["cells"], source="set2", cell_type="neutrophil")["granulocyte_left_out"][0] > 0.8
    assert row(measured["cells"], cell_type="basophil")["granulocyte"][0] < 0.3


def test_two_reasons_count_as_one_refusal(table):
    small = table.copy()
    platelets = (small["kind"] == NegativeKind.SPECK) & (small.index % 2 == 0)
    small.loc[platelets, "small"] = True
    found = row(evaluate(small)["kinds"], kind=NegativeKind.SPECK)
    assert found["small"][0] == pytest.approx(0.5, abs=0.01)
    assert found["small"][0] <= found["refused"][0] <= found["small"][0] + found["unlike"][0]


# --- measuring ---


def subject(kind, image, cell_type="", source="acevedo"):
    return Subject(kind, source, cell_type, image.name, image, CellChoice.ONE)


def test_a_row_says_what_the_subject_is_and_holds_its_traits(segmenter):
    image, _ = draw_cell(1)
    (found,) = measure(subject(LEUKOCYTE, image, "monocyte"), segmenter)
    segmentation = segmenter.segment(image)
    assert {name: found[name] for name in TRAITS} == traits(
        extract(image.rgb, segmentation.labels).values, segmentation.confidence
    )
    assert {name: found[name] for name in ("kind", "source", "cell_type", "group")} == {
        "kind": LEUKOCYTE,
        "source": "acevedo",
        "cell_type": "monocyte",
        "group": image.name,
    }
    assert (found["small"], found["refused"]) == (False, False)


def test_a_blank_picture_is_refused(segmenter):
    blank = replace(draw_cell(0)[0], rgb=np.full((120, 120, 3), 240, dtype=np.uint8))
    (found,) = measure(subject(NegativeKind.BLANK, blank), segmenter)
    assert found["refused"]


def test_processes_measure_what_one_measures(segmenter, model_entry):
    todo = [subject(LEUKOCYTE, draw_cell(seed)[0], "monocyte") for seed in range(2)]
    assert list(measure_all(todo, model_entry, 2, Device.CPU)) == [measure(each, segmenter) for each in todo]


@pytest.mark.data
def test_every_source_and_kind_is_measured_and_no_training_image(data_dir, model_entry):
    found = subjects(model_entry, limit=4)
    trained = set(json.loads(model_entry.split.read_text())["train"])
    paths = {each.image: each for each in found if each.kind == LEUKOCYTE}
    assert not [
        s.sample_id
        for name in KNOWN_SOURCES
        for s in data_set(name).samples(data_dir)
        if s.image in paths and s.sample_id in trained
    ]
    counts = Counter((each.kind, each.source, each.cell_type) for each in found)
    assert max(counts.values()) == 4
    assert {source for kind, source, _ in counts if kind == LEUKOCYTE} == {*KNOWN_SOURCES, *UNSEEN_SOURCES}
    assert {kind for kind, *_ in counts} == {LEUKOCYTE, *NegativeKind}
    assert {each.cell_type for each in found if each.kind == LEUKOCYTE} >= {
        "hcl",
        "apl",
        "promyelocyte",
        "blast",
        "basophil",
    }
    assert [each for each in found if each.cells is CellChoice.ALL] == [
        each for each in found if each.source == "hairy_cell_smear"
    ]


def test_a_model_without_a_split_says_what_to_do(model_entry):
    with pytest.raises(ModelError, match=r"no split beside it.*python -m export"):
        subjects(replace(model_entry, split=None))


def test_a_laboratory_with_too_few_cells_is_told(model_entry, table):
    few = pd.concat([table[table["source"] != "set2"], table[table["source"] == "set2"].head(9)])
    with pytest.raises(DataSetError, match="of set2 9 cells were outlined, but there are 13 traits to fit"):
        knowledge_of(model_entry, few, "")


@pytest.mark.data
def test_cells_of_a_folder_of_ones_own_are_known_too(data_dir, model_entry, tmp_path):
    for part in ("images", "masks"):
        (tmp_path / "own" / part).mkdir(parents=True)
    for seed in range(3):
        image, labels = draw_cell(seed)
        Image.fromarray(image.rgb).save(tmp_path / "own" / "images" / f"{seed}.png")
        Image.fromarray(encode_grey(labels)).save(tmp_path / "own" / "masks" / f"{seed}.png")
    found = [each for each in subjects(model_entry, 2, [data_set(str(tmp_path / "own"))]) if each.source == "own"]
    assert [(each.kind, each.cell_type, each.known) for each in found] == [(LEUKOCYTE, "other", True)] * 2


# --- the command's result ---


def test_it_is_kept_beside_the_model_and_named_in_the_manifest(model_entry, tmp_path, table):
    found = knowledge_of(model_entry, table, "python -m core novelty")
    (tmp_path / MANIFEST).write_bytes((model_entry.path.parent / MANIFEST).read_bytes())
    kept = store(found, replace(model_entry, path=tmp_path / model_entry.path.name))
    assert kept == find_model(folder=tmp_path).novelty
    again = load(kept, model_entry.sha256)
    assert again.measured == json.loads(json.dumps(found.measured))
    assert again.command == "python -m core novelty"
    assert sorted(path.name for path in tmp_path.iterdir()) == [MANIFEST, kept.name]


def test_the_shipped_knowledge_is_that_of_the_shipped_model():
    entry = find_model()
    assert entry.novelty is not None, "run `python -m core novelty --jobs 2`"
    kept = load(entry.novelty, entry.sha256)
    assert kept.model_id == entry.model_id
    assert "--limit" not in kept.command
    kinds, cells = kept.measured["kinds"], pd.DataFrame(kept.measured["cells"])
    for each in kinds:
        if each["kind"] in (
            NegativeKind.PHOTOGRAPH,
            NegativeKind.TISSUE,
            NegativeKind.TEXT,
            NegativeKind.NOISE,
            NegativeKind.MASK,
            NegativeKind.RED_CELLS,
            NegativeKind.EMPTY,
            NegativeKind.BLANK,
        ):
            assert min(each["auc_known"], each["auc_unseen"]) >= 0.9, each
            assert each["refused"][0] >= 0.9, each
    # The nearest to leukocytes: platelets are told by their size above all, erythroblasts in part.
    assert row(kinds, kind=NegativeKind.PLATELET)["refused"][0] >= 0.4
    assert row(kinds, kind=NegativeKind.ERYTHROBLAST)["auc_known"] >= 0.65
    falsely = cells["newly_refused"].str[0]
    assert np.average(falsely, weights=cells["n"]) <= 0.02
    for each in cells[cells["n"] >= 50].to_dict("records"):
        assert each["newly_refused"][1] <= 0.02, each
    inside, unseen = kept.measured["granulocytes"]
    assert inside["false"][0] <= 0.02
    assert unseen["precision_if_equal"] >= 0.9
