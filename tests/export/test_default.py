"""Which new model becomes the one in use: by scores made by hand, and by real models on real files."""

import json
import shutil
from dataclasses import replace

import pytest

from core.evaluation.paired import paired_by_data_set
from core.segmentation.model_registry import KnownModels, find_model, known_models, load_manifest, write_manifest
from export.__main__ import main
from export.default import BesideModelInUse, compared, why_not
from training.evaluate import REGIONS, ImageScore, dice_by_image
from training.loop import SPLIT_FILE


def _scores(dice: float, **changes: float) -> list[ImageScore]:
    """Scores of four images in each of two data sets; `set2_cell=0.1` changes what a region loses there."""
    return [
        ImageScore(
            f"{name}/{number}",
            "monocyte",
            {region: dice - changes.get(f"{name}_{region}", 0.0) for region in REGIONS},
            dict.fromkeys(REGIONS, 0.5),
            0.9,
        )
        for name in ("set1", "set2")
        for number in range(4)
    ]


def _beside(scores: list[ImageScore]) -> BesideModelInUse:
    former = _scores(0.9)
    groups = {score.sample_id: score.sample_id for score in former}
    return BesideModelInUse(find_model(), paired_by_data_set(dice_by_image(former), dice_by_image(scores), groups))


@pytest.fixture(autouse=True)
def _shipped(shipped_model):
    shipped_model()


def test_a_model_that_is_no_worse_anywhere_is_used() -> None:
    for scores in (_scores(0.9), _scores(0.95), _scores(0.9, set2_cytoplasm=0.005)):
        assert why_not(scores, _beside(scores), wished=None) == ""


@pytest.mark.parametrize("region", REGIONS)
def test_a_loss_in_one_data_set_is_enough_not_to_be_used(region: str) -> None:
    scores = _scores(0.9, **{f"set2_{region}": 0.0062})
    reason = why_not(scores, _beside(scores), wished=None)
    assert reason == f"it is worse than {find_model().model_id}: {region} by 0.62 points in set2"
    assert why_not(scores, _beside(scores), wished=True) == ""
    better_elsewhere = _scores(0.9, **{f"set1_{region}": -0.1, f"set2_{region}": 0.02})
    assert f"{region} by 2.00 points in set2" in why_not(better_elsewhere, _beside(better_elsewhere), wished=None)


def test_a_loss_in_all_is_told_of_all_and_of_each() -> None:
    reason = why_not(_scores(0.8), _beside(_scores(0.8)), wished=None)
    assert "nucleus by 10.00 points on all images" in reason
    assert "cell by 10.00 points in set1" in reason


def test_a_model_that_draws_no_cells_is_never_used() -> None:
    for region in ("nucleus", "cytoplasm"):
        scores = _scores(0.9, **{f"{name}_{region}": 0.41 for name in ("set1", "set2")})
        for comparison in (_beside(scores), BesideModelInUse(None)):
            for wished in (None, True):
                assert why_not(scores, comparison, wished=wished) == f"its Dice of the {region} is 0.49, below 0.5"


def test_what_is_wished_decides_where_nothing_can_be_compared() -> None:
    nothing = BesideModelInUse(find_model(), why_none="nobody knows")
    assert why_not(_scores(0.9), nothing, wished=None) == "nobody knows"
    assert why_not(_scores(0.9), nothing, wished=True) == ""
    assert why_not(_scores(0.9), _beside(_scores(0.95)), wished=False) == "as --not-default says"
    assert nothing.to_plain() == {}
    assert nothing.in_words("mine") == "not compared with another model: nobody knows"


def test_the_first_model_of_all_is_used() -> None:
    first = compared(_scores(0.9), [], KnownModels((), None))
    assert why_not(_scores(0.9), first, wished=None) == ""
    assert first.in_words("mine") == "not compared with another model: there is none yet"


