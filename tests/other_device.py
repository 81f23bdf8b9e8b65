"""A second device that every machine has: it computes on the CPU and refuses what CUDA would refuse.

Inside `other_device()` a tensor made with, or moved to, device "meta" is an `Elsewhere`: a wrapper of device "meta"
around a CPU tensor, on which every operation is really computed. It stands in for CUDA because torch has a guard for
"meta" in every build, and code that asks `device.type != "cpu"` takes the path of a GPU. Refused are:

- operations on tensors of both devices, but for what CUDA allows: CPU scalars (0 axes) where its kernels take them, CPU
  indices, and copies;
- looking at memory (`numpy`, `data_ptr`, storages);
- draws for the device from a generator of the CPU;
- operations that torch has for CPUs but not for CUDA, and drivers of least squares that only LAPACK has.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

from refute.architectures import Network

DEVICE = "meta"

aten = torch.ops.aten

COPIES = {aten.copy_.default, aten._to_copy.default}
"""What may see both devices."""
INDEXED = {
    aten.index.Tensor,
    aten._unsafe_index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
    aten._unsafe_index_put.default,
}
"""What takes CPU indices of tensors anywhere."""
TERNARY = {
    "aten::clamp",
    "aten::clamp_",
    "aten::addcmul",
    "aten::addcmul_",
    "aten::addcdiv",
    "aten::addcdiv_",
    "aten::lerp",
    "aten::lerp_",
}
"""Elementwise kernels that are not sure to take CPU scalars."""
TAKES_SCALARS = {"aten::masked_fill", "aten::masked_fill_", "aten::fill", "aten::fill_"}
"""Kernels that are not tagged as elementwise, but take CPU scalars."""


class Elsewhere(Tensor):
    """A tensor of the other device; `inner` is the CPU tensor that it wraps."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Elsewhere":
        made: Elsewhere = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Elsewhere({self.inner!r})"

    def __format__(self, form: str) -> str:
        return format(self.inner, form)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Elsewhere":
        made = Elsewhere(self.inner.clone()).requires_grad_(self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            made._is_param = True  # what tells torch that a subclass is a parameter
        memo[id(self)] = made
        return made

    def tolist(self) -> Any:
        return self.inner.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("can't convert a tensor of another device to numpy. Use Tensor.cpu() first")

    def data_ptr(self) -> int:
        raise RuntimeError("the memory of another device is out of reach")

    def untyped_storage(self) -> Any:
        raise RuntimeError("the memory of another device is out of reach")


class _Dispatch(TorchDispatchMode):
    """Makes tensors of the other device where one is asked for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


class _Function(TorchFunctionMode):
    """Numbers from Python or numpy: torch keeps none of them on "meta", so that they come by way of the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], Elsewhere):
            given = [_index(each) for each in args[1]] if isinstance(args[1], tuple) else _index(args[1])
            values = [_index(each) for each in args[2:]]
            return func(args[0], tuple(given) if isinstance(given, list) else given, *values)
        if func not in (torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor):
            return func(*args, **kwargs)
        asked = kwargs.pop("device", None)
        if func is Tensor.new_tensor:
            asked, func, kwargs = asked or args[0].device, torch.tensor, {"dtype": args[0].dtype, **kwargs}
            args = args[1:]
        if asked is None or isinstance(args[0], Elsewhere):
            return func(*args, **kwargs, **({} if asked is None else {"device": asked}))
        return func(*args, **kwargs).to(asked)


def _index(given: Any) -> Any:
    """Lists as tensors of the device."""
    return torch.tensor(given).to(DEVICE) if isinstance(given, list | np.ndarray) else given


@contextmanager
def other_device() -> Iterator[str]:
    """The device exists inside; gives its name."""
    with _Function(), _Dispatch():
        yield DEVICE


