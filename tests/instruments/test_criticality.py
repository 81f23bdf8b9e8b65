"""Layer criticality against resets made by hand, one layer and one replica at a time."""

import torch

from refute import architectures
from refute.instruments import accuracy, joint_reset_accuracy, layer_distances, norm_matched, reset_accuracy

SEEDS = (1, 2, 3)
INPUTS, LABELS = torch.rand(40, 6), torch.arange(40) % 4


def made(normalization: str = "none") -> tuple[architectures.Network, architectures.Weights, architectures.Weights]:
    network = architectures.build("mlp", (6,), 4, depth=2, width=7, normalization=normalization)
    return network, network.initialize(SEEDS), network.initialize(SEEDS, purpose="end")


def test_reset_accuracy_is_that_of_a_net_with_one_layer_exchanged() -> None:
    network, start, end = made()
    found = reset_accuracy(network, end, start, INPUTS, LABELS)
    assert found.shape == (3, 3)
    for layer, unit in enumerate(("dense1", "dense2", "output")):
        for replica, _ in enumerate(SEEDS):
            x = INPUTS
            for name in ("dense1", "dense2", "output"):
                source = start if name == unit else end
                x = x @ source[f"{name}.weight"][replica].T + source[f"{name}.bias"][replica]
                x = torch.relu(x) if name != "output" else x
            assert found[replica, layer] == (x.argmax(dim=1) == LABELS).double().mean()


def test_resetting_to_itself_changes_nothing_and_resetting_all_gives_the_donor() -> None:
    network, start, end = made("batch")
    final = accuracy(network, end, INPUTS, LABELS)
    assert torch.equal(reset_accuracy(network, end, end, INPUTS, LABELS), final[:, None].expand(3, 3))
    everything = torch.ones(3, 3, dtype=torch.bool)
    joint = joint_reset_accuracy(network, end, start, everything, INPUTS, LABELS)
    assert torch.equal(joint, accuracy(network, start, INPUTS, LABELS))
    nothing = joint_reset_accuracy(network, end, start, ~everything, INPUTS, LABELS)
    assert torch.equal(nothing, final)


def test_joint_reset_is_per_replica() -> None:
    network, start, end = made()
    chosen = torch.tensor([[True, False, False], [False, False, False], [False, True, False]])
    joint = joint_reset_accuracy(network, end, start, chosen, INPUTS, LABELS)
    single = reset_accuracy(network, end, start, INPUTS, LABELS)
    final = accuracy(network, end, INPUTS, LABELS)
    assert torch.equal(joint, torch.stack([single[0, 0], final[1], single[2, 1]]))


def test_distances_by_hand() -> None:
    network, start, end = made()
    found = layer_distances(network, start, end)
    before = torch.cat([start["dense2.weight"][1].flatten(), start["dense2.bias"][1]])
    after = torch.cat([end["dense2.weight"][1].flatten(), end["dense2.bias"][1]])
    change = (after - before).double()
    assert torch.isclose(found["rms"][1, 1].double(), change.square().mean().sqrt())
    assert torch.isclose(found["maximum"][1, 1].double(), change.abs().max())
    assert torch.isclose(found["relative"][1, 1].double(), change.norm() / before.double().norm())


def test_a_matched_draw_has_the_trained_norm_and_its_own_direction() -> None:
    network, start, end = made()
    matched = norm_matched(network, start, end)
    for name in network.kernels:
        a, b = matched[name].flatten(1), end[name].flatten(1)
        assert torch.allclose(a.norm(dim=1), b.norm(dim=1), rtol=1e-5)
        cosine = torch.nn.functional.cosine_similarity(a, start[name].flatten(1))
        assert torch.allclose(cosine, torch.ones(3), atol=1e-5)
