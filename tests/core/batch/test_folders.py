import pytest

from core.batch.folders import MOST_ENTRIES, listing, resolve
from core.domain.errors import UsageError


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root" / "cells" / "inner").mkdir(parents=True)
    (tmp_path / "root" / ".hidden").mkdir()
    (tmp_path / "root" / "cells.zip").write_bytes(b"PK")
    (tmp_path / "root" / "table.csv").write_text("x")
    (tmp_path / "secret" / "inner").mkdir(parents=True)
    (tmp_path / "root" / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "root" / "out.zip").symlink_to(tmp_path / "root" / "cells.zip")
    return tmp_path / "root"


def test_folders_and_archives_are_listed_without_links_and_hidden_ones(root):
    found = listing(root)
    assert (found.folders, found.archives, found.more) == (("cells",), ("cells.zip",), False)


def test_a_long_list_says_that_it_is_cut(tmp_path):
    for number in range(MOST_ENTRIES + 1):
        (tmp_path / f"{number:04d}").mkdir()
    found = listing(tmp_path)
    assert found.more
    assert len(found.folders) == MOST_ENTRIES


def test_what_is_below_the_root_is_found(root):
    assert resolve(root, []) == root.resolve()
    assert resolve(root, ["cells", "inner"]) == root.resolve() / "cells" / "inner"
    assert resolve(root, ["cells.zip"]).read_bytes() == b"PK"


@pytest.mark.parametrize(
    "parts",
    [["..", "secret"], ["cells", "..", "..", "secret"], ["/etc"], ["cells/../../secret"], [""], ["."], [".hidden"],
     ["a\0b"], ["out"], ["out", "inner"], ["out.zip"], ["missing"], ["table.csv"], ["cells.zip", "inner"]],
)  # fmt: skip
def test_nothing_else_is(root, parts):
    with pytest.raises(UsageError, match="choose"):
        resolve(root, parts)


def test_a_root_may_itself_be_a_link_and_a_missing_one_says_so(root, tmp_path):
    (tmp_path / "way").symlink_to(root)
    assert resolve(tmp_path / "way", ["cells"]) == root.resolve() / "cells"
    with pytest.raises(UsageError, match="not there"):
        resolve(tmp_path / "nowhere", [])
    with pytest.raises(UsageError, match="cannot be read"):
        listing(tmp_path / "nowhere")
