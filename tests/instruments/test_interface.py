"""What instruments share: subjects, refusals, and losses of whole cohorts."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from refute import architectures
from refute.errors import ShapeError, UsageError
from refute.instruments.interface import Flags, check_examples, loss_function, subject, trusted

NETWORK = architectures.build("mlp", (5,), 3, depth=1, width=4)
WEIGHTS = NETWORK.initialize([0, 1])
INPUTS = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0])


@dataclass(frozen=True)
class Found:
    flags: Flags


def test_a_replica_is_trusted_when_no_flag_is_raised() -> None:
    flags = {"one": torch.tensor([True, False, False]), "two": torch.tensor([False, False, True])}
    assert trusted(Found(flags)).tolist() == [False, True, False]


def test_a_plain_module_is_a_cohort_of_one_with_its_own_weights() -> None:
    module = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))
    module[1].running_mean.fill_(0.3)
    network, weights = subject(module, None, INPUTS)
    module.eval()
    assert torch.allclose(network.evaluate(weights, INPUTS)[0], module(INPUTS), atol=1e-6)


def test_a_module_of_doubles_is_measured_in_doubles() -> None:
    module = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    network, weights = subject(module, None, INPUTS.double())
    found = network.evaluate(weights, INPUTS.double())[0]
    torch.testing.assert_close(found, module(INPUTS.double()), rtol=1e-13, atol=1e-13)


def test_losses_of_a_cohort_are_those_of_each_replica() -> None:
    loss = loss_function(NETWORK, WEIGHTS, INPUTS, LABELS)
    flat = WEIGHTS.flat.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(flat).sum(), flat)
    for replica in range(2):
        outputs = NETWORK.evaluate(WEIGHTS, INPUTS)[replica]
        assert torch.allclose(loss(WEIGHTS.flat)[replica], nn.functional.cross_entropy(outputs, LABELS), atol=1e-6)
        alone = WEIGHTS.take(slice(replica, replica + 1))
        one = alone.flat.clone().requires_grad_()
        (expected,) = torch.autograd.grad(loss_function(NETWORK, alone, INPUTS, LABELS)(one).sum(), one)
        assert torch.allclose(gradient[replica], expected[0], atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (torch.zeros(7, 4), LABELS, r"inputs must be \(example, 5\), or \(2 replicas, example, 5\); \(7, 4\) came"),
        (torch.zeros(0, 5), LABELS[:0], "at least one example"),
        (torch.full((7, 5), torch.nan), LABELS, "must be finite"),
        (INPUTS, LABELS[:3], r"labels must be \(7,\) like the inputs, \(3,\) came"),
        (INPUTS.expand(3, 7, 5), LABELS.expand(3, 7), "2 replicas"),
    ],
)
def test_examples_that_do_not_fit_are_refused(inputs: torch.Tensor, labels: torch.Tensor, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        check_examples(NETWORK, WEIGHTS, inputs, labels)


def test_wrong_subjects_are_refused() -> None:
    with pytest.raises(UsageError, match="weights of mlp-1x4 are missing"):
        subject(NETWORK, None, INPUTS)
    with pytest.raises(UsageError, match="leave them out"):
        subject(nn.Linear(5, 3), WEIGHTS, INPUTS)
    broken = WEIGHTS.clone()
    broken.flat[1, 3] = torch.nan
    with pytest.raises(ShapeError, match=r"replicas \[1\] are not"):
        subject(NETWORK, broken, INPUTS)
