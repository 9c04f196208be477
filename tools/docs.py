"""`python -m tools.docs`: write the tables of README and docs/ from code and from what was measured; a test holds them.

A table, sentence or reference lies between the marks ``<!-- name -->`` and ``<!-- end name -->``; its function has that
name. Scores come from the shipped model's card and `benchmarks/agreement.json`, architectures from the committed
selection run, populations from the shipped cohort and
`benchmarks/nearness.json`, speed from `benchmarks/`, which `make bench` writes, features, columns and commands from the
code.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from core.batch.run import FLUSH_IMAGES
from core.charts.trust import graded
from core.domain.cell_types import CELL_TYPES
from core.domain.settings import ROOT, load_settings
from core.evaluation import model_selection
from core.evaluation.agreement import FeatureReliability, Grade, load
from core.evaluation.model_comparison import Measure, leaks, paired_differences, ranking, title, verdict
from core.evaluation.nearness_check import NearnessCount, Setting, nearness_row
from core.explorer import view
from core.explorer.laboratory_effect import LaboratoryTables
from core.explorer.ranking import Separation
from core.explorer.selection import Selection
from core.explorer.separation import find_panels, gather, rank_gathered, separate
from core.explorer.view import By
from core.features.catalogue import CATALOGUE
from core.features.spec import FeatureSpec, Region, Theme
from core.populations.comparison import beside_published
from core.populations.summaries import SMALL_GROUP
from core.segmentation.model_registry import ModelEntry, find_model
from core.store import queries
from core.store.database import Cohort
from core.store.published import published_references
from core.store.schema import arrow_schema
from core.support import records
from tools.command_reference import commands

BENCHMARKS = ROOT / "benchmarks"

# The comparison of architectures that the docs speak of.
SELECTION_RUN = "set2-lite0-160"

# The features a reader asks for first.
KNOWN = (
    "combined_PixelSurface",
    "nucleus_shape2D_PixelSurface",
    "cell_shape2D_PixelSurface",
    "nucleus_shape2D_Elongation",
    "nucleus_shape2D_Sphericity",
    "cell_shape2D_Sphericity",
    "nucleus_shape2D_Perimeter",
    "nucleus_firstorder_Mean",
    "nucleus_firstorder_Entropy",
    "cytoplasm_firstorder_Mean",
    "nucleus_haematoxylin_Mean",
    "nucleus_lobes_LobeCount",
    "combined_NuclearEccentricity",
    "cytoplasm_granularity_Medium",
    "cell_projections_ContourShare",
    "nucleus_glcm_Contrast",
    "cell_glcm_JointEntropy",
)

# What the docs say of the cohort: who is set beside whom, the last two pairs the same cells of two laboratories, and
# by what.
SET_SIDE_BY_SIDE = (
    ("monocyte_acevedo", "lymphocyte_acevedo"),
    ("monocyte_deepapl", "lymphocyte_deepapl"),
    ("apl_deepapl", "monocyte_deepapl"),
    ("apl_deepapl", "lymphocyte_deepapl"),
    ("apl_deepapl", "promyelocyte_acevedo"),
    ("monocyte_deepapl", "monocyte_acevedo"),
    ("lymphocyte_deepapl", "lymphocyte_acevedo"),
)
TOLD_APART_BY = (
    "combined_PixelSurface",
    "combined_Perimeter",
    "combined_Sphericity",
    "nucleus_shape2D_PixelSurface",
    "cell_shape2D_PixelSurface",
    "nucleus_granularity_Medium",
)


def _table(head: list[str], rows: list[list[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _dice(part: Mapping[str, Any]) -> list[str]:
    regions = [part[region] for region in ("nucleus", "cytoplasm", "cell")]
    return [f"{of['dice_mean']:.3f} ({of['dice_ci95'][0]:.3f}-{of['dice_ci95'][1]:.3f})" for of in regions]


def scores() -> str:
    card = _shipped().card
    names = {
        "set1": "set 1 (Jiangxi Tecom)",
        "set2": "set 2 (CellaVision)",
        "bccd": "BCCD (hospital unknown)",
        "test": "all",
    }
    rows: list[list[object]] = []
    for key, name in names.items():
        part = card.scores[key]
        rows.append([name, part["images"], *_dice(part), f"{100 * part['cell']['below_0.8']:.1f} %"])
    for scheme, of in card.validation.items():
        for key, part in of["sources"].items():
            rows.append(
                [f"{scheme}: {names[key]}", part["images"], *_dice(part), f"{100 * part['cell']['below_0.8']:.1f} %"]
            )
    for pair in json.loads((BENCHMARKS / "agreement.json").read_text(encoding="utf-8")):
        both = f"annotators, images {pair['first'].split('/')[1]} and {pair['second'].split('/')[1]} of set 1"
        rows.append([both, 2, *(f"{pair[r]:.3f}" for r in ("nucleus", "cytoplasm", "cell")), ""])
    return _table(["test images", "n", "nucleus", "cytoplasm", "cell", "cells under 0.8"], rows)


def _shipped() -> ModelEntry:
    """The model that the docs are about, whichever the person at hand uses."""
    return find_model(folder=load_settings().shipped_models)


def headline() -> str:
    """How good the shipped model is, beside two drawings of one image, in a sentence."""
    regions, test = ("nucleus", "cytoplasm", "cell"), _shipped().card.scores["test"]
    ours = [f"{test[region]['dice_mean']:.3f} ({region})" for region in regions]
    twice = json.loads((BENCHMARKS / "agreement.json").read_text(encoding="utf-8"))[0]
    drawn = [f"{twice[region]:.3f}" for region in regions]
    return (
        f"On {test['images']} test images that the model never saw its outlines agree with drawn masks at Dice"
        f" {_and(ours)};\ntwo drawings of one identical image agree at {_and(drawn)}."
    )


def _and(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _counts(features: Mapping[str, FeatureReliability]) -> str:
    rows: list[list[object]] = []
    for theme in Theme:
        graded = [
            (CATALOGUE[name].region, feature.grade)
            for name, feature in features.items()
            if CATALOGUE[name].theme is theme
        ]
        cells = [" / ".join(str(graded.count((region, grade))) for grade in Grade) for region in Region]
        total = " / ".join(str(sum(found is grade for _, found in graded)) for grade in Grade)
        rows.append([theme.value, *("" if cell == "0 / 0 / 0" else cell for cell in cells), total])
    return _table(["good / moderate / poor", *map(str, Region), "all"], rows)


def _change(feature: FeatureReliability) -> str:
    return f"{feature.disturbances[feature.largest].size:.2f}, {feature.largest}" if feature.largest else ""


def reliability() -> str:
    """Counts of grades, the features most asked for, and the names of those that agree least."""
    entry = _shipped()
    assert entry.reliability is not None, "run `python -m core reliability`"
    features = load(entry.reliability)
    known: list[list[object]] = []
    for name in KNOWN:
        feature = features[name]
        known.append(
            [
                f"`{name}`",
                feature.n,
                f"{feature.icc:.2f} ({feature.icc_low:.2f}-{feature.icc_high:.2f})",
                f"{feature.bias:+z.2f} ({feature.limit_low:+.2f} to {feature.limit_high:+.2f})",
                f"{feature.difference:.2f}",
                f"{feature.annotators:.2f}",
                _change(feature),
                feature.grade,
            ]
        )
    head = ["feature", "n", "ICC (95 %)", "bias (limits)", "model", "annotators", "largest change", "grade"]
    worst = sorted((f for f in features.values() if f.icc_low is not None), key=lambda f: f.icc_low)[:8]
    unjudged = [name for name, feature in features.items() if feature.icc is None]
    end = f"Least agreement: {', '.join(f'`{f.feature}` ({f.icc:.2f})' for f in worst)}."
    if unjudged:
        end += f" Could not be judged: {', '.join(f'`{name}`' for name in unjudged)}."
    return f"{_counts(features)}\n\n{_table(head, known)}\n\n{end}"


def cohort() -> str:
    rows: list[list[object]] = []
    with Cohort.open([load_settings().reference]) as opened:
        for info in queries.populations(opened):
            reasons = ", ".join(f"{count} {code.replace('_', ' ')}" for code, count in info.excluded.items()) or "none"
            scale = "unknown" if info.population.um_per_px is None else f"{info.population.um_per_px} um/px"
            shown = "points" if info.n_good < SMALL_GROUP else "2-50-98 %"
            rows.append([info.population.title, info.n_good, info.patients or "not recorded", reasons, scale, shown])
    return _table(["population", "cells", "patients", "left out", "scale", "shown as"], rows)


def published() -> str:
    wanted = [
        "nucleus_shape2D_Elongation",
        *(f"combined_{f}" for f in ("PixelSurface", "Elongation", "MaximumDiameter", "Perimeter", "Sphericity")),
    ]
    with Cohort.open([load_settings().reference]) as opened:
        measured = [queries.reference(opened, name) for name in ("monocyte_acevedo", "lymphocyte_acevedo")]
    drawn = json.loads((BENCHMARKS / "drawn_masks.json").read_text(encoding="utf-8"))
    table = beside_published(measured, published_references(load_settings().reference))
    rows: list[list[object]] = []
    for row in table[table["feature"].isin(wanted)].itertuples():
        ours, theirs = ([getattr(row, f"{who}_{p}") for p in ("p2", "p50", "p98")] for who in ("measured", "published"))
        spans = [f"{middle:.2f} ({low:.2f}-{high:.2f})" for low, middle, high in (ours, theirs)]
        kind = row.population.split("_")[0]
        masks = " / ".join(f"{drawn[name][kind][row.feature]:.2f}" for name in ("set1", "set2"))
        rows.append([kind, row.feature.replace("shape2D_", ""), *spans, masks])
    return _table(
        [
            "cells",
            "feature",
            "measured, Barcelona: median (2-98 %)",
            "published table",
            "drawn masks, set 1 / set 2: median",
        ],
        rows,
    )


def findings() -> str:
    rows: list[list[object]] = []
    with Cohort.open([load_settings().reference]) as opened:
        infos = {info.population.population_id: info for info in queries.populations(opened)}
        for pair in SET_SIDE_BY_SIDE:
            # Granularity between two laboratories, too, as measured: the text says what that is worth.
            cells = gather(
                opened, Selection(populations=pair), By.POPULATION, [(name,) for name in pair], TOLD_APART_BY
            )
            effects = {each.feature: _effect(each) for each in rank_gathered(cells, pair).separations}
            rows.append([_sides(infos, pair), *(effects[name] for name in TOLD_APART_BY)])
    return _table(["cells", *(CATALOGUE[name].label for name in TOLD_APART_BY)], rows)


def panels() -> str:
    reliable = graded(load(_shipped().reliability))
    rows: list[list[object]] = []
    with Cohort.open([load_settings().reference]) as opened:
        infos = {info.population.population_id: info for info in queries.populations(opened)}
        for pair in SET_SIDE_BY_SIDE:
            selection = Selection(populations=pair)
            shape = [
                name
                for name in view.counts(opened, selection).offered
                if name in reliable
                and not CATALOGUE[name].intensity_dependent
                and CATALOGUE[name].region is not Region.ENVIRONMENT
            ]
            cells = gather(opened, selection, By.POPULATION, [(name,) for name in pair], shape)
            (found,) = find_panels(cells, pair, separate(cells, pair, reliable).redundancy, reliable).panels
            told = "; ".join(f"{CATALOGUE[each.feature].label} ({each.chosen})" for each in found.features)
            judged = "patients" if found.patients else "cells, of patients unknown"
            rows.append([_sides(infos, pair), told, f"{found.auc:.3f} ({found.low:.3f}-{found.high:.3f})", judged])
    return _table(["cells", "features together (chosen in how many of 5 folds)", "AUC (95 %)", "left out"], rows)


def laboratory_effects() -> str:
    """What two sources' cells of one kind differ by, family by family."""
    rows: list[list[object]] = []
    (pair,) = _laboratories().pairs
    for family in pair.families:
        row: list[object] = [f"{family.family} ({family.features})", f"{family.floor:.2f}"]
        for name in ("raw", "calibrated", "held_out"):
            told = [getattr(kind, name) for kind in family.kinds]
            row.append("" if told[0] is None else " / ".join(f"{value:.2f}" for value in told))
        row.append("" if family.closing is None else f"{family.closing:.0f}")
        rows.append(row)
    kinds = " / ".join(CELL_TYPES[kind.cell_type].plural for kind in pair.families[0].kinds)
    head = [
        "family (features)",
        "floor",
        f"as measured, {kinds}",
        "calibrated",
        "kind left out",
        "close on half the cells",
    ]
    apart = f"Of what closes on one half of the patients, {pair.false:.0%} lies beyond 0.25 on the other half."
    return f"{_table(head, rows)}\n\n{apart}"


