"""The small experiments behind NOTES.md: two or more ways to do one thing, in turns, on one core.

Prints steps (or calls) of one replica per second: the median of the rounds, and the median ratio to the first way with
its least and largest. Nothing else should run meanwhile.

    python benchmarks/ideas.py                     # all
    python benchmarks/ideas.py cache passes        # some; --help names them
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as functional
from contestants.nets import CLASSES, NETS, TRAIN
from contestants.task import loaded
from torch import Tensor, nn

from refute import training
from refute.algorithms import SGD, Adam, State
from refute.architectures import Network, Weights, network, openblas
from refute.architectures.layers import Convolution
from refute.architectures.layers.convolution import CompiledStep
from refute.architectures.layers.images import side_by_side
from refute.architectures.network import channels_together
from refute.datasets import Data

BATCH, ROUNDS, SECONDS = 128, 5, 0.6
MiB = 2**20
MALLOC = {"MALLOC_TRIM_THRESHOLD_": "131072"}
"""glibc's own beginning: with it set, refute leaves the allocator alone."""


def race(title: str, ways: dict[str, Callable[[], float]]) -> None:
    """Each way returns how much it did; all take turns."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(ROUNDS):
        for name, way in ways.items():
            done, started = 0.0, time.perf_counter()
            while time.perf_counter() - started < SECONDS:
                done += way()
            rates[name].append(done / (time.perf_counter() - started))
    first = next(iter(rates.values()))
    print(f"\n{title}")
    for name, found in rates.items():
        ratios = [one / other for one, other in zip(found, first, strict=True)]
        print(
            f"  {name:42} {statistics.median(found):10.1f}/s   {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f}-{max(ratios):.2f})",
            flush=True,
        )


def data_of(name: str, replicas: int) -> Data:
    net, (inputs, labels, test_inputs, test_labels) = NETS[name], loaded(name)
    own = labels.expand(replicas, TRAIN)
    return Data(
        name=name,
        inputs=inputs,
        index=torch.arange(TRAIN).expand(replicas, TRAIN),
        labels=own,
        clean_labels=own,
        validation_index=None,
        validation_labels=None,
        test_inputs=test_inputs,
        test_labels=test_labels,
        classes=CLASSES,
        input_shape=net.shape,
        identity=name,
    )


def network_of(name: str, *, fold: bool = True) -> Network:
    net = NETS[name]
    return Network.from_module(net.make, input_shape=net.shape, outputs=net.outputs, name=name, fold=fold)


def trained(name: str, replicas: int, *, fold: bool = True, **constants: int) -> Callable[[], float]:
    """Ten steps of all replicas with other constants of refute.training."""
    net, data = network_of(name, fold=fold), data_of(name, replicas)
    loss = "reconstruction" if NETS[name].reconstructs else "cross-entropy"
    steps = 10

    def way() -> float:
        before = {constant: getattr(training, constant) for constant in constants}
        for constant, value in constants.items():
            setattr(training, constant, value)
        training.train(
            net, data, SGD(0.9), learning_rate=0.05, seeds=range(replicas), steps=steps, batch=BATCH, loss=loss
        )
        for constant, value in before.items():
            setattr(training, constant, value)
        return float(replicas * steps)

    return way


def cache() -> None:
    for name in ("mlp-64", "mlp-8x96", "mlp-256", "autoencoder"):
        ways = {f"{size} MiB": trained(name, 16, CACHE_BYTES=size * MiB) for size in (12, 3, 6, 24, 96)}
        race(f"cache: bytes that a group of replicas touches in a step, {name}", ways)


def passes() -> None:
    for name in ("conv-28", "conv-8-bn", "resnet-32", "lstm-64", "transformer-64"):
        ways = {f"{size} MiB": trained(name, 2, PASS_BYTES=size * MiB) for size in (64, 4, 16, 256)}
        race(f"passes: bytes that a pass of a replica touches, {name}", ways)


def memory() -> None:
    """The same in two processes: the allocator's settings are those of a process."""
    for changes, title in (({}, "freed memory is kept"), (MALLOC, "glibc's own settings")):
        print(f"\nmemory: {title}", flush=True)
        command = [sys.executable, __file__, "passes"]
        subprocess.run(command, env={**os.environ, **changes}, check=True)


