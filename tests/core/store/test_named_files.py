"""Named records: what is refused. Calibrations and stain factors, which are kept so, test the rest."""

import pytest

from core.domain.errors import StoreError
from core.domain.types import StainFactors
from core.store.named_files import NamedFiles

FILES = NamedFiles("things", "thing", StainFactors)
THING = StainFactors("one", 1.0, 1.0, 1.0)


def test_a_record_lies_under_its_name_in_the_folder_of_its_kind(tmp_path):
    FILES.save(tmp_path, THING)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.json")] == ["things/one.json"]
    assert FILES.find(tmp_path, "one") == THING


def test_a_name_that_leads_elsewhere_and_a_disk_that_refuses_are_told(tmp_path):
    with pytest.raises(StoreError, match="lower-case letters"):
        FILES.find(tmp_path, "../one")
    (tmp_path / "things").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match="cannot be written"):
        FILES.save(tmp_path, THING)
    with pytest.raises(StoreError, match="there is no thing 'one'; there are: none"):
        FILES.delete(tmp_path, "one")


def test_the_revision_tells_every_change(tmp_path):
    seen = [FILES.revision(tmp_path)]
    for record in (THING, StainFactors("one", 1.25, 1.0, 1.0), StainFactors("two", 1.0, 1.0, 1.0)):
        FILES.save(tmp_path, record)
        seen.append(FILES.revision(tmp_path))
    FILES.delete(tmp_path, "two")
    assert seen[-2] == FILES.revision(tmp_path)
    assert len(set(seen)) == 4
