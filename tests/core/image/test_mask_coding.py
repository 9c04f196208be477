"""The file that says what the colours of a mask mean."""

import pytest

from core.domain.compartments import Compartment
from core.domain.errors import MaskError
from core.image.mask_coding import read_coding

RED_AND_BLUE = {
    (0, 0, 0): Compartment.BACKGROUND,
    (255, 0, 0): Compartment.CYTOPLASM,
    (0, 0, 255): Compartment.NUCLEUS,
}


@pytest.mark.parametrize(
    "text",
    [
        '{"#000000": "background", "#ff0000": "cytoplasm", "#0000FF": "Nucleus"}',
        '{"background": "#000000", "cytoplasm": ["#ff0000"], "nucleus": [0, 0, 255]}',
        "#000000 = background\n#ff0000 = cytoplasm\n\n#0000ff = nucleus\n",
        '"#000000" = "background"\n"#ff0000" = "cytoplasm"\n"#0000ff" = "nucleus"\n',
        "colour,compartment\n#000000,background\n#ff0000,cytoplasm\n#0000ff,nucleus\n",
        "0,0,0,background\n255,0,0,cytoplasm\n0,0,255,nucleus\n",
        "\ufeff0;0;0;background\r\n255;0;0;cytoplasm\r\n0;0;255;nucleus\r\n",
    ],
)
def test_colours_are_read_in_any_of_the_usual_ways(tmp_path, text):
    (tmp_path / "coding").write_text(text, encoding="utf-8")
    coding = read_coding(tmp_path / "coding")
    assert coding.name == "coding"
    assert coding.values(channels=3) == RED_AND_BLUE


def test_grey_levels_are_colours_of_equal_channels_and_the_reverse(tmp_path):
    (tmp_path / "coding").write_text('{"0": "background", "#808080": "nucleus", "65535": "cell"}', encoding="utf-8")
    coding = read_coding(tmp_path / "coding")
    levels = {(0,): Compartment.BACKGROUND, (128,): Compartment.NUCLEUS, (65535,): Compartment.CYTOPLASM}
    assert coding.values(channels=1) == levels
    assert coding.values(channels=3) == {(0, 0, 0): Compartment.BACKGROUND, (128, 128, 128): Compartment.NUCLEUS}


def test_other_words_are_names_of_classes(tmp_path):
    (tmp_path / "coding").write_text('{"Lymphocyte": "cell", "Kern": "nucleus", "7": "nucleus"}', encoding="utf-8")
    assert read_coding(tmp_path / "coding").names == {"lymphocyte": "cell", "kern": "nucleus", "7": "nucleus"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"#ff0000": "nucleolus"}', "'#ff0000' is said to be 'nucleolus'; a mask shows background, environment"),
        ("", "it says nothing; write"),
        ('{"#ff0000"', "expected a JSON object"),
        ("red is the nucleus", "expected lines such as #ff0000 = nucleus, but came 'red is the nucleus'"),
    ],
)
def test_a_file_that_says_nothing_is_refused_with_an_example(tmp_path, text, words):
    (tmp_path / "coding.json").write_text(text)
    with pytest.raises(MaskError, match=r"coding\.json: ") as refused:
        read_coding(tmp_path / "coding.json")
    assert words in str(refused.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MaskError, match=r"gone\.json: expected a readable text file"):
        read_coding(tmp_path / "gone.json")
