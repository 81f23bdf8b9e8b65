"""Phenomena: one file per catalogue entry and nothing else."""
