"""The first page of a report: what is known of one cell, short enough for a sheet of paper.

One value, of which HTML (`core.reports.cell`) and PDF (`core.reports.pdf`) are made. Whatever could be long is cut
here, with a word about what is missing, so that the page stays one page.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from markupsafe import Markup

from core import __version__
from core.charts.labels import of_cell, scale_caution, scale_words, um_range, who
from core.charts.overlay import close_up, outlined_svg
from core.charts.sparklines import not_placed, sparkline_svg
from core.charts.trust import Reliability, is_poor
from core.domain.cell_types import CellType
from core.domain.types import RED_CELLS, CellAnalysis, CellImage
from core.domain.versions import MODEL_FILE
from core.features.catalogue import CATALOGUE, KEY_FEATURES
from core.features.extract import extract
from core.image.stain import measured_pixels
from core.populations.comparison import describe
from core.populations.nearness import Nearness, in_words
from core.populations.placement import Placed, main_sources, models_beside, place_cell
from core.populations.summaries import SMALL_GROUP, ReferencePopulation
from core.reports.conclusions import most_different
from core.reports.engine import drawing
from core.segmentation.model_registry import ModelEntry
from core.support.text import shown

_MOST_POPULATIONS: Final = 6  # lines of a strip
_MOST_COMPARED: Final = 2  # populations whose differences are told
_MOST_DIFFERENCES: Final = 8  # lines, of all of them together
_LONGEST: Final = 400  # characters of a remark
_LONGEST_NAME: Final = 240
_LONGEST_LINE: Final = 160
_MOST_REMARKS: Final = 1500  # characters of all of them
_LONGEST_TEXT: Final = 800  # of what is nearest, and of notes
_MOST_LINES: Final = 10  # of notes
# Sizes of type in print by how many characters there are: browsers do not fit a page to its sheet by themselves.
_TYPE_PT: Final = {2000: 8.6, 3200: 7.6, math.inf: 6.4}
_SHORT_HASH: Final = 16  # characters of a checksum, enough to tell files apart


class KeyMeasure(NamedTuple):
    """A line of the key measures; `strip` is an SVG, or empty where `otherwise` says why there is none.

    `below` are further lines: the range of a value whose scale is not exact, and the value in the model's outline where
    a person corrected it.
    """

    label: str
    value: str
    below: tuple[str, ...]
    strip: Markup
    otherwise: str


class Remark(NamedTuple):
    """A sentence on quality; `severe` keeps the cell out of populations."""

    sentence: str
    severe: bool


class Differences(NamedTuple):
    """Where the cell differs most from a population, as sentences, most different first."""

    beside: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class FirstPage:
    """All that stands on the first page of a cell's report; texts as they came, to be escaped by whoever shows them.

    `picture` and `further` are SVG, the latter by caption; `populations` says who is behind the strips; `notes` is what
    a person wrote, empty where nothing; `provenance` are names and texts for the footer.
    """

    title: str
    created: datetime
    picture: Markup
    caption: str
    further: dict[str, Markup]
    measures: tuple[KeyMeasure, ...]
    populations: tuple[str, ...]
    quality: tuple[Remark, ...]
    nearest: str
    differences: tuple[Differences, ...]
    notes: str
    provenance: tuple[tuple[str, str], ...]

    @property
    def type_pt(self) -> float:
        """A size of type in points in which the page surely fits on a sheet of A4 or Letter."""
        texts = [
            *self.populations,
            *(remark.sentence for remark in self.quality),
            self.nearest,
            *(text for found in self.differences for text in (found.beside, *found.sentences)),
            self.notes,
            *(text for _, text in self.provenance),
        ]
        return next(size for most, size in _TYPE_PT.items() if sum(map(len, texts)) <= most)


def first_page(
    analysis: CellAnalysis,
    references: Sequence[ReferencePopulation],
    nearness: Nearness,
    model: ModelEntry,
    reliability: Reliability,
    created: datetime,
    notes: str = "",
) -> FirstPage:
    """Put together the first page of a cell's report.

    `nearness` is what the cell is nearest to; `notes` is what a person wrote of it. A corrected cell is measured once
    more in the model's outline, which takes as long as the cell took.
    """
    placed = place_cell(analysis, references)
    beside = _leading(main_sources(placed), nearness)
    note = models_beside(analysis, references)
    picture, further = _pictures(analysis)
    return FirstPage(
        title=_cut(title(analysis), _LONGEST_NAME),
        created=created,
        picture=picture,
        caption=f"{'Corrected outlines' if analysis.base else 'Outlines'}: nucleus solid, cell border dashed,"
        " surroundings dotted",
        further=further,
        measures=_measures(analysis, beside, reliability),
        populations=tuple(_cut(f"{p.reference.title}: {who(p.reference)}", _LONGEST_LINE) for p in beside),
        quality=_remarks([*quality(analysis), *([Remark(note, severe=False)] if note else [])]),
        nearest=_cut(in_words(nearness), _LONGEST_TEXT)
        + (" A description, not a classification." if nearness.populations else ""),
        differences=_differences(placed, nearness, reliability),
        notes=_cut("\n".join(notes.strip().splitlines()[:_MOST_LINES]), _LONGEST_TEXT, of=len(notes.strip())),
        provenance=tuple(
            (name, _cut(text, _LONGEST_NAME)) for name, text in _provenance(analysis, model, created).items()
        ),
    )


def title(analysis: CellAnalysis) -> str:
    """The name of the cell's image, with its number where the image has several."""
    return shown(analysis.image.name) + (f", cell {analysis.cell_index + 1}" if analysis.place else "")


