"""Angular hardness angle by angle, its range, and what leaves it as it is."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_nets import case

from refute.errors import ShapeError
from refute.instruments.angular_hardness import angular_hardness, plateau_time
from refute.instruments.features import LastLayer, last_layer


def drawn(seed: int = 0) -> tuple[LastLayer, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 15, 6, generator=generator, dtype=torch.float64)
    kernel = torch.randn(2, 4, 6, generator=generator, dtype=torch.float64)
    bias = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 4, (15,), generator=generator)
    return LastLayer(features, kernel, bias, features @ kernel.transpose(1, 2) + bias.unsqueeze(1)), labels


@pytest.mark.parametrize("with_bias", [False, True])
def test_angle_by_angle(with_bias: bool) -> None:
    last, labels = drawn()
    found = angular_hardness(last, labels, with_bias=with_bias)
    assert last.bias is not None
    for replica in range(2):
        for example in range(15):
            z = last.features[replica, example].tolist() + [1.0] * with_bias
            angles = []
            for row, shift in zip(last.kernel[replica].tolist(), last.bias[replica].tolist(), strict=True):
                w = row + [shift] * with_bias
                inner = sum(a * b for a, b in zip(z, w, strict=True))
                angles.append(math.acos(inner / math.hypot(*z) / math.hypot(*w)))
            expected = angles[int(labels[example])] / sum(angles)
            assert abs(found.value[replica, example].item() - expected) < 1e-12
    assert torch.allclose(found.length, last.features.norm(dim=2))


def test_the_ends_of_the_range() -> None:
    kernel = torch.eye(4, dtype=torch.float64)
    features = torch.stack([kernel[0], -kernel[0], torch.ones(4, dtype=torch.float64), 0 * kernel[0]])[None]
    found = angular_hardness(LastLayer(features, kernel[None], None, features), torch.zeros(4, dtype=torch.int64))
    expected = torch.tensor(
        [0.0, 2 / 5, 1 / 4, 1 / 4], dtype=torch.float64
    )  # own 180 and others 90 degrees: 2 / (C + 1)
    assert torch.allclose(found.value[0], expected, atol=1e-3)  # cosines are clipped at 1e-7, angles at 4e-4
    assert found.vanishing.tolist() == [1]
    assert found.flags["features vanish"].all()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_lengths_change_nothing_but_a_shift_does(seed: int, one: float, two: float) -> None:
    last, labels = drawn(seed)
    before = angular_hardness(last, labels).value
    scaled = LastLayer(one * last.features, two * last.kernel, None, last.outputs)
    assert torch.allclose(angular_hardness(scaled, labels).value, before, rtol=1e-9)
    shifted = LastLayer(last.features + 3, last.kernel, None, last.outputs)
    assert not torch.allclose(angular_hardness(shifted, labels).value, before, atol=1e-2)


def test_of_a_network_in_any_packing() -> None:
    made = case("vgg")
    found = angular_hardness(last_layer(*made[:3]), made.labels)
    alone = angular_hardness(last_layer(made.network, made.weights.take(slice(2, 3)), made.inputs), made.labels)
    assert torch.allclose(found.value[2:], alone.value, atol=1e-12)


def test_a_class_without_direction_is_flagged() -> None:
    last, labels = drawn()
    last.kernel[1, 2] = 0
    assert angular_hardness(last, labels).flags["a class has no direction"].tolist() == [False, True]


def test_plateau_times() -> None:
    times = torch.arange(101) / 100
    curves = torch.stack([torch.exp(-10 * times), 1 - times, torch.ones(101), 5 + torch.exp(-40 * times)])
    found = plateau_time(curves)
    expected = [math.ceil(100 * math.log(20) / 10) / 100, 0.95, 0.0, math.ceil(100 * math.log(20) / 40) / 100]
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), atol=0.0101)


def test_refusals_name_what_is_wrong() -> None:
    last, labels = drawn()
    with pytest.raises(ShapeError, match="labels must be"):
        angular_hardness(last, labels[:3])
    with pytest.raises(ShapeError, match="labels must be 0 to 3"):
        angular_hardness(last, labels + 4)
    with pytest.raises(ShapeError, match="curves must be"):
        plateau_time(torch.ones(3))
