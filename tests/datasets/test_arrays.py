"""Data of one's own become a cohort's data by the same draws as a data set of the catalogue."""

import numpy as np
import pytest
import torch

from refute import datasets
from refute.datasets import from_arrays
from refute.errors import RefuteError, ShapeError, UsageError

SEEDS = (3, 4)


def test_the_same_draws_as_of_a_data_set() -> None:
    raw = datasets.raw("digits")
    wanted = datasets.load("digits", train=100, seeds=SEEDS, test=50, validation=20, label_noise=[0.0, 0.5])
    found = from_arrays(
        np.array(raw.train_images)[:, None] / 16,
        np.array(raw.train_labels),
        test_inputs=np.array(raw.test_images)[:, None] / 16,
        test_labels=np.array(raw.test_labels),
        seeds=SEEDS,
        train=100,
        test=50,
        validation=20,
        label_noise=[0.0, 0.5],
        name="digits",
    )
    for name, value in vars(wanted).items():
        if name == "identity":
            continue
        same = torch.equal(value, vars(found)[name]) if isinstance(value, torch.Tensor) else value == vars(found)[name]
        assert same, name


def test_what_is_left_out_is_everything_and_no_test() -> None:
    inputs, labels = torch.rand(6, 3, dtype=torch.float64), [0, 2, 1, 0, 2, 1]
    data = from_arrays(inputs, labels, seeds=SEEDS)
    assert data.inputs.dtype == torch.float32
    assert (data.classes, data.index.shape, data.validation_index, len(data.test_inputs)) == (3, (2, 6), None, 0)
    assert torch.equal(data.labels, torch.tensor(labels)[data.index])
    assert from_arrays(inputs, labels, seeds=SEEDS, classes=5).classes == 5
    assert from_arrays(inputs, np.uint8(labels), seeds=SEEDS).labels.dtype == torch.int64
    assert from_arrays(torch.ones(6, 3, dtype=torch.int64), labels, seeds=SEEDS).inputs.dtype == torch.int64


def test_identity_is_that_of_the_contents() -> None:
    inputs = torch.rand(4, 3)
    first, same, other = (
        from_arrays(x, y, seeds=[0]).identity
        for x, y in [(inputs, [0, 1, 0, 1]), (inputs.numpy(), torch.tensor([0, 1, 0, 1])), (inputs, [0, 1, 1, 1])]
    )
    assert first == same != other


@pytest.mark.parametrize(
    ("changed", "error", "text"),
    [
        ({"labels": [0, 1]}, ShapeError, "3 inputs and 2 labels came"),
        ({"inputs": [1.0, 2.0, 3.0]}, ShapeError, r"inputs should be \(example, ...\), but \(3,\) came"),
        ({"inputs": np.zeros((3, 2), np.uint8)}, UsageError, "uint8 came; images of bytes are divided by 255 first"),
        ({"labels": [0.0, 1.0, 2.0]}, UsageError, r"labels should be \(example,\) whole numbers"),
        ({"labels": [0, -1, 2]}, UsageError, "labels should be 0 or more, but -1 is among them"),
        ({"classes": 2}, UsageError, r"labels of 2 classes are 0..1, but 2 is among them"),
        ({"test_inputs": [[1.0, 2.0]]}, UsageError, "test_inputs and test_labels come together"),
        ({"test_inputs": [[1.0]], "test_labels": [0]}, ShapeError, r"\(2,\) each, but test_inputs \(1,\)"),
        ({"seeds": []}, UsageError, "seeds should hold one seed per replica"),
        ({"train": 4, "validation": 1}, UsageError, "at most 3"),
        ({"inputs": [["a", "b"]] * 3}, UsageError, "inputs should be an array of numbers"),
        ({"inputs": [[1.0], [1.0, 2.0], [0.0]]}, UsageError, "inputs should be an array of numbers"),
    ],
)
def test_errors(changed: dict[str, object], error: type[RefuteError], text: str) -> None:
    good: dict[str, object] = {"inputs": [[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]], "labels": [0, 1, 2], "seeds": SEEDS}
    with pytest.raises(error, match=text):
        from_arrays(**{**good, **changed})  # type: ignore[arg-type]
