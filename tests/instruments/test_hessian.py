"""Curvature products against dense matrices in float64."""

import pytest
import torch
from small_nets import Case, case, dense_gauss_newton, dense_hessians
from torch import nn

from refute import architectures
from refute.architectures import Weights
from refute.errors import ShapeError, UnknownNameError, UsageError
from refute.instruments.hessian import curvature, hessian_product

CASES = {
    "tanh": lambda: case(activation="tanh"),
    "relu": lambda: case(),
    "batch norm": lambda: case(normalization="batch"),
    "convolution": lambda: case("vgg", examples=4, replicas=2),
}


def vectors(made: Case, *shape: int) -> torch.Tensor:
    return torch.randn(made.weights.replicas, *shape, made.weights.flat.shape[1], dtype=torch.float64)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("loss", ["cross-entropy", "squared"])
def test_products_are_those_of_the_dense_matrices(name: str, loss: str) -> None:
    made = CASES[name]()
    at = curvature(made.network, made.weights, made.inputs, made.labels, loss=loss)
    v = vectors(made)
    hessian, gauss_newton = dense_hessians(made, loss), dense_gauss_newton(made, loss)
    for matrix, dense in (("hessian", hessian), ("gauss-newton", gauss_newton), ("residual", hessian - gauss_newton)):
        expected = (dense @ v.unsqueeze(2)).squeeze(2)
        assert torch.allclose(at.product(v, matrix), expected, rtol=0, atol=1e-12 * float(expected.abs().max() + 1))


@pytest.mark.parametrize("name", CASES)
def test_losses_and_gradients_are_those_of_autograd(name: str) -> None:
    made = CASES[name]()
    at = curvature(made.network, made.weights, made.inputs, made.labels)
    flat = made.weights.flat.clone().requires_grad_()
    outputs = made.network(
        Weights(made.weights.slots, flat, made.weights.buffers), made.inputs.expand(len(flat), *made.inputs.shape)
    )
    losses = torch.stack([nn.functional.cross_entropy(own, made.labels) for own in outputs])
    (gradient,) = torch.autograd.grad(losses.sum(), flat)
    assert torch.allclose(at.losses, losses, atol=1e-13)
    assert torch.allclose(at.gradient, gradient, atol=1e-13)


def test_batch_statistics_are_differentiated_through_in_training_mode() -> None:
    made = case(normalization="batch", activation="tanh")
    v = vectors(made)
    expected = (dense_hessians(made, training=True) @ v.unsqueeze(2)).squeeze(2)
    before = {name: buffer.clone() for name, buffer in made.weights.buffers.items()}
    found = hessian_product(made.network, made.weights, made.inputs, made.labels, v, training=True)
    assert torch.allclose(found, expected, atol=1e-10)
    assert all(torch.equal(before[name], buffer) for name, buffer in made.weights.buffers.items())


def test_chunks_probes_and_packing_change_nothing() -> None:
    made = case(activation="tanh")
    v = vectors(made, 2)
    at = curvature(made.network, made.weights, made.inputs, made.labels)
    chunked = curvature(made.network, made.weights, made.inputs, made.labels, chunk=7)
    alone = curvature(made.network, made.weights.take(slice(1, 2)), made.inputs, made.labels)
    for matrix in ("hessian", "gauss-newton", "residual"):
        found = at.product(v, matrix)
        assert torch.allclose(found[:, 1], at.product(v[:, 1].contiguous(), matrix), atol=1e-14)
        assert torch.allclose(found, chunked.product(v, matrix), atol=1e-13)
        assert torch.allclose(found[1:2], alone.product(v[1:2], matrix), atol=1e-14)


def test_scale_is_on_both_sides() -> None:
    made = case(activation="tanh")
    scale, v = vectors(made).abs(), vectors(made)
    found = curvature(made.network, made.weights, made.inputs, made.labels, scale=scale).product(v)
    plain = curvature(made.network, made.weights, made.inputs, made.labels).product(scale * v)
    assert torch.allclose(found, scale * plain, atol=1e-14)