def laboratory_contrasts() -> str:
    """How sources agree in what sets two kinds of cells apart."""
    rows: list[list[object]] = []
    (kinds,) = _laboratories().apart
    for family in kinds.families:
        rank, sign = (
            "" if value is None else shown.format(value)
            for value, shown in ((family.rank, "{:.2f}"), (family.same_sign, "{:.0%}"))
        )
        rows.append([family.family, family.features, rank, family.strong, sign, family.clear])
    head = ["family", "features", "Spearman", "above 0.5 in a source", "of these one sign", "above 0.3 everywhere"]
    return _table(head, rows)


def _laboratories() -> LaboratoryTables:
    return records.from_json(LaboratoryTables, (BENCHMARKS / "laboratories.json").read_text(encoding="utf-8"))


def _sides(infos: Mapping[str, queries.PopulationInfo], pair: tuple[str, str]) -> str:
    return " / ".join(infos[name].population.title for name in pair)


def _effect(found: Separation) -> str:
    between = f"; {found.by_patient:+.2f}" if found.by_patient is not None else ""
    return f"{found.effect:+.2f} ({found.low:+.2f} to {found.high:+.2f}){between}"


def catalogue() -> str:
    kinds: dict[tuple[str, str], list[FeatureSpec]] = {}
    for spec in CATALOGUE.values():
        kinds.setdefault((spec.theme, spec.feature_class), []).append(spec)
    rows: list[list[object]] = []
    for (theme, feature_class), specs in kinds.items():
        regions = dict.fromkeys(str(spec.region) for spec in specs)
        ibsi = sum(spec.ibsi_id is not None for spec in specs)
        names = list(dict.fromkeys(spec.short[0].lower() + spec.short[1:] for spec in specs))
        few = "; ".join(names[:4]) + ("; ..." if len(names) > 4 else "")
        rows.append([theme, f"`{feature_class}`", ", ".join(regions), len(specs), ibsi or "", few])
    rows.append(["**all**", "", "", len(CATALOGUE), sum(spec.ibsi_id is not None for spec in CATALOGUE.values()), ""])
    return _table(["theme", "class", "regions", "features", "in IBSI", "such as"], rows)


