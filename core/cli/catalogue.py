"""`leukoscope catalogue`: what is measured."""

import argparse
import csv
import json
import sys

from core.cli.common import add_json
from core.features.catalogue import CATALOGUE


def catalogue(parser: argparse.ArgumentParser) -> None:
    """Every feature, for people and programs."""
    add_json(parser)
    parser.set_defaults(run=_catalogue)


def _catalogue(arguments: argparse.Namespace) -> int:
    rows = [spec.row() for spec in CATALOGUE.values()]
    if arguments.json:
        print(json.dumps(rows, ensure_ascii=False))
        return 0
    table = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return 0
