"""Dead units that were planted, selectivity input by input, and removal that changes nothing."""

import pytest
import torch
from small_nets import case

from refute import architectures
from refute.errors import ShapeError, UsageError
from refute.instruments.activations import layer_outputs
from refute.instruments.dead_units import filter_activity, smallest_scales, without_filters


@pytest.mark.parametrize("name", ["mlp", "vgg"])
@pytest.mark.parametrize("normalization", ["none", "batch"])
def test_planted_filters_are_found_and_can_be_removed(name: str, normalization: str) -> None:
    made = case(name, normalization=normalization)
    layer = "dense1" if name == "mlp" else "conv2"
    made.weights[f"{layer}.weight"][1, :2] = 0
    shift = "beta" if normalization == "batch" else "bias"
    made.weights[f"{layer}.{shift}"][1, :2] = -1
    if normalization == "batch":
        made.weights[f"{layer}.gamma"][1, :2] = 1e-4
        made.weights[f"{layer}.beta"][1, :2] = -1
    found = filter_activity(made.network, made.weights, made.inputs)
    assert found.inactive[layer][1, :2].all()
    if normalization == "batch":
        assert found.small_scale[layer].sum(dim=1).tolist() == [0, 2, 0]
        filters = sum(mask.shape[1] for mask in found.small_scale.values())
        assert torch.allclose(found.scale_sparsity, torch.tensor([0, 200 / filters, 0], dtype=torch.float64))
    else:
        assert torch.isnan(found.scale_sparsity).all()
    removed = without_filters(made.network, made.weights, found.inactive)
    before, after = (made.network.evaluate(own, made.inputs) for own in (made.weights, removed))
    assert torch.allclose(before, after, atol=1e-12)
    assert not torch.equal(removed.flat, made.weights.flat)
    living = {own: ~mask for own, mask in found.inactive.items()}
    silenced = made.network.evaluate(without_filters(made.network, made.weights, living), made.inputs)
    assert not torch.allclose(before, silenced, atol=1e-3)


@pytest.mark.parametrize("name", ["mlp", "vgg"])
def test_activity_and_selectivity_input_by_input(name: str) -> None:
    made = case(name)
    found = filter_activity(made.network, made.weights, made.inputs)
    outputs = layer_outputs(*made[:3])
    dead, total = torch.zeros(3), 0
    for layer, largest in found.largest.items():
        each = outputs[f"{layer}.relu"].flatten(3).amax(dim=3) if name == "vgg" else outputs[f"{layer}.relu"]
        top = each.amax(dim=1)
        assert torch.equal(largest, top)
        share = (each <= 1e-3 * top.unsqueeze(1)).double().mean(dim=1)
        share[top < 1e-12] = torch.nan
        assert torch.equal(found.selectivity[layer].nan_to_num(-1), share.nan_to_num(-1))
        dead, total = dead + (top < 1e-12).sum(dim=1), total + top.shape[1]
    assert torch.allclose(found.sparsity, 100 * dead.double() / total)
    assert found.layer_sparsity.shape == (3, len(found.largest))


def test_a_filter_that_is_only_negative_is_alive_under_a_leaky_function() -> None:
    made = case(activation="leaky-relu")
    made.weights["dense1.weight"][:, 0] = 0
    made.weights["dense1.bias"][:, 0] = -1
    assert not filter_activity(made.network, made.weights, made.inputs).inactive["dense1"].any()


def test_residual_blocks_are_looked_into() -> None:
    network = architectures.build("residual-mlp", (4,), 3, blocks=2, width=6, normalization="batch")
    found = filter_activity(network, network.initialize([0]), torch.randn(30, 4))
    assert list(found.largest) == ["stem", "block1.dense1", "block2.dense1"]


def test_disagreement_and_silence_are_flagged() -> None:
    made = case(normalization="batch")
    made.weights["dense1.gamma"][0] = 1e-4  # small, but the shift keeps them active
    made.weights["dense1.beta"][0] = 1
    made.weights["dense2.gamma"][1] = 0
    made.weights["dense2.beta"][1] = 0
    found = filter_activity(made.network, made.weights, made.inputs)
    assert found.flags["criteria disagree"][0]
    assert found.flags["a layer is silent"].tolist() == [False, True, False]


def test_the_smallest_scales() -> None:
    made = case(normalization="batch")
    found = smallest_scales(made.network, made.weights, torch.tensor([0, 3, 10]))
    scales = torch.cat([made.weights[f"{layer}.gamma"].abs() for layer in found], dim=1)
    chosen = torch.cat(list(found.values()), dim=1)
    assert chosen.sum(dim=1).tolist() == [0, 3, 10]
    assert scales[1][chosen[1]].max() <= scales[1][~chosen[1]].min()


def test_packing_changes_nothing() -> None:
    made = case("vgg")
    together = filter_activity(made.network, made.weights, made.inputs)
    alone = filter_activity(made.network, made.weights.take(slice(1, 2)), made.inputs)
    assert torch.allclose(together.largest["conv1"][1:2], alone.largest["conv1"])


def test_refusals_name_what_is_wrong() -> None:
    made = case()
    with pytest.raises(ShapeError, match="inputs must be"):
        filter_activity(made.network, made.weights, made.inputs[:, :2])
    with pytest.raises(UsageError, match="no scales"):
        smallest_scales(made.network, made.weights, torch.ones(3, dtype=torch.int64))
    with pytest.raises(ShapeError, match="dead must hold bool"):
        without_filters(made.network, made.weights, {"dense9": torch.ones(3, 5, dtype=torch.bool)})
    normalized = case(normalization="batch")
    with pytest.raises(UsageError, match="count must be at most 10"):
        smallest_scales(normalized.network, normalized.weights, torch.tensor([1, 2, 11]))
    flat = case(depth=0)
    with pytest.raises(UsageError, match="nothing can be dead"):
        filter_activity(flat.network, flat.weights, flat.inputs)
