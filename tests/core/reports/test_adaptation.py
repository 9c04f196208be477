"""The account of an adapted model as one page."""

from datetime import UTC, datetime

from core.evaluation.paired import DiceDifference
from core.reports.adaptation import gain_table, html_report
from tests.accounts import difference, made_account

WHEN = datetime(2026, 12, 1, 9, 30, tzinfo=UTC)


def test_the_page_tells_gain_cost_curve_and_features():
    page = html_report(made_account(known={"set1": {"mean": difference(0.96, 0.959)}}), WHEN)
    assert "our &lt;lab&gt;" in page
    assert "<lab>" not in page
    for said in ("+5.0 points", "Jiangxi Tecom rapid stain, which shipped knows", "Nucleus elongation", "gone", "<svg"):
        assert said in page
    assert "No cell was drawn without the model" in page
    assert "was not measured" not in page


def test_a_refused_model_says_so_first():
    page = html_report(made_account(refused="it forgets what it knew"), WHEN)
    assert page.index("Do not use this model: it forgets what it knew") < page.index("What was gained")


def test_of_one_group_there_is_no_interval():
    (row,) = gain_table({"cell": DiceDifference(3, 1, 0.9, 0.95, 0.05, None)}).rows
    assert row.cells[1:5] == ("0.900", "0.950", "+5.0 points", "none, of one group")
