"""A few features that together tell groups of cells apart, and how well they do on patients they were not chosen on.

For two groups there is one panel; for more, one for each group against all others.

How a panel is chosen. Logistic regression, grown by one feature at a time: the one whose score test (Rao 1948) says it
would add most to those chosen, so that a feature that repeats another adds nothing. Both sides weigh the same, whatever
their numbers. It ends at the smallest size whose cross-validated AUC is within one standard error of the best (Breiman
et al. 1984), at `MOST_FEATURES` at the latest.

How it is judged. Patients are divided into folds, all cells of one together. For each fold in turn everything is done
without it, centre and spread of the features, choice, size and weights, and its cells are scored with the result. The
size is found among the other folds in the same way (nested cross-validation, Varma and Simon 2006). The AUC is that of
all cells by these scores; its interval comes from resampling patients. A cell whose patient is unknown counts as a
patient of its own: then cells of one person are on both sides, and the AUC is too good; the result says so.

Values are scaled robustly (`core.populations.robust`), so their units do not matter; an absent one counts as the
median.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from core.charts.labels import with_unit
from core.domain.errors import UsageError
from core.features.catalogue import feature_spec
from core.populations.robust import RobustScaling
from core.populations.summaries import basis_of

MOST_FEATURES: Final = 5
MOST_CELLS: Final = 5000  # more only narrow an interval that is as wide as the patients are few
FOLDS: Final = 5
_FEWEST_FOLDS: Final = 3  # one to score, one to find the size, one to learn from
_DEPTH: Final = 2
_SMALLEST_LEAF: Final = 0.02  # of the cells
_NEW: Final = (
    0.01  # least share of a feature's variance that those chosen leave unexplained; else it is one of them again
)
_DRAWS: Final = 1000
_DRAWS_AT_ONCE: Final = 100

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]
Codes = NDArray[np.integer]


@dataclass(frozen=True)
class PanelFeature:
    """One feature of a panel.

    `weight` is the change of the log-odds per robust standard deviation, with the others held fixed; `auc` that of the
    feature alone over all cells, over 0.5 where it is higher in the group. Of the folds' own panels, `chosen` have it
    and `chosen_alike` have it or one that says nearly the same.
    """

    feature: str
    weight: float
    auc: float
    chosen: int
    chosen_alike: int


@dataclass(frozen=True)
class Rule:
    """A leaf of the tree: cells that meet all conditions are assigned to `group`; `right` of these `n` are in it."""

    conditions: tuple[str, ...]
    group: str
    n: int
    right: int

    @property
    def sentence(self) -> str:
        """The rule in words."""
        return f"{' and '.join(self.conditions) or 'Always'}: {self.right:,} of {self.n:,} cells are {self.group}."


@dataclass(frozen=True)
class Panel:
    """Features that tell one group from the rest.

    `auc` with its 95 % interval is of scores of cells that had no part in the fit, and `fold_aucs` is the same within
    each fold that has both sides. `rules` are a tree of depth 2 on the same features, over all cells;
    `balanced_accuracy` is its mean share of right answers on both sides, found as the AUC is. `cells` and `patients`
    count group and rest; patients are None unless all are known.
    """

    group: str
    rest: str
    features: tuple[PanelFeature, ...]
    auc: float
    low: float
    high: float
    fold_aucs: tuple[float, ...]
    rules: tuple[Rule, ...]
    balanced_accuracy: float
    cells: tuple[int, int]
    patients: tuple[int, int] | None

    @property
    def sentence(self) -> str:
        """Which features tell the group, and how well."""
        people = f"; patients {self.patients[0]} / {self.patients[1]}" if self.patients else ""
        measured = (
            f"cross-validated AUC {self.auc:.3f} ({self.low:.3f} to {self.high:.3f}; n {self.cells[0]:,} /"
            f" {self.cells[1]:,}{people})"
        )
        if self.low <= 0.5:
            return f"No few features are seen to tell {self.group} from {self.rest}: {measured}."
        names = "; ".join(feature_spec(chosen.feature).label for chosen in self.features)
        tell = "this alone tells" if len(self.features) == 1 else "together these tell"
        return f"{names}: {tell} {self.group} from {self.rest}, {measured}."


@dataclass(frozen=True)
class Panels:
    """Panels of a comparison, in the order of the groups, from `n` of `of` cells in `folds` folds.

    `notes` qualify the AUC, in words.
    """

    panels: tuple[Panel, ...]
    folds: int
    n: int
    of: int
    patients_known: bool
    notes: tuple[str, ...]


def panels(
    matrix: Matrix,
    groups: Codes,
    names: Sequence[str],
    patients: Codes,
    features: Sequence[str],
    *,
    alike: Codes | None = None,
    seed: int = 0,
) -> Panels:
    """Find and judge the panels of two or more groups.

    Parameters
    ----------
    matrix
        (n, F) in the basis of comparison; nan where absent. Give every feature that may be chosen, not only those that
        look good on these cells: choosing belongs inside the folds.
    groups
        (n,): index of each cell's group in `names`; -1 for cells of no group.
    names
        The groups, as they are called in sentences ("monocytes").
    patients
        (n,): code of each cell's patient, -1 where unknown.
    features
        Names of the columns.
    alike
        (F,): code of each feature's group of features that say nearly the same (`core.explorer.redundancy`), to tell
        how stable the choice is; without it each is a group of its own.
    seed
        For the folds, the resampling, and the sample of `MOST_CELLS` cells where there are more.

    Raises
    ------
    UsageError
        If there are fewer than two groups, one has fewer than three patients (or cells of unknown patients), or no
        feature varies.
    """
    rows = _sample(groups, len(names), seed)
    total = int(np.count_nonzero(groups >= 0))
    matrix, groups, patients = matrix[rows], groups[rows], patients[rows]
    units = _units(patients)
    folds = _folds(groups, units, names, seed)
    sides = {names[code]: groups == code for code in ([0] if len(names) == 2 else range(len(names)))}
    everyone = range(int(folds.max()) + 1)
    learnt = {left_out: _learn(matrix, ~np.isin(folds, left_out), sides, features) for left_out in _left_out(everyone)}
    unknown = int(np.count_nonzero(patients < 0))
    cells = _Cells(
        matrix,
        features,
        folds,
        units,
        None if unknown else patients,
        np.arange(len(features)) if alike is None else alike,
    )
    judged = tuple(
        _panel(
            cells,
            group,
            names[1] if len(names) == 2 else "the others",
            positive,
            {key: by_group[group] for key, by_group in learnt.items()},
            seed,
        )
        for group, positive in sides.items()
    )
    notes = []
    if unknown:
        which = (
            "No cell's patient is known"
            if unknown == len(rows)
            else f"The patients of {unknown:,} of {len(rows):,} cells are unknown"
        )
        notes.append(
            f"{which}: each of these counts as a patient of its own, so cells of one person may stand on both sides "
            "and the AUC is too good; on new patients expect less."
        )
    if len(rows) < total:
        notes.append(f"Found on a sample of {len(rows):,} of {total:,} cells.")
    return Panels(judged, int(folds.max()) + 1, len(rows), total, not unknown, tuple(notes))


def _sample(groups: Codes, count: int, seed: int) -> NDArray[np.int64]:
    """Rows of the cells in groups; of too many, at most an equal share of each group, so that small ones stay whole."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == code) for code in range(count)]
    left, kept = MOST_CELLS, []
    for place, inside in enumerate(sorted(members, key=len)):
        share = left // (count - place)
        kept.append(inside if len(inside) <= share else rng.choice(inside, share, replace=False))
        left -= len(kept[-1])
    return np.sort(np.concatenate(kept)) if kept else np.empty(0, dtype=np.int64)