def selection() -> str:
    """The committed comparison of architectures beside the thesis's, best first, with what each costs."""
    folder = ROOT / "assets" / "model_selection" / SELECTION_RUN
    folds, images = (model_selection.read(folder, table) for table in ("folds", "images"))
    thesis = pd.read_csv(load_settings().reference / "published_model_selection.csv")
    published = dict(zip(thesis["architecture"].str.lower(), thesis["mean_dice_percent"], strict=True))
    costs = model_selection.read_costs(folder).set_index("architecture")
    leaked = {leak.architecture: leak for leak in leaks(folds, images, Measure.MEAN)}
    grouped = folds[folds["protocol"] == "grouped"]
    parts = [
        {score.architecture: score for score in ranking(grouped, part)} for part in (Measure.NUCLEUS, Measure.CYTOPLASM)
    ]
    differences = paired_differences(grouped, Measure.MEAN)
    rows: list[list[object]] = []
    for score in ranking(grouped, Measure.MEAN):
        name, cost, leak = score.architecture, costs.loc[score.architecture], leaked.get(score.architecture)
        behind = next(
            (pair for pair in differences if pair.second == name and pair.first == differences[0].first), None
        )
        assert score.low is not None
        assert score.high is not None
        rows.append(
            [
                title(name),
                f"{100 * score.mean:.2f} ({100 * score.low:.2f}-{100 * score.high:.2f})",
                *(f"{100 * part[name].mean:.2f}" for part in parts),
                "" if behind is None else f"{100 * behind.mean:.2f}, p {behind.p_adjusted:.2f}",
                "" if leak is None else f"{leak.added * 100:+.2f} ({leak.low * 100:+.2f} to {leak.high * 100:+.2f})",
                f"{published[name.removesuffix('-small')]:.2f}",
                f"{cost['parameters'] / 1e6:.1f} M",
                f"{cost['milliseconds']:.0f} ms",
            ]
        )
    head = [
        "network",
        "Dice, % (95 %)",
        "nucleus",
        "cytoplasm",
        "behind the first",
        "added by augmented copies",
        "thesis",
        "parameters",
        "an image",
    ]
    return f"{_table(head, rows)}\n\n{verdict(ranking(grouped, Measure.MEAN), differences)}"


