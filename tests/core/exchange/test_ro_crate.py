import hashlib
import json

import pandas as pd
from rocrate.rocrate import ROCrate

from core import __version__
from core.exchange import ro_crate
from core.exchange.cells import Handing
from tests.exchange import HOSTILE, handover


def test_rocrate_finds_every_file_with_its_checksum_and_what_made_it(tmp_path):
    folder = tmp_path / "crate"
    ro_crate.write(Handing(handover()), folder)
    crate = ROCrate(folder)
    files = {entity.properties()["name"]: entity.properties() for entity in crate.get_by_type("File")}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(files) == there - {"ro-crate-metadata.json"}
    assert "outlines/a _b_/005.geojson" in files
    for name, said in files.items():
        content = (folder / name).read_bytes()
        assert said["sha256"] == hashlib.sha256(content).hexdigest()
        assert int(said["contentSize"]) == len(content)
    (action,) = crate.get_by_type("CreateAction")
    program, model = action["instrument"]
    assert (program["name"], program["version"]) == ("Leukoscope", __version__)
    assert (model["name"], model["identifier"]) == ("model-x", "sha256:" + "ab" * 32)
    settings = {entity["name"]: entity["value"] for entity in action["object"]}
    assert settings["settings"] == HOSTILE
    assert len(action["result"]) == len(files) == len(crate.root_dataset["hasPart"])
    assert len(pd.read_csv(folder / "cells.csv")) == 5


def test_the_graph_names_nothing_that_is_not_in_it(tmp_path):
    ro_crate.write(Handing(handover()), tmp_path / "crate")
    graph = json.loads((tmp_path / "crate" / "ro-crate-metadata.json").read_text())["@graph"]
    ids = [entity["@id"] for entity in graph]
    assert len(set(ids)) == len(ids)

    def named(value):
        if isinstance(value, list):
            return [one for entry in value for one in named(entry)]
        return [value["@id"]] if isinstance(value, dict) else []

    asked = {one for entity in graph for key, value in entity.items() if key != "conformsTo" for one in named(value)}
    assert asked <= set(ids)