def _units(patients: Codes) -> NDArray[np.int64]:
    """Number of the unit that is divided and resampled: the patient, or the cell itself if its patient is unknown."""
    own = np.arange(len(patients)) + int(patients.max(initial=-1)) + 1
    return np.unique(np.where(patients < 0, own, patients), return_inverse=True)[1].astype(np.int64)


def _folds(groups: Codes, units: NDArray[np.int64], names: Sequence[str], seed: int) -> NDArray[np.int64]:
    """Fold of each cell: units stay whole, and every fold gets about the same of each group."""
    from sklearn.model_selection import (
        StratifiedGroupKFold,
        StratifiedKFold,
    )  # takes a second; a page that asks for no panel need not wait

    if len(names) < 2:
        msg = f"a panel tells at least two groups apart, but there is {len(names)}; choose another group"
        raise UsageError(msg)
    counts = [len(np.unique(units[groups == code])) for code in range(len(names))]
    fewest = int(np.argmin(counts))
    if counts[fewest] < _FEWEST_FOLDS:
        msg = (
            f"every group needs at least {_FEWEST_FOLDS} patients, or cells of unknown patients, to see whether a panel"
            f" holds on others, but {names[fewest]} has {counts[fewest]}; choose groups of more"
        )
        raise UsageError(msg)
    count = min(FOLDS, counts[fewest])
    alone = len(np.unique(units)) == len(
        units
    )  # the same deal, without going through thousands of single cells one by one
    dealer: Any = (StratifiedKFold if alone else StratifiedGroupKFold)(count, shuffle=True, random_state=seed)
    folds = np.zeros(len(groups), dtype=np.int64)
    for number, (_, held_out) in enumerate(dealer.split(np.zeros(len(groups)), groups, None if alone else units)):
        folds[held_out] = number
    return folds