def quality(analysis: CellAnalysis) -> list[Remark]:
    """What to know before trusting the numbers, in sentences."""
    flags = [Remark(flag.message, flag.severe) for flag in analysis.flags]
    if not analysis.quality_ok:
        flags.append(
            Remark("Populations leave such a cell out: look at the outline before using any number.", severe=True)
        )
    told = []
    if analysis.certainty is not None:
        told.append(f"A careful drawing would probably agree with the outline to {analysis.certainty:.2f} (Dice).")
    if caution := scale_caution(analysis.image.um_per_px, analysis.image.um_per_px_error):
        told.append(caution)
    told += [f"On opening the image: {note}." for note in analysis.further_notes]
    fine = [Remark("Nothing stands against using these numbers.", severe=False)]
    return [*(flags or fine), *(Remark(sentence, severe=False) for sentence in told)]


def scale(image: CellImage) -> str:
    """The scale of an image and how it is known."""
    if image.um_per_px is None:
        return "unknown"
    source = "from red cells" if image.um_per_px_source == RED_CELLS else "as given by the user"
    return f"{scale_words(image.um_per_px, image.um_per_px_error)}, {source}"


def reviewed(analysis: CellAnalysis) -> dict[str, str]:
    """What a person decided of the outline, as a line of the provenance."""
    review = analysis.review
    if review is None:
        return {}
    why = f": {review.why}" if review.why else ""
    return {"Outline": f"{review.status} by {review.who}, {review.when.isoformat(timespec='minutes')}{why}"}


def in_models_outline(analysis: CellAnalysis) -> dict[str, float | None]:
    """The values of a corrected cell in the model's outline, by feature; empty where nobody corrected it."""
    return extract(measured_pixels(analysis.image), analysis.base.labels).values if analysis.base else {}


def _cut(text: str, most: int, *, of: int | None = None) -> str:
    """A text of at most so many characters, with a word about how many are missing `of` all of them."""
    missing = (len(text) if of is None else of) - min(len(text), most)
    return f"{text[:most].rstrip()} … ({missing} more characters)" if missing > 0 else text


def _remarks(remarks: Sequence[Remark]) -> tuple[Remark, ...]:
    """As many as there is room for, severe ones first."""
    kept: list[Remark] = []
    for remark in sorted(remarks, key=lambda remark: not remark.severe):
        cut = remark._replace(sentence=_cut(remark.sentence, _LONGEST))
        if sum(len(before.sentence) for before in [*kept, cut]) > _MOST_REMARKS:
            more = f"Further remarks ({len(remarks) - len(kept)}) are in the report with all tables."
            return (*kept, Remark(more, severe=any(one.severe for one in remarks[len(kept) :])))
        kept.append(cut)
    return tuple(kept)


