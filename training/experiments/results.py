"""The experiments side by side: a table of all finished validations."""

import json
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from core.domain.errors import UsageError
from training.experiments.disturbances import DECIDING, ImagingCondition
from training.experiments.validation import IMAGES_FILE, REPORT_FILE, criterion

NOTES: Final = Path(__file__).parents[1] / "EXPERIMENTS.md"
_BEGIN, _END = "<!-- results -->", "<!-- /results -->"
_BOOTSTRAPS: Final = 1000


def results_table(root: Path, baseline: str) -> str:
    """All finished runs in `root` as a Markdown table, the best first, each compared with the config `baseline`.

    The difference is that of the criterion over the same images, with the 95 % interval of 1,000 bootstrap samples of
    cells (drawn within their sources); it does not include the spread between trainings of other seeds.
    """
    runs = [_Run(path.parent) for path in sorted(root.glob(f"*/{REPORT_FILE}"))]
    if not runs:
        return "No run has finished yet."
    header = ["run", "changes", "criterion", "against baseline", *_Run.columns(), "min", "commit"]
    lines = [f"| {' | '.join(header)} |", f"| {' | '.join('---' for _ in header)} |"]
    for run in sorted(runs, key=lambda run: (run.plan, -run.report["criterion"])):
        base = next((r for r in runs if r.name == baseline and r.plan == run.plan), None)
        against = "" if base is None or base is run else _difference(run.table, base.table)
        changes = "" if base is None or base is run else run.changes_from(base)
        cells = [
            run.folder.name,
            changes,
            f"{run.report['criterion']:.4f}",
            against,
            *run.values(),
            f"{run.minutes:.0f}",
            run.commit,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


class _Run:
    """A finished run: its report and its table of images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.report: dict[str, Any] = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
        self.table = pd.read_parquet(folder / IMAGES_FILE)
        self.name: str = self.report["name"]
        self.plan = "-".join(str(value) for value in self.report["plan"].values())
        self.commit: str = self.report["commit"][:8]
        self.minutes = sum(
            split["minutes_training"] + split["minutes_scoring"] for split in self.report["splits"].values()
        )

    @staticmethod
    def columns() -> list[str]:
        """Headings of `values`: N and C are Dice of nucleus and cytoplasm, means over sources."""
        return [
            "N / C",
            "cell < 0.8",
            *(f"N / C, {condition}" for condition in ImagingCondition if condition is not ImagingCondition.CLEAN),
            "Spearman",
        ]

    def values(self) -> list[str]:
        def means(condition: ImagingCondition) -> str:
            dice = (
                self.table[self.table["condition"] == str(condition)]
                .groupby("source")[["dice_nucleus", "dice_cytoplasm"]]
                .mean()
                .mean()
            )
            return f"{dice['dice_nucleus']:.3f} / {dice['dice_cytoplasm']:.3f}"

        clean = self.table[self.table["condition"] == str(ImagingCondition.CLEAN)]
        poor = float((clean["dice_cell"] < 0.8).groupby(clean["source"]).mean().mean())
        spearman = self.report["confidence"][str(ImagingCondition.CLEAN)]["spearman"]
        others = [means(condition) for condition in ImagingCondition if condition is not ImagingCondition.CLEAN]
        return [means(ImagingCondition.CLEAN), f"{poor:.1%}", *others, "" if spearman is None else f"{spearman:.2f}"]

    def changes_from(self, base: "_Run") -> str:
        mine, theirs = self.report["config"], base.report["config"]
        return ", ".join(f"{key} {value}" for key, value in mine.items() if key != "name" and value != theirs.get(key))


def _difference(table: pd.DataFrame, base: pd.DataFrame, seed: int = 7) -> str:
    """The criterion's difference and its interval, over cells drawn with replacement from each source, paired."""
    rng = np.random.default_rng(seed)
    mine, theirs = _by_cell(table), _by_cell(base)
    shared = mine.index.intersection(theirs.index)
    change = mine.loc[shared] - theirs.loc[shared]
    clean, disturbed = str(ImagingCondition.CLEAN), [str(condition) for condition in DECIDING]
    drawn = np.zeros(_BOOTSTRAPS)
    sources = change.index.get_level_values("source").unique()
    for source in sources:
        values = change.xs(source, level="source")
        for columns in ([clean], disturbed):
            # Disturbed images are a subset: the two halves of the criterion are drawn each from its own cells.
            rows = values[columns].dropna().to_numpy()
            drawn += rows[rng.integers(len(rows), size=(_BOOTSTRAPS, len(rows)))].mean(axis=(1, 2)) / 2 / len(sources)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{criterion(table) - criterion(base):+.4f} ({low:+.4f} to {high:+.4f})"


def _by_cell(table: pd.DataFrame) -> pd.DataFrame:
    """Mean Dice of nucleus and cytoplasm, a row for each cell and a column for each condition."""
    both = table.assign(dice=table[["dice_nucleus", "dice_cytoplasm"]].mean(axis=1))
    return both.pivot_table("dice", ["source", "sample_id"], "condition")


def write_results(text: str, path: Path = NOTES) -> None:
    """Put the table between its marks in the notes; raises UsageError where there are none."""
    notes = path.read_text(encoding="utf-8")
    pattern = re.compile(f"{_BEGIN}.*{_END}", re.DOTALL)
    if not pattern.search(notes):
        msg = f"{path.name} has no {_BEGIN} and {_END} to write between"
        raise UsageError(msg)
    path.write_text(pattern.sub(lambda _: f"{_BEGIN}\n{text}\n{_END}", notes), encoding="utf-8")