@dataclass(frozen=True, eq=False)
class _Cells:
    """Values (n, F), fold, unit and patient of each cell, and which features say nearly the same."""

    matrix: Matrix
    features: Sequence[str]
    folds: NDArray[np.int64]
    units: NDArray[np.int64]
    patients: Codes | None
    alike: Codes


@dataclass(frozen=True, eq=False)
class _Grown:
    """What was learnt from some of the cells.

    `columns` in the order of choice, and for panels of 1 to `MOST_FEATURES` of them the `weights` and `scores`, the
    log-odds of all cells, (n, sizes). Where fewer columns add anything, the larger sizes repeat the last.
    """

    columns: list[int]
    weights: list[Matrix]
    scores: Matrix


def _left_out(folds: range) -> Iterator[tuple[int, ...]]:
    """Sets of folds to leave out: none for the panel, each for its judgement, every two for the size in that."""
    for count in range(3):
        yield from combinations(folds, count)


def _learn(matrix: Matrix, cells: Mask, sides: Mapping[str, Mask], features: Sequence[str]) -> dict[str, _Grown]:
    """For each group against the rest, what is learnt from some of the cells alone."""
    scaling = RobustScaling.fit(matrix[cells], features)
    z = np.nan_to_num(scaling.z(matrix), nan=0.0)
    if not np.isfinite(scaling.scale).any():
        msg = (
            "none of the features varies among the cells, so nothing tells them apart; choose other features or more"
            " cells"
        )
        raise UsageError(msg)
    return {group: _grow(z, positive, cells) for group, positive in sides.items()}


def _grow(z: Matrix, positive: Mask, cells: Mask) -> _Grown:
    """Logistic regressions of 1, 2, ... features, each with the one more that the score test favours."""
    from sklearn.linear_model import LogisticRegression

    known, truth = z[cells], positive[cells]
    balance = np.where(truth, 0.5 / truth.mean(), 0.5 / (1 - truth.mean()))
    columns: list[int] = []
    weights: list[Matrix] = []
    scores = np.zeros((len(z), MOST_FEATURES))
    chance = np.full(len(known), 0.5)
    for size in range(MOST_FEATURES):
        test = _score_test(known, balance * (truth - chance), balance * chance * (1 - chance), columns)
        best = int(np.argmax(test))
        if test[best] <= 0:
            scores[:, size:] = scores[:, [size - 1]]
            break
        columns.append(best)
        # The penalty of 1 is next to nothing beside thousands of cells; it keeps the weights finite where a feature
        # parts them all.
        model = LogisticRegression(C=1.0, solver="newton-cholesky").fit(known[:, columns], truth, sample_weight=balance)
        weights.append(model.coef_[0])
        scores[:, size] = model.decision_function(z[:, columns])
        chance = 1 / (1 + np.exp(-scores[cells, size]))
    return _Grown(columns, weights, scores)


