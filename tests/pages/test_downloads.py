from datetime import date

import pytest

from pages._ui.common.downloads import file_name


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("MO_1.jpg", "leukoscope_MO_1_{today}.csv"),
        ("=cmd|'calc'!A0.png", "leukoscope_cmd_calc_A0_{today}.csv"),
        ("../../etc/passwd", "leukoscope_passwd_{today}.csv"),
        ("细胞.png", "leukoscope_细胞_{today}.csv"),
        ("....", "leukoscope_image_{today}.csv"),
    ],
)
def test_file_names_can_be_found_again_and_are_harmless(name, wanted):
    assert file_name(name, "csv") == wanted.format(today=date.today().isoformat())


def test_file_names_say_what_is_inside():
    assert file_name("MO_1.jpg", "png", "mask") == f"leukoscope_MO_1_{date.today().isoformat()}_mask.png"
