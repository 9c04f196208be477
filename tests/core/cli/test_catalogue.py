"""`leukoscope catalogue`."""

import csv
import json

from core.features.catalogue import CATALOGUE
from tests.core.cli.support import run


def test_the_catalogue_is_printed_for_people_and_programs(capsys):
    code, out, _ = run(capsys, "catalogue")
    assert code == 0
    rows = list(csv.DictReader(out.splitlines()))
    assert [row["name"] for row in rows] == list(CATALOGUE)
    code, out, _ = run(capsys, "catalogue", "--json")
    assert json.loads(out) == [spec.row() for spec in CATALOGUE.values()]
