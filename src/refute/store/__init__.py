"""The store: append-only Parquet files, one per finished cohort, and the compact records of evidence."""

from refute.store.evidence import read_rows, write_rows
from refute.store.lab import Store
from refute.store.results import StoredResults

__all__ = ["Store", "StoredResults", "read_rows", "write_rows"]
