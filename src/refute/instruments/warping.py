"""Images turned, moved and zoomed by one affine map: what the spatial attack and the pseudo-video share."""

from typing import Literal

import torch
import torch.nn.functional as functional
from torch import Tensor

from refute.errors import ShapeError

Padding = Literal["zeros", "border", "reflection"]


def warp(images: Tensor, poses: Tensor, *, padding: Padding = "zeros", zoom: Tensor | None = None) -> Tensor:
    """x'(c + R_a z u + (dx, dy)) = x(c + u), c the centre: turned, zoomed, then moved; one bilinear resampling.

    Source: specifications invariance-regularization-spatial-robustness and natural-perturbations-video ("one composed
    affine warp", bilinear); Engstrom et al. 2019, arXiv 1712.02779, section 3.

    Args:
        images: (example, channel, height, width).
        poses: (3,) or (example, 3): degrees counter-clockwise, pixels to the right, pixels down.
        padding: what lies beyond the edge: "zeros", the nearest pixel ("border"), or the mirror image ("reflection").
        zoom: factor of size, (example,), above 0; 1 by default.

    Raises:
        ShapeError: images, poses or zoom of another shape.

    >>> image = torch.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]]])
    >>> warp(image, torch.tensor([90.0, 0.0, 0.0])).round().int()[0, 0].tolist()
    [[3, 6, 9], [2, 5, 8], [1, 4, 7]]
    >>> warp(image, torch.tensor([0.0, 1.0, 0.0])).int()[0, 0].tolist()
    [[0, 1, 2], [0, 4, 5], [0, 7, 8]]
    """
    if images.ndim != 4:
        raise ShapeError(f"images must be (example, channel, height, width), not flat; {tuple(images.shape)} came")
    count, (height, width) = len(images), images.shape[-2:]
    if poses.shape not in ((3,), (count, 3)):
        raise ShapeError(f"poses must be (3,) or ({count}, 3): degrees, right, down; {tuple(poses.shape)} came")
    if zoom is not None and zoom.shape != (count,):
        raise ShapeError(f"zoom must be ({count},), one per image; {tuple(zoom.shape)} came")
    degrees, right, down = poses.to(images).expand(count, 3).unbind(1)
    scale = torch.ones_like(degrees) if zoom is None else zoom.to(images)
    cosine, sine = torch.deg2rad(degrees).cos() / scale, torch.deg2rad(degrees).sin() / scale
    # grid_sample asks of each new pixel where it was; its coordinates run from -1 to 1, y down
    back_x, back_y = -cosine * right + sine * down, -sine * right - cosine * down
    rows = [cosine, -sine * height / width, back_x * 2 / width, sine * width / height, cosine, back_y * 2 / height]
    grid = functional.affine_grid(torch.stack(rows, dim=1).view(count, 2, 3), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode=padding, align_corners=False)