def test_why_nothing_can_be_compared_is_said(tmp_path) -> None:
    entry = find_model()

    def reason(known: KnownModels) -> str:
        return why_not(_scores(0.9), compared(_scores(0.9), [], known), wished=None)

    assert reason(KnownModels((entry,), "former")) == "former, which is in use, is not there"
    assert (
        reason(KnownModels((entry,), entry.model_id))
        == f"{entry.model_id}, which is in use, learnt from all test images"
    )
    lost = replace(entry, split=tmp_path / "none.json")
    assert "nobody knows which images" in reason(KnownModels((lost,), entry.model_id))


@pytest.fixture
def in_use(coarse, tmp_path):
    """A folder whose model in use finds the cells."""
    return shutil.copytree(coarse.models, tmp_path / "models")


def test_a_worse_model_is_entered_and_told_beside_the_one_in_use(exported, tiny_data, in_use, capsys):
    command = [str(exported.run), "--out", str(in_use / "poor.onnx")]
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert not report["default"]
    assert report["why_not"]
    comparison = report["comparison"]
    assert comparison["model_id"] == "coarse"
    assert set(comparison) == {"model_id", "sha256", "all", "set1", "set2"}
    split = json.loads((exported.run / SPLIT_FILE).read_text())
    assert comparison["all"]["nucleus"]["images"] == len(split["test"])
    assert comparison["all"]["mean"]["difference"] < 0
    assert find_model("poor", in_use).card.comparison == comparison
    assert find_model(folder=in_use).model_id == "coarse"
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "beside coarse, which is in use, on test images that neither learnt from, all:\n  nucleus" in told
    assert f"the app still opens with coarse: {report['why_not']}\n" in told
    assert f"to use it all the same: LEUKOSCOPE_MODELS={in_use} leukoscope models use poor\n" in told


def test_a_model_that_is_as_good_is_used(coarse, tiny_data, in_use, capsys):
    assert main([str(coarse.run), "--out", str(in_use / "twin.onnx"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["default"], report["why_not"]) == (True, "")
    assert report["comparison"]["all"]["cell"]["difference"] == 0
    assert find_model(folder=in_use).model_id == "twin"
    assert main([str(coarse.run), "--out", str(in_use / "twin.onnx")]) == 0
    assert "beside the former twin, which is in use," in capsys.readouterr().out


def test_without_common_images_it_is_used_only_if_that_is_said(coarse, tiny_data, in_use, capsys):
    manifest = load_manifest(in_use)
    del manifest["models"]["coarse"]["split"]
    write_manifest(manifest, in_use)
    command = [str(coarse.run), "--out", str(in_use / "twin.onnx")]
    assert main(command) == 0
    assert "the app still opens with coarse: nobody knows which images coarse, which" in capsys.readouterr().out
    assert main([*command, "--default"]) == 0
    assert "the app opens with twin\n" in capsys.readouterr().out


def test_the_model_in_use_is_not_overwritten_by_a_worse_one(exported, coarse, tiny_data, in_use, capsys):
    before = {path.name: path.read_bytes() for path in in_use.iterdir()}
    assert main([str(exported.run), "--out", str(in_use / "coarse.onnx")]) == 2
    assert "coarse is in use and would be replaced, but the new one is not to be used" in capsys.readouterr().err
    assert main([str(coarse.run), "--out", str(in_use / "coarse.onnx"), "--not-default"]) == 2
    assert {path.name: path.read_bytes() for path in in_use.iterdir()} == before


def test_a_new_model_is_compared_with_the_shipped_one_and_its_name_hides_it(exported, tiny_data, tmp_path, capsys):
    shipped = known_models(tmp_path / "models").chosen
    assert main([str(exported.run), "--out", str(tmp_path / "models" / "mine.onnx")]) == 0
    told = capsys.readouterr().out
    assert f"beside {shipped}, which is in use, on test images that neither learnt from, set1:\n" in told
    assert f"the app still opens with {shipped}: its Dice of the " in told
    assert find_model(folder=tmp_path / "models").shipped
    assert main([str(exported.run), "--out", str(tmp_path / "models" / f"{shipped}.onnx"), "--default"]) == 2
    assert f"{shipped} is in use and would be replaced" in capsys.readouterr().err
