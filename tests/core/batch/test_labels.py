import pandas as pd
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


def test_an_image_outside_the_typed_folders_has_no_type_and_is_counted():
    labels = read_labels("folder", None).fitted(lambda: ["monocyte/1.png", "cells/1.png", "2.png"])
    assert [labels.cell_type(path) for path in ("monocyte/1.png", "cells/1.png", "2.png")] == ["monocyte", None, None]
    assert labels.unmatched_images == 2
    assert labels.notes == (
        "--label-from folder: 1 of 3 images name a cell type; 2 name none and are measured without"
        " (cells/1.png, 2.png)",
    )


def test_a_pattern_takes_both_from_the_path():
    labels = read_labels(r"regex:_(?P<label>[a-z]+)\.", r"regex:^(?P<patient>\d+)_")
    assert labels.cell_type("12_monocyte.png") == "monocyte"
    assert labels.patient("12_monocyte.png") == "12"
    assert labels.patient("x_monocyte.png") is None
    with pytest.raises(UsageError, match="'unicorn' is no cell type; known are monocyte"):
        labels.cell_type("12_unicorn.png")


def test_a_table_gives_both_and_is_part_of_the_key(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("image_path,cell_type,patient_id\na/1.png,Monocyte,p7\n2.png,apl,\n", encoding="utf-8-sig")
    labels = read_labels(f"csv:{table}", f"csv:{table}")
    assert (labels.cell_type("a/1.png"), labels.patient("a/1.png")) == ("monocyte", "p7")
    assert (labels.cell_type("2.png"), labels.patient("2.png")) == ("apl", None)
    assert labels.cell_type("3.png") is None
    table.write_text("image_path,cell_type,patient_id\na/1.png,lymphocyte,p7\n")
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
    (tmp_path / "columns.csv").write_text("image_path,type\n1.png,apl\n")
    (tmp_path / "unknown.csv").write_text("image_path,cell_type\n1.png,unicorn\n")
    with pytest.raises(UsageError, match=words):
        read_labels(how, None)


# --- how labels and images fit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "patient"),
    [
        ("p1/images/1.png", "p1"),
        ("train/p1/monocyte/1.png", "p1"),
        ("p1/PNG/1.png", "p1"),
        ("p1/Set 2/1.png", "p1"),
        ("p1/metamyelocyte/1.png", "p1"),
        ("images/1.png", None),
        ("train/monocyte/1.png", None),
        ("case_7/1.png", "case_7"),
        ("p1/Lymphocyte (reactive)/1.png", "p1"),
    ],
)
def test_folders_of_kinds_and_parts_are_no_patients(path, patient):
    assert read_labels(None, "folder").patient(path) == patient


def test_what_folders_were_taken_for_is_told_and_none_is_an_error():
    labels = read_labels(None, "folder").fitted(lambda: ["p1/images/1.png", "p2/images/2.png", "train/3.png"])
    assert labels.unmatched_images == 1
    assert "2 patients in 2 of 3 images (p1 for p1/images/1.png, p2 for p2/images/2.png)" in labels.notes[0]
    assert "1 images name none (train/3.png)" in labels.notes[0]
    with pytest.raises(UsageError, match=r"none of 2 images names one \(images/1.png, train/2.png\).*folder:N"):
        read_labels(None, "folder").fitted(lambda: ["images/1.png", "train/2.png"])
    with pytest.raises(UsageError, match="none of 1 images names one"):
        read_labels(None, r"regex:(?P<patient>p\d)_").fitted(lambda: ["x1_1.png"])


def test_a_folder_by_its_place_is_taken_whatever_its_name():
    labels = read_labels("folder:2", "folder:1")
    assert (labels.patient("images/Monocytes/1.png"), labels.cell_type("images/Monocytes/1.png")) == (
        "images",
        "monocyte",
    )
    assert labels.patient("1.png") is None
    with pytest.raises(UsageError, match="must be folder, folder:N"):
        read_labels(None, "folder:0")


@pytest.mark.parametrize("name", ["p.csv", "p.tsv", "p.xlsx", "p.parquet"])
def test_a_table_of_any_kind_is_joined_and_what_fits_nothing_is_told(tmp_path, name):
    frame = pd.DataFrame(
        {
            "Image": ["1.png", "2.PNG", "9.png", "3.png"],
            "Patient ID": [1, 2, 3, None],
            "label": ["Mono", "HCL", "Mono", "apl"],
        }
    )
    write = {"csv": frame.to_csv, "tsv": lambda path, index: frame.to_csv(path, sep="\t", index=index)}
    write |= {"xlsx": frame.to_excel, "parquet": frame.to_parquet}
    write[name.rpartition(".")[2]](tmp_path / name, index=False)
    how = f"csv:{tmp_path / name}"
    labels = read_labels(how, how).fitted(lambda: ["a/1.png", "a/2.png", "a/3.png"])
    assert [labels.cell_type(f"a/{n}.png") for n in (1, 2, 3)] == ["monocyte", "hcl", "apl"]
    assert [labels.patient(f"a/{n}.png") for n in (1, 2, 3)] == ["1", "2", None]
    assert (labels.unmatched_images, labels.unmatched_rows) == (1, 1)
    assert "2 of 3 images have a row; 1 have none (a/3.png); 1 rows fit no image (9.png)" in labels.notes[1]


def test_a_table_that_fits_no_image_is_an_error_with_names_of_both(tmp_path):
    (tmp_path / "p.csv").write_text("image_path;patient_id\nfoo;1\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"no row of the table fits an image: images are called 1.png; the table has"):
        read_labels(None, f"csv:{tmp_path / 'p.csv'}").fitted(lambda: ["1.png"])


def test_an_image_with_two_labels_in_a_table_is_an_error(tmp_path):
    (tmp_path / "l.csv").write_text("image_path,cell_type\n1.png,monocyte\n1.png,Mono\n1.png,apl\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"rows 2 and 4 both name 1.png, but say 'monocyte' and 'apl'"):
        read_labels(f"csv:{tmp_path / 'l.csv'}", None)
