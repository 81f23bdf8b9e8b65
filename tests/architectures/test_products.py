"""Matrix products of a cohort: right by either way, and the same bits however replicas are packed."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from refute.architectures import openblas, processor, products

kinds = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)

SMALL, LARGE = (7, 5, 3), (130, 128, 126)


def matrices(
    examples: int, inputs: int, outputs: int, replicas: int = 3, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(replicas, examples, inputs, generator=generator, dtype=dtype)
    w = torch.randn(replicas, outputs, inputs, generator=generator, dtype=dtype)
    b = torch.randn(replicas, outputs, generator=generator, dtype=dtype)
    g = torch.randn(replicas, examples, outputs, generator=generator, dtype=dtype)
    return x, w, b, g


def test_the_sizes_lie_on_both_sides_of_the_line() -> None:
    small, large = (a * b * c for a, b, c in (SMALL, LARGE))
    assert small < products.LARGE <= large


@kinds
@pytest.mark.parametrize("sizes", [SMALL, LARGE], ids=["small", "large"])
@torch.no_grad()
def test_products_are_those_of_the_definition(way: str, sizes: tuple[int, int, int], dtype: torch.dtype) -> None:
    x, w, b, g = matrices(*sizes, dtype=dtype)
    close = {"rtol": 1e-4, "atol": 1e-3} if dtype == torch.float32 else {"rtol": 1e-11, "atol": 1e-11}
    exact = torch.einsum("rbi,roi->rbo", x.double(), w.double())
    assert torch.allclose(products.linear(x, w).double(), exact, **close)
    assert torch.allclose(products.linear(x, w, b).double(), exact + b.unsqueeze(1), **close)
    room = torch.empty(exact.shape, dtype=dtype)
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
@kinds
@torch.no_grad()
def test_packing_changes_no_bit(way: str, sizes: tuple[int, int, int], dtype: torch.dtype) -> None:
    x, w, b, g = matrices(*sizes, replicas=8, dtype=dtype)
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


@pytest.fixture(params=["openblas", "onednn", "mkl"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """All libraries, on any processor that has them, faster or not."""
    monkeypatch.setattr(openblas, "pays", lambda: request.param == "openblas")
    monkeypatch.setattr(openblas, "wide", lambda: request.param == "openblas")
    monkeypatch.setattr(products, "mkl_is_at_home", lambda: request.param == "mkl")
    openblas._library.cache_clear()
    if request.param == "openblas" and openblas._library() is None:
        pytest.skip("scipy-openblas32 is not installed here")
    yield request.param
    openblas._library.cache_clear()


def test_openblas_pays_on_amd(monkeypatch: pytest.MonkeyPatch) -> None:
    for amd in (True, False):
        monkeypatch.setattr(processor, "maker", lambda amd=amd: "AMD" if amd else "Intel")
        assert openblas.pays() is amd


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("way", ["openblas"], indirect=True)
def test_onednn_takes_large_matrices_where_openblas_has_short_vectors(
    way: str, wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openblas, "wide", lambda: wide)
    small, large = (matrices(*sizes)[:2] for sizes in (SMALL, LARGE))
    assert not products._by_onednn(small[0], small[1].mT)
    assert products._by_onednn(large[0], large[1].mT) is not wide


def test_mkl_multiplies_on_the_processors_it_was_made_for(monkeypatch: pytest.MonkeyPatch) -> None:
    has_mkl = torch.backends.mkl.is_available()
    for maker in ("Intel", "AMD", ""):
        monkeypatch.setattr(processor, "maker", lambda maker=maker: maker)
        assert products.mkl_is_at_home() is (has_mkl and maker == "Intel")


@pytest.mark.parametrize("content", [None, "no library"], ids=["missing", "broken"])
def test_without_a_library_that_loads_torch_multiplies(
    way: str, content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lib").mkdir()
    if content:
        (tmp_path / "lib" / "libscipy_openblas.so").write_text(content)
    monkeypatch.setattr(openblas, "find_spec", lambda _: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    openblas._library.cache_clear()
    x, w, *_ = matrices(*SMALL)
    assert not openblas.fits(x, w)
    assert torch.allclose(products.linear(x, w), torch.einsum("rbi,roi->rbo", x, w), atol=1e-5)


@pytest.mark.usefixtures("way")
@torch.no_grad()
def test_matrices_of_mixed_types_are_refused() -> None:
    x, w, *_ = matrices(*SMALL)
    with pytest.raises(RuntimeError, match="dtype"):
        products.linear(x.double(), w)


@pytest.mark.parametrize("way", ["openblas"], indirect=True)
@pytest.mark.usefixtures("way")
def test_openblas_takes_one_thread_whatever_had_loaded_it_and_whatever_torch_takes() -> None:
    x, w, *_ = matrices(*SMALL)
    library, before = openblas._library(), torch.get_num_threads()
    assert library is not None
    library.handle.scipy_openblas_set_num_threads(2)  # as where something else has loaded it before
    openblas._library.cache_clear()
    torch.set_num_threads(2)
    products.linear(x, w)
    assert library.handle.scipy_openblas_get_num_threads() == 1
    torch.set_num_threads(before)


def views() -> list[tuple[str, torch.Tensor]]:
    """Matrices (4, 6, 5) in all the orders of memory that come up."""
    own = torch.randn(4, 6, 5)
    return [
        ("contiguous", own),
        ("turned", torch.randn(4, 5, 6).transpose(1, 2)),
        ("rows apart", torch.randn(4, 6, 9)[:, :, :5]),
        ("turned, rows apart", torch.randn(4, 5, 9)[:, :, :6].transpose(1, 2)),
        ("in a buffer", torch.randn(4, 77)[:, 7:37].view(4, 6, 5)),
        ("shared", torch.randn(6, 5).expand(4, 6, 5)),
        ("neither side by side", torch.randn(4, 12, 10)[:, ::2, ::2]),
        ("replicas inside", torch.randn(6, 4, 5).transpose(0, 1)),
    ]


@pytest.mark.parametrize("left", views(), ids=lambda named: named[0])
@pytest.mark.parametrize("right", views(), ids=lambda named: named[0])
def test_any_order_of_memory(way: str, left: tuple[str, torch.Tensor], right: tuple[str, torch.Tensor]) -> None:
    a, b = left[1], right[1].transpose(1, 2)
    for out in (torch.full((4, 6, 6), torch.nan), torch.full((4, 50), torch.nan)[:, 3:39].view(4, 6, 6)):
        products.multiply(a, b, out, keep=0)
        assert torch.allclose(out, torch.bmm(a, b), atol=1e-5)
    aside = torch.zeros(6, 4, 6).transpose(0, 1)
    products.multiply(a, b, aside, keep=0.5)
    assert torch.allclose(aside, torch.bmm(a, b), atol=1e-5)


@pytest.mark.parametrize(
    "sizes", [(1, 1, 1), (1, 4, 3), (5, 1, 3), (2, 3, 1), (0, 3, 2), (3, 0, 2), (3, 2, 0)], ids=str
)
def test_matrices_of_one_line_or_none(way: str, sizes: tuple[int, int, int]) -> None:
    rows, inner, columns = sizes
    a, b, out = torch.randn(3, rows, inner), torch.randn(3, inner, columns), torch.ones(3, rows, columns)
    products.multiply(a, b, out, keep=1)
    assert torch.allclose(out, 1 + torch.bmm(a, b), atol=1e-5)
    turned = torch.empty(3, rows, columns)
    products.multiply(a.transpose(1, 2).contiguous().transpose(1, 2), b, turned, keep=0)
    assert torch.allclose(turned, torch.bmm(a, b), atol=1e-5)


def test_any_number_of_torch_threads(way: str) -> None:
    x, w, b, _ = matrices(*LARGE)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            found.append(products.linear(x, w, b))
    finally:
        torch.set_num_threads(before)
    assert all(torch.allclose(each, found[0], atol=1e-4) for each in found)


def test_derivatives_of_any_order(way: str) -> None:
    x, w, b = (torch.randn(2, *shape, dtype=torch.float64, requires_grad=True) for shape in ((3, 4), (5, 4), (5,)))
    assert torch.autograd.gradcheck(products.linear, (x, w, b))
    assert torch.autograd.gradgradcheck(products.linear, (x, w, b))


def test_what_autograd_must_see_stays_visible() -> None:
    x, w, b, _ = matrices(*LARGE)
    (found,) = torch.autograd.grad(products.linear(x, w.requires_grad_(), b).sum(), w)
    assert torch.allclose(found, x.sum(1, keepdim=True).expand_as(w), rtol=1e-4, atol=1e-3)
