"""Augmentations against plain loops over images, and what packing, layout and type must not change."""

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from refute.augmentation import Augmentation, RandomCrop, RandomFlip, RandomRotation, RandomShift, augment, rotate
from refute.errors import ShapeError, UsageError

EACH: list[Augmentation] = [RandomCrop(3), RandomShift(2), RandomFlip(), RandomRotation(30.0)]
MOVES: list[RandomCrop | RandomShift] = [RandomCrop(3), RandomShift(2)]


def streams(seeds: Sequence[int]) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def images(replicas: int = 2, batch: int = 9, channels: int = 3, height: int = 8, width: int = 6) -> Tensor:
    """Random images; all pixels differ."""
    drawn = torch.randperm(replicas * batch * channels * height * width, generator=torch.Generator().manual_seed(0))
    return (drawn.float() + 1).view(replicas, batch, channels, height, width)


def channels_together(pictures: Tensor) -> Tensor:
    """The same numbers, with the channels of each pixel side by side in memory."""
    batch, channels, height, width = pictures.shape[1:]
    strides = (batch * channels * height * width, channels * height * width, 1, channels * width, channels)
    return torch.empty_strided(pictures.shape, strides, dtype=pictures.dtype).copy_(pictures)


def windows(picture: Tensor, amount: int, mode: str) -> dict[tuple[int, int], Tensor]:
    """Every window of the padded picture (channel, height, width), by its corner."""
    height, width = picture.shape[1:]
    padded = functional.pad(picture[None], (amount,) * 4, mode=mode)[0]
    places = range(2 * amount + 1)
    return {(top, left): padded[:, top : top + height, left : left + width] for top in places for left in places}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7), st.booleans())
@pytest.mark.parametrize("move", MOVES, ids=repr)
def test_moved_images_are_windows(
    move: RandomCrop | RandomShift, seed: int, channels: int, height: int, width: int, together: bool
) -> None:
    pictures = images(channels=channels, height=height, width=width)
    amount, mode = (move.padding, "constant") if isinstance(move, RandomCrop) else (move.pixels, "replicate")
    moved = move(channels_together(pictures) if together else pictures, streams([seed, seed + 1]))
    for before, after in zip(pictures.flatten(0, 1), moved.flatten(0, 1), strict=True):
        assert any(torch.equal(after, window) for window in windows(before, amount, mode).values())


@pytest.mark.parametrize("move", MOVES, ids=repr)
def test_all_windows_are_equally_likely(move: RandomCrop | RandomShift) -> None:
    amount, mode = (3, "constant") if isinstance(move, RandomCrop) else (2, "replicate")
    batch = 20_000
    picture = images(1, 1, 1, 8, 8)
    moved = move(picture.expand(1, batch, 1, 8, 8), streams([5]))
    known = windows(picture[0, 0], amount, mode).values()
    counts = [int((moved[0] == window).all(dim=(1, 2, 3)).sum()) for window in known]
    assert sum(counts) == batch
    expected = batch / len(known)
    chi_squared = sum((count - expected) ** 2 / expected for count in counts)
    assert chi_squared < len(known) + 5 * (2 * len(known)) ** 0.5  # mean and five standard deviations


def test_flipped_images_are_mirrored_or_not() -> None:
    pictures = images(batch=200)
    flipped = RandomFlip(0.25)(pictures, streams([1, 2]))
    mirrored = (flipped == pictures.flip(-1)).all(dim=(2, 3, 4))
    same = (flipped == pictures).all(dim=(2, 3, 4))
    assert (mirrored ^ same).all()
    assert 0.15 < mirrored.double().mean() < 0.35
    assert torch.equal(RandomFlip(1.0)(pictures, streams([1, 2])), pictures.flip(-1))


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_exact(turns: int) -> None:
    pictures = images(height=7, width=7)
    turned = rotate(pictures, torch.full((18,), 90.0 * turns))
    torch.testing.assert_close(turned, torch.rot90(pictures, turns, (-2, -1)), rtol=1e-4, atol=0.05)
    oblong = images(height=6, width=9)
    torch.testing.assert_close(rotate(oblong, torch.full((18,), 180.0)), oblong.flip(-1, -2), rtol=1e-4, atol=0.05)


