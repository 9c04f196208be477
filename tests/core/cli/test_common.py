import argparse

import pytest
from PIL import Image

from core.cli.common import add_choice, count_images, positive
from core.domain.options import CellChoice
from tests.core.cli.support import run


@pytest.mark.parametrize("text", ["0", "-3", "many"])
def test_what_must_be_positive_refuses_all_else(text):
    with pytest.raises((argparse.ArgumentTypeError, ValueError)):
        positive(text)


def test_the_first_choice_is_the_default_and_others_are_named(capsys):
    parser = argparse.ArgumentParser()
    add_choice(parser, "--cells", CellChoice, "which")
    assert parser.parse_args([]).cells == "auto"
    assert parser.parse_args(["--cells", "all"]).cells == "all"
    with pytest.raises(SystemExit):
        parser.parse_args(["--cells", "some"])
    assert "invalid choice: 'some' (choose from" in capsys.readouterr().err


def test_progress_tells_how_many_are_done_and_when_it_ends(capsys):
    show = count_images(4)
    show(1)
    show(4)
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("1/4 images, ")
    assert last.startswith("4/4 images, ")
    assert last.endswith(" about 0 s left")


def test_a_command_that_reads_a_strangers_file_may_take_no_more_than_an_image(tmp_path, capsys, monkeypatch):
    """What it prints and how it ends come through; too much is an error in words."""
    Image.new("RGB", (5000, 5000)).save(tmp_path / "image.png")
    arguments = ("features", "--image", tmp_path / "image.png", "--mask", tmp_path / "image.png")
    monkeypatch.setenv("LEUKOSCOPE_MAX_SECONDS", "120")
    monkeypatch.setenv("LEUKOSCOPE_MAX_MEMORY_MB", "1")
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("error: expected files that can be read within the limits, but it takes more than 1 MB")
