"""Neural collapse: how far last-layer features have contracted to a simplex of class means that the classifier mirrors.

With h the inputs of the last layer, mu_c the class means, mu_G their mean, M = [mu_c - mu_G] (feature x class), W the
kernel (class x feature), C classes, Sigma_W = mean over examples of (h - mu_c)(h - mu_c)^T, Sigma_B = M M^T / C:

    NC1  tr(Sigma_W Sigma_B^+) / C, the pseudo-inverse over the C - 1 leading directions
    NC2  equinorm: std_c |mu_c - mu_G| / mean_c |mu_c - mu_G|; equiangle: mean over pairs of |cos(mu_c - mu_G,
         mu_c' - mu_G) + 1 / (C - 1)|; both also of the rows of W
    NC3  | W^T / |W|_F - M / |M|_F |_F^2
    NC4  share of examples whose largest output is not the nearest class mean (Euclidean)

Source: Papyan, Han & Donoho 2020 (PNAS 117:24652), and their code (github.com/neuralcollapse/neuralcollapse), which
leaves out the factor 1 / C of NC1 and whose standard deviations divide by C - 1, as here. CDNV: Galanti, Gyorgy &
Hutter 2022 (arXiv 2112.15121), section 2.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from refute.errors import ShapeError, UsageError
from refute.instruments.features import LastLayer, check_features, own_labels
from refute.instruments.interface import Flags


@dataclass(frozen=True)
class ClassMeans:
    """`means` (replica, class, feature) float64, nan for a class without examples; `counts` (replica, class); `within`
    (replica, class): mean of |h - mu_c|^2 over the class."""

    means: Tensor
    counts: Tensor
    within: Tensor

    @property
    def centre(self) -> Tensor:
        """Global mean mu_G, the mean of the class means, (replica, feature)."""
        return self.means.mean(dim=1)


@dataclass(frozen=True)
class NeuralCollapse:
    """The four statistics, float64 (replica,), 0 at full collapse.

    `nc1`, and the stabler `nc1_ratio` = tr Sigma_W / tr Sigma_B and `cdnv` = mean over pairs of (v_c + v_c') /
    (2 |mu_c - mu_c'|^2), v_c = mean |h - mu_c|^2 over the class. `equinorm`, `equiangle` of the class means,
    `kernel_equinorm`, `kernel_equiangle` of the kernel's rows. `nc3`, in [0, 4]; `nc4`, in [0, 1]. `cosines`,
    `kernel_cosines` (replica, class, class): of the centred means, of the rows. Flags: "a class is empty" (all nan), "a
    class has one example" (its variance is 0 by construction), "too few features for a simplex" (fewer than C - 1),
    "means are degenerate" (the C - 1 directions of Sigma_B are not all there: NC1 is rounding).
    """

    nc1: Tensor
    nc1_ratio: Tensor
    cdnv: Tensor
    equinorm: Tensor
    equiangle: Tensor
    kernel_equinorm: Tensor
    kernel_equiangle: Tensor
    nc3: Tensor
    nc4: Tensor
    cosines: Tensor
    kernel_cosines: Tensor
    flags: Flags


def class_means(features: Tensor, labels: Tensor, classes: int) -> ClassMeans:
    """Means and variances of every class.

    Args:
        features: (replica, example, feature).
        labels: 0 to classes - 1, (replica, example) or (example,).
        classes: C.

    Raises:
        ShapeError: features or labels that do not fit, or labels out of range.

    >>> found = class_means(torch.tensor([[[0.0], [2.0], [5.0]]]), torch.tensor([0, 0, 1]), 2)
    >>> found.means.flatten().tolist(), found.within.tolist()
    ([1.0, 5.0], [[1.0, 0.0]])
    """
    own = own_labels(labels, features)
    check_features(features, own)
    if not 0 <= int(own.min()) <= int(own.max()) < classes:
        raise ShapeError(f"labels must be 0 to {classes - 1}, {int(own.min())} to {int(own.max())} came")
    member = torch.nn.functional.one_hot(own, classes).double()
    counts = member.sum(dim=1)
    wide = features.double()
    means = member.transpose(1, 2) @ wide / counts.unsqueeze(2)
    off = wide - means.gather(1, own.unsqueeze(2).expand(-1, -1, wide.shape[2]))
    within = (member.transpose(1, 2) @ off.square().sum(dim=2, keepdim=True)).squeeze(2) / counts
    return ClassMeans(means, counts.long(), within)


def nearest_mean(features: Tensor, means: Tensor) -> Tensor:
    """Class whose mean is nearest (Euclidean), int64 (replica, example).

    Args:
        features: (replica, example, feature).
        means: (replica, class, feature), for example of other examples' `class_means`.

    >>> nearest_mean(torch.tensor([[[0.9]]]), torch.tensor([[[0.0], [1.0]]])).item()
    1
    """
    shift = means.mean(dim=1, keepdim=True)  # far from 0 the squares would lose digits
    wide, centred = features.double() - shift, (means - shift).double()
    distances = centred.square().sum(dim=2).unsqueeze(1) - 2 * wide @ centred.transpose(1, 2)
    return distances.masked_fill(torch.isnan(distances), torch.inf).argmin(dim=2)


def nearest_mean_accuracy(features: Tensor, labels: Tensor, means: Tensor) -> Tensor:
    """Share of examples whose class mean is the nearest one, in [0, 1], float64 (replica,); see `nearest_mean`."""
    return (nearest_mean(features, means) == own_labels(labels, features)).double().mean(dim=1)


def neural_collapse(last: LastLayer, labels: Tensor) -> NeuralCollapse:
    """NC1 to NC4 of the examples in `last`, with their own class means.

    Args:
        last: of `features.last_layer(network, weights, inputs)`, on the training set (the paper) or others.
        labels: (replica, example) or (example,).

    Raises:
        ShapeError: labels that do not fit.
        UsageError: fewer than 2 classes.

    >>> means = torch.tensor([[0.0, 1.0], [0.75**0.5, -0.5], [-(0.75**0.5), -0.5]])  # a simplex: full collapse
    >>> last = LastLayer(means.repeat(1, 4, 1), means[None], None, (means @ means.T).repeat(1, 4, 1))
    >>> found = neural_collapse(last, torch.arange(3).repeat(4))
    >>> abs(round(found.nc1.item() + found.equiangle.item() + found.nc3.item() + found.nc4.item(), 6))
    0.0
    """
    features, kernel = last.features, last.kernel.double()
    classes = kernel.shape[1]
    if classes < 2:
        raise UsageError("neural collapse is of 2 classes or more, the kernel has one output: train with two")
    own = own_labels(labels, features)
    found = class_means(features, own, classes)
    empty = (found.counts == 0).any(dim=1)
    means = found.means.nan_to_num(0.0)
    centred = means - means.mean(dim=1, keepdim=True)
    total = (found.within.nan_to_num(0.0) * found.counts).sum(dim=1) / found.counts.sum(dim=1)
    _, values, directions = torch.linalg.svd(centred, full_matrices=False)
    rank = min(classes - 1, values.shape[1])
    axes, sizes = directions[:, :rank], values[:, :rank]
    off = features.double() - means.gather(1, own.unsqueeze(2).expand(-1, -1, means.shape[2]))
    along = (off @ axes.transpose(1, 2)).square().mean(dim=1)
    # Sigma_B^+ = C sum_k u_k u_k^T / s_k^2, and the 1 / C of NC1 takes the C away
    nc1 = (along / sizes.square()).sum(dim=1)
    cosines, kernel_cosines = _cosines(centred), _cosines(kernel)
    norms, kernel_norms = centred.norm(dim=2), kernel.norm(dim=2)
    predicted = last.outputs.argmax(dim=2)
    mirrored = kernel / _size(kernel) - centred / _size(centred)
    between = values.square().sum(dim=1) / classes
    statistics = {
        "nc1": nc1,
        "nc1_ratio": total / between,
        "cdnv": _cdnv(means, found.within.nan_to_num(0.0)),
        "equinorm": norms.std(dim=1) / norms.mean(dim=1),
        "equiangle": _off_angle(cosines),
        "kernel_equinorm": kernel_norms.std(dim=1) / kernel_norms.mean(dim=1),
        "kernel_equiangle": _off_angle(kernel_cosines),
        "nc3": mirrored.square().sum(dim=(1, 2)),
        "nc4": (nearest_mean(features, found.means) != predicted).double().mean(dim=1),
    }
    few = torch.full_like(empty, features.shape[2] < classes - 1)
    rounding = classes * torch.finfo(features.dtype).eps * (values[:, 0] + means.flatten(1).norm(dim=1))
    flags = {
        "a class is empty": empty,
        "a class has one example": (found.counts == 1).any(dim=1),
        "too few features for a simplex": few,
        "means are degenerate": sizes[:, -1] <= rounding,
    }
    return NeuralCollapse(
        **{name: value.masked_fill(empty, torch.nan) for name, value in statistics.items()},
        cosines=cosines,
        kernel_cosines=kernel_cosines,
        flags=flags,
    )


def _size(matrix: Tensor) -> Tensor:
    size: Tensor = matrix.flatten(1).norm(dim=1)
    return size.view(-1, 1, 1)


def _cosines(rows: Tensor) -> Tensor:
    unit = rows / rows.norm(dim=2, keepdim=True)
    cosines: Tensor = unit @ unit.transpose(1, 2)
    return cosines


def _off_angle(cosines: Tensor) -> Tensor:
    classes = cosines.shape[1]
    apart = ~torch.eye(classes, dtype=torch.bool, device=cosines.device)
    return (cosines + 1 / (classes - 1)).abs()[:, apart].mean(dim=1)


def _cdnv(means: Tensor, within: Tensor) -> Tensor:
    classes = means.shape[1]
    one, two = torch.triu_indices(classes, classes, offset=1)
    apart = (means[:, one] - means[:, two]).square().sum(dim=2)
    return ((within[:, one] + within[:, two]) / (2 * apart)).mean(dim=1)
