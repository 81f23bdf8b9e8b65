"""The store: append-only Parquet files, one per finished cohort, and the compact records of evidence."""

from refute.store.environment import provenance
from refute.store.evidence import read_evidence, write_evidence
from refute.store.lab import Store

__all__ = ["Store", "provenance", "read_evidence", "write_evidence"]
