"""Registrations and records: what was promised before the runs, what came out, and proof that both are unaltered."""
