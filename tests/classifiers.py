"""Small image classifiers of timm and transformers, random weights, whose own classes are the tests' colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tiny import COLOURS, SIDE, images

from cl_forget.models import MODELS
from cl_forget.models.classifier import ImageClassifier
from cl_forget.models.timm_sources import classifier_of
from cl_forget.streams import STREAMS
from cl_forget.streams.base import Experience, LabelSpace

MODELS.add("net", "classifiers:net")
STREAMS.add("halves", "classifiers:halves")

NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet": ("test_resnet", {}),
    "efficientnet": ("test_efficientnet", {}),
    "vit": ("test_vit", {"img_size": 32}),
    "convnext": ("test_convnext", {}),
    "byobnet": ("test_byobnet", {}),
    "regnet": ("regnetx_002", {}),
    "densenet": ("densenet121", {"block_config": (1, 1, 1, 1), "growth_rate": 4}),
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"img_size": 32, "window_size": 2, "embed_dim": 8, "depths": (1, 2), "num_heads": (2, 2)},
    ),
    "dpn": ("dpn68", {"k_sec": (1, 1, 2, 1)}),
    "pit": (
        "pit_ti_224",
        {
            "img_size": 32,
            "patch_size": 8,
            "stride": 4,
            "base_dims": (8, 8, 8),
            "depth": (1, 2, 1),
            "heads": (1, 2, 2),
        },
    ),
    "twins": (
        "twins_svt_small",
        {
            "img_size": 32,
            "embed_dims": (8, 8, 16, 16),
            "num_heads": (1, 1, 2, 2),
            "depths": (2, 2, 2, 2),
            "wss": (4, 4, 2, 1),
        },
    ),
    "mambaout": ("mambaout_femto", {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 24)}),
    "tnt": (
        "tnt_s_patch16_224",
        {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "inner_dim": 8},
    ),
}
BLOCKS = {"resnet": 4, "convnext": 4, "regnet": 4, "densenet": 4, "swin": 2, "dpn": 4, "pit": 3, "twins": 4}
"""How many some of them have. DPN's head is a convolution of one pixel."""


def timm_net(kind: str, classes: int = len(COLOURS), **more: Any) -> Any:
    """A network of timm that reads images of 32 x 32, random but fixed weights."""
    import timm

    name, shape = NETS[kind]
    names = {"label_names": list(COLOURS)} if classes == len(COLOURS) else {}
    overlay = {"input_size": (3, 2 * SIDE, 2 * SIDE), "num_classes": classes, **names}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return timm.create_model(name, num_classes=classes, pretrained_cfg_overlay=overlay, **shape, **more)


def net(kind: str = "resnet") -> ImageClassifier:
    """It as a foundation model, in double precision."""
    return classifier_of(timm_net(kind), f"net:{kind}").double()


def hf_shape(kind: str) -> Any:
    """A configuration of transformers for a small image model."""
    from transformers import AutoConfig

    transformer = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
        "image_size": 32, "patch_size": 8,
    }  # fmt: skip
    shapes: dict[str, dict[str, Any]] = {
        "vit": transformer,
        "dinov2": transformer | {"mlp_ratio": 2},
        "beit": transformer,
        "resnet": {
            "embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "layer_type": "basic",
        },
        "convnext": {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 2, 1]},
        "swin": {"image_size": 32, "window_size": 2, "embed_dim": 8, "depths": [1, 2], "num_heads": [2, 2]},
        "siglip": {"vision_config": transformer, "text_config": transformer | {"vocab_size": 50}},
    }  # fmt: skip
    return AutoConfig.for_model(kind, **shapes[kind])


def hf_folder(path: Path, kind: str, classifies: bool = True, **more: Any) -> Path:
    """Such a model as transformers saves it, with an image processor."""
    from transformers import AutoModel, AutoModelForImageClassification, ViTImageProcessor

    config = hf_shape(kind)
    if classifies:
        config.id2label = dict(enumerate(COLOURS))
        config.label2id = {name: i for i, name in enumerate(COLOURS)}
    auto = AutoModelForImageClassification if classifies else AutoModel
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        auto.from_config(config).save_pretrained(path)
    side = {"height": 2 * SIDE, "width": 2 * SIDE}
    ViTImageProcessor(**{"size": side, **more}).save_pretrained(path)
    return path


def halves() -> list[Experience]:
    """Four colours under one head, two at a time."""
    shared = LabelSpace("all", tuple(COLOURS))
    found = []
    for name, kept in (("first", (0, 1)), ("second", (2, 3))):
        parts = [images(4, 4, seed) for seed in (1, 2, 3)]
        chosen = [data.subset([i for i, label in enumerate(data.labels) if label in kept]) for data in parts]
        found.append(Experience(name, shared, *chosen))
    return found
