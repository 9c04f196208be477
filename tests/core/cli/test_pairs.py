"""`leukoscope check`: what it prints, how it ends, and that it needs no training stack and seconds only."""

import json
import os
import subprocess
import sys
import time

import pytest

from core.cli.programs import INSTALL_TRAINING
from core.domain.settings import ROOT
from tests.core.cli.support import run
from tests.pairs import cell_and_mask, save_good, save_pair

# The command in an interpreter that finds nothing of the training stack.
WITHOUT_TRAINING = """
import sys
from importlib.machinery import PathFinder

class OthersOnly(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in {"torch", "training", "albumentations", "cv2"}
        return None if hidden else super().find_spec(name, path, target)

sys.meta_path = [OthersOnly if finder is PathFinder else finder for finder in sys.meta_path]
from core.cli.main import main
sys.exit(main(["check", sys.argv[1]]))
"""


@pytest.fixture
def mixed(tmp_path):
    """Two good pairs, one with swapped levels, and an image without a mask."""
    folder = save_good(tmp_path / "mine", 2)
    save_pair(folder, "swapped", *cell_and_mask(3, (0, 0, 255, 128)))
    save_pair(folder, "alone", cell_and_mask(4)[0], None)
    return folder


def test_good_pairs_are_only_counted_unless_all_are_asked_for(capsys, tmp_path):
    folder = save_good(tmp_path / "mine", 5)
    code, out, err = run(capsys, "check", folder)
    assert code == 0
    assert out.splitlines()[:2] == ["5 pairs: 5 used as they are", "cell types: 5 other cells"]
    assert out.splitlines()[-1].startswith("next: ")
    assert "5/5 images" in err
    lines = run(capsys, "check", folder, "--all")[1].splitlines()
    assert lines[0] == "good     mine/cell_00: 360 x 360, grey levels 0, 128 and 255, used as it is"


def test_the_worst_come_first_and_the_exit_code_says_that_some_cannot_be_used(capsys, mixed):
    code, out, _ = run(capsys, "check", mixed)
    assert code == 1
    lines = out.splitlines()
    assert lines[0].startswith("refused  mine/alone: the image alone.png stands alone")
    assert lines[1].startswith("doubtful mine/swapped: 360 x 360, grey levels 0, 128 and 255, used as it is")
    assert lines[2].startswith("         The regions of the drawn mask are swapped")
    assert lines[3] == "4 pairs: 3 used as they are, 1 refused"
    assert lines[-1].startswith("next: mend the refused pairs or take them out")


def test_json_is_one_object_with_every_pair(capsys, mixed):
    code, out, _ = run(capsys, "check", mixed, "--json")
    said = json.loads(out)
    assert (code, said["usable"], said["uses"]["refused"]) == (1, False, 1)
    assert [pair["judged"] for pair in said["pairs"]] == ["refused", "doubtful", "good", "good"]
    swapped = said["pairs"][1]
    assert (swapped["size"], swapped["use"], swapped["remarks"][0]["code"]) == ([360, 360], "as it is", "swapped_mask")


def test_the_sheet_is_written_with_a_word_of_warning(capsys, mixed, tmp_path):
    out = tmp_path / "sheet.html"
    code, _, err = run(capsys, "check", mixed, "--sheet", out)
    assert code == 1
    assert "it holds copies of the pictures" in err
    assert out.read_text(encoding="utf-8").count("<figure") == 4


def test_wrong_use_ends_with_two_and_says_what_was_expected(capsys, mixed, tmp_path):
    code, out, err = run(capsys, "check", tmp_path / "nowhere")
    assert (code, out) == (2, "")
    assert "or give the path of a folder with images/ and masks/" in err
    mask = mixed / "masks" / "cell_00.png"
    for sheet in (tmp_path / "none" / "sheet.html", mask):
        code, _, err = run(capsys, "check", mixed, "--sheet", sheet)
        assert code == 2
        assert "expected a name that ends in .html, in a folder that is there" in err


def test_a_folder_that_cannot_be_divided_is_not_to_be_trained_on_yet(capsys, tmp_path):
    code, out, _ = run(capsys, "check", save_good(tmp_path / "mine", 2))
    assert code == 0
    assert out.splitlines()[-1].startswith("next: mend what the warnings and notes say")


def test_names_from_outside_cannot_tear_a_line(capsys, tmp_path):
    save_pair(tmp_path / "mine", "a\n\u202eb", cell_and_mask()[0], None)
    assert "refused  mine/a �b: the image" in run(capsys, "check", tmp_path / "mine")[1]


def test_without_torch_it_looks_all_the_same_and_says_what_to_install(tmp_path):
    folder = save_good(tmp_path / "mine", 5)
    command = [sys.executable, "-c", WITHOUT_TRAINING, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"next: run `{INSTALL_TRAINING}`, which needs 6 GB; then name ")


def test_a_file_that_takes_too_long_is_refused_and_the_rest_looked_at(tmp_path):
    folder = save_good(tmp_path / "mine", 1)
    os.mkfifo(folder / "images" / "endless.png")
    (folder / "masks" / "endless.png").write_bytes((folder / "masks" / "cell_00.png").read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "core", "check", str(folder)],
        cwd=ROOT, env={**os.environ, "LEUKOSCOPE_MAX_SECONDS": "6"}, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout.startswith("refused  mine/endless: ")
    assert "2 pairs: 1 used as they are, 1 refused" in done.stdout


def test_sixty_pairs_take_seconds(capsys, tmp_path):
    cells = [cell_and_mask(seed) for seed in range(4)]
    folder = tmp_path / "mine"
    for number in range(60):
        save_pair(folder, str(number), *cells[number % 4])
    started = time.process_time()
    assert run(capsys, "check", folder)[0] == 0
    assert time.process_time() - started < 20