def _pictures(analysis: CellAnalysis) -> tuple[Markup, dict[str, Markup]]:
    """The cell with its outlines, and in small, of the same place, what these hide and what a person corrected."""
    base = analysis.base
    image, (labels, *before) = close_up(analysis.image, *(s.labels for s in (analysis.segmentation, base) if s))
    further = {"Without outlines": drawing(outlined_svg(image, scale_bar=False))}
    if base is not None:
        further[f"Outlines of {_cut(base.model_id, _LONGEST_LINE)}"] = drawing(
            outlined_svg(image, before[0], printed=True, scale_bar=False)
        )
    return drawing(outlined_svg(image, labels, printed=True)), further


def _leading(sources: list[Placed], nearness: Nearness) -> list[Placed]:
    """At most so many populations as a strip has lines, in their order; of more those of the nearest types."""
    types = list(dict.fromkeys(near.cell_type for near in nearness.populations))
    ranks = {cell_type: rank for rank, cell_type in enumerate(types)}
    nearest = sorted(sources, key=lambda p: ranks.get(p.reference.cell_type, len(ranks)))[:_MOST_POPULATIONS]
    return [p for p in sources if p in nearest]


def _measures(analysis: CellAnalysis, beside: Sequence[Placed], reliability: Reliability) -> tuple[KeyMeasure, ...]:
    image, before = analysis.image, in_models_outline(analysis)
    measures = []
    for name in KEY_FEATURES:
        spec, value = CATALOGUE[name], analysis.features.values.get(name)
        strip = sparkline_svg(name, [(p.reference, p.of(name)) for p in beside])
        further = (
            um_range(spec, value, image.um_per_px, image.um_per_px_error).strip(),
            f"model's outline: {of_cell(spec, before[name], image.um_per_px)}" if before else "",
        )
        measures.append(
            KeyMeasure(
                spec.label + (" (poor)" if is_poor(name, reliability) else ""),
                of_cell(spec, value, image.um_per_px),
                tuple(filter(None, further)),
                strip,
                "" if strip else _cut(not_placed(name, analysis), _LONGEST_LINE),
            )
        )
    return tuple(measures)


def _differences(placed: Sequence[Placed], nearness: Nearness, reliability: Reliability) -> tuple[Differences, ...]:
    """What sets the cell apart from the two nearest populations, or where none is named from the first two.

    Two of one type say the same, so it is the nearest of each type. Tone, colour and texture are left to the tables:
    they depend on the stain, which needs more words than there is room.
    """
    named = {place.reference.population: place for place in placed}
    nearest: dict[CellType, Placed] = {}
    for near in nearness.populations:
        if near.population in named:
            nearest.setdefault(near.cell_type, named[near.population])
    banded = [p for p in main_sources(placed) if p.reference.n >= SMALL_GROUP]
    chosen = (list(nearest.values()) or banded)[:_MOST_COMPARED]
    found = []
    for place in chosen:
        shapes, _ = most_different(place, reliability, shapes=_MOST_DIFFERENCES // len(chosen), tones=0)
        none = "In shape and structure every reliable feature that can be compared lies within the 2-98 % range."
        sentences = tuple(_cut(describe(comparison), _LONGEST_LINE) for comparison in shapes) or (none,)
        beside = f"{place.reference.title}, {who(place.reference)}"
        found.append(Differences(_cut(beside, _LONGEST_LINE), sentences))
    return tuple(found)


def _provenance(analysis: CellAnalysis, model: ModelEntry, created: datetime) -> dict[str, str]:
    image, model_id = analysis.image, analysis.segmentation.model_id
    height, width = image.whole_shape
    file = analysis.versions.get(MODEL_FILE) or (model.sha256 if model.model_id == model_id else "")
    return {
        "Image": f"{shown(image.name)}, {width} x {height} px",
        "SHA-256": f"{image.sha256[:_SHORT_HASH]}…",
        "Scale": scale(image),
        **reviewed(analysis),
        "Model": f"{model_id}, SHA-256 {file[:_SHORT_HASH]}…" if file else model_id,
        "Leukoscope": __version__,
        "Date": created.isoformat(" ", timespec="minutes"),
    }
