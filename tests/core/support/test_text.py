"""Names from outside stay text; what Streamlit makes of them is shown in tests/e2e/test_names_journey.py."""

import re

import pytest

from core.support.text import encodable, file_name, markdown, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cell 1.png", "cell 1.png"),
        ("Zellen für Ä, 細胞", "Zellen für Ä, 細胞"),
        ("photo\u202egnp.exe", "photo�gnp.exe"),
        ("a\u2066b\u2069c\u200fd", "a�b�c�d"),
        ("a\u200bb\ufeffc", "a�b�c"),
        ("nau\u200cka", "nau\u200cka"),
        ("two\nlines\ttab", "two lines tab"),
        ("\x1b[31mred\x07\x00", "�[31mred��"),
        ("a\u2028b", "a�b"),
        ("half \ud83d and \udcff", "half � and �"),
    ],
)
def test_what_could_mislead_is_replaced_and_all_else_stays(text, expected):
    assert shown(text) == expected
    shown(text).encode()


@pytest.mark.parametrize(
    "text",
    [
        "![x](http://127.0.0.1/a.png)",
        "<img src=http://127.0.0.1/a.png>",
        "[a](b)",
        "a | b",
        "# head",
        "1. one",
        "$x^2$",
        ":red[a]",
        "`code`",
        "a_b*c*",
        "&lt;",
    ],
)
def test_every_sign_of_markdown_is_escaped(text):
    bare = re.sub(r"\\.", "", markdown(text))
    assert not re.search(r"[!\[\]()<>*_`#|$:&{}~]", bare)
    assert re.sub(r"\\(.)", r"\1", markdown(text)).replace("\u2060", "") == text


@pytest.mark.parametrize("text", ["http://a.b", "HTTPS://a.b", "www.a.b", "x@a.b", ":smile:", ":material/home:"])
def test_links_and_signs_that_need_no_brackets_are_parted(text):
    plain = markdown(text).replace("\\", "")
    assert plain != text
    assert not re.search(r"https?://|www\.|\w@\w|:[\w+-]", plain, re.IGNORECASE)
    assert plain.replace("\u2060", "") == text


def test_a_text_does_not_begin_a_block():
    assert markdown("    indented\n\n    code") == "indented code"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cell 1", "cell_1"),
        ("../../etc/passwd", "etc_passwd"),
        ("CON", "_CON"),
        ("com1.txt", "_com1.txt"),
        ("console", "console"),
        ("a\u202eb\x00c", "a_b_c"),
        ("name. . ", "name"),
        ("***", "image"),
        ("Zellen Ä", "Zellen_Ä"),
        ("\udcff", "image"),
    ],
)
def test_a_file_name_is_one_that_every_system_takes(text, expected):
    assert file_name(text, "image") == expected


def test_a_long_file_name_is_cut_between_letters():
    assert len(file_name("ä" * 300, "image").encode()) <= 120


def test_half_a_character_does_not_stop_a_file_from_being_written():
    assert encodable("Zelle Ä \udcff \ud83d") == "Zelle Ä � �"
    encodable("a\udcff").encode()
