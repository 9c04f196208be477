"""What a laboratory gained by teaching a model, on one page that opens without a network and without scripts."""

from collections.abc import Mapping
from datetime import datetime

from core.charts.theme import LIGHT, to_svg
from core.charts.training import learning_chart
from core.domain.versions import software_versions
from core.evaluation.adaptation import AdaptationAccount, Differences, FeatureBias, compared, learnt
from core.evaluation.paired import MEAN
from core.features.catalogue import CATALOGUE
from core.reports.engine import ReportRow, ReportTable, drawing, render

_CHART_PX = 520
_AVERAGED = "nucleus and cytoplasm averaged"
_HEAD = ("", "Before", "Now", "Difference", "95 % interval", "Cells", "Patients or images")


def html_report(account: AdaptationAccount, created: datetime) -> str:
    """Build the page: what was gained, on what, what it cost elsewhere, and how far to trust it.

    Everything is inside the text, nothing is fetched and nothing runs. Names from outside are escaped.
    """
    return render(
        "adaptation",
        title=f"{account.model_id}: {account.base_id} taught {account.laboratory}",
        created=created,
        account=account,
        tables=[(heading, gain_table(found)) for heading, found in compared(account).items()],
        curve=drawing(to_svg(learning_chart(account.curve, LIGHT), _CHART_PX)),
        further=learnt(account.curve),
        features=_bias_table(account.features),
        went=[CATALOGUE[bias.feature].label for bias in account.features if bias.went],
        provenance=_provenance(account),
    )


def gain_table(found: Differences) -> ReportTable:
    """Dice of both models by region, their difference in points, and its interval."""
    rows = []
    for region, pair in found.items():
        interval = " to ".join(f"{100 * edge:+.1f}" for edge in pair.ci95 or ()) or "none, of one group"
        cells = (
            _AVERAGED if region == MEAN else region,
            f"{pair.first:.3f}",
            f"{pair.second:.3f}",
            f"{100 * pair.difference:+.1f} points",
            interval,
            f"{pair.images}",
            f"{pair.groups}",
        )
        rows.append(ReportRow(cells, "Dice with the drawn outline"))
    return ReportTable(_HEAD, rows)


def _bias_table(features: tuple[FeatureBias, ...]) -> ReportTable:
    rows = []
    for bias in sorted(features, key=lambda bias: -abs(bias.before)):
        before, after = (
            f"{value:+.2f} ({low:+.2f} to {high:+.2f})"
            for value, low, high in (
                (bias.before, bias.before_low, bias.before_high),
                (bias.after, bias.after_low, bias.after_high),
            )
        )
        spec = CATALOGUE[bias.feature]
        rows.append(ReportRow((spec.label, before, after, "gone" if bias.went else ""), spec.description))
    return ReportTable(("Feature", "Bias before", "Bias now", ""), rows)


def _provenance(account: AdaptationAccount) -> list[tuple[str, str]]:
    facts: Mapping[str, object] = {
        "Model": f"{account.model_id}, which began with {account.base_id}",
        "Learnt from": f"{account.cells} corrected cells of {account.groups} patients or images",
        "Shown again": f"{account.known_images} images that {account.base_id} had learnt from",
        "Weights": f"{100 * account.share:.0f} % of the way to the adapted ones",
        "Command": account.command,
        "Time": f"{account.minutes:g} minutes",
        "Versions": ", ".join(f"{name} {version}" for name, version in software_versions().items()),
    }
    return [(name, str(value)) for name, value in facts.items()]
