import numpy as np
import pytest
import tifffile
from PIL import Image

from core.cohort import REFERENCE, build_reference, filed_once, folders_of, import_images, own_population
from core.domain.cell_types import CellType, folder_cell_type
from core.domain.errors import DataSetError, StoreError, UsageError
from core.domain.settings import load_settings
from core.domain.types import GivenScale
from core.evaluation.datasets import DATA_SETS
from core.features.catalogue import CATALOGUE
from core.image.listing import find_images
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.store import queries
from core.store.database import Cohort
from core.store.schema import Population


def population(name="ours", cell_type=CellType.HCL, **changes):
    fields = {
        "title": "Hairy cells",
        "source": "our laboratory",
        "tissue": "peripheral blood",
        "citation": "own",
        "terms": "own",
    }
    return Population(name, cell_type, **{**fields, "note": "", "created": "2026-11-22", "um_per_px": 0.1, **changes})


def save_cell(path, seed, drawing="hairy_cell"):
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = draw_cell(seed, SYNTHETIC_CELLS[drawing])[0].rgb
    if path.suffix == ".tif":
        tifffile.imwrite(path, np.asarray(rgb), photometric="rgb")
    else:
        Image.fromarray(rgb).save(path)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three cells and one file that is no image."""
    root = tmp_path_factory.mktemp("images")
    for seed in range(3):
        save_cell(root / f"cell{seed}.png", seed)
    (root / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return find_images([root])


@pytest.fixture(scope="module")
def imported(tmp_path_factory, images, model_entry):
    root = tmp_path_factory.mktemp("cohort")
    told = []
    report = import_images(root, population(), images, model_entry, progress=lambda *progress: told.append(progress))
    return root, report, told


def test_every_readable_image_becomes_a_cell_and_the_other_is_named(imported):
    _, report, told = imported
    assert (report.population_id, report.cells) == ("ours", 3)
    assert list(report.failures) == ["broken.png"]
    assert report.failures["broken.png"].startswith("broken.png: expected")
    assert told == [("ours", number, 4) for number in range(1, 5)]


def test_what_is_kept_of_a_cell(imported):
    root, _, _ = imported
    with Cohort.open([root]) as cohort:
        (info,) = queries.populations(cohort)
        cells = queries.cells(cohort, "ours")
    assert (info.n, info.n_good, info.scaled, info.patients, info.shipped) == (3, 3, 3, None, False)
    assert cells["image_path"].tolist() == ["cell0.png", "cell1.png", "cell2.png"]
    assert set(cells["cell_type"]) == {"hcl"}
    assert set(cells["um_per_px"]) == {0.1}
    assert cells[list(CATALOGUE)].notna().all(axis=None)
    # Outlines of the drawn cell, in pixels of its image.
    for rings in cells["cell_outline"]:
        assert 0 <= min(map(min, rings)) <= max(map(max, rings)) <= 360


def test_a_taken_id_is_refused_and_nothing_lost(imported, images, model_entry):
    root, _, _ = imported
    with pytest.raises(StoreError, match="there is a population 'ours' already; replace or delete it"):
        import_images(root, population(), images[:1], model_entry)
    with Cohort.open([root]) as cohort:
        assert len(queries.cells(cohort, "ours")) == 3


def test_a_population_is_replaced_when_asked(tmp_path, images, model_entry):
    cells = [path for path in images if path.stem != "broken"]
    import_images(tmp_path, population(), cells[:2], model_entry)
    report = import_images(tmp_path, population(title="Anew"), cells[2:], model_entry, replace_old=True)
    assert report.cells == 1
    with Cohort.open([tmp_path]) as cohort:
        assert cohort.population("ours").title == "Anew"
        assert queries.cells(cohort, "ours")["image_path"].tolist() == ["cell2.png"]


def test_the_same_image_twice_is_one_cell(tmp_path, images, model_entry):
    copy = tmp_path / "copies" / "other name.png"
    copy.parent.mkdir()
    copy.write_bytes(images[-1].read_bytes())
    report = import_images(tmp_path / "cohort", population(), [images[-1], copy], model_entry)
    assert (report.cells, report.failures) == (1, {})
    assert report.duplicates == {copy.as_posix(): images[-1].as_posix()}


def test_one_image_in_folders_of_two_types_is_an_error_that_names_both(tmp_path):
    for folder in ("HCL", "hairy_cell", "monocyte"):
        save_cell(tmp_path / folder / "a.png", 0)
    save_cell(tmp_path / "monocyte" / "b.png", 1)
    folders = folders_of(tmp_path)
    labels = {name: folder_cell_type(name) for name in folders}
    with pytest.raises(DataSetError, match=r"HCL/a.png and .*monocyte/a.png are the same image, .*as hcl and monocyte"):
        filed_once(folders, labels)
    (tmp_path / "monocyte" / "a.png").unlink()
    filed = filed_once(folders_of(tmp_path), labels)
    assert [path.name for path in filed["HCL"].images] == ["a.png"]
    assert filed["hairy_cell"].images == []
    assert filed["hairy_cell"].copies == {
        (tmp_path / "hairy_cell" / "a.png").as_posix(): (tmp_path / "HCL" / "a.png").as_posix()
    }


def test_the_shipped_folder_is_never_written(images, model_entry):
    before = sorted(load_settings().reference.rglob("*"))
    with pytest.raises(StoreError, match="reference populations are shipped"):
        import_images(load_settings().reference, population(), images[:1], model_entry)
    assert sorted(load_settings().reference.rglob("*")) == before


# --- a folder per cell type, as MLL23 is laid out ---


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hairy_cell", CellType.HCL),
        ("Hairy cell", CellType.HCL),
        ("hairy-cells", CellType.HCL),
        ("HCL", CellType.HCL),
        (" monocyte ", CellType.MONOCYTE),
        ("Lymphocytes", CellType.LYMPHOCYTE),
        ("promyelocyte", CellType.PROMYELOCYTE),
        ("neutrophil_band", CellType.NEUTROPHIL),
        ("myeloblast", CellType.BLAST),
        ("Segmented neutrophils", CellType.NEUTROPHIL),
        ("PLT", CellType.PLATELET),
        ("smudge_cell", CellType.OTHER),
        ("", CellType.OTHER),
    ],
)
def test_folder_names_stand_for_cell_types(name, expected):
    assert folder_cell_type(name) is expected


def test_folders_of_images(tmp_path):
    save_cell(tmp_path / "hairy_cell" / "a.tif", 0)
    save_cell(tmp_path / "monocyte" / "deeper" / "b.tif", 0)
    (tmp_path / "monocyte" / "notes.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    save_cell(tmp_path / "stray.png", 0)
    assert {name: [path.name for path in paths] for name, paths in folders_of(tmp_path).items()} == {
        "hairy_cell": ["a.tif"],
        "monocyte": ["b.tif"],
    }


def test_an_empty_sub_folder_is_passed_over(tmp_path):
    save_cell(tmp_path / "monocyte" / "b.tif", 0)
    (tmp_path / "empty").mkdir()
    assert list(folders_of(tmp_path)) == ["monocyte"]


def test_a_folder_without_sub_folders_of_images_is_refused(tmp_path):
    save_cell(tmp_path / "a.png", 0)
    with pytest.raises(DataSetError, match="one sub-folder of images per cell type"):
        folders_of(tmp_path)
    with pytest.raises(DataSetError, match="is no folder"):
        folders_of(tmp_path / "a.png")


# --- the shipped reference ---


def test_recipes_name_known_data_sets_and_each_population_once():
    assert len({recipe.population_id for recipe in REFERENCE}) == len(REFERENCE)
    assert {recipe.data_set for recipe in REFERENCE} <= set(DATA_SETS)
    assert {CellType.MONOCYTE, CellType.LYMPHOCYTE, CellType.HCL, CellType.APL, CellType.PROMYELOCYTE} <= {
        r.cell_type for r in REFERENCE
    }
    assert all(recipe.note.endswith(".") for recipe in REFERENCE)


@pytest.mark.data
def test_the_smear_becomes_a_population_of_five(tmp_path, data_dir, model_entry, monkeypatch):
    """`build_reference` for one recipe, as `make cohort` runs it for all."""
    monkeypatch.setattr(
        "core.cohort.REFERENCE", tuple(recipe for recipe in REFERENCE if recipe.population_id == "hcl_smear")
    )
    (report,) = build_reference(tmp_path, model_entry, jobs=1)
    assert (report.population_id, report.cells, report.failures) == ("hcl_smear", 5, {})
    with Cohort.open([tmp_path]) as cohort:
        cells = queries.cells(cohort, "hcl_smear")
        assert cohort.population("hcl_smear").citation == DATA_SETS["hairy_cell_smear"].citation
    assert cells["cell_index"].tolist() == [0, 1, 2, 3, 4]
    assert cells["place_left"].notna().all()
    assert cells["image_path"].nunique() == 1


TOLD = {"tissue": "blood", "note": "", "scale": None, "shipped": ("taken",)}


def test_a_population_of_ones_own_is_described_from_what_a_person_says():
    found = own_population(
        "  Größe: Ünlü Lab 2 ", CellType.HCL, " here ", **{**TOLD, "scale": GivenScale(0.1, 0.07, origin="given")}
    )
    assert (found.population_id, found.title, found.source) == ("groe_unlu_lab_2", "Größe: Ünlü Lab 2", "here")
    assert (found.um_per_px, found.um_per_px_origin, found.um_per_px_error) == (0.1, "given", 0.07)
    assert own_population("A", CellType.HCL, "here", **TOLD).um_per_px_origin == "unknown"


@pytest.mark.parametrize(
    ("title", "kind", "source", "words"),
    [
        (" ", CellType.HCL, "here", "one is missing"),
        ("A", CellType.HCL, "", "one is missing"),
        ("A", None, "here", "one is missing"),
        ("Taken!", CellType.HCL, "here", "shipped with the program"),
        ("…", CellType.HCL, "here", "letters or digits"),
    ],
)
def test_a_population_without_a_usable_name_is_refused(title, kind, source, words):
    with pytest.raises(UsageError, match=words):
        own_population(title, kind, source, **TOLD)
