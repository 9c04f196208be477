from dataclasses import dataclass

import pytest

from core.domain.errors import StoreError
from core.support.journal import Journal, revision


@dataclass(frozen=True)
class Said:
    """A record of a test."""

    word: str


@pytest.fixture
def journal() -> Journal[Said]:
    return Journal(Said, damaged="say it again", unread="nothing counts")


def words(journal, path) -> list[str]:
    return [record.word for record in journal.read(path).records]


def test_what_was_added_is_read_and_only_what_is_new_is_read_again(journal, tmp_path, monkeypatch):
    path = tmp_path / "log.jsonl"
    for word in ("first", "second"):
        with journal.appending(path) as added:
            added.append(Said(word))
        assert words(journal, path)[-1] == word
    content = journal.read(path)
    assert journal.read(path) is content, "nothing changed, nothing is read"
    with journal.appending(path) as added:
        added.append(Said("third"))
    read = journal.read(path).records
    assert [record.word for record in read] == ["first", "second", "third"]
    assert read[0] is content.records[0], "what was read before is kept"


def test_a_line_that_is_not_whole_yet_is_read_when_it_is(journal, tmp_path):
    path = tmp_path / "log.jsonl"
    with journal.appending(path) as added:
        added.append(Said("first"))
    assert words(journal, path) == ["first"]
    with path.open("ab") as file:
        file.write(b'{"word": "sec')
    assert len(journal.read(path).problems) == 1
    with path.open("ab") as file:
        file.write(b'ond"}\n')
    content = journal.read(path)
    assert ([record.word for record in content.records], content.problems) == (["first", "second"], ())


def test_a_whole_line_without_its_end_is_followed_by_one_of_its_own(journal, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"word": "first"}')
    assert words(journal, path) == ["first"]
    with journal.appending(path) as added:
        added.append(Said("second"))
    content = journal.read(path)
    assert ([record.word for record in content.records], content.problems) == (["first", "second"], ())


def test_a_damaged_line_is_told_with_its_number_whatever_follows(journal, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"word": "first"}\n{"wo\n{"word": "third"}\n')
    content = journal.read(path)
    assert [record.word for record in content.records] == ["first", "third"]
    assert [str(problem).rpartition("/")[2] for problem in content.problems] == [
        "log.jsonl: line 2 is damaged and was left out; say it again"
    ]
    with journal.appending(path) as added:
        added.append(Said("fourth"))
    assert words(journal, path) == ["first", "third", "fourth"]
    assert len(journal.read(path).problems) == 1


def test_a_log_that_was_written_anew_is_read_from_its_start(journal, tmp_path):
    path = tmp_path / "log.jsonl"
    with journal.appending(path) as added:
        added.extend([Said("first"), Said("second")])
    assert words(journal, path) == ["first", "second"]
    with journal.rewriting(path) as kept:
        kept[:] = [record for record in kept if record.word == "second"]
    assert words(journal, path) == ["second"]
    with journal.rewriting(tmp_path / "none.jsonl") as kept:
        assert kept == []
    assert not (tmp_path / "none.jsonl").exists()


def test_a_block_that_fails_changes_nothing(journal, tmp_path):
    path = tmp_path / "log.jsonl"
    with journal.appending(path) as added:
        added.append(Said("first"))

    def fail(how) -> None:
        with how(path) as records:
            records.append(Said("no"))
            raise StoreError("no")

    for how in (journal.appending, journal.rewriting):
        with pytest.raises(StoreError, match="no"):
            fail(how)
    assert words(journal, path) == ["first"]


def test_the_revision_tells_one_state_from_the_next(journal, tmp_path):
    path = tmp_path / "log.jsonl"
    seen = {revision(path)}
    for word in "ab":
        with journal.appending(path) as added:
            added.append(Said(word))
        seen.add(revision(path, tmp_path / "none"))
    assert len(seen) == 3
