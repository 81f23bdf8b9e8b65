"""Random numbers that layers draw in training (dropout): every replica from its own stream, pass by pass.

The state travels with the weights, as a buffer of every replica, so that packing replicas differently, chunks of work
and restarts change no mask.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from refute.randomness import stream

STATE = "noise"
"""Name of the buffer (replica, 2) int64: the seed of a replica's noise, and how many passes have drawn from it."""

_LARGEST_SEED = 2**63 - 1


def state(seed: int) -> Tensor:
    """The buffer of one replica, (2,) int64, before its first pass; it depends on `seed` alone."""
    return torch.tensor([stream(seed, "noise").initial_seed() & _LARGEST_SEED, 0])


def begin(buffers: Mapping[str, Tensor], seeds: Sequence[int]) -> None:
    """Start the noise of a cohort's replicas afresh, in place: one seed per replica; nothing if there is no noise."""
    if STATE in buffers:
        buffers[STATE].copy_(torch.stack([state(seed) for seed in seeds]))


class Streams:
    """The generators of one pass in training, one for each replica; `device`: where the layers draw."""

    def __init__(self, generators: Sequence[torch.Generator], device: torch.device) -> None:
        self.generators, self.device = generators, device
        self._uses = [0] * len(generators)

    @staticmethod
    def next(states: Tensor) -> "Streams":
        """Those of the next pass; `states` (replica, 2) is moved on by one pass, in place."""
        streams = Streams([stream(seed, f"pass-{number}") for seed, number in states.tolist()], states.device)
        states[:, 1] += 1
        return streams

    @contextmanager
    def of(self, replica: int) -> Iterator[None]:
        """What draws from torch's global generators draws from this replica's stream instead."""
        own, before = self.generators[replica], torch.get_rng_state()
        gpu_before = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        torch.set_rng_state(own.get_state())
        if gpu_before is not None:
            with torch.cuda.device(self.device):  # seeds go to the current GPU only
                torch.cuda.manual_seed(own.initial_seed() // 2 + self._uses[replica])
        self._uses[replica] += 1
        try:
            yield
        finally:
            own.set_state(torch.get_rng_state())
            torch.set_rng_state(before)
            if gpu_before is not None:
                torch.cuda.set_rng_state(gpu_before, self.device)
