"""The comparison of architectures as tables of numbers, under the names that people read."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import pandas as pd

from core.evaluation.model_comparison import Measure, PairedDifference, Score, fair, pareto, ranking, title

MEASURES: Final[Mapping[Measure, str]] = MappingProxyType(
    {Measure.MEAN: "Nucleus and cytoplasm", Measure.NUCLEUS: "Nucleus", Measure.CYTOPLASM: "Cytoplasm"}
)


def of_protocol(table: pd.DataFrame, protocol: str, ks: Sequence[int]) -> pd.DataFrame:
    """Rows of one protocol and of some values of k."""
    return table[(table["protocol"] == protocol) & table["k"].isin(ks)]


def ranking_table(folds: pd.DataFrame, scores: Sequence[Score]) -> pd.DataFrame:
    """Every measure of each architecture in the order of the scores, its size and how long it trained."""
    by_measure = {measure: {score.architecture: score for score in ranking(folds, measure)} for measure in Measure}
    effort = fair(folds).groupby("architecture")[["parameters", "seconds"]].mean()
    names = [score.architecture for score in scores]
    columns = {"Network": [title(name) for name in names], "Folds": [score.folds for score in scores]}
    columns |= {words: [by_measure[measure][name].mean for name in names] for measure, words in MEASURES.items()}
    columns |= {
        f"{words}, spread (SD)": [by_measure[measure][name].sd for name in names] for measure, words in MEASURES.items()
    }
    columns["Million parameters"] = list(effort.loc[names, "parameters"] / 1e6)
    columns["Minutes a fold"] = list(effort.loc[names, "seconds"] / 60)
    return pd.DataFrame(columns)


def differences_table(differences: Sequence[PairedDifference]) -> pd.DataFrame:
    """Every pair, in points (hundredths of Dice) and per cent."""
    return pd.DataFrame(
        [
            {
                "Better": title(difference.first),
                "Other": title(difference.second),
                "Points": 100 * difference.mean,
                "95 % interval": f"{100 * difference.low:+.2f} to {100 * difference.high:+.2f}",
                "p": difference.p,
                "p, Holm": difference.p_adjusted,
                "Chance of a practical tie": 100 * difference.practically_equal,
                "Told apart": difference.told_apart,
            }
            for difference in differences
        ]
    )


def with_costs(scores: Sequence[Score], costs: pd.DataFrame, cost: str) -> pd.DataFrame:
    """Scores beside what each architecture costs; `best` marks the Pareto front of Dice and `cost`."""
    ranked = pd.DataFrame(
        [{"architecture": s.architecture, "mean": s.mean, "low": s.low, "high": s.high} for s in scores]
    )
    table = ranked.merge(costs, on="architecture")
    return table.assign(best=pareto(table[cost].to_numpy(float), table["mean"].to_numpy(float)))