def _score_test(z: Matrix, residual: Matrix, weight: Matrix, columns: list[int]) -> Matrix:
    """Rao's score statistic (F,) of each column given those chosen; 0 for one that they explain all but `_NEW` of."""
    chosen = np.column_stack([np.ones(len(z)), z[:, columns]])
    cross = z.T @ (chosen * weight[:, None])
    own = np.einsum("ij,ij,i->j", z, z, weight)
    unexplained = own - np.sum(cross * np.linalg.solve(chosen.T @ (chosen * weight[:, None]), cross.T).T, axis=1)
    new = unexplained > _NEW * own
    statistic: Matrix = np.divide(np.square(z.T @ residual), unexplained, out=np.zeros(z.shape[1]), where=new)
    return statistic


def _smallest_good(aucs: Sequence[Sequence[float]]) -> int:
    """Smallest size whose mean AUC over the folds (rows) is within one standard error of the best."""
    table = np.array(aucs)
    table = table[~np.isnan(table).any(axis=1)]  # a fold without one of the sides judges nothing
    if not len(table):
        return 1
    mean = table.mean(axis=0)
    best = int(np.argmax(mean))
    error = table[:, best].std(ddof=1) / np.sqrt(len(table)) if len(table) > 1 else 0.0
    return int(np.argmax(mean >= mean[best] - error)) + 1


def _panel(
    cells: _Cells, group: str, rest: str, positive: Mask, learnt: Mapping[tuple[int, ...], _Grown], seed: int
) -> Panel:
    """Combine a group's panel and its judgement from what was learnt without each fold and every two."""
    folds = cells.folds
    everyone = range(int(folds.max()) + 1)

    def judged(left_out: tuple[int, ...], fold: int) -> list[float]:
        scores = learnt[left_out].scores[folds == fold]
        return [_auc(scores[:, size], positive[folds == fold]) for size in range(MOST_FEATURES)]

    own: list[list[int]] = []
    scores, right = np.empty(len(folds)), np.empty(len(folds), dtype=np.bool_)
    for fold in everyone:
        grown, held_out = learnt[(fold,)], folds == fold
        size = _smallest_good(
            [judged((min(fold, other), max(fold, other)), other) for other in everyone if other != fold]
        )
        own.append(grown.columns[:size])
        scores[held_out] = grown.scores[held_out, size - 1]
        tree, values = _tree(cells.matrix[:, own[-1]], positive, ~held_out)
        right[held_out] = tree.predict(values[held_out]) == positive[held_out]
    size = _smallest_good([judged((fold,), fold) for fold in everyone])
    columns = learnt[()].columns[:size]
    low, high = _interval(scores, positive, cells.units, seed)
    return Panel(
        group=group,
        rest=rest,
        features=tuple(
            PanelFeature(
                feature=cells.features[column],
                weight=float(weight),
                auc=_auc(cells.matrix[:, column], positive),
                chosen=sum(column in panel for panel in own),
                chosen_alike=sum(cells.alike[column] in cells.alike[panel] for panel in own),
            )
            for column, weight in zip(columns, learnt[()].weights[len(columns) - 1], strict=True)
        ),
        auc=_auc(scores, positive),
        low=low,
        high=high,
        fold_aucs=tuple(
            auc for fold in everyone if not np.isnan(auc := _auc(scores[folds == fold], positive[folds == fold]))
        ),
        rules=_rules(cells.matrix[:, columns], positive, [cells.features[column] for column in columns], (rest, group)),
        balanced_accuracy=float((right[positive].mean() + right[~positive].mean()) / 2),
        cells=(int(positive.sum()), int((~positive).sum())),
        patients=None if cells.patients is None else _both(cells.patients, positive),
    )


def _both(patients: Codes, positive: Mask) -> tuple[int, int]:
    """Number of patients on either side; one may have cells on both."""
    return len(np.unique(patients[positive])), len(np.unique(patients[~positive]))


