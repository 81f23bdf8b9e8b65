"""Linear probes against scikit-learn, and against the conditions that the minimum fulfils."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.preprocessing import StandardScaler

from refute.errors import ShapeError, UsageError
from refute.instruments.linear_probes import logistic_probe, ridge_probe

PENALTIES = (0.1, 1.0, 30.0)


def drawn(classes: int, *, replicas: int = 3, examples: int = 200, size: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(classes)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    features = normal(replicas, examples, size) * torch.linspace(0.1, 4, size, dtype=torch.float64) + 2
    scores = (features - 2) @ normal(replicas, size, classes) + 4 * normal(replicas, examples, classes)
    scores[..., 0] += 2  # classes of different sizes
    return features, scores.argmax(dim=2)


def log_loss_gradient(
    features: torch.Tensor, labels: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor, penalty: float
) -> float:
    """Largest entry of the derivative of the objective by autograd, for standardized features of one replica."""
    kernel, bias = kernel.clone().requires_grad_(), bias.clone().requires_grad_()
    scores = features @ kernel.T + bias
    if len(kernel) == 1:
        cost = torch.nn.functional.binary_cross_entropy_with_logits(scores[:, 0], labels.double(), reduction="sum")
    else:
        cost = torch.nn.functional.cross_entropy(scores, labels, reduction="sum")
    (cost + penalty / 2 * kernel.square().sum()).backward()
    assert kernel.grad is not None and bias.grad is not None  # noqa: PT018
    return max(kernel.grad.abs().max().item(), bias.grad.abs().max().item()) / len(features)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize(("examples", "size"), [(200, 12), (30, 50)])
def test_logistic_regression_like_scikit_learn(classes: int, balanced: bool, examples: int, size: int) -> None:
    features, labels = drawn(classes, examples=examples, size=size)
    found = logistic_probe(features, labels, penalties=PENALTIES, balanced=balanced, tolerance=1e-11)
    assert not found.flags["not converged"].any()
    assert found.flags["fewer examples than features"].all() == (examples < size)
    scores, predicted = found.scores(features), found.predicted(features)
    for replica in range(3):
        x = StandardScaler().fit_transform(features[replica].numpy())
        for place, penalty in enumerate(PENALTIES):
            # scikit-learn's own Newton solver is the one that reaches the minimum to many digits
            model = LogisticRegression(
                C=1 / penalty, solver="newton-cholesky", tol=1e-12, class_weight="balanced" if balanced else None
            ).fit(x, labels[replica].numpy())
            mine = scores[replica, place]
            mine = mine[:, 0] if classes == 2 else mine - mine.mean(dim=1, keepdim=True)
            theirs = model.decision_function(x)
            theirs = theirs if classes == 2 else theirs - theirs.mean(axis=1, keepdims=True)
            assert np.abs(mine.numpy() - theirs).max() < 1e-6 * np.abs(theirs).max()
            assert (predicted[replica, place].numpy() == model.predict(x)).mean() >= 0.99


@pytest.mark.parametrize("classes", [2, 4])
def test_the_gradient_vanishes_where_it_stops(classes: int) -> None:
    features, labels = drawn(classes)
    found = logistic_probe(features, labels, penalties=PENALTIES, tolerance=1e-9)
    mean, deviation = features.mean(dim=1), features.std(dim=1, correction=0)
    for replica in range(3):
        x = (features[replica] - mean[replica]) / deviation[replica]
        for place, penalty in enumerate(PENALTIES):
            kernel = found.kernel[replica, place] * deviation[replica]
            bias = found.bias[replica, place] + found.kernel[replica, place] @ mean[replica]
            assert log_loss_gradient(x, labels[replica], kernel, bias, penalty) < 1.1e-9
    assert (found.gradient <= 1e-9).all()


def test_without_standardization_and_with_shared_or_bool_labels() -> None:
    features, labels = drawn(2)
    shared = labels[0] > 0
    found = logistic_probe(features, shared, standardize=False, tolerance=1e-11)
    model = LogisticRegression(solver="newton-cholesky", tol=1e-12).fit(features[1].numpy(), shared.numpy())
    assert np.allclose(found.kernel[1, 0].numpy(), model.coef_, rtol=1e-7, atol=1e-9)
    assert np.allclose(found.bias[1, 0].numpy(), model.intercept_, rtol=1e-7, atol=1e-9)


def test_a_unit_that_hardly_ever_fires_slows_nothing() -> None:
    features, labels = drawn(2, examples=4000)
    features[:, :, 0] = 0
    features[:, 1234, 0] = 1
    found = logistic_probe(features.float(), labels)
    assert (found.steps < 25).all()
    assert not found.flags["not converged"].any()


@pytest.mark.parametrize(("examples", "size"), [(200, 12), (30, 50)])
def test_ridge_regression_of_values_like_scikit_learn(examples: int, size: int) -> None:
    features, _ = drawn(2, examples=examples, size=size)
    values = features[:, :, :3] ** 2 + features[:, :, 3:6]
    found = ridge_probe(features, values, penalties=PENALTIES)
    for replica in range(3):
        scaler = StandardScaler().fit(features[replica].numpy())
        x = scaler.transform(features[replica].numpy())
        for place, penalty in enumerate(PENALTIES):
            model = Ridge(alpha=penalty).fit(x, values[replica].numpy())
            assert np.allclose(found.scores(features)[replica, place].numpy(), model.predict(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("classes", [2, 4])
def test_ridge_regression_of_classes_like_scikit_learn(classes: int) -> None:
    features, labels = drawn(classes)
    found = ridge_probe(features, labels, penalties=[2.0], standardize=False)
    for replica in range(3):
        model = RidgeClassifier(alpha=2.0).fit(features[replica].numpy(), labels[replica].numpy())
        assert np.allclose(found.kernel[replica, 0].numpy(), model.coef_, rtol=1e-9, atol=1e-11)
        assert np.array_equal(found.predicted(features)[replica, 0].numpy(), model.predict(features[replica].numpy()))
        assert found.accuracy(features, labels)[replica, 0].item() == pytest.approx(
            model.score(features[replica].numpy(), labels[replica].numpy())
        )


def test_without_a_penalty_the_solution_of_least_norm() -> None:
    features, _ = drawn(2, examples=15, size=40)
    values = features[:, :, :2].sin()
    found = ridge_probe(features, values, penalties=[0.0], standardize=False)
    for replica in range(3):
        x = features[replica] - features[replica].mean(dim=0)
        expected = torch.linalg.pinv(x) @ (values[replica] - values[replica].mean(dim=0))
        assert torch.allclose(found.kernel[replica, 0], expected.T, rtol=1e-7, atol=1e-9)
    assert torch.allclose(found.scores(features)[:, 0], values, atol=1e-9)


def test_packing_changes_nothing_beyond_the_tolerance() -> None:
    features, labels = drawn(4)
    together = logistic_probe(features, labels, penalties=PENALTIES, tolerance=1e-10)
    alone = logistic_probe(features[1:2], labels[1:2], penalties=PENALTIES[1:2], tolerance=1e-10)
    assert torch.allclose(together.kernel[1, 1], alone.kernel[0, 0], rtol=1e-6, atol=1e-7)


def test_single_precision_reaches_the_default_tolerance() -> None:
    features, labels = drawn(4)
    found = logistic_probe(features.float(), labels, penalties=PENALTIES)
    assert found.kernel.dtype == torch.float32
    assert (found.gradient <= 1e-4).all()
    exact = logistic_probe(features, labels, penalties=PENALTIES, tolerance=1e-11)
    assert torch.equal(found.predicted(features.float())[:, 2], exact.predicted(features)[:, 2])


def test_the_chosen_penalty_of_each_replica() -> None:
    features, labels = drawn(4)
    found = logistic_probe(features, labels, penalties=PENALTIES)
    index = torch.tensor([2, 0, 1])
    one = found.chosen(index)
    assert torch.equal(one.accuracy(features, labels)[:, 0], found.accuracy(features, labels)[torch.arange(3), index])


def test_what_cannot_be_trusted_is_flagged() -> None:
    features, labels = drawn(4)
    assert logistic_probe(features, labels, iterations=2).flags["not converged"].all()
    missing = labels.clone()
    missing[1] = missing[1].clamp(max=2)
    assert logistic_probe(features, missing).flags["a class is empty"].tolist() == [False, True, False]


def test_refusals_name_what_is_wrong() -> None:
    features, labels = drawn(2)
    with pytest.raises(UsageError, match="penalties must be numbers above 0"):
        logistic_probe(features, labels, penalties=[0.0])
    with pytest.raises(UsageError, match="penalties must be numbers at least 0"):
        ridge_probe(features, labels, penalties=[])
    with pytest.raises(UsageError, match="2 classes or more"):
        logistic_probe(features, labels * 0)
    with pytest.raises(UsageError, match="tolerance must be above 0"):
        logistic_probe(features, labels, tolerance=0)
    with pytest.raises(ShapeError, match="labels must be"):
        logistic_probe(features, labels[:, :5])
    with pytest.raises(ShapeError, match="targets must be finite values"):
        ridge_probe(features, features[:, :5])
    with pytest.raises(ShapeError, match="features must be"):
        ridge_probe(features[0], labels)