def compute(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """One operation, on the CPU; its results are where CUDA would put them."""
    flat = _flat((*args, *kwargs.values()))
    elsewhere = [each for each in flat if isinstance(each, Elsewhere)]
    assert not any(_plain(each) and each.device.type == DEVICE for each in flat), f"{func}: a tensor without numbers"
    there = _goes(func, args, kwargs) if func in COPIES or kwargs.get("device") is not None else bool(elsewhere)
    if not there and not elsewhere:
        return func(*args, **kwargs)
    if elsewhere and func not in COPIES:
        _refuse_mixtures(func, args, flat)
    _refuse_what_cuda_lacks(func, kwargs, flat)
    inner = {name: torch.device("cpu") if name == "device" else _inner(value) for name, value in kwargs.items()}
    if func is aten._fused_sdp_choice.default:
        return 0  # the plain formula: the kernel that a CPU would choose is for CPUs only
    if func is aten.linalg_lstsq.default:
        inner["driver"] = "gels"
    found = func(*map(_inner, args), **inner)
    if torch.Tag.inplace_view in func.tags:  # the wrapper changes its shape in the same way
        with no_dispatch():
            func(*args, **kwargs)
    _refuse_new_shapes(func, elsewhere)
    same = {id(each.inner): each for each in elsewhere}  # what works in place hands back what it was given

    def wrapped(found: Any) -> Any:
        if isinstance(found, tuple | list):
            return type(found)(wrapped(each) for each in found)
        if not _plain(found):
            return found
        return same[id(found)] if id(found) in same else Elsewhere(found)

    return wrapped(found) if there else found


def _flat(values: Sequence[Any]) -> list[Any]:
    """Arguments of an operation, those in lists too."""
    return [one for each in values for one in (each if isinstance(each, tuple | list) else (each,))]


def _inner(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_inner(each) for each in value]
    return value.inner if isinstance(value, Elsewhere) else value


def _plain(value: Any) -> bool:
    return isinstance(value, Tensor) and not isinstance(value, Elsewhere)


def _goes(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether the result of a copy or a factory is on the other device."""
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"]).type == DEVICE
    return isinstance(args[0], Elsewhere)


def _refuse_mixtures(func: Any, args: Sequence[Any], flat: Sequence[Any]) -> None:
    strangers = [each for each in flat if _plain(each)]
    if func in INDEXED and isinstance(args[0], Elsewhere):
        strangers = [each for each in args[2:3] if _plain(each) and each.ndim]
    elif _takes_scalars(func):
        strangers = [each for each in strangers if each.ndim]
    if strangers:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {DEVICE} and cpu! ({func})"
        )


def _refuse_what_cuda_lacks(func: Any, kwargs: Mapping[str, Any], flat: Sequence[Any]) -> None:
    if any(isinstance(each, torch.Generator) for each in flat):
        raise RuntimeError(f"Expected a '{DEVICE}' device type for generator but found 'cpu' ({func})")
    if func is aten.linalg_lstsq.default and kwargs.get("driver") not in (None, "gels"):
        raise RuntimeError("torch.linalg.lstsq: parameter `driver` should be one of (gels)")
    if _only_on_cpus(func):
        raise NotImplementedError(f"Could not run '{func}' with arguments from the 'CUDA' backend.")


def _refuse_new_shapes(func: Any, elsewhere: Sequence[Elsewhere]) -> None:
    """A wrapper can't follow an `out` that is resized, nor an operation in place that changes a shape."""
    for each in elsewhere:
        if each.shape != each.inner.shape or each.stride() != each.inner.stride():
            raise NotImplementedError(f"{func} changes a shape in place")


@cache
def _only_on_cpus(func: Any) -> bool:
    schema = func._schema
    name = schema.name.removeprefix("aten::")
    return (f"{name}.{schema.overload_name}" if schema.overload_name else name) in cpu_only()


@cache
def _takes_scalars(func: Any) -> bool:
    """Whether CUDA's kernel takes CPU tensors without axes."""
    name = func._schema.name
    return name in TAKES_SCALARS or (torch.Tag.pointwise in func.tags and name not in TERNARY)


@cache
def cpu_only() -> frozenset[str]:
    """Names of the operations that torch has kernels of for CPUs and not for CUDA, by its own table."""
    table = (files("torchgen") / "packaged/ATen/native/native_functions.yaml").read_text()
    found = set()
    for entry in re.split(r"^- func: ", table, flags=re.MULTILINE)[1:]:
        lines = re.findall(r"^    ([A-Za-z, ]+): \S+", entry, flags=re.MULTILINE)
        keys = {key.strip() for line in lines for key in line.split(",")}
        anywhere = "CUDA" in keys or any(key.startswith("Composite") for key in keys)
        if "CPU" in keys and not anywhere:
            found.add(entry[: entry.index("(")])
    return frozenset(found)


def _items(value: Any) -> list[tuple[str, Any]] | None:
    """Named parts of a value that holds others, or None."""
    if isinstance(value, Network):
        return None
    if is_dataclass(value) and not isinstance(value, type):
        return [(each.name, getattr(value, each.name)) for each in fields(value)]
    if isinstance(value, Mapping):
        return [(str(name), each) for name, each in value.items()]
    if isinstance(value, tuple | list):
        return [(str(place), each) for place, each in enumerate(value)]
    return None


def _changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same value, with every tensor in it changed."""
    if isinstance(value, Tensor):
        return change(value)
    items = _items(value)
    if items is None:
        return value
    made = [_changed(each, change) for _, each in items]
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **dict(zip([name for name, _ in items], made, strict=True)))
    if isinstance(value, Mapping):
        return dict(zip(value, made, strict=True))
    return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)


def sent(value: Any) -> Any:
    """The same value (a tensor, a data class, a dictionary, a tuple ...) with all its tensors on the other device."""
    return _changed(value, lambda tensor: tensor.to(DEVICE))


def fetched(value: Any) -> Any:
    """The reverse of `sent`; every tensor must have been there, so that nothing fell back to the CPU unseen."""

    def fetch(tensor: Tensor) -> Tensor:
        assert isinstance(tensor, Elsewhere), "a tensor that should be on the other device is on the CPU"
        return tensor.detach().cpu()

    return _changed(value, fetch)


def parts(value: Any) -> dict[str, Any]:
    """All tensors and numbers in a value, by their places in it."""
    items = _items(value)
    if items is None:
        return {"": value} if isinstance(value, Tensor | float | int) else {}
    return {f"{name}.{below}": part for name, each in items for below, part in parts(each).items()}


def assert_close(there: Any, here: Any, **tolerances: float) -> None:
    """Every tensor and number in one value is near that of the other."""
    found, expected = parts(there), parts(here)
    assert expected, "nothing to compare"
    assert found.keys() == expected.keys()
    for name, one in expected.items():
        torch.testing.assert_close(
            found[name],
            one,
            equal_nan=True,
            msg=lambda text, name=name: f"{name}: {text}",
            **tolerances,  # type: ignore[arg-type]
        )
