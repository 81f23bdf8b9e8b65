"""A cohort's data from arrays of one's own, with the same draws as of a data set of the catalogue."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refute.datasets.dataset import Checksums, sha256
from refute.datasets.loading import Data, Pool, check_seeds, drawn, training_examples
from refute.errors import ShapeError, UsageError

Array = Tensor | NDArray[np.generic] | Sequence[object]
TOKENS = (torch.int32, torch.int64)


def from_arrays(
    inputs: Array,
    labels: Array,
    *,
    seeds: Sequence[int],
    test_inputs: Array | None = None,
    test_labels: Array | None = None,
    train: int | None = None,
    test: int | None = None,
    validation: int = 0,
    label_noise: Sequence[float] | Tensor | float = 0.0,
    stratified: bool = False,
    classes: int | None = None,
    name: str = "arrays",
    device: str = "cpu",
) -> Data:
    """The data of one cohort; replica r's subset, order and noise are drawn from `seeds[r]` alone, see `load`.

    Args:
        inputs: (example, *input_shape), as they go into the network: floats become float32; int32 and int64 are tokens.
        labels: (example,) int in 0..classes - 1.
        seeds: one per replica.
        test_inputs, test_labels: the same for examples held back for tests; none by default.
        train: examples in each replica's training subset; None for all that validation leaves.
        test: examples in the test subset, None for all.
        validation: examples per replica that are in no way used for training.
        label_noise: share of wrong training labels, one number or one per replica.
        stratified: whether a training subset has each class's share of all examples.
        classes: how many there are, by default the largest label and 1.
        name: for messages; draws depend on it, as on the name of a data set.
        device: where the tensors go.

    Raises:
        ShapeError: inputs and labels, or those for tests, do not belong together.
        UsageError: an input or label is not of a usable kind, or there are too few examples.

    >>> data = from_arrays(torch.rand(6, 2), [0, 1, 0, 1, 0, 1], seeds=[0, 1, 2], train=4)
    >>> data.index.shape, data.classes, data.input_shape
    (torch.Size([3, 4]), 2, (2,))
    """
    check_seeds(name, seeds)
    x, y = _examples(name, "", inputs, labels)
    if (test_inputs is None) != (test_labels is None):
        raise UsageError(f"{name}: test_inputs and test_labels come together, but only one of them came")
    x_test, y_test = x[:0], y[:0]
    if test_inputs is not None and test_labels is not None:
        x_test, y_test = _examples(name, "test_", test_inputs, test_labels)
    if x_test.shape[1:] != x.shape[1:]:
        raise ShapeError(f"{name}: inputs are {tuple(x.shape[1:])} each, but test_inputs {tuple(x_test.shape[1:])}")
    largest = int(torch.cat([y, y_test]).max()) if len(y) else 0
    number = largest + 1 if classes is None else classes
    if largest >= number:
        raise UsageError(f"{name}: labels of {number} classes are 0..{number - 1}, but {largest} is among them")
    return drawn(
        name,
        Pool(*(tensor.to(device) for tensor in (x, y, x_test, y_test))),
        number,
        Checksums(*(sha256(tensor.numpy()) for tensor in (x, y, x_test, y_test))).identity,
        train=training_examples(len(y), train, validation),
        seeds=seeds,
        test=test,
        validation=validation,
        label_noise=label_noise,
        stratified=stratified,
    )


def _examples(name: str, kind: str, inputs: Array, labels: Array) -> tuple[Tensor, Tensor]:
    """Inputs and labels as tensors; `kind` is what stands before "inputs" and "labels" in messages."""
    x, y = _inputs(name, f"{kind}inputs", inputs), _labels(name, f"{kind}labels", labels)
    if len(x) != len(y):
        raise ShapeError(f"{name}: {len(x)} {kind}inputs and {len(y)} {kind}labels came; each has one label")
    return x, y


def _tensor(name: str, what: str, values: Array) -> Tensor:
    try:
        return torch.as_tensor(values).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"{name}: {what} should be an array of numbers, but can't be made one ({error})") from error


def _inputs(name: str, what: str, values: Array) -> Tensor:
    found = _tensor(name, what, values)
    if found.ndim < 2:
        raise ShapeError(f"{name}: {what} should be (example, ...), but {tuple(found.shape)} came")
    if found.is_floating_point():
        return found.float()
    if found.dtype in TOKENS:
        return found
    raise UsageError(
        f"{name}: {what} should be floats, or tokens (int32 or int64), but {str(found.dtype).removeprefix('torch.')} "
        "came; images of bytes are divided by 255 first"
    )


def _labels(name: str, what: str, values: Array) -> Tensor:
    found = _tensor(name, what, values)
    if found.ndim != 1 or found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise UsageError(
            f"{name}: {what} should be (example,) whole numbers, one class each, but {tuple(found.shape)} "
            f"{str(found.dtype).removeprefix('torch.')} came"
        )
    if len(found) and found.min() < 0:
        raise UsageError(f"{name}: {what} should be 0 or more, but {int(found.min())} is among them")
    return found.long()
