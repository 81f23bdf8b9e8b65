"""Make docs/instruments.md: every instrument with its definition, source and flags, from the docstrings, and a picture.

The pictures show real measurements of three small nets on the digits. python docs/instruments.py
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes

import refute.instruments as instruments
from refute import architectures, datasets
from refute.algorithms import SGD
from refute.architectures import Network, Weights
from refute.datasets import Data
from refute.instruments.activations import layer_outputs
from refute.instruments.bezier import train_curve
from refute.instruments.cka import cka_matrix
from refute.instruments.concentration import concentration
from refute.instruments.confidence import confidence
from refute.instruments.corruptions import corruption_accuracy
from refute.instruments.critical import critical_sharpness
from refute.instruments.criticality import reset_accuracy
from refute.instruments.effective_dimension import effective_dimension
from refute.instruments.eigenvalues import eigenvalues
from refute.instruments.features import last_layer, representations
from refute.instruments.gradient_norms import gradient_norms
from refute.instruments.layer_norms import ranks_of
from refute.instruments.neural_collapse import neural_collapse
from refute.instruments.pac_bayes import pac_bayes_sigma
from refute.instruments.paths import line_profile
from refute.instruments.robustness import robust_accuracy
from refute.instruments.rotation import layer_rotation
from refute.instruments.sharpness import epsilon_sharpness
from refute.instruments.spectrum import spectral_density
from refute.instruments.steps import step_angles
from refute.instruments.trace import trace
from refute.instruments.working_range import working_range
from refute.training import Run, train

FOLDER = Path(__file__).parent / "instruments"
PAGE = Path(__file__).parent / "instruments.md"
TOOLS = {"interface", "lanczos", "probes", "objective", "perturbation"}
"""What instruments are made of, no instruments themselves."""
SEEDS = [0, 1, 2]
STEPS = 400


@dataclass(frozen=True)
class Example:
    """Three nets on the digits, trained, with the moments between."""

    network: Network
    data: Data
    run: Run

    @property
    def moments(self) -> list[tuple[int, Weights]]:
        return sorted(self.run.snapshots.items())

    @property
    def examples(self) -> tuple[torch.Tensor, torch.Tensor]:
        batch = self.data.first(300)
        return batch.inputs, batch.labels


def example() -> Example:
    data = datasets.load("digits", train=300, seeds=SEEDS, test=300, flatten=True, standardize=True)
    network = architectures.build("mlp", data.input_shape, data.classes, depth=3, width=24)
    moments = [0, 5, 10, 20, 40, 80, 160, 280, STEPS]
    run = train(network, data, SGD(0.9), learning_rate=0.02, seeds=SEEDS, steps=STEPS, batch=50, snapshots=moments)
    return Example(network, data, run)


def along(
    measure: Callable[[Example, Weights], torch.Tensor], y: str, *, log: bool = False
) -> Callable[[Example, Axes], None]:
    """A picture of a quantity along training, one line per replica."""

    def draw(shown: Example, axes: Axes) -> None:
        found = torch.stack([measure(shown, weights).detach() for _, weights in shown.moments], dim=1)
        for line in found:
            axes.plot([step + 1 for step, _ in shown.moments], line.tolist(), color="#2a78d6", alpha=0.8)
        axes.set(xscale="log", xlabel="step + 1", ylabel=y, yscale="log" if log else "linear")

    return draw


def by_layer(
    measure: Callable[[Example], dict[str, torch.Tensor]], y: str, *, log: bool = False
) -> Callable[[Example, Axes], None]:
    """A picture of a quantity of each layer, one dot per replica."""

    def draw(shown: Example, axes: Axes) -> None:
        found = measure(shown)
        for place, values in enumerate(found.values()):
            axes.plot([place] * len(values), values.tolist(), "o", color="#2a78d6", alpha=0.7, markersize=4)
        axes.set_xticks(range(len(found)), [name.removesuffix(".weight") for name in found], fontsize=6, rotation=30)
        axes.set(ylabel=y, yscale="log" if log else "linear")

    return draw


def draw_spectrum(shown: Example, axes: Axes) -> None:
    found = spectral_density(shown.network, shown.run.end, *shown.examples, seeds=SEEDS, probes=4, steps=60)
    axes.plot(found.nodes[0].flatten().tolist(), found.weights[0].flatten().tolist(), ".", markersize=3)
    axes.set(xlabel="eigenvalue", ylabel="weight", yscale="log")


def draw_line(shown: Example, axes: Axes) -> None:
    shifted = Weights(shown.run.end.slots, shown.run.end.flat.roll(1, dims=0), shown.run.end.buffers)
    found = line_profile(shown.network, shown.run.end, shifted, *shown.examples)
    for line in found.losses:
        axes.plot(found.fractions.tolist(), line.tolist(), color="#2a78d6")
    axes.set(xlabel="from one net to another", ylabel="loss")


def draw_curve(shown: Example, axes: Axes) -> None:
    shifted = Weights(shown.run.end.slots, shown.run.end.flat.roll(1, dims=0), shown.run.end.buffers)
    found = train_curve(shown.network, shown.run.end, shifted, *shown.examples, seeds=SEEDS, steps=200)
    axes.plot(found.losses[0].tolist(), color="#2a78d6")
    axes.set(xlabel="step", ylabel="loss on the curve", yscale="log")


def draw_cka(shown: Example, axes: Axes) -> None:
    layers = list(representations(shown.network, shown.run.end, shown.data.test_inputs).values())
    axes.imshow(cka_matrix(layers)[0], vmin=0, vmax=1, cmap="viridis")
    axes.set(xlabel="layer", ylabel="layer")


def draw_robust(shown: Example, axes: Axes) -> None:
    radii = [0.05 * k for k in range(9)]
    inputs, labels = shown.data.test_inputs, shown.data.test_labels
    found = robust_accuracy(shown.network, shown.run.end, inputs, labels, radii=radii, seeds=SEEDS, steps=10)
    for line in found.accuracy:
        axes.plot(
            found.radii[0].tolist() if found.radii.dim() > 1 else found.radii.tolist(), line.tolist(), color="#2a78d6"
        )
    axes.set(xlabel="radius (l-infinity)", ylabel="accuracy", ylim=(0, 1))


def draw_noise(shown: Example, axes: Axes) -> None:
    levels = [0.25 * k for k in range(9)]
    inputs, labels = shown.data.test_inputs, shown.data.test_labels
    network, weights = shown.network, shown.run.end
    found = corruption_accuracy(network, weights, inputs, labels, kind="gaussian", levels=levels, seeds=SEEDS)
    for line in found.accuracy:
        axes.plot(levels, line.tolist(), color="#2a78d6")
    axes.set(xlabel="noise, sd of a pixel", ylabel="accuracy", ylim=(0, 1))


def draw_range(shown: Example, axes: Axes) -> None:  # noqa: ARG001
    x = torch.linspace(-4, 4, 17)
    y = torch.exp(-((x + 0.5) ** 2) / 4).unsqueeze(0)
    found = working_range(x, y, torch.tensor([0.5]))
    axes.plot(x.tolist(), y[0].tolist(), color="#2a78d6")
    axes.axvspan(found.low.item(), found.high.item(), color="#0d8a63", alpha=0.2)
    axes.axhline(0.5, color="grey", linestyle=":")
    axes.set(xlabel="setting", ylabel="result")


def nc1(shown: Example, weights: Weights) -> torch.Tensor:
    inputs, labels = shown.examples
    return neural_collapse(last_layer(shown.network, weights, inputs), labels).nc1


def dimensions(shown: Example) -> dict[str, torch.Tensor]:
    found = representations(shown.network, shown.run.end, shown.data.test_inputs)
    return {name: next(iter(effective_dimension(values).values.values())) for name, values in found.items()}


def concentrations(shown: Example) -> dict[str, torch.Tensor]:
    found = layer_outputs(shown.network, shown.run.end, shown.data.test_inputs).of_kind("relu")
    return {name: concentration(values).gini.nanmean(dim=-1) for name, values in found.items()}


def norms(shown: Example) -> dict[str, torch.Tensor]:
    found = gradient_norms(shown.network, shown.run.start, *shown.examples)
    return dict(zip(found.kernels, found.norms.T, strict=True))


def resets(shown: Example) -> dict[str, torch.Tensor]:
    inputs, labels = shown.data.test_inputs, shown.data.test_labels
    found = reset_accuracy(shown.network, shown.run.end, shown.run.start, inputs, labels)
    return dict(zip(shown.network.units, found.T, strict=True))


def ranks(shown: Example) -> dict[str, torch.Tensor]:
    return {name: ranks_of(shown.run.end[name]).stable_rank for name in shown.network.kernels}


def rotations(shown: Example) -> dict[str, torch.Tensor]:
    return dict(zip(shown.network.kernels, layer_rotation(shown.run.start, shown.run.end).T, strict=True))


def margins(shown: Example, weights: Weights) -> torch.Tensor:
    inputs, labels = shown.examples
    return confidence(shown.network.evaluate(weights, inputs), labels).margin.mean(dim=1)


PICTURES: dict[str, Callable[[Example, Axes], None]] = {
    "eigenvalues": along(
        lambda e, w: eigenvalues(e.network, w, *e.examples, seeds=SEEDS).values[:, 0], "top eigenvalue", log=True
    ),
    "trace": along(lambda e, w: trace(e.network, w, *e.examples, seeds=SEEDS).value, "Hessian trace"),
    "sharpness": along(
        lambda e, w: epsilon_sharpness(e.network, w, *e.examples, seeds=SEEDS, steps=5).value, "sharpness"
    ),
    "critical": along(lambda e, w: critical_sharpness(e.network, w, *e.examples).value, "critical sharpness", log=True),
    "spectrum": draw_spectrum,
    "pac_bayes": along(lambda e, w: pac_bayes_sigma(e.network, w, *e.examples, seeds=SEEDS).sigma, "tolerated noise"),
    "paths": draw_line,
    "bezier": draw_curve,
    "steps": lambda e, axes: (
        axes.plot(step_angles([w for _, w in e.moments]).angles.T.tolist(), color="#2a78d6"),
        axes.set(xlabel="moment", ylabel="angle between steps"),
        None,
    )[-1],
    "cka": draw_cka,
    "robustness": draw_robust,
    "corruptions": draw_noise,
    "working_range": draw_range,
    "neural_collapse": along(nc1, "NC1", log=True),
    "confidence": along(margins, "mean margin"),
    "effective_dimension": by_layer(dimensions, "effective dimension"),
    "concentration": by_layer(concentrations, "Gini index"),
    "gradient_norms": by_layer(norms, "gradient norm", log=True),
    "criticality": by_layer(resets, "accuracy after a reset"),
    "layer_norms": by_layer(ranks, "stable rank"),
    "rotation": by_layer(rotations, "cosine distance"),
}


def picture(name: str, shown: Example) -> Path:
    figure, axes = plt.subplots(figsize=(2.8, 1.9), layout="constrained")
    PICTURES[name](shown, axes)
    axes.tick_params(which="both", labelsize=6)
    axes.xaxis.label.set_size(7)
    axes.yaxis.label.set_size(7)
    path = FOLDER / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def entry(module: object, name: str) -> list[str]:
    """One public function: signature without types, and its docstring without the doctest."""
    function = getattr(module, name)
    parameters = ", ".join(
        one.name if one.default is inspect.Parameter.empty else f"{one.name}={one.default!r}"
        for one in inspect.signature(function).parameters.values()
    )
    text = inspect.getdoc(function) or ""
    text = re.split(r"\n\s*>>> ", text)[0].strip()
    first, _, rest = text.partition("\n\n")
    lines = [f"**`{name}({parameters})`**", "", " ".join(first.split())]
    for part in rest.split("\n\n"):
        if part.startswith(("Args:", "Raises:", "Returns:")):
            title, _, body = part.partition("\n")
            lines += ["", f"<details><summary>{title.rstrip(':')}</summary>", "", "```text", inspect.cleandoc(body)]
            lines += ["```", "", "</details>"]
        elif part.strip():
            lines += ["", " ".join(part.split())]
    return [*lines, ""]


def page(pictures: set[str]) -> str:
    lines = [
        "# Instruments",
        "",
        "Made by `python docs/instruments.py` from the docstrings. Every instrument takes a cohort (results lead with "
        "the axis replica), on a `Network` with its `Weights` or a plain `nn.Module`; results carry flags that say "
        "when they are not to be trusted. Pictures: three nets of 24-24-24 units, 300 digits, a line or dot each.",
        "",
    ]
    for info in pkgutil.iter_modules(instruments.__path__):
        if info.name in TOOLS:
            continue
        module = importlib.import_module(f"refute.instruments.{info.name}")
        names = [
            name
            for name in instruments.__all__
            if getattr(getattr(instruments, name), "__module__", "") == module.__name__
        ]
        functions = [name for name in names if inspect.isfunction(getattr(instruments, name))]
        if not functions:
            continue
        lines += [f"## {info.name.replace('_', ' ')}", "", " ".join((module.__doc__ or "").split()), ""]
        if info.name in pictures:
            lines += [
                f'<img src="instruments/{info.name}.svg" alt="{info.name} of three nets" width="280">',
                "",
            ]
        for name in functions:
            lines += entry(module, name)
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    shown = example()
    for name in PICTURES:
        print(picture(name, shown))
    PAGE.write_text(page(set(PICTURES)), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
