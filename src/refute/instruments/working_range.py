"""How wide a range of a setting works: the length of the set in which a curve lies at or above a mark, and its ends.

Source: specification of residual-initialization-sensitivity, "Wd".
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from refute.errors import ShapeError, UsageError
from refute.instruments.interface import Flags


@dataclass(frozen=True)
class WorkingRange:
    """Per replica (replica,), in the unit of the setting.

    `width`: length of the set, 0 when it is empty; `low`, `high`: its ends, NaN when it is empty. Flags: "low end
    censored", "high end censored" (the curve is still at the mark where the grid ends, which then counts as the end),
    "in pieces" (the set is not one stretch), "empty".
    """

    width: Tensor
    low: Tensor
    high: Tensor
    flags: Flags


def working_range(setting: Tensor, values: Tensor, mark: Tensor) -> WorkingRange:
    """Where a curve, linear between its points, lies at or above a mark.

    Definition: measure, least and greatest element of {x : y(x) >= mark} with y linear between the given points.

    Args:
        setting: (point,), strictly increasing, such as log2 of a gain.
        values: (replica, point), finite.
        mark: (replica,), in the unit of the values.

    Raises:
        ShapeError: shapes that do not belong together.
        UsageError: a setting that does not increase, values or marks that are not finite.

    >>> found = working_range(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([0.5]))
    >>> found.width.tolist(), found.low.tolist(), found.high.tolist()
    ([1.0], [0.5], [1.5])
    """
    if setting.dim() != 1 or len(setting) < 2 or values.shape[1:] != setting.shape or mark.shape != values.shape[:1]:
        raise ShapeError(
            "expected setting (point,) with two points or more, values (replica, point) and mark (replica,); "
            f"{tuple(setting.shape)}, {tuple(values.shape)}, {tuple(mark.shape)} came"
        )
    if not bool((setting.diff() > 0).all()):
        raise UsageError("setting must increase from point to point")
    if not bool(values.isfinite().all() and mark.isfinite().all()):
        raise UsageError("values and mark must be finite; give runs that diverged the value of a failure")
    above = values - mark.unsqueeze(1)
    left, right = above[:, :-1], above[:, 1:]
    crosses = (left >= 0) != (right >= 0)
    share = torch.where(crosses, left / torch.where(crosses, left - right, 1.0), 0.0)  # where the mark is crossed
    start = torch.where(left >= 0, 0.0, torch.where(right >= 0, share, 1.0))
    end = torch.where(right >= 0, 1.0, torch.where(left >= 0, share, 0.0))
    length = setting.diff()
    kept = (left >= 0) | (right >= 0)
    infinite = torch.tensor(float("inf"), dtype=values.dtype, device=values.device)
    low = torch.where(kept, setting[:-1] + start * length, infinite).amin(dim=1)
    high = torch.where(kept, setting[:-1] + end * length, -infinite).amax(dim=1)
    empty = ~kept.any(dim=1)
    width = (torch.where(kept, end - start, 0.0) * length).sum(dim=1)
    return WorkingRange(
        width=width,
        low=torch.where(empty, torch.nan, low),
        high=torch.where(empty, torch.nan, high),
        flags={
            "low end censored": above[:, 0] >= 0,
            "high end censored": above[:, -1] >= 0,
            "in pieces": ~empty & (width < (high - low) - 1e-6 * (setting[-1] - setting[0])),
            "empty": empty,
        },
    )
