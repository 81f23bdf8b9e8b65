"""Working ranges: triangles in closed form, ends of the grid, gaps, and what is refused."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from refute.errors import ShapeError, UsageError
from refute.instruments.working_range import working_range

GRID = torch.linspace(-4, 4, 17).double()


@given(st.floats(-2, 2), st.floats(0.5, 1.5), st.floats(0.1, 0.9))
def test_a_triangle_has_the_width_of_its_slope(centre, steepness, mark):
    values = (1 - steepness * (GRID - round(2 * centre) / 2).abs()).unsqueeze(0)
    found = working_range(GRID, values, torch.tensor([mark], dtype=torch.float64))
    assert found.width.item() == pytest.approx(2 * (1 - mark) / steepness, abs=1e-9)
    assert (found.high - found.low).item() == pytest.approx(found.width.item(), abs=1e-9)
    assert not any(flag.any() for flag in found.flags.values())


def test_ends_of_the_grid_count_and_are_flagged():
    values = torch.stack([torch.ones(17), torch.zeros(17), (GRID < 0).float()]).double()
    found = working_range(GRID, values, torch.full((3,), 0.5).double())
    assert found.width.tolist() == [8.0, 0.0, 3.75]
    assert found.low.tolist()[0::2] == [-4.0, -4.0]
    assert math.isnan(found.low[1])
    assert math.isnan(found.high[1])
    assert found.flags["low end censored"].tolist() == [True, False, True]
    assert found.flags["high end censored"].tolist() == [True, False, False]
    assert found.flags["empty"].tolist() == [False, True, False]


def test_pieces_are_added_and_flagged():
    values = torch.tensor([[1.0, 0.0, 1.0]])
    found = working_range(torch.tensor([0.0, 1.0, 2.0]), values, torch.tensor([0.5]))
    assert found.width.item() == 1.0
    assert (found.low.item(), found.high.item()) == (0.0, 2.0)
    assert found.flags["in pieces"].item()


def test_packing_changes_nothing():
    values, mark = torch.rand(4, 17).double(), torch.rand(4).double()
    whole = working_range(GRID, values, mark)
    for row in range(4):
        assert torch.equal(
            working_range(GRID, values[row : row + 1], mark[row : row + 1]).width, whole.width[row : row + 1]
        )


def test_bad_input_is_refused():
    with pytest.raises(ShapeError, match="values"):
        working_range(GRID, torch.zeros(2, 3), torch.zeros(2))
    with pytest.raises(UsageError, match="increase"):
        working_range(GRID.flip(0), torch.zeros(2, 17), torch.zeros(2))
    with pytest.raises(UsageError, match="finite"):
        working_range(GRID, torch.full((2, 17), math.nan), torch.zeros(2))