def test_rotation_keeps_distances_in_an_oblong_image() -> None:
    picture = torch.zeros(1, 1, 1, 21, 41)
    picture[..., 10, 28] = 1.0  # 8 pixels right of the centre: a quarter turn counter-clockwise puts it 8 above
    turned = rotate(picture, torch.tensor([90.0]))
    assert divmod(int(turned.flatten().argmax()), 41) == (2, 20)
    assert turned.max() == pytest.approx(1.0, abs=1e-4)


def test_angles_stay_in_their_range() -> None:
    picture = torch.zeros(1, 1, 1, 65, 65)
    picture[..., 32, 62] = 1.0
    turned = RandomRotation(30.0)(picture.expand(1, 400, 1, 65, 65), streams([0]))[0, :, 0]
    rows, columns = torch.arange(65.0)[:, None] - 32, torch.arange(65.0) - 32
    mass = turned.sum(dim=(1, 2))
    degrees = torch.rad2deg(
        torch.atan2(-(turned * rows).sum(dim=(1, 2)) / mass, (turned * columns).sum(dim=(1, 2)) / mass)
    )
    assert degrees.abs().max() < 31
    assert degrees.max() > 25
    assert degrees.min() < -25


@pytest.mark.parametrize("each", EACH, ids=repr)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("together", [False, True], ids=["channels apart", "channels together"])
@pytest.mark.parametrize("channels", [1, 3])
def test_packing_layout_and_type_change_nothing(
    each: Augmentation, kind: torch.dtype, together: bool, channels: int
) -> None:
    pictures = images(replicas=3, channels=channels).to(kind)
    given = channels_together(pictures) if together else pictures
    before = given.clone()
    changed = augment(given, [each], streams([3, 4, 5]))
    assert torch.equal(given, before)
    assert changed.dtype == kind
    assert changed.stride() == given.stride()
    assert not torch.equal(changed, pictures)
    assert torch.equal(changed, augment(pictures, [each], streams([3, 4, 5])))
    for replica in range(3):
        alone = augment(pictures[replica : replica + 1], [each], streams([3 + replica]))
        assert torch.equal(alone[0], changed[replica])
    assert not torch.equal(changed, augment(pictures, [each], streams([6, 7, 8])))


@pytest.mark.parametrize("each", [RandomCrop(0), RandomShift(0), RandomFlip(0.0), RandomRotation(0.0)], ids=repr)
def test_an_amount_of_zero_changes_nothing(each: Augmentation) -> None:
    assert torch.equal(augment(images(), [each], streams([0, 1])), images())


@pytest.mark.parametrize("each", EACH, ids=repr)
def test_images_of_a_batch_are_drawn_apart(each: Augmentation) -> None:
    changed = each(images(1, 1).expand(1, 40, 3, 8, 6), streams([0]))
    assert len({tuple(picture.flatten().tolist()) for picture in changed[0]}) > 1


def test_augmentations_follow_each_other() -> None:
    crop, flip = RandomCrop(2), RandomFlip(1.0)
    expected = crop(images(), streams([0, 1])).flip(-1)
    assert torch.equal(augment(images(), (crop, flip), streams([0, 1])), expected)
    assert torch.equal(augment(images(), (), streams([0, 1])), images())


def test_misuse_is_refused() -> None:
    with pytest.raises(ShapeError, match="do not flatten the data"):
        augment(torch.zeros(2, 5, 64), EACH, streams([0, 1]))
    with pytest.raises(ShapeError, match="1 generators came"):
        augment(images(), EACH, streams([0]))
    for make in (lambda: RandomCrop(-1), lambda: RandomShift(-1), lambda: RandomFlip(1.5), lambda: RandomRotation(-3)):
        with pytest.raises(UsageError, match=r"should be .*, but is"):
            make()