def _tree(values: Matrix, positive: Mask, cells: Mask) -> tuple[Any, Matrix]:
    """Decision tree of depth 2 learnt from some of the cells, and all values, absent ones as those cells' median."""
    from sklearn.tree import DecisionTreeClassifier

    complete = np.where(np.isnan(values), np.nanmedian(values[cells], axis=0), values)
    smallest = max(1, round(_SMALLEST_LEAF * int(cells.sum())))
    tree = DecisionTreeClassifier(max_depth=_DEPTH, min_samples_leaf=smallest, class_weight="balanced", random_state=0)
    return tree.fit(complete[cells], positive[cells]), complete


def _rules(values: Matrix, positive: Mask, features: Sequence[str], sides: tuple[str, str]) -> tuple[Rule, ...]:
    """Leaves of the tree over all cells, in words; two of one branch for the same group are merged."""
    model, values = _tree(values, positive, np.ones(len(values), dtype=np.bool_))
    tree = model.tree_

    def vote(node: int) -> int:
        return int(np.argmax(tree.value[node, 0]))

    def votes(node: int) -> set[int]:
        return (
            {vote(node)}
            if tree.children_left[node] < 0
            else votes(tree.children_left[node]) | votes(tree.children_right[node])
        )

    def leaves(node: int, inside: Mask, limits: dict[int, tuple[float, float]]) -> Iterator[Rule]:
        if len(votes(node)) == 1:
            taken = votes(node).pop()
            conditions = tuple(_condition(features[column], *limits[column]) for column in sorted(limits))
            yield Rule(
                conditions, sides[taken], int(inside.sum()), int(np.count_nonzero(positive[inside] == bool(taken)))
            )
            return
        column, threshold = int(tree.feature[node]), float(tree.threshold[node])
        low, high = limits.get(column, (-np.inf, np.inf))
        below = values[:, column] <= threshold
        yield from leaves(tree.children_left[node], inside & below, {**limits, column: (low, min(high, threshold))})
        yield from leaves(tree.children_right[node], inside & ~below, {**limits, column: (max(low, threshold), high)})

    return tuple(leaves(0, np.ones(len(values), dtype=np.bool_), {}))


def _condition(feature: str, low: float, high: float) -> str:
    """Condition in the units in which pages show the feature."""
    spec = feature_spec(feature)
    least, most = (with_unit(spec, limit, basis_of(spec)) for limit in (low, high))
    if np.isinf(low):
        return f"{spec.label} at most {most}"
    return f"{spec.label} above {least}" if np.isinf(high) else f"{spec.label} above {least} and at most {most}"


def _auc(scores: Matrix, positive: Mask) -> float:
    """Chance that a cell of the group scores higher than one of the rest, ties half; nan without a scored side."""
    present = ~np.isnan(scores)
    scores, positive = scores[present], positive[present]
    inside = int(positive.sum())
    outside = len(positive) - inside
    if not inside or not outside:
        return float("nan")
    return (float(rankdata(scores)[positive].sum()) - inside * (inside + 1) / 2) / (inside * outside)


def _interval(scores: Matrix, positive: Mask, units: NDArray[np.int64], seed: int) -> tuple[float, float]:
    """95 % interval of the AUC: units are resampled, each with all its cells (percentile bootstrap)."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) > 0)  # where another score begins
    inside, unit = positive[order], units[order]
    count, rng = int(units.max()) + 1, np.random.default_rng(seed)
    aucs = []
    for _ in range(_DRAWS // _DRAWS_AT_ONCE):
        times = rng.multinomial(count, np.full(count, 1 / count), size=_DRAWS_AT_ONCE)[:, unit].astype(np.float64)
        positives = np.add.reduceat(times * inside, starts, axis=1)
        negatives = np.add.reduceat(times * ~inside, starts, axis=1)
        won = np.sum(positives * (np.cumsum(negatives, axis=1) - negatives / 2), axis=1)
        pairs = positives.sum(axis=1) * negatives.sum(axis=1)
        aucs.append(won[pairs > 0] / pairs[pairs > 0])
    low, high = np.quantile(np.concatenate(aucs), (0.025, 0.975))
    return float(low), float(high)
