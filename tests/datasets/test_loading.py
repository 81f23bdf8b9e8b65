"""`load` on digits, for real."""

import numpy as np
import pytest
import torch

from refute import datasets
from refute.datasets import Data
from refute.errors import UnknownNameError, UsageError


def tensors(data: Data) -> dict[str, torch.Tensor]:
    return {name: value for name, value in vars(data).items() if isinstance(value, torch.Tensor)}


def test_shapes_types_and_ranges() -> None:
    data = datasets.load("digits", train=100, seeds=[3, 4, 5], test=50, validation=20)
    shapes = {name: tuple(value.shape) for name, value in tensors(data).items()}
    assert shapes == {
        "inputs": (1297, 1, 8, 8),
        "index": (3, 100),
        "labels": (3, 100),
        "clean_labels": (3, 100),
        "validation_index": (3, 20),
        "validation_labels": (3, 20),
        "test_inputs": (50, 1, 8, 8),
        "test_labels": (50,),
    }
    assert data.inputs.dtype == data.test_inputs.dtype == torch.float32
    assert (data.inputs.min(), data.inputs.max()) == (0, 1)
    assert data.index.dtype == data.labels.dtype == torch.int64
    assert (data.classes, data.input_shape, data.replicas, data.name) == (10, (1, 8, 8), 3, "digits")
    assert data.identity == datasets.get("digits").identity


def test_images_and_labels_are_those_of_the_raw_arrays() -> None:
    raw, data = datasets.raw("digits"), datasets.load("digits", train=40, seeds=[1], validation=9)
    assert torch.equal(data.inputs[:, 0] * 16, torch.from_numpy(np.array(raw.train_images)).float())
    assert np.array_equal(data.clean_labels[0], raw.train_labels[data.index[0]])
    assert data.validation_index is not None
    assert data.validation_labels is not None
    assert np.array_equal(data.validation_labels[0], raw.train_labels[data.validation_index[0]])
    assert np.array_equal(data.test_labels, raw.test_labels)


def test_packing_changes_nothing() -> None:
    options = {"train": 200, "validation": 50, "size": 4, "standardize": True, "stratified": True}
    together = datasets.load("digits", seeds=[10, 11, 12, 13], label_noise=[0.0, 0.3, 0.3, 0.9], **options)
    for replica, (seed, share) in enumerate([(10, 0.0), (11, 0.3), (12, 0.3), (13, 0.9)]):
        alone = tensors(datasets.load("digits", seeds=[seed], label_noise=[share], **options))
        for name, value in tensors(together.take_replicas(slice(replica, replica + 1))).items():
            assert value.equal(alone[name]), name


def test_threads_change_nothing() -> None:
    threads = torch.get_num_threads()
    views = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            datasets.loading._pool.cache_clear()
            views.append(tensors(datasets.load("digits", train=200, seeds=[1], size=3, standardize=True)))
    finally:
        torch.set_num_threads(threads)
    assert all(views[0][name].equal(views[1][name]) for name in views[0])


def test_seeds_are_pinned() -> None:
    """Records name seeds; these draws must stay as they are, or old records stop meaning what they say."""
    data = datasets.load("digits", train=6, seeds=[0, 1], test=4, validation=3, label_noise=0.5)
    assert data.validation_index is not None
    assert data.index.tolist() == PINNED_INDEX
    assert data.labels.tolist() == PINNED_LABELS
    assert data.validation_index.tolist() == PINNED_VALIDATION
    assert data.test_labels.tolist() == PINNED_TEST


PINNED_INDEX = [[172, 1057, 42, 798, 866, 585], [1211, 572, 1223, 687, 1196, 782]]
PINNED_LABELS = [[3, 7, 4, 5, 2, 5], [8, 0, 9, 3, 3, 4]]
PINNED_VALIDATION = [[1157, 380, 212], [644, 338, 289]]
PINNED_TEST = [8, 8, 7, 1]


def test_training_subset_does_not_move() -> None:
    base = datasets.load("digits", train=100, seeds=[1, 2])
    moved = datasets.load("digits", train=100, seeds=[1, 2], validation=30, label_noise=0.5, flatten=True, test=10)
    assert base.index.equal(moved.index)
    assert base.clean_labels.equal(moved.clean_labels)
    assert base.labels.equal(base.clean_labels)
    assert not moved.labels.equal(moved.clean_labels)


def test_all_images() -> None:
    for train in (None, 1297, 5000):
        data = datasets.load("digits", train=train, seeds=[0, 1], test=900)
        assert data.index.sort(1).values.equal(torch.arange(1297).repeat(2, 1))
        assert len(data.test_labels) == 500
    assert datasets.load("digits", train=None, seeds=[0], validation=97).index.shape == (1, 1200)


