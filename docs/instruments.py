"""Make docs/instruments.md: every instrument with its definition, source and flags, from the docstrings, and a picture.

The pictures show real measurements, most of three small nets on the digits. python docs/instruments.py
"""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from instrument_pictures import PICTURES, Example, example
from matplotlib.ticker import NullFormatter

import refute.instruments as instruments

FOLDER = Path(__file__).parent / "instruments"
PAGE = Path(__file__).parent / "instruments.md"
TOOLS = {"interface", "lanczos", "logistic", "objective", "probes", "warping"}
"""What instruments are made of, no instruments themselves."""


def picture(name: str, shown: Example) -> Path:
    figure, axes = plt.subplots(figsize=(2.8, 1.9), layout="constrained")
    PICTURES[name].draw(shown, axes)
    axes.tick_params(which="both", labelsize=6)
    axes.xaxis.label.set_size(7)
    axes.yaxis.label.set_size(7)
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            axis.set_minor_formatter(NullFormatter())
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


def page() -> str:
    lines = [
        "# Instruments",
        "",
        "Made by `python docs/instruments.py` from the docstrings. Every instrument takes a cohort (results lead with "
        "the axis replica), on a `Network` with its `Weights` or a plain `nn.Module`; results carry flags that say "
        "when they are not to be trusted. Pictures: three nets of 24-24-24 units, 300 digits, a line or dot each, "
        "unless their caption says otherwise. How far instruments are from independent computations: "
        "[instrument_checks.md](instrument_checks.md).",
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
        if info.name in PICTURES:
            caption = PICTURES[info.name].caption
            alt = caption.rstrip(".") or f"{info.name} of three nets"
            lines += [f'<img src="instruments/{info.name}.svg" alt="{alt}" width="280">', ""]
            lines += [f"*{caption}*", ""] if caption else []
        else:
            print(f"no picture of {info.name}: add one to PICTURES")
        for name in functions:
            lines += entry(module, name)
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    torch.set_num_threads(1)
    plt.rcParams["svg.hashsalt"] = "refute"  # the same picture is the same file
    FOLDER.mkdir(exist_ok=True)
    shown = example()
    for name in PICTURES:
        print(picture(name, shown))
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
