"""The Lanczos process on many symmetric matrices at once, with full reorthogonalization.

Source: Golub & Van Loan 2013, section 10.1 to 10.3. Every row is a matrix and a start of its own; rows share nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CHECK_EVERY = 2
"""Steps between two looks at whether a row has converged."""
BREAKDOWN = 1e3
"""A remainder below this many roundings of the matrix's norm is none: the Krylov space is exhausted."""


@dataclass(frozen=True)
class Tridiagonal:
    """basis A basis^T of every row.

    `diagonal` (row, step); `beside` (row, step), entry j couples steps j and j + 1, the last one is the remainder;
    `basis` (row, step, parameter), orthonormal; `steps` (row,) int64: after how many a row had converged, or all.
    """

    diagonal: Tensor
    beside: Tensor
    basis: Tensor
    steps: Tensor

    def eigen(self, row: int) -> tuple[Tensor, Tensor]:
        """Ritz values (step,), ascending, and the eigenvectors (step, value) of one row's tridiagonal matrix."""
        own = int(self.steps[row])
        return _eigen(self.diagonal[row : row + 1, :own], self.beside[row : row + 1, :own], squeeze=True)


def lanczos(
    product: Callable[[Tensor, Tensor], Tensor],
    start: Tensor,
    *,
    steps: int,
    generators: Sequence[torch.Generator],
    locked: Tensor | None = None,
    converged: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
) -> Tridiagonal:
    """Run the process on every row.

    Args:
        product: of vectors (row, parameter) and bool (row,), whether a row still needs it -> (row, parameter), each row
            times its own symmetric matrix.
        start: (row, parameter), of any length but zero.
        steps: at most so many; never more than there are dimensions left.
        generators: one per row: when a Krylov space is exhausted, the row goes on in a random direction outside it.
        locked: orthonormal directions to stay out of, (row, direction, parameter).
        converged: of Ritz values, ascending, and their residual norms, both (row, step), and the largest |Ritz value|
            (row,): whether all is found, bool (row,). A row's result is that of its first time, whatever others do.
    """
    rows, parameters = start.shape
    out = 0 if locked is None else locked.shape[1]
    steps = min(steps, parameters - out)
    frame = start.new_zeros(rows, out + steps, parameters)
    if locked is not None:
        frame[:, :out] = locked
    diagonal, beside = start.new_zeros(rows, steps), start.new_zeros(rows, steps)
    own = torch.full((rows,), steps, dtype=torch.int64, device=start.device)
    open_rows = torch.ones(rows, dtype=torch.bool, device=start.device)
    remainder = _orthogonal(start / start.norm(dim=1, keepdim=True), frame[:, :out])
    remainder = remainder / remainder.norm(dim=1, keepdim=True)
    size = start.new_zeros(rows)
    for step in range(steps):
        frame[:, out + step] = remainder
        image = product(remainder, open_rows)
        diagonal[:, step] = (image * remainder).sum(dim=1)
        rest = _orthogonal(image, frame[:, : out + step + 1])
        length = rest.norm(dim=1)
        size = torch.maximum(size, image.norm(dim=1))
        exhausted = (length <= BREAKDOWN * torch.finfo(start.dtype).eps * size) & open_rows
        beside[:, step] = length * ~exhausted
        if step + 1 < steps and exhausted.any():
            for row in exhausted.nonzero().flatten().tolist():
                fresh = torch.randn(parameters, generator=generators[row], dtype=torch.float64).to(start)
                fresh = fresh / fresh.norm()
                rest[row] = _orthogonal(fresh.unsqueeze(0), frame[row : row + 1, : out + step + 1])[0]
            length = rest.norm(dim=1)
        remainder = rest / length.clamp(min=torch.finfo(start.dtype).tiny).unsqueeze(1)
        last = step + 1 == steps
        if converged is not None and ((step + 1) % CHECK_EVERY == 0 or last):
            values, vectors = _eigen(diagonal[:, : step + 1], beside[:, : step + 1])
            residuals = beside[:, step : step + 1] * vectors[:, -1].abs()
            hopeless = ~torch.isfinite(values[:, 0])
            now = (converged(values, residuals, values.abs().amax(dim=1)) | hopeless) & open_rows
            own[now] = step + 1
            open_rows &= ~now
            if not open_rows.any():
                break
    return Tridiagonal(diagonal, beside, frame[:, out:], own)


def _eigen(diagonal: Tensor, beside: Tensor, *, squeeze: bool = False) -> tuple[Tensor, Tensor]:
    """In float64 whatever the type, on the CPU: the matrices are small."""
    a, b = diagonal.double().cpu(), beside.double().cpu()[:, :-1]
    matrices = torch.diag_embed(a) + torch.diag_embed(b, offset=1) + torch.diag_embed(b, offset=-1)
    broken = ~torch.isfinite(matrices).flatten(1).all(dim=1)
    matrices[broken] = 0.0
    values, vectors = torch.linalg.eigh(matrices)
    values[broken] = torch.nan
    values, vectors = values.to(diagonal), vectors.to(diagonal)
    return (values[0], vectors[0]) if squeeze else (values, vectors)


def _orthogonal(vectors: Tensor, frame: Tensor) -> Tensor:
    """What is left of vectors (row, parameter) outside the frame (row, direction, parameter); twice is enough."""
    for _ in range(2):  # row by row: batched products of a matrix and a vector are ten times slower on a CPU
        inside = torch.stack([own @ vector for own, vector in zip(frame, vectors, strict=True)])
        vectors = torch.baddbmm(vectors.unsqueeze(1), inside.unsqueeze(1), frame, alpha=-1).squeeze(1)
    return vectors
