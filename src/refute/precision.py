"""Single precision is single precision on a GPU too."""

import torch


def full_precision() -> None:
    """Let convolutions and recurrent layers of a GPU multiply float32 as such, as matrix products do.

    torch's default for them is TF32, which keeps 10 bits of each number: mixed precision that nobody asked for.
    """
    torch.backends.cudnn.allow_tf32 = False