def _measured(*topics: str) -> str:
    """The rows of some topics of the bench."""
    rows: list[list[object]] = []
    for topic in topics:
        for line in json.loads((BENCHMARKS / f"{topic}.json").read_text(encoding="utf-8"))["rows"]:
            values = [
                f"{line[key]:.0f} {line['unit']}" if line[key] >= 10 else f"{line[key]:.1f} {line['unit']}"
                for key in ("ours", "peer_value")
            ]
            rows.append([line["what"], values[0], line["peer"], values[1], f"{line['ratio']:.1f}"])
    return _table(["what", "ours", "beside", "takes", "ratio"], rows)


def speed() -> str:
    return _measured("features", "inference", "cell", "first_click", "page", "correcting")


def batch() -> str:
    return _measured("batch")


def explorer() -> str:
    return _measured("explorer")


def _bench(what: str, key: str = "ours") -> float:
    """A figure of the bench of very many images: of its rows the first that begins so."""
    rows = json.loads((BENCHMARKS / "batch.json").read_text(encoding="utf-8"))["rows"]
    return next(float(line[key]) for line in rows if line["what"].startswith(what))


def _long(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}" if seconds >= 100 * length else f"{seconds / length:.3g} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def _large(kib: float) -> str:
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if kib * 1024 >= length:
            return f"{kib * 1024 / length:.3g} {unit}"
    return f"{kib:.3g} KiB"


