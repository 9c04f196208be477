import re
from importlib.resources import files

import pytest
from jinja2 import UndefinedError

from core.reports.engine import TEMPLATES, ReportRow, ReportTable, drawing, render

EVIL = "<script>alert(1)</script>\" onload='x'"


def part(call: str, **values):
    return TEMPLATES.from_string(f'{{% import "parts.html.j2" as parts %}}{{{{ parts.{call} }}}}').render(values)


@pytest.mark.parametrize("report", ["cell", "comparison", "pairs"])
def test_a_value_that_is_not_given_is_an_error_and_no_gap(report):
    with pytest.raises(UndefinedError):
        render(report, title="A cell")


def test_the_stylesheet_lies_in_the_package_beside_the_templates():
    names = {path.name for path in files("core.reports").joinpath("templates").iterdir()}
    assert names == {*TEMPLATES.list_templates()}
    assert "style.css" in names


def test_text_is_escaped_in_elements_and_in_attributes():
    table = ReportTable([EVIL], [ReportRow([EVIL, EVIL], EVIL)])
    for found in (
        part("items(lines)", lines=[EVIL]),
        part("facts(lines)", lines=[(EVIL, EVIL)]),
        part("features(table)", table=table),
        part("figures(captioned)", captioned={EVIL: EVIL}),
        part("charts(drawn)", drawn=[EVIL]),
    ):
        assert "<script" not in found
        assert '" onload' not in found
        assert "&lt;script&gt;" in found


def test_drawings_go_in_as_they_are():
    assert "<svg><path/></svg>" in part("charts(drawn)", drawn=[drawing("<svg><path/></svg>")])


def test_no_list_is_better_than_an_empty_one():
    assert not part("items(lines)", lines=[]).strip()


def test_poor_features_are_marked_by_row():
    table = ReportTable(["Feature"], [ReportRow(["Area"], "Its area"), ReportRow(["Lobes"], "Its lobes", poor=True)])
    found = part("features(table)", table=table)
    assert '<tr><td title="Its area">Area</td></tr>' in found
    assert '<tr class="poor"><td title="Its lobes">Lobes</td></tr>' in found


def test_every_report_lets_a_browser_load_nothing():
    source, _, _ = TEMPLATES.loader.get_source(TEMPLATES, "base.html.j2")
    head = source[: source.index("<style>")]
    assert "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'" in head
    for name in TEMPLATES.list_templates():
        text, _, _ = TEMPLATES.loader.get_source(TEMPLATES, name)
        if name not in ("base.html.j2", "parts.html.j2", "style.css", "pages.typ"):
            assert re.search(r'\{% extends "(base|pages)\.html\.j2" %\}', text), name


def test_what_could_mislead_is_shown_as_a_sign_and_lines_stay():
    assert TEMPLATES.from_string("{{ text }}").render(text="a\u202eb\nc\x00") == "a�b\nc�"
