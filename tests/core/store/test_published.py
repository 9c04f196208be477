import pytest

from core.domain.cell_types import CellType
from core.domain.errors import StoreError
from core.domain.settings import ROOT
from core.domain.types import FeatureSet
from core.features.catalogue import CATALOGUE
from core.populations.nearness import NearestPopulations, Unnamed
from core.store.published import PUBLISHED_FILE, published_references

SHIPPED = ROOT / "assets" / "reference"
HEADER = "population,region,feature,p2,p50,p98,mean,std,source\n"


def test_the_shipped_tables_are_the_printed_ones():
    monocyte, lymphocyte = published_references(SHIPPED)
    assert (monocyte.cell_type, monocyte.n, lymphocyte.cell_type, lymphocyte.n) == (
        CellType.MONOCYTE,
        566,
        CellType.LYMPHOCYTE,
        552,
    )
    assert monocyte.published
    assert "GAN-generated" in monocyte.source
    assert monocyte.title == "Monocyte, published table"
    assert len(monocyte.summaries) == len(lymphocyte.summaries) == 14
    share = monocyte.summaries["combined_PixelSurface"]
    assert (share.p2, share.p50, share.p98, share.mean, share.std) == (0.4968, 0.5910, 0.7669, 0.6010, 0.0648)
    assert (share.n, share.patients, share.published) == (566, None, True)


def test_published_tables_never_count_as_neighbours():
    found = NearestPopulations(published_references(SHIPPED), list(CATALOGUE), ())
    assert found.of(FeatureSet(dict.fromkeys(CATALOGUE, 1.0), {}), None, (), ()).unnamed is Unnamed.NOTHING


def test_no_file_is_no_published_population(tmp_path):
    assert published_references(tmp_path) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("population,p2\nmonocyte,1\n", "columns"),
        (HEADER + 'martian,combined,Elongation,1,2,3,2,1,"X (5 images)"\n', "martian"),
        (HEADER + 'monocyte,combined,Greenness,1,2,3,2,1,"X (5 images)"\n', "combined_Greenness"),
        (HEADER + "monocyte,combined,Elongation,1,2,3,2,1,somewhere\n", "number of images"),
    ],
)
def test_a_wrong_table_says_what_is_wrong(tmp_path, text, message):
    (tmp_path / PUBLISHED_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(StoreError, match=message):
        published_references(tmp_path)