def _a_core() -> tuple[float, float]:
    """Images a second and KiB of memory of one core of a cluster.

    Half of what two actors, with Ray and the driver, did and took.
    """
    return _bench("images a second under way, Ray") / 2, _bench("peak memory of all processes, Ray") * 1024 / 2


def nodes() -> str:
    """What a node gives and needs, by its cores."""
    rate, memory = _a_core()
    image, mask, cell = _bench("the mask", "peer_value"), _bench("the mask"), _bench("a cell")
    rows: list[list[object]] = []
    for cores in (2, 16, 64):
        images = cores * rate
        moved = (
            f"{images:.0f} reads, {images:.0f} writes; {_large(images * image)} in,"
            f" {_large(images * (mask + cell))} out"
        )
        rows.append([cores, f"{images:.0f}", _long(1e6 / images), _large(cores * memory), moved])
    return _table(["cores", "images a second", "a million images", "memory", "of the storage, a second"], rows)


def paper() -> str:
    """What a million and a hundred million images of one cell each cost, reckoned from the bench."""
    rate, memory = _a_core()
    rows: list[list[object]] = []

    def add(what: str, cost: Callable[[float], str]) -> None:
        rows.append([what, cost(1e6), cost(1e8)])

    add("one core", lambda n: _long(n / rate))
    for nodes in (4, 16):
        add(f"{nodes} nodes of 64 cores", lambda n, nodes=nodes: _long(n / rate / nodes / 64))  # type: ignore[misc]
    add("memory of a node of 64 cores", lambda _: _large(64 * memory))
    add("memory of the driver to know what is done", lambda n: _large(n * _bench("a done image in memory") / 1024))
    add("the driver lists a folder on a local disk", lambda n: _long(n / _bench("names listed")))
    add("the driver reads what is done, when the run goes on", lambda n: _long(1.5 * n * _bench("a record") / 1e6))
    add("the images", lambda n: _large(n * _bench("the mask", "peer_value")))
    add("shards", lambda n: f"{_large(n * _bench('a cell'))} in {n / FLUSH_IMAGES:,.0f} files")
    add("masks", lambda n: f"{_large(n * _bench('the mask'))} in {n:,.0f} files")
    add("`cells.csv`", lambda n: _large(n * _bench("a cell", "peer_value")))
    return _table(["", "1 million cells", "100 million cells"], rows)


