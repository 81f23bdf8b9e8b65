"""Neural collapse against a computation with every matrix written out, as in the official notebook."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import svds
from small_nets import case

from refute.errors import ShapeError, UsageError
from refute.instruments.features import LastLayer, last_layer
from refute.instruments.neural_collapse import class_means, nearest_mean, nearest_mean_accuracy, neural_collapse


def drawn(
    *, replicas: int = 2, classes: int = 4, size: int = 7, examples: int = 60, seed: int = 0
) -> tuple[LastLayer, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    labels = torch.cat([torch.arange(classes), torch.randint(0, classes, (examples - classes,), generator=generator)])
    means, kernel = 2 * normal(replicas, classes, size) + 3, normal(replicas, classes, size)
    features = means[:, labels] + normal(replicas, examples, size)
    return LastLayer(features, kernel, None, features @ kernel.transpose(1, 2)), labels


def simplex(classes: int, size: int) -> torch.Tensor:
    frame = torch.eye(classes, size, dtype=torch.float64)
    return frame - frame.mean(dim=0)


def by_hand(h: np.ndarray, labels: np.ndarray, w: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
    classes = len(w)
    mu = np.stack([h[labels == c].mean(axis=0) for c in range(classes)])
    m = (mu - mu.mean(axis=0)).T
    within = sum(np.outer(x - mu[c], x - mu[c]) for x, c in zip(h, labels, strict=True)) / len(h)
    between = m @ m.T / classes
    vectors, values, _ = svds(between, k=classes - 1)
    variances = [((h[labels == c] - mu[c]) ** 2).sum(axis=1).mean() for c in range(classes)]
    pairs = [(a, b) for a in range(classes) for b in range(classes) if a != b]

    def angle(rows: np.ndarray) -> float:
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return float(np.mean([abs(unit[a] @ unit[b] + 1 / (classes - 1)) for a, b in pairs]))

    def spread(rows: np.ndarray) -> float:
        norms = np.linalg.norm(rows, axis=1)
        return float(norms.std(ddof=1) / norms.mean())

    nearest = np.linalg.norm(h[:, None] - mu, axis=2).argmin(axis=1)
    return {
        "nc1": np.trace(within @ vectors @ np.diag(1 / values) @ vectors.T) / classes,
        "nc1_ratio": np.trace(within) / np.trace(between),
        "cdnv": np.mean([(variances[a] + variances[b]) / 2 / ((mu[a] - mu[b]) ** 2).sum() for a, b in pairs]),
        "equinorm": spread(m.T),
        "equiangle": angle(m.T),
        "kernel_equinorm": spread(w),
        "kernel_equiangle": angle(w),
        "nc3": np.linalg.norm(w.T / np.linalg.norm(w) - m / np.linalg.norm(m)) ** 2,
        "nc4": float((outputs.argmax(axis=1) != nearest).mean()),
    }


@pytest.mark.parametrize("classes", [3, 4])
def test_all_statistics_as_in_the_official_code(classes: int) -> None:
    last, labels = drawn(classes=classes)
    found = neural_collapse(last, labels)
    for replica in range(2):
        own = (last.features[replica], labels, last.kernel[replica], last.outputs[replica])
        for name, expected in by_hand(*(part.numpy() for part in own)).items():
            assert abs(getattr(found, name)[replica].item() - expected) < 1e-11 * (1 + abs(expected)), name
    assert not any(flag.any() for flag in found.flags.values())


def test_of_a_network() -> None:
    made = case()
    found = neural_collapse(last_layer(*made[:3]), made.labels)
    alone = neural_collapse(last_layer(made.network, made.weights.take(slice(1, 2)), made.inputs), made.labels)
    assert torch.allclose(found.nc1[1:2], alone.nc1, rtol=1e-12)
    assert torch.allclose(found.nc3[1:2], alone.nc3, rtol=1e-12)


def test_full_collapse_is_zero_and_a_rotated_classifier_is_not() -> None:
    means = simplex(5, 9)
    labels = torch.arange(5).repeat(6)
    features = means[labels][None]
    found = neural_collapse(LastLayer(features, 3 * means[None], None, features @ means.T), labels)
    for name in ("nc1", "nc1_ratio", "cdnv", "equinorm", "equiangle", "kernel_equinorm", "kernel_equiangle", "nc4"):
        assert getattr(found, name).abs().item() < 1e-14, name
    assert found.nc3.abs().item() < 1e-14
    turned = LastLayer(features, means.flip(1)[None], None, features @ means.T)
    assert neural_collapse(turned, labels).nc3.item() > 0.5
    opposite = LastLayer(features, -means[None], None, -features @ means.T)
    assert abs(neural_collapse(opposite, labels).nc3.item() - 4) < 1e-12


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.floats(1e-2, 1e2), st.floats(1e-2, 1e2))
def test_scales_of_features_and_kernel_change_nothing_but_a_shift_of_one_class_does(
    seed: int, one: float, two: float
) -> None:
    last, labels = drawn(seed=seed)
    scaled = LastLayer(one * last.features, two * last.kernel, None, last.outputs)
    before, after = neural_collapse(last, labels), neural_collapse(scaled, labels)
    for name in ("nc1", "nc1_ratio", "cdnv", "equinorm", "equiangle", "kernel_equiangle", "nc3", "nc4"):
        assert torch.allclose(getattr(before, name), getattr(after, name), rtol=1e-8, atol=1e-12), name
    shifted = last.features + 100 * (labels == 0).view(1, -1, 1)
    moved = neural_collapse(LastLayer(shifted, last.kernel, None, last.outputs), labels)
    assert (moved.equinorm > before.equinorm).all()


def test_nearest_mean_far_from_zero() -> None:
    last, labels = drawn()
    means = class_means(last.features, labels, 4).means
    expected = torch.cdist(last.features, means).argmin(dim=2)
    assert torch.equal(nearest_mean(last.features, means), expected)
    assert torch.equal(nearest_mean(last.features + 1e6, means + 1e6), expected)
    assert torch.allclose(
        nearest_mean_accuracy(last.features, labels, means), (expected == labels).double().mean(dim=1)
    )


def test_what_cannot_be_trusted_is_flagged() -> None:
    last, labels = drawn(size=2)
    assert neural_collapse(last, labels).flags["too few features for a simplex"].all()
    last, labels = drawn()
    empty = neural_collapse(last, labels.clamp(max=2))
    assert empty.flags["a class is empty"].all()
    assert torch.isnan(empty.nc1).all()
    single = labels.clamp(max=2)
    single[7] = 3
    assert neural_collapse(last, single).flags["a class has one example"].all()
    same = LastLayer(torch.ones(1, 60, 7), last.kernel[:1], None, last.outputs[:1])
    assert neural_collapse(same, labels).flags["means are degenerate"].all()


def test_refusals_name_what_is_wrong() -> None:
    last, labels = drawn()
    with pytest.raises(ShapeError, match="labels must be"):
        neural_collapse(last, labels[:5])
    with pytest.raises(ShapeError, match="labels must be 0 to 3"):
        neural_collapse(last, labels + 1)
    with pytest.raises(ShapeError, match="labels must be whole numbers"):
        neural_collapse(last, labels.double())
    with pytest.raises(UsageError, match="2 classes or more"):
        neural_collapse(LastLayer(last.features, last.kernel[:, :1], None, last.outputs[..., :1]), labels * 0)
