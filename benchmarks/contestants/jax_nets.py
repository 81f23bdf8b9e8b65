"""The nets of the race as JAX functions, over the same weights as their nn.Modules.

A function takes weights by name (of one replica), inputs as torch lays them out, and whether it trains; it gives
outputs and the new running statistics. `converted` turns a state dict into its weights.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from contestants.nets import CHANNELS, HEADS, STAGES, WIDTH, Net

Arrays = dict[str, Any]
Forward = Callable[[Arrays, Any, bool], tuple[Any, Arrays]]
BATCH_NORM_MOMENTUM, EPSILON = 0.1, 1e-5
STATISTICS = ("running_mean", "running_var")


def converted(net: Net, state: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Weights in the layout that suits JAX: dense (input, output), kernels (height, width, input, output)."""
    found = {}
    for name, array in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        if net.name.startswith("conv") and name == "output.weight":  # images come as (height, width, channel)
            channels = CHANNELS[-1][1]
            side = round((array.shape[1] / channels) ** 0.5)
            array = array.reshape(-1, channels, side, side).transpose(0, 2, 3, 1).reshape(len(array), -1)
        if array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)
        elif array.ndim == 2 and name != "position":
            array = array.T
        found[name] = np.ascontiguousarray(array)
    return found


def forward(net: Net) -> Forward:
    if net.kind == "dense":
        return _mlp
    return {"resnet-32": _resnet, "lstm-64": _lstm, "transformer-64": _transformer}.get(net.name, _conv_net)


def _linear(w: Arrays, name: str, x: Any) -> Any:
    return x @ w[f"{name}.weight"] + w[f"{name}.bias"]


def _mlp(w: Arrays, x: Any, _: bool) -> tuple[Any, Arrays]:
    depth = len(w) // 2
    for index in range(1, depth):
        x = jax.nn.relu(_linear(w, f"dense{index}", x))
    return _linear(w, f"dense{depth}", x), {}


def _convolution(w: Arrays, name: str, x: Any, stride: int = 1) -> Any:
    kernel = w[f"{name}.weight"]
    pad = kernel.shape[0] // 2
    y = jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), ((pad, pad), (pad, pad)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def _batch_norm(w: Arrays, name: str, x: Any, training: bool) -> tuple[Any, Arrays]:
    if not training:
        mean, variance, new = w[f"{name}.running_mean"], w[f"{name}.running_var"], {}
    else:
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        count = x[..., 0].size
        seen = {"running_mean": mean, "running_var": variance * count / (count - 1)}
        new = {
            f"{name}.{kind}": (1 - BATCH_NORM_MOMENTUM) * w[f"{name}.{kind}"]
            + BATCH_NORM_MOMENTUM * jax.lax.stop_gradient(seen[kind])
            for kind in STATISTICS
        }
    return (x - mean) * jax.lax.rsqrt(variance + EPSILON) * w[f"{name}.weight"] + w[f"{name}.bias"], new


def _conv_net(w: Arrays, x: Any, training: bool) -> tuple[Any, Arrays]:
    x, statistics = jnp.transpose(x, (0, 2, 3, 1)), {}
    for index in range(1, len(CHANNELS) + 1):
        x = _convolution(w, f"conv{index}", x)
        if f"norm{index}.weight" in w:
            x, new = _batch_norm(w, f"norm{index}", x, training)
            statistics |= new
        x = jax.nn.relu(x)
        if index < len(CHANNELS):
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return _linear(w, "output", x.reshape(len(x), -1)), statistics


def _resnet(w: Arrays, x: Any, training: bool) -> tuple[Any, Arrays]:
    x = _convolution(w, "conv", jnp.transpose(x, (0, 2, 3, 1)))
    x, statistics = _batch_norm(w, "norm", x, training)
    x = jax.nn.relu(x)
    for index, (_, _, stride) in enumerate(STAGES):
        block = f"blocks.{index}"
        y, first = _batch_norm(w, f"{block}.norm1", _convolution(w, f"{block}.conv1", x, stride), training)
        y, second = _batch_norm(w, f"{block}.norm2", _convolution(w, f"{block}.conv2", jax.nn.relu(y)), training)
        shortcut = _convolution(w, f"{block}.shortcut", x, stride) if stride > 1 else x
        x = jax.nn.relu(y + shortcut)
        statistics |= first | second
    return _linear(w, "output", x.mean((1, 2))), statistics


def _lstm(w: Arrays, x: Any, _: bool) -> tuple[Any, Arrays]:
    driven = x @ w["lstm.weight_ih_l0"] + w["lstm.bias_ih_l0"] + w["lstm.bias_hh_l0"]

    def step(carry: Any, at: Any) -> Any:
        state, cell = carry
        let_in, forget, new, let_out = jnp.split(at + state @ w["lstm.weight_hh_l0"], 4, axis=-1)
        cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(let_in) * jnp.tanh(new)
        return (jax.nn.sigmoid(let_out) * jnp.tanh(cell), cell), None

    zeros = jnp.zeros((len(x), WIDTH))
    (state, _), _ = jax.lax.scan(step, (zeros, zeros), jnp.swapaxes(driven, 0, 1))
    return _linear(w, "output", state), {}


def _layer_norm(w: Arrays, name: str, x: Any) -> Any:
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + EPSILON) * w[f"{name}.weight"] + w[f"{name}.bias"]


def _transformer(w: Arrays, x: Any, _: bool) -> tuple[Any, Arrays]:
    x = _linear(w, "embed", x) + w["position"]
    batch, tokens, _ = x.shape
    for index in range(2):
        layer = f"layers.{index}"
        packed = x @ w[f"{layer}.self_attn.in_proj_weight"] + w[f"{layer}.self_attn.in_proj_bias"]
        heads = (batch, tokens, HEADS, WIDTH // HEADS)
        query, key, value = (part.reshape(heads) for part in jnp.split(packed, 3, axis=-1))
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) * (WIDTH // HEADS) ** -0.5
        attended = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), value).reshape(x.shape)
        x = _layer_norm(w, f"{layer}.norm1", x + _linear(w, f"{layer}.self_attn.out_proj", attended))
        inner = _linear(w, f"{layer}.linear2", jax.nn.relu(_linear(w, f"{layer}.linear1", x)))
        x = _layer_norm(w, f"{layer}.norm2", x + inner)
    return _linear(w, "output", x.mean(1)), {}
