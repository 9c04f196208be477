"""`leukoscope cohort scale`: the scale of images that nobody wrote down, from the red cells in them."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from core.cli.common import add_action, add_model, count_done
from core.corrections.pictures import FoldersOfPictures
from core.domain.errors import UsageError
from core.domain.options import Device
from core.domain.settings import load_settings
from core.image.listing import find_images
from core.pipeline import MOST_MEASURED, scale_of_red_cells, spread_over
from core.quality.ruler import NoRedCellScale, RedCellScale, RulerAnswer, pooled
from core.segmentation.model_registry import ModelEntry, find_model
from core.store import queries
from core.store.database import Cohort
from core.support import files
from core.support.text import shown

if TYPE_CHECKING:
    from core.cli.common import Actions


def add_ruler(actions: "Actions") -> None:
    """Add `scale`, an action on populations and folders."""
    text = (
        "The scale of populations and of folders of images, from the red cells in them (7.5 µm). Nothing is outlined"
        " and nothing changed. Exit code 1 where one of them tells no scale."
    )
    parser = add_action(actions, "scale", _scale, text)
    text = "identifier of a population, as `cohort list` prints it, or a folder of images"
    parser.add_argument("sources", nargs="+", metavar="POPULATION|FOLDER", help=text)
    text = f"look at every image (default: at most {MOST_MEASURED} of each, spread over all)"
    parser.add_argument("--all", action="store_true", help=text)
    text = "where the images of older populations are (default: the folders that pages may choose from)"
    parser.add_argument("--images", type=Path, nargs="+", metavar="FOLDER", help=text)
    add_model(parser)


def _scale(arguments: argparse.Namespace) -> int:
    answers = {}
    with Cohort.open() as cohort:
        ruler = _Ruler(arguments, cohort)
        for source in arguments.sources:
            answers[source] = ruler.answer(source)
            if not arguments.json:
                print(shown(f"{source}: {answers[source].words}"))
    if arguments.json:
        print(json.dumps([_plain(source, answer) for source, answer in answers.items()]))
    return 1 if any(isinstance(answer, NoRedCellScale) for answer in answers.values()) else 0


def _plain(source: str, answer: RulerAnswer) -> dict[str, object]:
    known = {"um_per_px": None, "error": None, "spread": None, "statistical": None, "why": None, **asdict(answer)}
    if isinstance(answer, RedCellScale):
        known["error"] = answer.error
    return {"source": source, **known, "words": answer.words}


class _Ruler:
    """What a command asks of populations and folders."""

    def __init__(self, arguments: argparse.Namespace, cohort: Cohort) -> None:
        settings = load_settings()
        folders = arguments.images or list(dict.fromkeys([*settings.roots, settings.data]))
        self._cohort = cohort
        self._pictures = FoldersOfPictures(folders)
        self._model: ModelEntry = find_model(arguments.model)
        self._device = Device(arguments.device)
        self._most = None if arguments.all else MOST_MEASURED

    def answer(self, source: str) -> RulerAnswer:
        """What the red cells of a population or of the images below a folder tell."""
        known = [stored.population.population_id for stored in self._cohort.populations()]
        if source in known:
            return self._of_population(source)
        if not Path(source).is_dir():
            msg = (
                f"expected a population or a folder, but {source} is neither; populations are"
                f" {', '.join(known) or 'none'}"
            )
            raise UsageError(msg)
        return self._measured([str(path) for path in find_images([Path(source)])])

    def _of_population(self, population_id: str) -> RulerAnswer:
        """By what its rows remember of each image, or else from its pictures."""
        if said := queries.red_cells(self._cohort, population_id):
            return pooled(said)
        images = sorted(set(queries.cells(self._cohort, population_id, ["image_sha256"])["image_sha256"].dropna()))
        paths = [self._pictures.path_of(sha256) for sha256 in spread_over(images, self._most)]
        there = [str(path) for path in paths if path is not None]
        if not there:
            why = (
                f"its rows say nothing of red cells, and none of its {len(images):,} images is in the folders looked"
                " through; name the folder with --images"
            )
            return NoRedCellScale(why if images else "its rows say nothing of red cells and name no images", 0)
        return self._measured(there)

    def _measured(self, paths: list[str]) -> RulerAnswer:
        total, tell = min(len(paths), self._most or len(paths)), count_done("images")
        return scale_of_red_cells(
            paths,
            lambda path: files.read_bytes(Path(path)),
            self._model,
            most=self._most,
            device=self._device,
            progress=lambda done: tell(done, total),
        )
