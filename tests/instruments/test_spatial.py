"""The worst pose against a plain loop over images and poses."""

from dataclasses import replace

import pytest
import torch
from small_nets import case

from refute import architectures
from refute.augmentation import rotate
from refute.errors import ShapeError, UsageError
from refute.instruments.hessian import cast
from refute.instruments.interface import trusted
from refute.instruments.spatial import drawn_poses, pose_grid, spatial_accuracy
from refute.instruments.warping import warp


def test_the_grid_is_that_of_the_specification() -> None:
    grid = pose_grid()
    assert grid.shape == (775, 3)
    assert len(grid.unique(dim=0)) == 775
    assert grid.amin(dim=0).tolist() == [-30, -3, -3]
    assert grid.amax(dim=0).tolist() == [30, 3, 3]
    assert bool((grid == 0).all(dim=1).any())
    poses = drawn_poses(0, draws=4000, examples=2)
    assert poses.abs().amax(dim=(0, 1)).tolist() == pytest.approx([30, 3, 3], rel=0.01)
    assert poses.mean(dim=(0, 1)).tolist() == pytest.approx([0, 0, 0], abs=1)
    assert torch.equal(poses[:, :1], drawn_poses(0, draws=4000, examples=2)[:, :1])


@pytest.mark.parametrize("own", [False, True])
def test_it_is_a_plain_loop(own: bool) -> None:
    made = case("vgg", replicas=2, examples=12)
    images = torch.stack([made.inputs, made.inputs.flip(0)]) if own else made.inputs
    labels = made.network.evaluate(made.weights, images).argmax(dim=2)
    wrong = labels.clone()
    wrong[:, :2] = (wrong[:, :2] + 1) % 3
    images = images if own else images.expand(2, -1, -1, -1, -1).clone()
    poses = pose_grid(degrees=40, pixels=1, angles=5, shifts=3)
    found = spatial_accuracy(made.network, made.weights, images, wrong, poses=poses)
    quick = spatial_accuracy(made.network, made.weights, images, wrong, poses=poses, average=False)
    for replica in range(2):
        alone = made.weights.take(slice(replica, replica + 1))
        told = torch.ones(12, dtype=torch.bool)
        for number, (degrees, right, down) in enumerate(poses.tolist()):
            turned = rotate(images[replica][None], torch.full((12,), degrees, dtype=torch.float64))[0]
            moved = turned if right == down == 0 else warp(images[replica], torch.tensor([degrees, right, down]))
            ok = made.network.evaluate(alone, moved)[0].argmax(dim=1) == wrong[replica]
            assert found.each[replica, number].item() == pytest.approx(ok.double().mean().item())
            told &= ok
        told[:2] = False
        assert torch.equal(found.correct[replica], told)
    assert torch.equal(quick.correct, found.correct)
    assert bool(quick.average.isnan().all())
    assert torch.allclose(found.average, found.each.mean(dim=1))
    assert 0 < found.worst.mean() < found.clean.mean() == 10 / 12


def test_flat_networks_shared_images_and_packing() -> None:
    network = architectures.build("mlp", (25,), 3, depth=1, width=8)
    weights = cast(network.initialize([0, 1, 2]), torch.float64)
    images = torch.randn(30, 1, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = network.evaluate(weights, images.flatten(1)).argmax(dim=2)
    own = images.expand(3, -1, -1, -1, -1).clone()
    poses = drawn_poses(1, draws=4, examples=30, degrees=20, pixels=1)
    whole = spatial_accuracy(network, weights, own, labels, poses=poses)
    for replica in range(3):
        rows = slice(replica, replica + 1)
        shared = spatial_accuracy(network, weights.take(rows), images, labels[replica], poses=poses)
        assert torch.equal(shared.correct[0], whole.correct[replica])
        assert torch.allclose(shared.each[0], whole.each[replica])


def test_a_grid_coarser_than_random_poses_is_flagged() -> None:
    network = architectures.build("mlp", (25,), 3, depth=0)
    weights = cast(network.initialize([0]), torch.float64)
    images = torch.randn(60, 1, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = network.evaluate(weights, images.flatten(1)).argmax(dim=2)[0]
    coarse = torch.tensor([[-60.0, -1.0, -1.0]])
    one = spatial_accuracy(network, weights, images, labels, poses=coarse, check_draws=60)
    assert bool(one.flags["weaker than random poses"])
    fine = pose_grid(degrees=60, pixels=1, angles=25, shifts=5)
    many = spatial_accuracy(network, weights, images, labels, poses=fine, check_draws=3)
    assert bool(trusted(many).all())


def test_refusals() -> None:
    made = case("vgg", replicas=1)
    poses = pose_grid(angles=3, shifts=1)

    def measure(**changes: object) -> object:
        good = {"network": made.network, "weights": made.weights, "images": made.inputs, "labels": made.labels}
        return spatial_accuracy(**(good | {"poses": poses} | changes))  # type: ignore[arg-type]

    with pytest.raises(ShapeError, match="do not flatten"):
        measure(images=made.inputs.flatten(1))
    with pytest.raises(ShapeError, match="poses must be"):
        measure(poses=torch.zeros(2, 7, 3))
    with pytest.raises(UsageError, match="at least one pose"):
        measure(poses=torch.zeros(0, 3))
    with pytest.raises(UsageError, match="labels must be classes"):
        measure(labels=made.labels.double())
    with pytest.raises(ShapeError, match="weights must be finite"):
        measure(weights=replace(made.weights, flat=made.weights.flat * torch.nan))
    with pytest.raises(UsageError, match="angles and shifts"):
        pose_grid(angles=0)
    with pytest.raises(UsageError, match="draws and examples"):
        drawn_poses(0, draws=0, examples=1)