def products_() -> None:
    for rows, inner, columns in ((32, 64, 64), (128, 64, 64), (128, 96, 96), (128, 256, 256), (128, 784, 256)):
        replicas = max(1, 4_000_000 // (rows * inner))
        x, w = torch.randn(replicas, rows, inner), torch.randn(replicas, columns, inner).transpose(1, 2)
        out = torch.empty(replicas, rows, columns)

        def torchs(x: Tensor = x, w: Tensor = w, out: Tensor = out) -> float:
            torch.bmm(x, w, out=out)
            return float(len(x))

        def onednn(x: Tensor = x, w: Tensor = w) -> float:
            for one, weight in zip(x, w, strict=True):
                torch.ops.mkldnn._linear_pointwise(one, weight.t(), None, "none", [], "")
            return float(len(x))

        def openblass(x: Tensor = x, w: Tensor = w, out: Tensor = out) -> float:
            openblas.multiply(x, w, out, keep=0)
            return float(len(x))

        size = f"{rows} x {inner} by {inner} x {columns}: {rows * inner * columns / 1e6:.1f} million multiplications"
        ways = {"torch.bmm": torchs, "oneDNN, one by one": onednn}
        race(f"products: {size}", {**ways, "OpenBLAS": openblass} if openblas.fits(x, w, out) else ways)


def compiled() -> None:
    """A plain training step by torch.compile, which needs a C++ compiler; what compiling takes is printed."""
    for name in ("mlp-64", "mlp-8x96", "conv-8", "transformer-64"):
        eager, ready = plain(name), plain(name, compiled=True)
        started = time.perf_counter()
        ready()
        print(f"\ncompiled: {name} compiled in {time.perf_counter() - started:.0f} s")
        ways = {"plain torch.nn": eager, "torch.compile": ready, "refute": trained(name, 16)}
        race(f"compiled: steps of one net, {name}", ways)


def adam() -> None:
    """torch's fused kernel once per replica, or eight operations over all replicas."""
    ours = Adam()
    for parameters in (1_000, 10_000, 100_000):
        weights = Weights((), torch.randn(8, parameters))
        gradient, rate = torch.randn(8, parameters), torch.full((8, 1), 1e-3)
        state = ours.start(weights)

        def fused(w: Weights = weights, g: Tensor = gradient, s: State = state, rate: Tensor = rate) -> float:
            ours._fused_step(w.flat, g, s, rate, None)
            return 8.0

        def together(w: Weights = weights, g: Tensor = gradient, s: State = state, rate: Tensor = rate) -> float:
            w.flat.addcmul_(ours.direction(w, g.clone(), s, None, lambda: None), rate, value=-1)
            return 8.0

        race(f"adam: {parameters} parameters", {"eight operations": together, "fused, one by one": fused})


def start() -> None:
    """Seconds until two workers that have imported what they need have answered."""
    for method in ("spawn", "forkserver"):
        seconds = []
        for _ in range(3):
            command = [sys.executable, "-c", START, method]
            found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            seconds.append([float(each) for each in found])
        first, second = (statistics.median(each) for each in zip(*seconds, strict=True))
        print(f"start: {method:12} two workers {first:.2f} s, two more {second:.2f} s", flush=True)


START = """
import multiprocessing, sys, time
from multiprocessing import forkserver
if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    started = time.perf_counter()
    if sys.argv[1] == "forkserver":
        forkserver.set_forkserver_preload(["refute.engine.worker"])
    for _ in range(2):
        pipes = []
        for _ in range(2):
            ours, theirs = context.Pipe()
            context.Process(target=exec, args=("import refute.engine.worker; pipe.send(1)", {"pipe": theirs})).start()
            pipes.append(ours)
        for pipe in pipes:
            pipe.recv()
        print(time.perf_counter() - started)
        started = time.perf_counter()
"""


def backward() -> None:
    for name in ("mlp-64", "mlp-256", "conv-8"):
        hand, loop = trained(name, 8), trained(name, 8, fold=False)
        race(f"backward: by hand, or autograd's of one module after the other, {name}", {"by hand": hand, "loop": loop})


def convolutions() -> None:
    """Both passes of one layer: by oneDNN one by one or in groups, by compiled loops, or as one matrix product."""
    shapes = (1, 16, 28), (16, 32, 14), (32, 32, 7), (1, 16, 8), (16, 32, 4), (32, 32, 2), (8, 8, 32), (64, 64, 8)
    for channels, out, side in shapes:
        x, w = torch.randn(8, BATCH, channels, side, side), torch.randn(8, out, channels, 3, 3)
        gradient = torch.randn(8, BATCH, out, side, side)
        columns = functional.unfold(x.flatten(0, 1), 3, padding=1).unflatten(0, (8, BATCH))

        def in_groups(
            size: int, x: Tensor = x, w: Tensor = w, g: Tensor = gradient, wanted: bool = channels > 1
        ) -> Callable[[], float]:
            groups = [slice(first, first + size) for first in range(0, len(x), size)]
            inputs, gradients = ([side_by_side(each[group]) for group in groups] for each in (x, g))
            inputs = [channels_together(each) for each in inputs]
            kernels = [w[group].flatten(0, 1) for group in groups]
            sides = [1, 1], [1, 1], [1, 1]

            def way() -> float:
                for image, kernel, gradient in zip(inputs, kernels, gradients, strict=True):
                    torch.conv2d(image, kernel, None, *sides, size)
                    torch.ops.aten.convolution_backward(
                        gradient, image, kernel, None, *sides, False, [0, 0], size, [wanted, True, False]
                    )
                return float(len(w))

            return way

        def as_product(x: Tensor = x, w: Tensor = w, columns: Tensor = columns) -> float:
            functional.unfold(x.flatten(0, 1), 3, padding=1)
            torch.matmul(w.flatten(2).unsqueeze(1), columns)
            return float(len(w))

        def in_loops(
            x: Tensor = x,
            w: Tensor = w,
            g: Tensor = gradient,
            wanted: bool = channels > 1,
            form: tuple[int, int] = (channels, out),
        ) -> Callable[[], float]:
            layer, into = Convolution("conv", *form, bias=False), torch.empty_like(w)
            step = CompiledStep(layer, {"conv.weight": w}, {"conv.weight": into}, wanted=wanted)
            image, gradient = channels_together(x), channels_together(g)

            def way() -> float:
                step.forward(image)
                step.backward(gradient, keep=0)
                return float(len(w))

            return way

        title = f"convolutions: {channels} to {out} channels on {side} x {side}, both passes"
        ways = {"compiled loops": in_loops(), **{f"groups of {size}": in_groups(size) for size in (1, 2, 4, 8)}}
        race(title, {**ways, "unfold and product, forward only": as_product})


def groups() -> None:
    """Whole steps with 1 to 16 replicas of a convolutional net in a pass."""
    sizes = (1, 2, 4, 8, 16)
    for name in ("conv-8", "conv-8-bn", "conv-28", "conv-28-bn"):
        race(f"groups: replicas in a pass, {name}", {f"{size}": grouped(name, size) for size in sizes})


def grouped(name: str, size: int) -> Callable[[], float]:
    train = trained(name, 16)

    def way() -> float:
        before = network.GROUP_BYTES, network.MOST_TOGETHER
        network.GROUP_BYTES, network.MOST_TOGETHER = 2**60, size
        done = train()
        network.GROUP_BYTES, network.MOST_TOGETHER = before
        return done

    return way


def sequences() -> None:
    for name in ("lstm-64", "transformer-64"):
        loop = plain(name)
        ways = {
            "plain torch.nn": loop,
            "refute, stacked where it can": trained(name, 2),
            "refute, one by one": trained(name, 2, fold=False),
        }
        race(f"sequences: {name}", ways)


def plain(name: str, *, compiled: bool = False) -> Callable[[], float]:
    net, (inputs, labels, _, _) = NETS[name], loaded(name)
    once = net.make()
    ready = torch.compile(once) if compiled else once

    def way() -> float:
        module = ready if compiled else net.make()
        optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
        for _ in range(10):
            chosen = torch.randint(TRAIN, (BATCH,))
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(inputs[chosen]), labels[chosen]).backward()
            optimizer.step()
        return 10.0

    return way


IDEAS: dict[str, Callable[[], None]] = {
    "cache": cache,
    "passes": passes,
    "memory": memory,
    "products": products_,
    "compiled": compiled,
    "adam": adam,
    "start": start,
    "backward": backward,
    "convolutions": convolutions,
    "groups": groups,
    "sequences": sequences,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ideas", nargs="*", help=f"some of {', '.join(IDEAS)}")
    chosen = parser.parse_args().ideas or list(IDEAS)
    if unknown := [name for name in chosen if name not in IDEAS]:
        parser.error(f"no idea is called '{unknown[0]}'; there are {', '.join(IDEAS)}")
    torch.set_num_threads(1)
    for name in chosen:
        IDEAS[name]()


if __name__ == "__main__":
    main()
