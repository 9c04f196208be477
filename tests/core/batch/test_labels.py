import pytest

from core.batch.labels import read_labels
from core.domain.errors import UsageError


def test_without_labels_nothing_is_said():
    labels = read_labels(None, None)
    assert (labels.cell_type("monocyte/1.png"), labels.patient("p1/1.png"), labels.digest) == (None, None, "")


@pytest.mark.parametrize(
    ("path", "cell_type", "patient"),
    [
        ("monocyte/p1/1.png", "monocyte", "p1"),
        ("p1/Hairy cells/1.png", "hcl", "p1"),
        ("study/lymphocyte/1.png", "lymphocyte", "study"),
        ("other/1.png", "other", None),
    ],
)
def test_folders_name_the_type_and_the_patient(path, cell_type, patient):
    labels = read_labels("folder", "folder")
    assert (labels.cell_type(path), labels.patient(path)) == (cell_type, patient)


def test_an_image_without_a_label_says_what_is_expected():
    with pytest.raises(UsageError, match="nothing names one"):
        read_labels("folder", None).cell_type("cells/1.png")


def test_a_pattern_takes_both_from_the_path():
    labels = read_labels(r"regex:_(?P<label>[a-z]+)\.", r"regex:^(?P<patient>\d+)_")
    assert labels.cell_type("12_monocyte.png") == "monocyte"
    assert labels.patient("12_monocyte.png") == "12"
    assert labels.patient("x_monocyte.png") is None
    with pytest.raises(UsageError, match="'unicorn' is no cell type; known are monocyte"):
        labels.cell_type("12_unicorn.png")


def test_a_table_gives_both_and_is_part_of_the_key(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("image_name,cell_type,patient_id\na/1.png,Monocyte,p7\n2.png,apl,\n", encoding="utf-8-sig")
    labels = read_labels(f"csv:{table}", f"csv:{table}")
    assert (labels.cell_type("a/1.png"), labels.patient("a/1.png")) == ("monocyte", "p7")
    assert (labels.cell_type("2.png"), labels.patient("2.png")) == ("apl", None)
    with pytest.raises(UsageError, match="nothing names one"):
        labels.cell_type("3.png")
    table.write_text("image_name,cell_type,patient_id\na/1.png,lymphocyte,p7\n")
    assert read_labels(f"csv:{table}", None).digest not in {"", labels.digest}


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("magic", "must be folder"),
        ("regex:(", "no regular expression"),
        ("regex:(?P<type>x)", "group named label"),
        ("csv:missing.csv", "cannot be read"),
        ("csv:columns.csv", "cell_type is missing"),
        ("csv:unknown.csv", "'unicorn' is no cell type"),
    ],
)
def test_what_cannot_be_used_is_refused_before_the_run(how, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "columns.csv").write_text("image_name,type\n1.png,apl\n")
    (tmp_path / "unknown.csv").write_text("image_name,cell_type\n1.png,unicorn\n")
    with pytest.raises(UsageError, match=words):
        read_labels(how, None)
