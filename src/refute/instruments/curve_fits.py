"""Straight lines, power laws and power laws with a floor, fitted to each replica's curve, with standard errors.

    line       y = intercept + slope x                        (of logarithms: y = e^intercept x^slope)
    power law  y = amplitude x^-exponent + floor

Lines by least squares in closed form. Power laws by least squares of ln y (errors in proportion to y), or of y in units
of its own standard errors; covariance s^2 (J^T J)^-1 at the minimum, s^2 the residual variance (1 if standard errors
are given). Source: Seber & Wild 2003, Nonlinear Regression, sections 2.1 and 5.1; for learning curves Hestness et al.
2017 (arXiv 1712.00409), section 2. scipy.optimize.least_squares does the work.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from torch import Tensor

from refute.errors import ShapeError, UsageError
from refute.instruments.interface import Flags

SPAN = 4.0
"""Largest over smallest x below which an exponent hardly differs from a slope."""
AT_ZERO = 1e-6
"""Floor, in units of the smallest y, below which it counts as the bound of the search: 0."""
STARTS = (0.0, 0.5, 0.9, 0.99)
"""Floors, in units of the smallest y, from which searches begin."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LineFit:
    """float64 (replica,): `slope`, `intercept` and their standard errors (nan for 2 points); `r_squared`, nan for a
    constant curve. `freedom`: points - 2. Flags: "two points"."""

    slope: Tensor
    intercept: Tensor
    slope_error: Tensor
    intercept_error: Tensor
    r_squared: Tensor
    freedom: int
    flags: Flags

    def interval(self, *, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Of the slope, by Student's t, low and high (replica,)."""
        half = float(stdtrit(max(self.freedom, 1), (1 + level) / 2)) * self.slope_error
        return self.slope - half, self.slope + half


@dataclass(frozen=True)
class PowerLaw:
    """float64 (replica,): `amplitude`, `exponent`, `floor` and the errors of the last two; `r_squared` of ln y.

    Flags: "not converged"; "x spans less than a factor of 4"; "floor at 0" (its standard error means nothing, that of
    the exponent is too small); "floor and exponent not told apart" (the exponent's error is above half of it).
    """

    amplitude: Tensor
    exponent: Tensor
    floor: Tensor
    exponent_error: Tensor
    floor_error: Tensor
    r_squared: Tensor
    flags: Flags

    def __call__(self, x: Tensor) -> Tensor:
        """The fitted y at x (point,) or (replica, point), (replica, point)."""
        at = x.double().expand(len(self.exponent), -1) if x.ndim == 1 else x.double()
        return self.amplitude.unsqueeze(1) * at ** -self.exponent.unsqueeze(1) + self.floor.unsqueeze(1)


def line_fit(x: Tensor | Sequence[float], y: Tensor) -> LineFit:
    """Least-squares line of every curve.

    Args:
        x: (point,) or (replica, point).
        y: (replica, point), 2 points or more.

    Raises:
        ShapeError: shapes that do not fit, numbers that are not finite, or x all the same.

    >>> found = line_fit([0.0, 1.0, 2.0, 3.0], torch.tensor([[1.0, 3.0, 5.0, 7.0]]))
    >>> found.slope.item(), found.intercept.item(), found.r_squared.item()
    (2.0, 1.0, 1.0)
    """
    at, values = _checked(x, y, fewest=2)
    points = at.shape[1]
    centre, level = at.mean(dim=1, keepdim=True), values.mean(dim=1, keepdim=True)
    across, up = at - centre, values - level
    spread = across.square().sum(dim=1)
    slope = (across * up).sum(dim=1) / spread
    rest = (up - slope.unsqueeze(1) * across).square().sum(dim=1)
    variance = rest / (points - 2) if points > 2 else torch.full_like(rest, math.nan)
    total = up.square().sum(dim=1)
    return LineFit(
        slope,
        level.squeeze(1) - slope * centre.squeeze(1),
        (variance / spread).sqrt(),
        (variance * (1 / points + centre.squeeze(1).square() / spread)).sqrt(),
        torch.where(total > 0, 1 - rest / total, math.nan),
        points - 2,
        {"two points": torch.full_like(slope, points == 2, dtype=torch.bool)},
    )


def log_log_slope(x: Tensor | Sequence[float], y: Tensor, *, low: float = 0.0, high: float = math.inf) -> LineFit:
    """Line of ln y on ln x over the points with low <= x <= high: the local exponent, of the last decade for example.

    Args:
        x: (point,), above 0 in the range.
        y: (replica, point), above 0 in the range.
        low, high: the range of x.

    Raises:
        ShapeError: as `line_fit`.
        UsageError: numbers of 0 or less in the range, or fewer than 2 points.

    >>> steps = torch.tensor([1.0, 10.0, 100.0, 1000.0])
    >>> round(log_log_slope(steps, (7 / steps)[None], low=10).slope.item(), 6)
    -1.0
    """
    at = torch.as_tensor(x, dtype=torch.float64)
    if at.ndim != 1:
        raise ShapeError(f"x must be (point,), {tuple(at.shape)} came")
    inside = (at >= low) & (at <= high)
    if int(inside.sum()) < 2:
        raise UsageError(
            f"a slope needs 2 points or more between x = {low:g} and {high:g}, {int(inside.sum())} are there"
        )
    chosen, values = at[inside], y[:, inside.to(y.device)].double()
    if bool((chosen <= 0).any()) or bool((values <= 0).any()):
        raise UsageError("x and y must be above 0 for logarithms, some are not")
    return line_fit(chosen.log(), values.log())


def power_law(
    x: Tensor | Sequence[float], y: Tensor, *, floor: bool = False, standard_errors: Tensor | None = None
) -> PowerLaw:
    """y = amplitude x^-exponent + floor of every curve.

    Args:
        x: (point,) or (replica, point), above 0; for example numbers of training examples.
        y: (replica, point), above 0; for example test errors.
        floor: whether there is one (0 or more); else it is 0.
        standard_errors: of y, (replica, point): residuals are then y's, in these units; else residuals of ln y.

    Raises:
        ShapeError: shapes that do not fit, or numbers that are not finite.
        UsageError: numbers of 0 or less, or not one point more than parameters.

    >>> n = torch.tensor([100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0])
    >>> found = power_law(n, (5 * n**-0.5 + 0.1)[None].double(), floor=True)
    >>> round(found.exponent.item(), 3), round(found.floor.item(), 3)
    (0.5, 0.1)
    """
    fewest = 4 if floor else 3
    at, values = _checked(x, y, fewest=fewest)
    if bool((at <= 0).any()) or bool((values <= 0).any()):
        raise UsageError("x and y of a power law must be above 0, some are not")
    if standard_errors is not None:
        if standard_errors.shape != values.shape or not bool((standard_errors > 0).all()):
            raise ShapeError(
                f"standard_errors must be {tuple(values.shape)} and above 0, {tuple(standard_errors.shape)} came"
            )
        errors: list[Array | None] = list(standard_errors.double().cpu().numpy())
    else:
        errors = [None] * len(values)
    found = [
        _fitted(one, two, error, floor)
        for one, two, error in zip(at.cpu().numpy(), values.cpu().numpy(), errors, strict=True)
    ]
    columns = [torch.tensor(column, dtype=torch.float64, device=y.device) for column in zip(*found, strict=True)]
    amplitude, exponent, bottom, exponent_error, floor_error, r_squared, converged = columns
    zero = bottom <= AT_ZERO * values.amin(dim=1)
    return PowerLaw(
        amplitude,
        exponent,
        bottom,
        exponent_error,
        floor_error,
        r_squared,
        {
            "not converged": converged == 0,
            "x spans less than a factor of 4": at.amax(dim=1) < SPAN * at.amin(dim=1),
            "floor at 0": zero if floor else torch.zeros_like(zero),
            "floor and exponent not told apart": (
                exponent_error > exponent.abs() / 2 if floor else torch.zeros_like(zero)
            ),
        },
    )


def _fitted(
    x: Array, y: Array, errors: Array | None, floor: bool
) -> tuple[float, float, float, float, float, float, float]:
    """Amplitude, exponent, floor, their errors, R^2 of ln y, 1 if converged; of one curve."""
    middle = float(np.exp(np.log(x).mean()))  # the amplitude there hardly depends on the exponent
    scale = float(y.min())
    log_x = np.log(x / middle)

    def model(parameters: Array) -> Array:
        bottom = parameters[2] * scale if floor else 0.0
        found: Array = np.exp(parameters[0] - parameters[1] * log_x) + bottom
        return found

    def residual(parameters: Array) -> Array:
        fitted = model(parameters)
        found: Array = np.log(fitted / y) if errors is None else (fitted - y) / errors
        return found

    def slopes(parameters: Array) -> Array:
        power = np.exp(parameters[0] - parameters[1] * log_x)
        columns = [power, -power * log_x] + ([np.full_like(power, scale)] if floor else [])
        unit = model(parameters) if errors is None else errors
        found: Array = np.stack(columns, axis=1) / unit[:, None]
        return found

    from scipy.optimize import least_squares  # noqa: PLC0415 - slow to import

    bounds = ([-np.inf, -np.inf, 0.0], [np.inf] * 3) if floor else (-np.inf, np.inf)
    attempts = []
    for share in STARTS if floor else STARTS[:1]:
        line = np.polyfit(log_x, np.log(y - share * scale), 1)
        start = [line[1], -line[0], max(share, 1e-3)] if floor else [line[1], -line[0]]
        solved = least_squares(residual, start, jac=slopes, bounds=bounds, xtol=1e-14, ftol=1e-14, gtol=1e-14)
        attempts.append(solved)
    best = min(attempts, key=lambda solved: float(solved.cost))
    freedom = len(x) - len(best.x)
    variance = 2 * best.cost / freedom if errors is None else 1.0
    covariance = variance * np.linalg.pinv(best.jac.T @ best.jac)
    deviations = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    logs = np.log(y)
    rest, total = np.square(np.log(model(best.x)) - logs).sum(), np.square(logs - logs.mean()).sum()
    exponent = float(best.x[1])
    return (
        float(np.exp(best.x[0] + exponent * math.log(middle))),
        exponent,
        float(best.x[2]) * scale if floor else 0.0,
        float(deviations[1]),
        float(deviations[2]) * scale if floor else 0.0,
        float(1 - rest / total) if total > 0 else math.nan,
        float(best.success),
    )


def _checked(x: Tensor | Sequence[float], y: Tensor, *, fewest: int) -> tuple[Tensor, Tensor]:
    """Both (replica, point) float64."""
    at = torch.as_tensor(x, dtype=torch.float64, device=y.device)
    if y.ndim != 2 or y.shape[0] == 0 or at.shape not in (y.shape, y.shape[1:]) or y.shape[1] < fewest:
        raise ShapeError(
            f"y must be (replica, point) of {fewest} points or more and x (point,) or like y; {tuple(y.shape)} and "
            f"{tuple(at.shape)} came"
        )
    at, values = at.expand(y.shape), y.double()
    if not bool(torch.isfinite(at).all() & torch.isfinite(values).all()):
        raise ShapeError("x and y must be finite, some numbers are nan or inf")
    if bool((at.amax(dim=1) == at.amin(dim=1)).any()):
        raise ShapeError("x must hold at least 2 different numbers per replica")
    return at, values
