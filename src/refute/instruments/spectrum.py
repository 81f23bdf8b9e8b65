"""Spectral density of the Hessian by stochastic Lanczos quadrature, and what is read off it.

For a probe v of length 1 the tridiagonal matrix of m Lanczos steps, with eigenvalues (nodes) t_i and first components
u_i of its eigenvectors, gives v^T f(A) v = sum_i u_i^2 f(t_i), exactly for polynomials of degree below 2 m. Averaged
over probes uniform on the sphere it is tr f(A) / P.

Source: Golub & Welsch 1969; Ghorbani, Krishnan & Xiao 2019 (arXiv 1901.10159), section 2 and its code; full
reorthogonalization. A few large eigenvalues rule the variance of high moments (the relative error of tr(A^4) is then
sqrt(2 / probes)); `largest` and `smallest` of them are found first, counted exactly and projected out of the probes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.architectures import Network, Weights
from refute.errors import UsageError
from refute.instruments.eigenvalues import extremes
from refute.instruments.hessian import Curvature, Matrix, curvature
from refute.instruments.interface import Flags
from refute.instruments.lanczos import lanczos
from refute.instruments.probes import UNCERTAIN, Estimate, Probes, check_seeds, drawn, mean_of
from refute.losses import Loss
from refute.randomness import stream

LEAST_ORTHOGONAL = 1e-4
"""Lanczos vectors with a larger inner product are no basis any more."""


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalue distribution of every replica's P x P matrix.

    `exact` (replica, eigenvalue), eigenvalues that were projected out; `nodes` and `weights` (replica, probe, step) of
    the rest, a probe's weights summing to 1; `parameters` P. Flags: "one probe" (no standard errors), "tr(A^2)
    uncertain" (standard error above a tenth), "orthogonality lost" (take float64), "not converged" (of `exact`),
    "not finite".
    """

    exact: Tensor
    nodes: Tensor
    weights: Tensor
    parameters: int
    flags: Flags

    def trace_of(self, function: Callable[[Tensor], Tensor]) -> Estimate:
        """tr f(A) = sum of f over all eigenvalues, for an elementwise function f."""
        return mean_of(self._traces(function))

    def moment(self, order: int) -> Estimate:
        """tr(A^order)."""
        return self.trace_of(lambda values: values**order)

    def kurtosis(self) -> Estimate:
        """kappa_4 = P tr(A^4) / tr(A^2)^2 about 0, without scale; at least 1. Standard error by the jackknife.

        On small relu nets 5 probes alone are off by a quarter; with largest=10 and smallest=5 by 1 %.

        Source: specification of depth-hessian-outliers.
        """
        fourth, second = self._traces(lambda x: x**4), self._traces(lambda x: x**2)
        return _jackknife(lambda a, b: self.parameters * a / b.square(), fourth, second)

    def relative_top(self) -> Estimate:
        """lambda_1 / sqrt(tr(A^2) / P), lambda_1 the largest node or exact eigenvalue."""
        top = self.largest()
        second = self._traces(lambda x: x**2)
        return _jackknife(lambda b: top / (b / self.parameters).sqrt(), second)

    def outliers(self, *, share: float = 0.05) -> Estimate:
        """N_out: number of eigenvalues with |lambda| > share x lambda_1."""
        edge = (share * self.largest()).abs()

        def beyond(values: Tensor) -> Tensor:
            return (values.abs() > edge.view(-1, *[1] * (values.ndim - 1))).to(values)

        return self.trace_of(beyond)

    def top_share(self, count: int) -> Estimate:
        """E_K: sum of |lambda| over the `count` largest in modulus (of `exact`), over the sum of all |lambda|."""
        if self.exact.shape[1] < count:
            raise UsageError(
                f"the {count} largest eigenvalues must be exact, {self.exact.shape[1]} are: measure the density with "
                f"largest={count} and smallest={count}"
            )
        top = self.exact.abs().sort(dim=1, descending=True).values[:, :count].sum(dim=1)
        return _jackknife(lambda total: top / total, self._traces(torch.abs))

    def largest(self) -> Tensor:
        """Largest node or exact eigenvalue, (replica,)."""
        held = self.weights > torch.finfo(self.weights.dtype).eps
        nodes = self.nodes.masked_fill(~held, -math.inf).flatten(1)
        return torch.cat([self.exact, nodes], dim=1).amax(dim=1)

    def density(self, grid: Tensor, *, width: float | Tensor | None = None) -> Tensor:
        """Smoothed density at `grid` (point,) or (replica, point), integrating to 1; (replica, point).

        `width`: standard deviation of the Gaussians, a number or (replica,); by default 1 % of each replica's range.
        (The published code takes a variance of 1e-5 x max(1, range): width = sqrt of that.)
        """
        exact = self.exact.new_full(self.exact.shape, 1 / self.parameters)
        rest = self.weights * ((self.parameters - self.exact.shape[1]) / self.parameters / self.weights.shape[1])
        places = torch.cat([self.exact, self.nodes.flatten(1)], dim=1)
        masses = torch.cat([exact, rest.flatten(1)], dim=1)
        if width is None:
            width = (0.01 * (places.amax(dim=1) - places.amin(dim=1))).clamp(min=torch.finfo(places.dtype).tiny)
        sd = torch.as_tensor(width).to(places).expand(len(places)).view(-1, 1, 1)
        points = grid.to(places).expand(len(places), grid.shape[-1])
        bumps = torch.exp(-0.5 * ((points.unsqueeze(2) - places.unsqueeze(1)) / sd) ** 2)
        return (bumps * masses.unsqueeze(1)).sum(dim=2) / (sd.squeeze(2) * math.sqrt(2 * math.pi))

    def _traces(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """tr f(A) as each probe sees it, (replica, probe)."""
        rest = (self.weights * function(self.nodes)).sum(dim=2) * (self.parameters - self.exact.shape[1])
        exact: Tensor = function(self.exact).sum(dim=1, keepdim=True)
        return rest + exact


def spectral_density(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    *,
    seeds: Sequence[int],
    probes: int = 10,
    steps: int = 90,
    kind: Probes = "gaussian",
    largest: int = 0,
    smallest: int = 0,
    matrix: Matrix = "hessian",
    tolerance: float = 1e-3,
    loss: str | Loss = "cross-entropy",
    training: bool = False,
    dtype: torch.dtype | None = None,
    chunk: int | None = None,
    scale: Tensor | None = None,
) -> Spectrum:
    """Eigenvalue distribution of every replica's curvature matrix by stochastic Lanczos quadrature.

    Args:
        network, weights, inputs, labels, loss, training, dtype, chunk, scale: see `hessian.curvature`.
        seeds: one per replica, of which its probes come.
        probes: random directions; their spread gives the standard errors.
        steps: Lanczos steps per probe (fewer if there are fewer dimensions).
        kind: "gaussian" probes of length 1 (Ghorbani et al. 2019), or "rademacher".
        largest, smallest: eigenvalues of each end to find by themselves first (see above).
        matrix: "hessian", "gauss-newton" or "residual".
        tolerance: of those eigenvalues, see `eigenvalues`.

    Raises:
        ShapeError, UsageError: as `eigenvalues`; fewer than 1 probe or step.

    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> inputs, values = torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1)
    >>> found = spectral_density(net, None, inputs, values, seeds=[0], probes=200, largest=1, loss="squared")
    >>> round(found.moment(1).value.item(), 4), round(found.kurtosis().value.item(), 2)  # eigenvalues 4.5 and 0.5
    (5.0, 1.95)
    """
    at = curvature(
        network, weights, inputs, labels, loss=loss, training=training, dtype=dtype, chunk=chunk, scale=scale
    )
    return quadrature(
        at,
        seeds=seeds,
        probes=probes,
        steps=steps,
        kind=kind,
        largest=largest,
        smallest=smallest,
        matrix=matrix,
        tolerance=tolerance,
    )


def quadrature(
    at: Curvature,
    *,
    seeds: Sequence[int],
    probes: int = 10,
    steps: int = 90,
    kind: Probes = "gaussian",
    largest: int = 0,
    smallest: int = 0,
    matrix: Matrix = "hessian",
    tolerance: float = 1e-3,
) -> Spectrum:
    """`spectral_density` at a `Curvature` that is already there; the arguments are the same."""
    check_seeds(seeds, at.replicas)
    if probes < 1 or steps < 1:
        raise UsageError(f"probes and steps must be at least 1, {probes} and {steps} came")
    if largest + smallest >= at.parameters:
        raise UsageError(f"largest + smallest must be below {at.parameters} (the parameters): take `eigenvalues`")
    none = torch.zeros(at.replicas, dtype=torch.bool, device=at.gradient.device)
    exact, locked, unconverged = at.gradient.new_zeros(at.replicas, 0), None, none
    if largest + smallest:
        found = extremes(
            at, seeds=seeds, largest=largest, smallest=smallest, matrix=matrix, tolerance=tolerance, steps=at.parameters
        )
        exact, unconverged = found.values, found.flags["not converged"]
        locked = torch.linalg.qr(found.vectors.transpose(1, 2)).Q.transpose(1, 2)

    def product(vectors: Tensor, _: Tensor) -> Tensor:
        return at.product(vectors, matrix)

    generators = [stream(seed, "probes") for seed in seeds]
    nodes, weights, slips = [], [], none
    with torch.no_grad():
        for _ in range(probes):
            start = drawn(kind, at.gradient, generators)
            run = lanczos(product, start, steps=steps, generators=generators, locked=locked)
            pairs = [run.eigen(row) for row in range(at.replicas)]
            nodes.append(torch.stack([values for values, _ in pairs]))
            weights.append(torch.stack([vectors[0].square() for _, vectors in pairs]))
            inner = run.basis @ run.basis.transpose(1, 2) - torch.eye(run.basis.shape[1]).to(run.basis)
            slips = slips | (inner.abs().flatten(1).amax(dim=1) > LEAST_ORTHOGONAL)
    result = Spectrum(exact, torch.stack(nodes, dim=1), torch.stack(weights, dim=1), at.parameters, {})
    second = result.moment(2)
    flags = {
        "one probe": none | (probes < 2),
        "tr(A^2) uncertain": second.standard_error > UNCERTAIN * second.value,
        "orthogonality lost": slips,
        "not converged": unconverged,
        "not finite": ~torch.isfinite(second.value),
    }
    return Spectrum(exact, result.nodes, result.weights, at.parameters, flags)


def _jackknife(function: Callable[..., Tensor], *each: Tensor) -> Estimate:
    """A function of means over probes (replica, probe), and its standard error (Efron & Stein 1981, eq. 1.1)."""
    value = function(*(part.mean(dim=1) for part in each))
    count = each[0].shape[1]
    if count < 2:
        return Estimate(value, torch.full_like(value, torch.nan))
    left = [function(*((part.sum(dim=1) - part[:, probe]) / (count - 1) for part in each)) for probe in range(count)]
    spread = torch.stack(left, dim=1)
    error = ((spread - spread.mean(dim=1, keepdim=True)).square().sum(dim=1) * ((count - 1) / count)).sqrt()
    return Estimate(value, error)
