"""By which models cells were outlined, and what is said where that is not one model on all sides.

An id can lie: a model that was trained again may bear the name of the former one. So two models of one id are different
where the files of both are known and differ.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from core.domain.errors import RecordError
from core.domain.types import CellAnalysis, DrawnBy
from core.domain.versions import MODEL_FILE
from core.support import records

_MOST_NAMED: Final = 3
_NOT_RECORDED: Final = "a model that is not recorded"
_WHAT_TO_DO: Final = (
    "A difference may come from the models: `leukoscope cohort rebuild` measures populations of your own anew with the"
    " present model, `leukoscope cohort build` those that are shipped."
)


@dataclass(frozen=True)
class OutlineModel:
    """A model that outlines cells: its id and, where it is known, the SHA-256 of its file."""

    model_id: str
    file: str | None = None

    @classmethod
    def of_row(cls, model_id: str, versions: str | None) -> Self:
        """That of a stored cell, from the columns of these names."""
        try:
            known = {} if versions is None else records.from_json(dict[str, str], versions)
        except RecordError:  # a table may say anything there
            known = {}
        return cls(model_id, known.get(MODEL_FILE))

    def may_be(self, other: "OutlineModel") -> bool:
        """Whether nothing tells the two apart."""
        return self.model_id == other.model_id and (self.file == other.file or None in (self.file, other.file))


@dataclass(frozen=True)
class Outlining:
    """How many cells each model outlined; apart those that a person drew, and those of which no model is recorded."""

    models: Mapping[OutlineModel, int] = field(default_factory=dict)
    by_person: int = 0
    unknown: int = 0

    @classmethod
    def of_rows(cls, rows: Iterable[tuple[str | None, str | None, str | None, int]]) -> Self:
        """Count stored cells, given as `model_id`, `versions`, `outline_by` and their number."""
        models: dict[OutlineModel, int] = {}
        by_person = unknown = 0
        for model_id, versions, drawn_by, n in rows:
            if drawn_by == DrawnBy.PERSON:
                by_person += n
            elif model_id is None:
                unknown += n
            else:
                model = OutlineModel.of_row(model_id, versions)
                models[model] = models.get(model, 0) + n
        return cls(models, by_person, unknown)

    @classmethod
    def of_cell(cls, analysis: CellAnalysis) -> Self:
        """That of one cell."""
        segmentation = analysis.segmentation
        if segmentation.drawn_by is DrawnBy.PERSON:
            return cls(by_person=1)
        return cls({OutlineModel(segmentation.model_id, analysis.versions.get(MODEL_FILE)): 1})

    @property
    def n(self) -> int:
        """All cells."""
        return sum(self.models.values()) + self.by_person + self.unknown


def model_note(sides: Iterable[tuple[str, Outlining]]) -> str | None:
    """What is said where cells are set side by side that are not all outlined by one model; None where they are.

    Parameters
    ----------
    sides
        Each with its name in words. Outlines that a person drew are no model's and count on no side.
    """
    counted = [
        (model, name, n, side.n)
        for name, side in sides
        for model, n in [*side.models.items(), (None, side.unknown)]
        if n
    ]
    models = _told_apart(model for model, *_ in counted if model is not None)
    by_model: dict[OutlineModel | None, list[str]] = {}
    for model, name, n, of in counted:
        known = model and next(one for one in models if one.may_be(model))
        by_model.setdefault(known, []).append(name if n == of else f"{name}: {n:,} of {of:,} cells")
    if len(by_model) < 2:
        return None
    said = [f"{_called(model, models)} ({_listed(names)})" for model, names in by_model.items()]
    return f"The outlines are not all by one model: {', '.join(said)}. {_WHAT_TO_DO}"


def _told_apart(models: Iterable[OutlineModel]) -> list[OutlineModel]:
    """The different ones among some models; one of an unknown file goes with the first of its id."""
    different: list[OutlineModel] = []
    for model in sorted(dict.fromkeys(models), key=lambda model: model.file is None):
        if not any(model.may_be(other) for other in different):
            different.append(model)
    return different


def _called(model: OutlineModel | None, models: Iterable[OutlineModel]) -> str:
    if model is None:
        return _NOT_RECORDED
    shared = sum(other.model_id == model.model_id for other in models) > 1
    return f"{model.model_id}, file {model.file[:8] if model.file else 'unknown'}" if shared else model.model_id


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return "; ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
