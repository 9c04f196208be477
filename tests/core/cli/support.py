"""How tests call the command line."""

import pytest
from PIL import Image

from core.cli.main import main
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell


def save_cell(path, seed=0, drawing="lymphocyte"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_cell(seed, SYNTHETIC_CELLS[drawing])[0].rgb).save(path)
    return path


def run(capsys, *arguments):
    """Exit code, standard output and standard error."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def fails_as_wrong_use(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code == 2
