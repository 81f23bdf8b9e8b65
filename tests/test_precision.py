"""No mixed precision that nobody asked for."""

from collections.abc import Iterator

import pytest
import torch

from refute import catalogue
from refute.algorithms import SGD
from refute.architectures import build
from refute.datasets import load
from refute.engine import cohorts, measure, plan
from refute.training import train


@pytest.fixture(autouse=True)
def _as_torch_begins() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    yield
    torch.backends.cudnn.allow_tf32 = before


def test_training_takes_float32_at_its_word() -> None:
    data = load("digits", train=20, seeds=[0])
    net = build("mlp", data.input_shape, data.classes)
    train(net, data, SGD(), learning_rate=0.1, seeds=[0], steps=1, batch=10)
    assert not torch.backends.cudnn.allow_tf32


def test_so_do_trials_that_do_not_train() -> None:
    phenomenon = catalogue.get("stage-like-learning")
    first = cohorts(phenomenon, plan(phenomenon, "smoke")[:1], size=1)[0]
    measure(phenomenon, first)
    assert not torch.backends.cudnn.allow_tf32
