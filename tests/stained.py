"""Two sources of the same drawn cells, one stained otherwise than the other by factors that are known."""

import hashlib
from dataclasses import replace
from pathlib import Path

from core.corrections.opening import rings_of
from core.domain.cell_types import CellType
from core.domain.types import CellAnalysis, CellImage, FeatureSet, Segmentation, StainFactors
from core.image.imaging import encode_png
from core.image.stain import restained
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.store.schema import cell_row
from core.store.shards import write_population
from tests.core.store.conftest import make_population

OURS, THEIRS = "ours", "theirs"
TRUE = StainFactors("ours-to-theirs", 0.7, 0.75, 0.9)
KINDS = (CellType.LYMPHOCYTE, CellType.MONOCYTE)
CELLS = 24


def write_stained(root: Path, pictures: Path) -> dict[str, CellImage]:
    """Cells of two kinds in two sources below `root`, not measured; their files in `pictures`, and images by path."""
    inverse = replace(TRUE, **{name: 1 / getattr(TRUE, name) for name in ("red", "green", "blue")})
    images = {}
    for source in (THEIRS, OURS):
        for kind in KINDS:
            population = make_population(f"{kind.value}_{source}", cell_type=kind, source=source)
            rows = []
            for seed in range(CELLS):
                drawn, labels = draw_cell(seed, SYNTHETIC_CELLS[kind.value])
                rgb = restained(drawn.rgb, inverse) if source == OURS else drawn.rgb
                name, content = f"{source}/{kind.value}{seed}.png", encode_png(rgb)
                (pictures / source).mkdir(parents=True, exist_ok=True)
                (pictures / name).write_bytes(content)
                images[name] = CellImage(rgb.copy(), name, hashlib.sha256(content).hexdigest())
                outline = Segmentation(labels, 0.9, 0, "drawn", "none", 0.0)
                analysis = CellAnalysis(images[name], outline, FeatureSet({}, {}), ())
                rows.append(cell_row(analysis, population, outlines=rings_of(analysis), patient_id=f"p{seed % 5}"))
            write_population(root, population, [rows])
    return images
