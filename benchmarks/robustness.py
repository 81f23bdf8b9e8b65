"""PGD against a cohort: refute's pass over all replicas at once, and a plain loop over one network after the other.

The task: 16 trained nets, accuracy under 20 steps of PGD at 6 radii (those of the specification of batch norm's
vulnerability). Both attack the same nets on the same images from the images themselves, with the same steps and number
of threads, in turns, so that a machine whose speed drifts slows both. The plain loop takes all examples through all
steps; refute leaves out an example once it is wrong at a point of the ball, also at larger radii. So it may find more,
never less. A radius at which hardly an example falls (--radii 0.001) compares the bare passes.

    python benchmarks/robustness.py --nets mlp mlp-small conv --rounds 5
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from refute import architectures
from refute.architectures import Network, Weights, estimate_statistics
from refute.instruments.interface import loss_function
from refute.instruments.robustness import robust_accuracy

NETS: dict[str, tuple[str, tuple[int, ...], dict[str, object]]] = {
    "mlp": ("mlp", (1, 28, 28), {"depth": 3, "width": 128}),
    "mlp-bn": ("mlp", (1, 28, 28), {"depth": 3, "width": 128, "normalization": "batch"}),
    "mlp-small": ("mlp", (1, 8, 8), {"depth": 3, "width": 128}),
    "conv": ("vgg", (1, 14, 14), {}),
}
LAYERS = {"Dense": nn.Linear, "Convolution": nn.Conv2d}


def plain(network: Network, weights: Weights, replica: int) -> nn.Sequential:
    """The replica as an nn.Sequential."""
    own = {name: tensor[replica] for name, tensor in weights.items()}
    layers: list[nn.Module] = []
    for layer in network.layers:
        kind = type(layer).__name__
        if kind == "Dense":
            built: nn.Module = nn.Linear(layer.inputs, layer.outputs)
        elif kind == "Convolution":
            built = nn.Conv2d(layer.inputs, layer.outputs, layer.size, layer.stride, layer.margin)
        elif kind == "BatchNorm":
            built = nn.BatchNorm1d(layer.channels)
            built.load_state_dict(
                {
                    "weight": own[f"{layer.name}.gamma"],
                    "bias": own[f"{layer.name}.beta"],
                    "running_mean": own[f"{layer.name}.running_mean"],
                    "running_var": own[f"{layer.name}.running_variance"],
                },
                strict=False,
            )
        elif kind == "MaxPool":
            built = nn.MaxPool2d(layer.size, ceil_mode=layer.ceil)
        else:
            built = {"Flatten": nn.Flatten, "Activation": nn.ReLU}[kind]()
        if kind in LAYERS:
            built.load_state_dict({"weight": own[f"{layer.name}.weight"], "bias": own[f"{layer.name}.bias"]})
        layers.append(built)
    return nn.Sequential(*layers).eval()


def patterns(examples: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Smooth images of 10 classes under noise, in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(10, shape[0], 4, 4, generator=generator)
    means = 0.5 + 0.12 * nn.functional.interpolate(coarse, size=shape[1:], mode="bilinear")
    labels = torch.randint(0, 10, (examples,), generator=generator)
    return (means[labels] + 0.1 * torch.randn(examples, *shape, generator=generator)).clamp(0, 1), labels


def trained(network: Network, seeds: list[int], inputs: Tensor, labels: Tensor, *, steps: int = 150) -> Weights:
    """The cohort after full-batch steps of Adam, with running statistics of the training set."""
    weights = network.initialize(seeds)
    loss = loss_function(network, weights, inputs, labels, training=True)
    flat = weights.flat.clone().requires_grad_()
    optimizer = torch.optim.Adam([flat], lr=1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(flat).sum().backward()
        optimizer.step()
    found = Weights(weights.slots, flat.detach(), weights.buffers)
    return estimate_statistics(network, found, inputs.expand(len(seeds), *inputs.shape))


def timed(work: Callable[[], list[list[float]]]) -> tuple[float, list[list[float]]]:
    start = time.perf_counter()
    found = work()  # numbers, not tensors: whatever a GPU still had to do is done
    return time.perf_counter() - start, found


def attacked(module: nn.Module, inputs: Tensor, labels: Tensor, radius: float, size: float, steps: int) -> Tensor:
    """L-infinity PGD from the inputs, as one writes it for one network; inputs in [0, 1]."""
    moved = inputs.clone()
    for _ in range(steps):
        moved.requires_grad_()
        loss = nn.functional.cross_entropy(module(moved), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, moved)
        moved = moved.detach() + size * gradient.sign()
        moved = (inputs + (moved - inputs).clamp(-radius, radius)).clamp(0, 1)
    return moved


def compare(name: str, options: argparse.Namespace) -> dict[str, object]:
    family, shape, settings = NETS[name]
    network = architectures.build(family, shape, 10, **settings)
    seeds = list(range(options.replicas))
    inputs, labels = patterns(options.examples, shape)
    weights = trained(network, seeds, inputs, labels)
    modules = [plain(network, weights, replica).to(options.device).requires_grad_(False) for replica in seeds]
    inputs, labels = inputs.to(options.device), labels.to(options.device)
    buffers = {name: buffer.to(options.device) for name, buffer in weights.buffers.items()}
    weights = Weights(weights.slots, weights.flat.to(options.device), buffers)
    share = 1.25 if options.steps == 1 else 2.5 / options.steps

    def ours() -> list[list[float]]:
        found = robust_accuracy(
            network, weights, inputs, labels, radii=options.radii, seeds=seeds, steps=options.steps, step_size=share,
            random_starts=0, low=0.0, high=1.0, check=False,
        )  # fmt: skip
        return found.accuracy.T.tolist()

    def theirs() -> list[list[float]]:
        return [[theirs_at(module, radius) for module in modules] for radius in options.radii]

    def theirs_at(module: nn.Module, radius: float) -> float:
        right = module(inputs).argmax(dim=1) == labels
        for batch in torch.arange(len(inputs), device=inputs.device).split(options.batch):
            moved = attacked(module, inputs[batch], labels[batch], radius, share * radius, options.steps)
            with torch.no_grad():
                right[batch] &= module(moved).argmax(dim=1) == labels[batch]
        return right.double().mean().item()

    ours(), theirs()
    times = [(timed(ours), timed(theirs)) for _ in range(options.rounds)]
    mine, others = ([turn[side][0] for turn in times] for side in (0, 1))
    curves = [torch.tensor(found) for _, found in times[0]]
    return {
        "net": name,
        "device": options.device,
        "radii": options.radii,
        "refute_accuracy": [round(value, 4) for value in curves[0].mean(dim=1).tolist()],
        "plain_accuracy": [round(value, 4) for value in curves[1].mean(dim=1).tolist()],
        "most_that_refute_finds_less": (curves[0] - curves[1]).max().item(),
        "refute_seconds": [round(seconds, 3) for seconds in mine],
        "plain_seconds": [round(seconds, 3) for seconds in others],
        "ratio_of_medians": round(statistics.median(others) / statistics.median(mine), 2),
        "ratios": [round(b / a, 2) for a, b in zip(mine, others, strict=True)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", choices=sorted(NETS), default=list(NETS))
    parser.add_argument("--replicas", type=int, default=16)
    parser.add_argument("--examples", type=int, default=512)
    parser.add_argument("--batch", type=int, default=128, help="examples per pass of the plain loop")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--radii", nargs="+", type=float, default=[0.01, 0.016, 0.0256, 0.041, 0.0655, 0.105])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.nets:
        print(json.dumps(compare(name, options)))


if __name__ == "__main__":
    main()
