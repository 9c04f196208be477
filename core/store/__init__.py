"""The cohort: Parquet shards on disk, DuckDB views over them."""
