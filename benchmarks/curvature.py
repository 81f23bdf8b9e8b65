"""Top Hessian eigenvalue and spectral density of 16 replicas: refute's cohort against curvlinops, net after net.

Both get the same nets and examples, one thread, and turns in one run. "top": the largest eigenvalue to a relative
tolerance of 1e-3 (curvlinops through scipy's eigsh, that is ARPACK). "spectrum": 3 probes x 40 Lanczos steps
(curvlinops' `fast_lanczos`, which does not reorthogonalize; refute's does). The last column says how far the results
are apart: of "top" the largest relative difference, of "spectrum" that of the mean of tr(A^2) over replicas (random).

    python benchmarks/curvature.py [--rounds 3] [--dtype float32]
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from scipy.sparse.linalg import eigsh
from torch import Tensor, nn

from refute import architectures
from refute.architectures import Network, Weights
from refute.architectures.layers import Activation, Convolution, Dense, Flatten, MaxPool
from refute.instruments.eigenvalues import eigenvalues
from refute.instruments.hessian import cast
from refute.instruments.spectrum import spectral_density

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of libraries that it imports
    import curvlinops
    from curvlinops.papyan2020traces.spectrum import fast_lanczos

REPLICAS, PROBES, STEPS = 16, 3, 40
NETS: dict[str, tuple[str, tuple[int, ...], dict[str, Any], int]] = {
    "mlp 2x64 tanh, 1000 examples": ("mlp", (64,), {"depth": 2, "width": 64, "activation": "tanh"}, 1000),
    "mlp 8x32 relu, 1000 examples": ("mlp", (64,), {"depth": 8, "width": 32}, 1000),
    "mlp 2x16 tanh, 200 examples": ("mlp", (64,), {"depth": 2, "width": 16, "activation": "tanh"}, 200),
    "cnn 4 conv relu, 100 examples": ("vgg", (1, 14, 14), {}, 100),
}


@dataclass(frozen=True)
class Task:
    network: Network
    weights: Weights
    modules: list[nn.Module]
    inputs: Tensor
    labels: Tensor

    def operators(self) -> list[Any]:
        """A Hessian for each net, in curvlinops' terms."""
        data = [(self.inputs, self.labels)]
        return [
            curvlinops.HessianLinearOperator(
                module, nn.CrossEntropyLoss(), list(module.parameters()), data, check_deterministic=False
            )
            for module in self.modules
        ]


def their_top(task: Task) -> Tensor:
    options = {"k": 1, "which": "LA", "tol": 1e-3, "return_eigenvectors": False}
    return torch.tensor([float(eigsh(operator.to_scipy(), **options)[0]) for operator in task.operators()])


def our_top(task: Task) -> Tensor:
    seeds = range(REPLICAS)
    return eigenvalues(task.network, task.weights, task.inputs, task.labels, seeds=seeds).values[:, 0]


def their_spectrum(task: Task) -> Tensor:
    means = []
    for operator in task.operators():
        pairs = [fast_lanczos(operator, STEPS) for _ in range(PROBES)]
        means.append(statistics.mean(float((vectors[0] * values).square().sum()) for values, vectors in pairs))
    return torch.tensor(means).mean() * task.weights.flat.shape[1]


def our_spectrum(task: Task) -> Tensor:
    seeds = range(REPLICAS)
    found = spectral_density(
        task.network, task.weights, task.inputs, task.labels, seeds=seeds, probes=PROBES, steps=STEPS
    )
    return found.moment(2).value.mean()


CONTESTS: dict[str, tuple[Callable[[Task], Tensor], Callable[[Task], Tensor]]] = {
    "top": (their_top, our_top),
    "spectrum": (their_spectrum, our_spectrum),
}


def task_of(name: str, dtype: torch.dtype) -> Task:
    family, shape, options, examples = NETS[name]
    network = architectures.build(family, shape, 10, **options)
    weights = cast(network.initialize(range(REPLICAS)), dtype)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(examples, *shape, generator=generator).to(dtype)
    labels = torch.randint(0, 10, (examples,), generator=generator)
    return Task(network, weights, [module_of(network, weights, r) for r in range(REPLICAS)], inputs, labels)


def module_of(network: Network, weights: Weights, replica: int) -> nn.Module:
    """The plain PyTorch net with one replica's weights."""
    made: list[nn.Module] = []
    for layer in network.layers:
        match layer:
            case Dense():
                made.append(_filled(nn.Linear(layer.inputs, layer.outputs), weights, layer.name, replica))
            case Convolution():
                convolution = nn.Conv2d(layer.inputs, layer.outputs, layer.size, padding=layer.margin)
                made.append(_filled(convolution, weights, layer.name, replica))
            case MaxPool():
                made.append(nn.MaxPool2d(2, ceil_mode=True))
            case Flatten():
                made.append(nn.Flatten())
            case Activation():
                made.append({"relu": nn.ReLU, "tanh": nn.Tanh}[layer.function]())
    return nn.Sequential(*made).to(weights.flat.dtype)


def _filled(module: nn.Linear | nn.Conv2d, weights: Weights, name: str, replica: int) -> nn.Module:
    with torch.no_grad():
        module.weight.copy_(weights[f"{name}.weight"][replica])
        if module.bias is not None:
            module.bias.copy_(weights[f"{name}.bias"][replica])
    return module


def timed(function: Callable[[Task], Tensor], task: Task) -> tuple[float, Tensor]:
    start = time.perf_counter()
    found = function(task)
    return time.perf_counter() - start, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{REPLICAS} replicas, {options.dtype}, 1 thread, medians of {options.rounds} rounds")
    print(f"{'net':30}{'parameters':>11}  {'what':9}{'curvlinops s':>13}{'refute s':>9}{'ratio':>7}{'difference':>12}")
    for name in NETS:
        task = task_of(name, getattr(torch, options.dtype))
        for what, functions in CONTESTS.items():
            rounds = [[timed(function, task) for function in functions] for _ in range(options.rounds)]
            theirs, ours = (statistics.median(each[side][0] for each in rounds) for side in (0, 1))
            expected, found = rounds[-1][0][1].double(), rounds[-1][1][1].double()
            gap = float(((found - expected) / expected).abs().max())
            size = task.weights.flat.shape[1]
            print(
                f"{name:30}{size:>11}  {what:9}{theirs:>13.2f}{ours:>9.2f}{theirs / ours:>7.1f}{gap:>12.1e}", flush=True
            )


if __name__ == "__main__":
    main()
