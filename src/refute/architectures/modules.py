"""Any nn.Module as a layer of a cohort.

Followed: translated to layers of refute, where its code runs through such layers one after another (see `chains`).
Folded: all replicas at once, with the replica axis folded into the batch axis (see `folding`). Whether a module can be
run in one of these ways is not guessed: two replicas are run both ways, in float64, and outputs, gradients and buffers
are compared.
Looped: one replica after the other, for any module.
"""

import copy
import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from refute.architectures.agreement import Followed, Trial
from refute.architectures.chains import followed
from refute.architectures.folded import Folded, folded
from refute.architectures.folding import NotFoldable
from refute.architectures.layers import Layer
from refute.architectures.looped import (
    Looped,
    MakeModule,
    draw,
    made,
    momenta_of,
    named_tensors,
    outputs_of,
    places_of,
    slots_of,
)
from refute.errors import UsageError
from refute.randomness import stream

__all__ = ["Folded", "Looped", "as_layer", "draw"]

PROBES = (5, 7, 11, 13, 17, 19)
"""Examples to compare with; primes, so that few axes have as many entries by chance."""


AXES = (2, 3, 4, None)
"""Numbers of axes of the activations that scalars and vectors owned by unknown modules are tried with."""


def as_layers(
    make_module: MakeModule,
    input_shape: tuple[int, ...],
    *,
    input_dtype: torch.dtype | None = None,
    examples: Tensor | None = None,
    fold: bool = True,
) -> tuple[Layer, ...]:
    """The module as layers of refute where its code can be followed, else as one layer; arguments as of `as_layer`."""
    looped, trial = _looped(make_module, input_shape, input_dtype, examples)
    layers = followed(made(make_module, 0), input_shape) if fold and not looped.noisy else None
    if layers and not trial.difference(Followed(layers)):
        return layers
    return (_one_layer(make_module, looped, trial) if fold else looped,)


def as_layer(
    make_module: MakeModule,
    input_shape: tuple[int, ...],
    *,
    input_dtype: torch.dtype | None = None,
    examples: Tensor | None = None,
    fold: bool = True,
) -> Folded | Looped:
    """The module as a layer: folded where that gives the same numbers as running it replica by replica, else looped.

    Args:
        make_module: makes an instance, drawing its weights from torch's global generator.
        input_shape: of one example.
        input_dtype: type of the inputs; by default float32, or int64 where the module takes no real numbers.
        examples: inputs (example, *input_shape) to compare both ways with; drawn at random by default. At least 5.
        fold: False never folds.

    Raises:
        UsageError: the module takes no inputs of that shape and type, or gives no tensor.
    """
    looped, trial = _looped(make_module, input_shape, input_dtype, examples)
    return _one_layer(make_module, looped, trial) if fold else looped


def _looped(
    make_module: MakeModule, input_shape: tuple[int, ...], input_dtype: torch.dtype | None, examples: Tensor | None
) -> tuple[Looped, Trial]:
    template = made(make_module, 0)
    if any(nn.parameter.is_lazy(tensor) for tensor in (*template.parameters(), *template.buffers())):
        raise UsageError(
            "a module must know the sizes of its weights when it is made; give its lazy layers their sizes"
        )
    samples = _samples(template, input_shape, input_dtype, examples)
    noisy = _draws(template, samples)
    slots, places = slots_of(template, noisy=noisy), tuple(places_of(template))
    looped = Looped(template, slots, places, noisy, why="not asked to fold", momenta=momenta_of(template))
    trial = Trial.of(looped, [draw(make_module, seed) for seed in (1, 2)], samples)
    together = _images(template, input_shape) and not _normalizes_data(template, samples)
    looped = replace(looped, mixes=noisy or trial.mixes(looped), channels_last=together)
    if looped.channels_last and trial.difference(looped):
        looped = replace(looped, channels_last=False)
    return looped, trial


def _one_layer(make_module: MakeModule, looped: Looped, trial: Trial) -> Folded | Looped:
    reasons = []
    ways = [(axes, False) for axes in AXES] + [(axes, True) for axes in AXES if axes]
    for axes, matrices in ways:
        try:
            candidate = folded(made(make_module, 0), looped, trial.orders, axes=axes, matrices=matrices)
        except NotFoldable as error:
            reasons.append(str(error))
            continue
        for split in (False, True) if looped.noisy else (False,):
            candidate = replace(candidate, split=split)
            reason = trial.difference(candidate)
            if not reason:
                return candidate
            reasons.append(reason)
    return replace(looped, why=reasons[0])


def _images(template: nn.Module, input_shape: tuple[int, ...]) -> bool:
    return len(input_shape) == 3 and any(isinstance(part, nn.Conv2d) for part in template.modules())


def _normalizes_data(template: nn.Module, samples: Tensor) -> bool:
    """Whether a GroupNorm acts on what wants no gradient.

    The backward pass of torch 2.13 ends the process then, if the channels of the images lie together.
    """
    if not any(isinstance(part, nn.GroupNorm) for part in template.modules()):
        return False
    found: list[bool] = []

    def note(_: nn.Module, args: tuple[object, ...]) -> None:
        found.append(isinstance(args[0], Tensor) and not args[0].requires_grad)

    one = copy.deepcopy(template).eval()
    for part in one.modules():
        if isinstance(part, nn.GroupNorm):
            part.register_forward_pre_hook(note)
    with torch.enable_grad():
        one(samples[:2])
    return any(found)


def _samples(template: nn.Module, shape: tuple[int, ...], dtype: torch.dtype | None, examples: Tensor | None) -> Tensor:
    """Some inputs (example, *shape) that the module takes."""
    sizes = {size for _, tensor in named_tensors(template) for size in tensor.shape} | set(shape)
    count = next((n for n in PROBES if not any(size % n == 0 for size in sizes)), PROBES[-1])
    generator = stream(0, "samples of inputs")
    candidates = []
    if examples is not None:
        examples = examples.cpu()
        candidates.append(torch.cat([examples[: 2 * count]] * math.ceil(2 * count / len(examples)))[: 2 * count])
    elif dtype is None or dtype.is_floating_point:
        candidates.append(torch.randn(2 * count, *shape, generator=generator, dtype=dtype or torch.float32))
    if examples is None and (dtype is None or not dtype.is_floating_point):
        entries = {m.num_embeddings for m in template.modules() if isinstance(m, nn.Embedding)} or {2}
        candidates += [
            torch.randint(0, high, (2 * count, *shape), generator=generator, dtype=dtype or torch.int64)
            for high in sorted(entries, reverse=True)
        ]
    errors = []
    for candidate in candidates:
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                outputs_of(template.train()(candidate[:count]))
            return candidate
        except UsageError:
            raise
        except Exception as error:  # whatever the user's code raises
            errors.append(f"{candidate.dtype}: {type(error).__name__}: {error}")
    raise UsageError(
        f"the module takes no inputs (example, {', '.join(map(str, shape))}); "
        f"check input_shape and input_dtype, or give examples. It said {'; '.join(errors)}"
    )


def _draws(template: nn.Module, samples: Tensor) -> bool:
    """Whether the module draws random numbers when it runs."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        for training in (True, False):
            template.train(training)(samples)
        return not torch.equal(before, torch.get_rng_state())
