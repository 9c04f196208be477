import anndata
import numpy as np
import pytest
import scanpy

from core.domain.options import Units
from core.exchange import h5ad
from core.exchange.cells import Handing
from tests.exchange import AREA, FIELD, HOSTILE, NEVER, RATIO, ROWS, TWIN, handover

# AnnData 0.12 sets an option that pandas 3 has given up, when a part is copied.
pytestmark = pytest.mark.filterwarnings("ignore:The 'mode.chained_assignment' option is deprecated")


@pytest.fixture(params=[1000, 1])
def read(request, tmp_path, monkeypatch):
    monkeypatch.setattr("core.exchange.cells._AT_ONCE", request.param)
    h5ad.write(Handing(handover(), Units.MICROMETRES), tmp_path / "cells")
    return anndata.read_h5ad(tmp_path / "cells")


def test_scanpy_runs_on_it_as_it_is(read):
    assert read.n_obs == 5
    assert np.isfinite(read.X).all()
    scanpy.pp.scale(read)
    scanpy.pp.pca(read, n_comps=3)
    assert read.obsm["X_pca"].shape == (5, 3)


def test_what_was_absent_is_said_and_still_absent_in_the_layer(read):
    assert NEVER not in read.var_names
    assert NEVER in read.uns["leukoscope"]["features of no cell"].split()
    at = list(read.obs["image_path"]).index(TWIN)
    measured = read[:, RATIO].layers["measured"].ravel()
    assert np.flatnonzero(np.isnan(measured)).tolist() == [at]
    assert read[:, RATIO].X.ravel()[at] == np.nanmedian(measured)
    assert read.var.loc[RATIO, "absent"] == 1
    assert read.var["absent"].sum() == np.isnan(read.layers["measured"]).sum()
    assert f"{np.isnan(read.layers['measured']).sum()} absent values" in read.uns["leukoscope"]["imputed"]
    kept = ~np.isnan(read.layers["measured"])
    np.testing.assert_array_equal(read.X[kept], read.layers["measured"][kept])


def test_values_places_and_texts_are_those_of_the_rows(read):
    order = [list(read.obs_names).index(row["cell_id"]) for row in ROWS]
    assert read[:, AREA].X.ravel()[order].tolist() == pytest.approx([row[AREA] * 0.01 for row in ROWS], rel=1e-15)
    assert read.var.loc[AREA, "unit"] == "µm²"
    np.testing.assert_array_equal(read.obsm["spatial"][order], [(row["centre_x"], row["centre_y"]) for row in ROWS])
    assert set(read.obs["patient_id"]) == {HOSTILE}
    assert (read.obs["image_path"] == FIELD).sum() == 2
    assert read.uns["leukoscope"]["units"] == "um"
