"""Rank agreement within one trial (over layers, modes, epochs), batched over replicas."""

import torch
from torch import Tensor


def kendall_tau(x: Tensor, y: Tensor) -> Tensor:
    """Kendall's tau_b along the last axis, in [-1, 1], shape (replica,); 0 where x or y is constant.

    Definition: (concordant - discordant) / sqrt(pairs untied in x * pairs untied in y). Kendall 1945, eq. 15.

    >>> kendall_tau(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 3.0, 2.0]])).round(decimals=4).tolist()
    [0.33329999446868896]
    """
    signs_x = torch.sign(x.unsqueeze(-1) - x.unsqueeze(-2))
    signs_y = torch.sign(y.unsqueeze(-1) - y.unsqueeze(-2))
    agreement = (signs_x * signs_y).sum(dim=(-2, -1))
    untied = signs_x.abs().sum(dim=(-2, -1)) * signs_y.abs().sum(dim=(-2, -1))
    return torch.where(untied > 0, agreement / untied.clamp(min=1).sqrt(), torch.zeros_like(agreement))
