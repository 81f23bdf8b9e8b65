"""Whether nets agree on which examples are easy: beyond their accuracies, in their order, and in their errors.

Source: Hacohen, Choshen & Weinshall 2020 (arXiv 1905.10854), section 2 (accessibility, the share of nets that tell an
example right, and how alike it is between groups of nets); Geirhos, Meding & Wichmann 2020 (arXiv 2006.16736), section
2 (error consistency, Cohen's kappa of correctness); specification shallow-learnable-first (errors that all nets share).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from refute.errors import ShapeError
from refute.instruments.association import spearman
from refute.instruments.frames import clopper_pearson
from refute.instruments.interface import Flags


@dataclass(frozen=True)
class ExampleAgreement:
    """Of each net with the others, float64 (replica,): `observed`, share of examples that both tell right or both
    wrong; `expected` of nets of these accuracies that err independently; `kappa` (observed - expected) / (1 -
    expected), 0 for independent errors and 1 for the same, nan without errors. Each is a mean over the other nets;
    `standard_error` is that of the mean kappa of all, by leaving nets out, nan for fewer than 3. `accessibility`
    (example,): share of nets that are right. Flags: "no errors" (or no right answers: kappa is nan)."""

    observed: Tensor
    expected: Tensor
    kappa: Tensor
    standard_error: Tensor
    accessibility: Tensor
    flags: Flags


@dataclass(frozen=True)
class SharedErrors:
    """Examples that a reference tells right and every net tells wrong.

    `members` bool (example,); `share` float64 (): of all examples; `low`, `high` (): its exact 95 % interval (Clopper &
    Pearson 1934); `baseline` (replica,): the same with this net as the reference of all the other nets; `matched`
    (replica,): the share with all nets but this one, to be compared with the baseline: one net less finds more. Flags:
    "no members".
    """

    members: Tensor
    share: Tensor
    low: Tensor
    high: Tensor
    baseline: Tensor
    matched: Tensor
    flags: Flags


def example_agreement(correct: Tensor, others: Tensor | None = None) -> ExampleAgreement:
    """Agreement of nets on which examples they tell right.

    Args:
        correct: bool (replica, example), at one moment.
        others: bool (replica, example) of other nets to compare each one with; the same nets by default, each one with
            all but itself.

    Raises:
        ShapeError: another shape or type, or a single net without others.

    >>> found = example_agreement(torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0]]).bool())
    >>> found.kappa.tolist(), found.accessibility.tolist()
    ([0.5, 0.5, 0.0], [1.0, 0.6666666666666666, 0.3333333333333333, 0.0])
    """
    _check(correct, "correct")
    own = correct.double()
    them = own if others is None else others.double()
    if others is not None:
        _check(others, "others")
    if them.shape[1] != own.shape[1] or (others is None and len(own) < 2):
        raise ShapeError(
            f"nets must be 2 or more and see the same examples, {tuple(own.shape)} and {tuple(them.shape)} came"
        )
    one, two = own.mean(dim=1).unsqueeze(1), them.mean(dim=1).unsqueeze(0)
    observed = (own @ them.T + (1 - own) @ (1 - them).T) / own.shape[1]
    expected = one * two + (1 - one) * (1 - two)
    kappa = torch.where(expected < 1, (observed - expected) / (1 - expected), torch.nan)
    weight = torch.ones_like(kappa) if others is not None else 1 - torch.eye(len(own), dtype=own.dtype).to(own)
    constant = ((one == 0) | (one == 1)).squeeze(1)
    mean = [(weight * table).sum(dim=1) / weight.sum(dim=1) for table in (observed, expected)]
    usable = weight * ~torch.isnan(kappa)
    kappa = kappa.nan_to_num(0.0)
    each = (usable * kappa).sum(dim=1) / usable.sum(dim=1)
    return ExampleAgreement(
        mean[0], mean[1], each, _left_out(kappa, usable, others is None), own.mean(dim=0), {"no errors": constant}
    )


def order_agreement(times: Tensor, others: Tensor | None = None) -> Tensor:
    """Mean Spearman correlation of when each net and the other nets learned the examples, float64 (replica,).

    Args:
        times: (replica, example), inf for never, see `learning_times`.
        others: (replica, example) of other nets; the same nets by default, each one with all but itself.

    Raises:
        ShapeError: shapes that do not fit, or a single net without others.

    >>> order_agreement(torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])).round(decimals=6).tolist()
    [0.0, 0.0, -1.0]
    """
    them = times if others is None else others
    if times.ndim != 2 or them.ndim != 2 or times.shape[1] != them.shape[1] or (others is None and len(times) < 2):
        raise ShapeError(
            f"times must be (replica, example) of 2 nets or more, or of as many examples as the others; "
            f"{tuple(times.shape)} and {tuple(them.shape)} came"
        )
    table = torch.stack([spearman(one.expand_as(them), them) for one in times])
    if others is None:
        return (table.sum(dim=1) - table.diagonal()) / (len(times) - 1)
    return table.mean(dim=1)


def shared_errors(correct: Tensor, reference: Tensor) -> SharedErrors:
    """Examples that all nets tell wrong and a reference (a shallow model) right, and how many chance alone gives.

    Args:
        correct: bool (replica, example), of 2 nets or more at the end of training.
        reference: bool (example,), what the reference tells right.

    Raises:
        ShapeError: shapes or types that do not fit.

    >>> found = shared_errors(torch.tensor([[0, 1, 1, 0], [0, 1, 0, 0]]).bool(), torch.tensor([1, 1, 1, 0]).bool())
    >>> found.share.item(), found.baseline.tolist(), found.matched.tolist()
    (0.25, [0.25, 0.0], [0.5, 0.25])
    """
    _check(correct, "correct")
    if reference.shape != correct.shape[1:] or reference.dtype != torch.bool or len(correct) < 2:
        raise ShapeError(
            f"reference must be bool {tuple(correct.shape[1:])} and correct of 2 nets or more, "
            f"{tuple(reference.shape)}, {reference.dtype}, and {len(correct)} nets came"
        )
    wrong = ~correct
    members = reference & wrong.all(dim=0)
    by_others = wrong.sum(dim=0) - wrong.int() == len(correct) - 1
    count = members.sum().double()
    low, high = clopper_pearson(count.view(1), members.numel())
    return SharedErrors(
        members,
        count / members.numel(),
        low[0],
        high[0],
        (correct & by_others).double().mean(dim=1),
        (reference & by_others).double().mean(dim=1),
        {"no members": (count == 0).expand(len(correct))},
    )


def _left_out(kappa: Tensor, usable: Tensor, same: bool) -> Tensor:
    """Jackknife standard error over nets of the mean over pairs, ()."""
    nets = len(kappa)
    if nets < (3 if same else 2):
        return torch.tensor(torch.nan, dtype=kappa.dtype, device=kappa.device)
    found = []
    for net in range(nets):
        kept = usable.clone()
        kept[net] = 0
        if same:
            kept[:, net] = 0
        found.append((kept * kappa).sum() / kept.sum())
    each = torch.stack(found)
    return ((nets - 1) * each.var(correction=0)).sqrt()


def _check(correct: Tensor, name: str) -> None:
    if correct.ndim != 2 or correct.numel() == 0 or correct.dtype != torch.bool:
        raise ShapeError(f"{name} must be bool (replica, example), {tuple(correct.shape)}, {correct.dtype}, came")
