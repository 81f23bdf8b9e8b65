"""Matrix products of a cohort: right by either way, and the same bits however replicas are packed."""

import pytest
import torch

from refute.architectures import products

SMALL, LARGE = (7, 5, 3), (130, 128, 126)


def matrices(examples: int, inputs: int, outputs: int, replicas: int = 3) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(replicas, examples, inputs, generator=generator)
    w = torch.randn(replicas, outputs, inputs, generator=generator)
    b = torch.randn(replicas, outputs, generator=generator)
    g = torch.randn(replicas, examples, outputs, generator=generator)
    return x, w, b, g


def test_the_sizes_lie_on_both_sides_of_the_line() -> None:
    small, large = (a * b * c for a, b, c in (SMALL, LARGE))
    assert small < products.LARGE <= large


@pytest.mark.parametrize("sizes", [SMALL, LARGE], ids=["small", "large"])
@torch.no_grad()
def test_products_are_those_of_the_definition(sizes: tuple[int, int, int]) -> None:
    x, w, b, g = matrices(*sizes)
    close = {"rtol": 1e-4, "atol": 1e-3}
    exact = torch.einsum("rbi,roi->rbo", x.double(), w.double())
    assert torch.allclose(products.linear(x, w).double(), exact, **close)
    assert torch.allclose(products.linear(x, w, b).double(), exact + b.unsqueeze(1), **close)
    room = torch.empty(exact.shape)
    assert torch.equal(products.linear(x, w, b, room), products.linear(x, w, b))
    assert torch.allclose(
        products.input_gradient(g, w).double(), torch.einsum("rbo,roi->rbi", g.double(), w.double()), **close
    )
    out = torch.full_like(w, torch.nan)
    products.weight_gradient(g, x, out, keep=0)
    expected = torch.einsum("rbo,rbi->roi", g.double(), x.double())
    assert torch.allclose(out.double(), expected, **close)
    products.weight_gradient(g, x, out, keep=1)
    assert torch.allclose(out.double(), 2 * expected, **close)
    products.weight_gradient(g, x, out, keep=0.9)
    assert torch.allclose(out.double(), 2.8 * expected, **close)


@pytest.mark.parametrize("sizes", [SMALL, LARGE, (100, 196, 128), (128, 64, 64), (20, 64, 10)], ids=str)
@torch.no_grad()
def test_packing_changes_no_bit(sizes: tuple[int, int, int]) -> None:
    x, w, b, g = matrices(*sizes, replicas=8)
    together = products.linear(x, w, b), products.input_gradient(g, w)
    weights = torch.empty_like(w)
    products.weight_gradient(g, x, weights, keep=0)
    for size in (1, 3):
        for first in range(0, 8, size):
            part = slice(first, first + size)
            assert torch.equal(products.linear(x[part], w[part], b[part]), together[0][part])
            assert torch.equal(products.input_gradient(g[part], w[part]), together[1][part])
            alone = torch.empty_like(w[part])
            products.weight_gradient(g[part], x[part], alone, keep=0)
            assert torch.equal(alone, weights[part])


def test_what_autograd_must_see_stays_visible() -> None:
    x, w, b, _ = matrices(*LARGE)
    (found,) = torch.autograd.grad(products.linear(x, w.requires_grad_(), b).sum(), w)
    assert torch.allclose(found, x.sum(1, keepdim=True).expand_as(w), rtol=1e-4, atol=1e-3)