def test_validation_is_disjoint() -> None:
    data = datasets.load("digits", train=1000, seeds=range(5), validation=297)
    assert data.validation_index is not None
    both = torch.cat([data.index, data.validation_index], dim=1)
    assert both.sort(1).values.equal(torch.arange(1297).repeat(5, 1))
    none = datasets.load("digits", train=10, seeds=[0])
    assert none.validation_index is None
    assert none.validation_labels is None
    assert none.take_replicas(slice(0, 1)).validation_index is None


@pytest.mark.parametrize("noise", [0.2, [0.2, 0.2], torch.tensor([0.2, 0.2])])
def test_label_noise_share(noise: float | list[float] | torch.Tensor) -> None:
    data = datasets.load("digits", train=500, seeds=[0, 1], label_noise=noise)
    assert (data.labels != data.clean_labels).sum(1).tolist() == [100, 100]


def test_views() -> None:
    flat = datasets.load("digits", train=10, seeds=[0], flatten=True)
    square = datasets.load("digits", train=10, seeds=[0])
    assert flat.input_shape == (64,)
    assert flat.inputs.equal(square.inputs.flatten(1))
    small = datasets.load("digits", train=10, seeds=[0], size=4)
    torch.testing.assert_close(small.inputs, square.inputs.view(-1, 1, 4, 2, 4, 2).mean(dim=(3, 5)))
    standard = datasets.load("digits", train=10, seeds=[0], standardize=True)
    deviation, mean = torch.std_mean(standard.inputs.double(), correction=0)
    assert abs(mean) < 1e-6
    assert abs(deviation - 1) < 1e-6
    assert datasets.load("digits", train=10, seeds=[0], grayscale=True).inputs.equal(square.inputs)


def test_some_classes_are_renumbered_in_order() -> None:
    raw = datasets.raw("digits")
    data = datasets.load("digits", train=100, seeds=[0], classes=(7, 2), label_noise=0.1)
    assert data.classes == 2
    assert len(data.inputs) == int(np.isin(raw.train_labels, (7, 2)).sum())
    seven = torch.from_numpy(raw.train_images[raw.train_labels == 7]).float() / 16
    mine = data.inputs[data.index[0][data.clean_labels[0] == 0], 0]
    assert all(any(image.equal(other) for other in seven) for image in mine)
    assert data.labels.max() == 1
    assert sorted(set(data.test_labels.tolist())) == [0, 1]


def test_batch() -> None:
    data = datasets.load("digits", train=30, seeds=[0, 1, 2], label_noise=0.5)
    positions = torch.tensor([[0, 29], [3, 3], [5, 1]])
    batch = data.batch(positions)
    assert batch.inputs.shape == (3, 2, 1, 8, 8)
    for replica in range(3):
        for example in range(2):
            position = positions[replica, example]
            assert batch.inputs[replica, example].equal(data.inputs[data.index[replica, position]])
            assert batch.labels[replica, example] == data.labels[replica, position]


def test_pool_is_kept_in_memory_and_shared() -> None:
    first, second = datasets.load("digits", train=10, seeds=[0]), datasets.load("digits", train=20, seeds=[1, 2])
    assert first.inputs is second.inputs
    assert first.take_replicas(slice(0, 1)).inputs is first.inputs


def test_test_subset_is_the_same_for_all() -> None:
    first = datasets.load("digits", train=10, seeds=[0], test=100)
    second = datasets.load("digits", train=20, seeds=[1, 2], test=100)
    assert first.test_inputs.equal(second.test_inputs)
    assert first.test_labels.equal(second.test_labels)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"train": 0}, "train should be at least 1"),
        ({"train": 1290, "validation": 8}, "at most 1297.*they are 1290 and 8"),
        ({"seeds": []}, "digits: seeds should hold one seed per replica"),
        ({"size": 9}, r"size should lie in 1\.\.8"),
        ({"test": 0}, "test should be at least 1, but is 0"),
        ({"label_noise": [0.1, 0.1]}, "1 shares"),
        ({"classes": [1, 1]}, r"different numbers in 0\.\.9"),
        ({"classes": [10]}, r"but are \[10\]"),
        ({"classes": []}, "different numbers"),
    ],
)
def test_refusals(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        datasets.load("digits", **({"train": 10, "seeds": [0]} | options))  # type: ignore[arg-type]


def test_unknown_name() -> None:
    with pytest.raises(UnknownNameError, match="there is no data set 'mnits': did you mean 'mnist'"):
        datasets.load("mnits", train=10, seeds=[0])


def test_first_takes_the_head_of_each_replicas_own_subset() -> None:
    data = datasets.load("digits", train=30, seeds=[1, 2])
    first, everything = data.first(10), data.first(1000)
    assert first.inputs.shape[:2] == (2, 10)
    assert everything.labels.tolist() == data.labels.tolist()
    assert first.inputs.tolist() == data.inputs[data.index[:, :10]].tolist()
