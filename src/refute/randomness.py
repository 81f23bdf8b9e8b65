"""Randomness: every draw comes from a stream named by (seed, purpose), never from global state."""

import hashlib

import torch


def stream(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator whose draws depend only on `seed` and `purpose` (first 8 bytes of sha256("seed:purpose"))."""
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    generator = torch.Generator(device="cpu")
    generator.manual_seed(int.from_bytes(digest[:8], "big"))
    return generator