def test_each_replica_may_have_its_own_examples() -> None:
    made = case(activation="tanh")
    own = torch.stack([made.inputs, made.inputs.flip(1), made.inputs * 2])
    labels = torch.stack([made.labels, made.labels.flip(0), made.labels])
    v = vectors(made)
    found = hessian_product(made.network, made.weights, own, labels, v)
    for replica in range(3):
        rows = slice(replica, replica + 1)
        expected = hessian_product(made.network, made.weights.take(rows), own[replica], labels[replica], v[rows])
        assert torch.allclose(found[rows], expected, atol=1e-14)


def test_a_module_is_measured_like_its_network() -> None:
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    inputs, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    at = curvature(module, None, inputs, labels, dtype=torch.float64)
    module, inputs = module.double(), inputs.double()
    names = [name for name, _ in module.named_parameters()]

    def loss(flat: torch.Tensor) -> torch.Tensor:
        sizes = [p.numel() for p in module.parameters()]
        parts = [piece.view(p.shape) for piece, p in zip(flat.split(sizes), module.parameters(), strict=True)]
        outputs = torch.func.functional_call(module, dict(zip(names, parts, strict=True)), inputs)
        return nn.functional.cross_entropy(outputs, labels)

    flat = torch.cat([p.detach().flatten() for p in module.parameters()])
    dense = torch.autograd.functional.hessian(loss, flat)
    found = at.product(torch.eye(len(flat), dtype=torch.float64).unsqueeze(0))[0]
    assert torch.allclose(found, dense, atol=1e-13)


def test_a_loss_without_curvature_has_a_hessian_of_zeros() -> None:
    network = architectures.build("mlp", (4,), 3, depth=0)
    weights = network.initialize([0])
    inputs, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    v = torch.ones_like(weights.flat)
    for matrix in ("hessian", "gauss-newton", "residual"):
        assert not hessian_product(network, weights, inputs, labels, v, matrix=matrix, loss="hinge").any()


def test_what_does_not_fit_is_refused() -> None:
    made = case()
    arguments = (made.network, made.weights, made.inputs, made.labels)
    with pytest.raises(ShapeError, match=r"vectors must be \(3 replicas, 73 parameters\)"):
        curvature(*arguments).product(torch.zeros(2, 73, dtype=torch.float64))
    with pytest.raises(ShapeError, match=r"of torch.float64; \(3, 73\) of torch.float32 came"):
        curvature(*arguments).product(torch.zeros(3, 73))
    with pytest.raises(UsageError, match=r"no matrix 'hesian': did you mean 'hessian'"):
        curvature(*arguments).product(torch.zeros_like(made.weights.flat), "hesian")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"chunk must be at least 1"):
        curvature(*arguments, chunk=0)
    with pytest.raises(ShapeError, match=r"scale must be"):
        curvature(*arguments, scale=torch.ones(2))
    with pytest.raises(UnknownNameError):
        curvature(*arguments, loss="crossentropy")
    with pytest.raises(ShapeError, match=r"labels must be"):
        curvature(made.network, made.weights, made.inputs, made.labels[:3])
    with pytest.raises(UsageError, match=r"weights of .* are missing"):
        curvature(made.network, None, made.inputs, made.labels)
    normalized = case(normalization="batch")
    with pytest.raises(UsageError, match=r"needs all 20 examples at once"):
        curvature(normalized.network, normalized.weights, normalized.inputs, normalized.labels, training=True, chunk=5)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of a library that curvlinops imports
def test_curvlinops_agrees() -> None:
    curvlinops = pytest.importorskip("curvlinops")
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    inputs, labels = torch.randn(9, 4), torch.arange(9) % 3
    at = curvature(module, None, inputs, labels, dtype=torch.float64)
    parameters, data = list(module.double().parameters()), [(inputs.double(), labels)]
    identity = torch.eye(at.parameters, dtype=torch.float64)
    theirs = {
        "hessian": curvlinops.HessianLinearOperator(module, nn.CrossEntropyLoss(), parameters, data),
        "gauss-newton": curvlinops.GGNLinearOperator(module, nn.CrossEntropyLoss(), parameters, data),
    }
    for matrix, operator in theirs.items():
        found = at.product(identity.unsqueeze(0), matrix)[0]
        assert torch.allclose(found, (operator @ identity).T, atol=1e-13)
