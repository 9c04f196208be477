"""A cohort of very many cells, for measuring speed and looking at the explorer.

`python -m benchmarks.million FOLDER [CELLS]`.

Resampled from the shipped cohort: each cell is a cell of that with every feature moved a little, so it says nothing
about leukocytes. Title and source of its populations say so.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.domain.settings import load_settings
from core.features.catalogue import CATALOGUE
from core.store.schema import arrow_schema, as_today
from core.store.shards import StoredPopulation, scan, write_parquet

MILLION = 1_000_000
SHARD_CELLS = 50_000
SPREAD = 0.05  # standard deviation of the logarithm of the factor that moves a value


def write_million(root: Path, cells: int = MILLION, seed: int = 7) -> int:
    """Write populations like the shipped ones, of so many cells together, shard by shard.

    Returns the number written.
    """
    rng = np.random.default_rng(seed)
    shipped = scan([load_settings().reference]).populations.values()
    sizes = {
        stored.population.population_id: sum(pq.read_metadata(shard).num_rows for shard in stored.shards)
        for stored in shipped
    }
    written = 0
    for stored in shipped:
        share = round(cells * sizes[stored.population.population_id] / sum(sizes.values()))
        written += share
        population = replace(
            stored.population,
            population_id=f"synthetic_{stored.population.population_id}",
            title=f"Synthetic: {stored.population.title}",
            source=f"Synthetic, resampled with noise: {stored.population.source}",
            note="No measured cells: made to test speed.",
            generation="0",
        )
        folder = root / population.population_id
        folder.mkdir(parents=True)
        for number, table in enumerate(_tables(stored, population.population_id, population.source, share, rng)):
            write_parquet(folder / f"cells-{population.generation}-{number:04d}.parquet", table)
        (folder / "population.json").write_text(population.to_json(), encoding="utf-8")
    return written


def _tables(
    stored: StoredPopulation, population_id: str, source: str, cells: int, rng: np.random.Generator
) -> Iterator[pa.Table]:
    real = pa.concat_tables([as_today(pq.read_table(shard)) for shard in stored.shards]).combine_chunks()
    schema = arrow_schema()
    for start in range(0, cells, SHARD_CELLS):
        n = min(SHARD_CELLS, cells - start)
        chosen = np.sort(rng.integers(len(real), size=n))  # copies of a cell side by side: their outlines take no room
        table = real.take(chosen)
        names = [f"{start + number:07d}" for number in range(n)]
        texts = {
            "cell_id": [f"{population_id}:{name}:0" for name in names],
            "population": [population_id] * n,
            "source": [source] * n,
            "image_path": [f"{name}.png" for name in names],
            "image_sha256": [rng.bytes(32).hex() for _ in names],
        }
        columns = {name: pa.array(values) for name, values in texts.items()}
        for name in CATALOGUE:
            value = table[name].to_numpy()
            moved = value * np.exp(rng.normal(0, SPREAD, n))
            # Counts stay whole.
            columns[name] = pa.array(np.where(value == np.rint(value), value, moved), from_pandas=True)
        for field in schema:  # of a shard of an earlier version some are not there
            if field.name not in columns:
                there = field.name in table.column_names
                columns[field.name] = table[field.name] if there else pa.nulls(n, field.type)
        yield pa.table([columns[name] for name in schema.names], schema=schema)


if __name__ == "__main__":
    print(f"{write_million(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else MILLION):,} cells")
