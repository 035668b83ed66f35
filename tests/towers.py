"""One tiny model of every family of image towers that open_clip's configurations name, and of CoCa."""

from __future__ import annotations

from functools import partial
from typing import Any
from unittest import mock

import torch
from tiny import SIDE

from cl_forget.models import MODELS
from cl_forget.models.clip import ClipModel

MODELS.add("tower", "towers:tower")

WIDTH = 16  # of the embedding
VIT = {"img_size": SIDE, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2}
ROPE = {"img_size": SIDE, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}


def _vitamin() -> dict[str, Any]:
    from timm.models.vitamin import VitCfg, VitConvCfg

    stem = VitCfg((8, 16, 32), (1, 1, 1), 8, VitConvCfg(norm_layer="layernorm2d", norm_eps=1e-6), "1d")
    return {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 2, "embed_cfg": stem}


TIMM: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "SigLIP": ("vit_base_patch16_siglip_224", {"pool": "map", "proj": "none"}, VIT | {"embed_dim": WIDTH}),
    "PE": ("vit_pe_core_tiny_patch16_384", {"pool": "map", "proj": ""}, {**ROPE, "attn_pool_num_heads": 2}),
    "EVA01": ("eva_giant_patch14_224", {"pool": "token", "proj": ""}, ROPE),
    "EVA02": ("eva02_base_patch16_clip_224", {"pool": "token", "proj": ""}, ROPE),
    "MobileCLIP-B": ("vit_base_mci_224", {"pool": "token", "proj": ""}, {"img_size": 32, "depth": 2}),
    "MobileCLIP-S": (
        "fastvit_mci0", {"pool": "avg", "proj": ""},
        {"layers": (1, 1, 1, 1), "embed_dims": (8, 16, 16, 32), "se_downsamples": (False,) * 4},
    ),
    "MobileCLIP2-L": ("vit_large_patch14_clip_224", {"pool": "token", "proj": ""}, VIT),
    "ViTamin": ("vitamin_small_224", {"pool": "", "proj": "linear"}, {}),
    "ConvNeXt": (
        "convnext_tiny", {"pool": "", "proj": "mlp"}, {"depths": (1, 1, 2, 1), "dims": (8, 8, 16, 16)},
    ),
    "Swin": (
        "swin_base_patch4_window7_224", {"pool": "", "proj": "linear"},
        {"img_size": 32, "window_size": 2, "embed_dim": 8, "depths": (1, 2), "num_heads": (2, 2)},
    ),
    "ViT without class token": ("vit_medium_patch16_gap_256", {"pool": "", "proj": "linear"}, VIT),
    "ViT with relative positions": (
        "vit_relpos_medium_patch16_cls_224", {"pool": "", "proj": "linear"}, VIT | {"rel_pos_dim": 8},
    ),
}  # fmt: skip
FAMILIES = ("ViT", "ResNet", "CoCa", *TIMM)
BLOCKS = {"ResNet": 4, "MobileCLIP-S": 4, "ConvNeXt": 4, "SigLIP": 3, "MobileCLIP2-L": 3} | dict.fromkeys(
    ("ViT without class token", "ViT with relative positions"), 3
)
"""How many each has; two where nothing is said."""


def tower(family: str) -> ClipModel:
    """A model with this image tower, random but fixed weights."""
    import open_clip
    import timm
    from open_clip.transform import image_transform

    text: dict[str, Any] = {"context_length": 16, "width": 32, "heads": 2, "layers": 1}
    vision: dict[str, Any] = {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "image_size": SIDE}
    size, kind, more = SIDE, open_clip.CLIP, {}
    shrink: dict[str, Any] = {}
    if family == "ResNet":
        size = 32
        vision = {
            "layers": [1, 1, 1, 1],
            "width": 8,
            "head_width": 16,
            "patch_size": None,
            "image_size": size,
        }
    elif family == "CoCa":
        kind = open_clip.CoCa
        vision |= {
            "attentional_pool": True,
            "attn_pooler_heads": 2,
            "attn_pooler_queries": 4,
            "output_tokens": True,
        }
        text |= {"embed_cls": True, "output_tokens": True}
        more = {"multimodal_cfg": {**text, "heads": 2, "attn_pooler_heads": 2}}
    elif family in TIMM:
        name, ways, shrink = TIMM[family]
        shrink = _vitamin() if family == "ViTamin" else shrink
        size = shrink.get("img_size", 64)
        kind = open_clip.CustomTextCLIP
        vision = {"timm_model_name": name, "image_size": size, "timm_model_pretrained": False}
        vision |= {f"timm_{key}": value for key, value in ways.items()}
        vision["timm_proj"] = vision["timm_proj"] or None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        with mock.patch("timm.create_model", partial(timm.create_model, **shrink)):
            clip = kind(embed_dim=WIDTH, vision_cfg=vision, text_cfg=text, **more)
    words = open_clip.get_tokenizer("ViT-B-32", context_length=16)
    model = ClipModel(clip, image_transform(size, is_train=False), words)
    model.spec = f"tower:{family}"
    return model.eval()
