"""Nets of timm and transformers, tiny and with random weights: they train as a plain module trained alone."""

import importlib
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from trained_alone import CLASSES, TOKENS, TOLERANCE, check

from refute.architectures import Network
from refute.architectures.folded import Folded

TIMES = 6
TINY = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


@cache
def library(name: str) -> Any:
    """Imported when a test wants it: that takes seconds, which other workers need not spend.

    Both libraries import torchvision, whose wheel for CUDA can't load its operators next to a torch without. They use
    none of them, but torchvision wants these two to be declared.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "nms does not exist" not in str(error):
            raise
        OPERATORS.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        OPERATORS.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return importlib.import_module(name)


OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
"""As long as it lives, so do its declarations."""


class NextToken(nn.Module):
    """A language model that tells what follows the last token."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.model(tokens).logits[:, -1]
        return found


def bert() -> nn.Module:
    transformers = library("transformers")
    config = transformers.BertConfig(vocab_size=TOKENS, max_position_embeddings=TIMES, num_labels=CLASSES, **TINY)
    return transformers.BertForSequenceClassification(config)


def gpt2() -> nn.Module:
    transformers = library("transformers")
    sizes = {"vocab_size": TOKENS, "n_positions": TIMES, "n_embd": 8, "n_layer": 1, "n_head": 2}
    return NextToken(transformers.GPT2LMHeadModel(transformers.GPT2Config(bos_token_id=0, eos_token_id=0, **sizes)))


def llama() -> nn.Module:
    transformers = library("transformers")
    return NextToken(transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=TOKENS, **TINY)))


def vit() -> nn.Module:
    transformers = library("transformers")
    config = transformers.ViTConfig(image_size=8, patch_size=4, num_labels=CLASSES, **TINY)
    return transformers.ViTForImageClassification(config)


def timm_vit() -> nn.Module:
    sizes = {"img_size": 16, "patch_size": 8, "embed_dim": 12, "depth": 1, "num_heads": 2, "drop_path_rate": 0.2}
    return library("timm").create_model("vit_tiny_patch16_224", pretrained=False, num_classes=CLASSES, **sizes)


def timm_resnet() -> nn.Module:
    sizes = {"layers": (1, 1, 1, 1), "channels": (8, 8, 8, 8), "stem_width": 4}
    return library("timm").create_model("resnet10t", pretrained=False, num_classes=CLASSES, **sizes)


SHAPES = {
    bert: (TIMES,), gpt2: (TIMES,), llama: (TIMES,), vit: (3, 8, 8), timm_vit: (3, 16, 16), timm_resnet: (3, 32, 32),
}  # fmt: skip
OUTPUTS = {gpt2: TOKENS, llama: TOKENS}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("make", SHAPES)
def test_nets_of_other_libraries_train_as_when_trained_alone(make: Any, dtype: torch.dtype) -> None:
    tokens = len(SHAPES[make]) == 1
    network = Network.from_module(
        make, input_shape=SHAPES[make], outputs=OUTPUTS.get(make, CLASSES), input_dtype=torch.int32 if tokens else None
    )
    (layer,) = network.layers
    assert isinstance(layer, Folded), layer.why
    check(make, network, dtype, tokens=tokens)