def features() -> str:
    """Every feature of the catalogue, a row each, under a heading for each theme."""
    head = ["feature", "means", "unit", "IBSI", "formula"]
    parts = []
    for theme in Theme:
        rows: list[list[object]] = [
            [f"`{spec.name}`", spec.description, _units(spec), spec.ibsi_id or "", _cell(spec.formula)]
            for spec in CATALOGUE.values()
            if spec.theme is theme
        ]
        parts.append(f"### {theme.value}\n\n{_table(head, rows)}")
    return "\n\n".join(parts)


def _units(spec: FeatureSpec) -> str:
    return spec.unit.px if spec.unit.px == spec.unit.um else f"{spec.unit.px}, {spec.unit.um}"


def _cell(text: str) -> str:
    """Text that may stand in a cell of a Markdown table."""
    return text.replace("|", "\\|")


def columns() -> str:
    """The columns of a shard before the features', from the fields' own descriptions."""
    fields = arrow_schema()
    rows: list[list[object]] = [
        [
            f"`{field.name}`",
            str(field.type).replace("<item: ", "<").replace("<element: ", "<"),
            field.metadata[b"description"].decode(),
        ]
        for field in fields
        if field.name not in CATALOGUE
    ]
    return _table(["column", "type", "meaning"], rows)


def _nearness_counts() -> list[NearnessCount]:
    written = json.loads((BENCHMARKS / "nearness.json").read_text(encoding="utf-8"))
    return [NearnessCount(**{**row, "setting": Setting(row["setting"])}) for row in written]


def nearest_known() -> str:
    counts = {(count.cells, count.setting): nearness_row(count) for count in _nearness_counts()}
    rows: list[list[object]] = []
    for (cells, setting), held in counts.items():
        if setting is Setting.HELD_OUT:
            others = (Setting.NO_SCALE, Setting.OTHER_LABORATORY)
            first = [counts.get((cells, other), {}).get("its type first", "") for other in others]
            left_out = counts.get((cells, Setting.TYPE_LEFT_OUT), {}).get("unlike all", "")
            rows.append([*list(held.values())[:-1], *first, left_out])
    return _table(
        [
            "cells",
            "n",
            "refused by a flag",
            "unlike all",
            "its type first",
            "first or second",
            "close to a small group",
            "first, without a scale",
            "first, other laboratories only",
            "unlike all, its type left out",
        ],
        rows,
    )


def nearest_lacking() -> str:
    rows = [list(nearness_row(count).values()) for count in _nearness_counts() if count.setting is Setting.LACKING]
    return _table(["cells", "n", "refused by a flag", "unlike all", "close to a small group", "named first"], rows)


TABLES = (
    headline, commands, scores, selection, reliability, cohort, published, findings, panels, nearest_known,
    nearest_lacking, laboratory_effects, laboratory_contrasts, explorer, speed, batch, catalogue, features, columns,
    nodes, paper,
)  # fmt: skip
MAKERS: Mapping[str, Callable[[], str]] = {make.__name__: make for make in TABLES}
_MARK = re.compile(r"^<!-- (?!end )([a-z_]+) -->$", re.MULTILINE)


def documents() -> list[Path]:
    """README and every page of docs/ with at least one table."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in pages if tables_of(page)]


def tables_of(document: Path) -> list[str]:
    """Names of the tables that a document has marks for."""
    return _MARK.findall(document.read_text(encoding="utf-8"))


def written(document: Path) -> str:
    """The text of a document with every table made anew between its marks."""
    text = document.read_text(encoding="utf-8")
    for name in tables_of(document):
        start, end = f"<!-- {name} -->", f"<!-- end {name} -->"
        before, rest = text.split(start)
        after = rest.split(end)[1]
        text = f"{before}{start}\n{MAKERS[name]()}\n{end}{after}"
    return text


def main() -> None:
    for document in documents():
        document.write_text(written(document), encoding="utf-8")


if __name__ == "__main__":
    main()
