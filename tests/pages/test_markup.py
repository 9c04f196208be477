from markupsafe import Markup

from pages._ui.common.markup import faint, legend, measures, sentences
from tests.populations import AREA, GRADES

EVIL = "<script>alert(1)</script>\" onload='x'"


def test_text_from_outside_is_escaped():
    for found in (
        sentences([("warn", EVIL)]),
        legend([("width:10px", EVIL)]),
        measures([(AREA, f"7.3 {EVIL}", faint(EVIL))], {}),
    ):
        assert "<script" not in found
        assert '" onload' not in found
        assert "&lt;script&gt;" in found


def test_a_measure_has_its_number_its_unit_and_its_meaning():
    found = measures([(AREA, "98.6 µm²", Markup("<b>strip</b>"))], GRADES)
    assert '<span class="value">98.6 <small>µm²</small></span>' in found
    assert "Nucleus area (poor)</span>" in found
    assert "Poor: drawn so for a test." in found
    assert "<div><b>strip</b></div>" in found
