"""Forgetting events: how often an example that was told right is told wrong the next time.

Source: Toneva et al. 2019 (arXiv 1812.05159), definitions of section 3: a forgetting event of example i at presentation
t + 1 is acc_i(t) > acc_i(t + 1), a learning event the opposite; unforgettable examples are learned and never forgotten.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from refute.errors import ShapeError
from refute.instruments.interface import Flags


@dataclass(frozen=True)
class Forgetting:
    """Of every example (replica, example): `events` int64, forgetting events; `learned` bool, right at least once;
    `first_learned` int64, the presentation of the first right answer, -1 if there is none.

    `unforgettable` (replica,): share of examples learned and never forgotten. Flags: "nothing learned".
    """

    events: Tensor
    learned: Tensor
    first_learned: Tensor
    unforgettable: Tensor
    flags: Flags

    @property
    def score(self) -> Tensor:
        """Events, inf for examples never learned: the order in which the paper removes examples (section 5)."""
        return self.events.double().masked_fill(~self.learned, torch.inf)


def forgetting(correct: Tensor) -> Forgetting:
    """Count forgetting events.

    Args:
        correct: bool (replica, presentation, example): whether example i was told right when it was presented the t-th
            time (in training just before the step that it is part of), or at any sequence of moments.

    Raises:
        ShapeError: another shape or type, or fewer than 2 presentations.

    >>> found = forgetting(torch.tensor([[[0, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0]]]).bool())
    >>> found.events.tolist(), found.first_learned.tolist(), found.score.tolist()
    ([[0, 2, 0]], [[1, 0, -1]], [[0.0, 2.0, inf]])
    """
    if correct.ndim != 3 or correct.dtype != torch.bool or correct.shape[1] < 2 or correct.numel() == 0:
        raise ShapeError(
            "correct must be bool (replica, presentation, example) of 2 presentations or more, "
            f"{tuple(correct.shape)}, {correct.dtype}, came"
        )
    events = (correct[:, :-1] & ~correct[:, 1:]).sum(dim=1)
    learned = correct.any(dim=1)
    first = correct.to(torch.int8).argmax(dim=1).masked_fill(~learned, -1)
    kept = learned & (events == 0)
    return Forgetting(events, learned, first, kept.double().mean(dim=1), {"nothing learned": ~learned.any(dim=1)})
