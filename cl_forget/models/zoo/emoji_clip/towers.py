"""The two models of the emoji world: how they are built, what they are given, how they are written."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.ground.files import write_bytes
from cl_forget.models.zoo.emoji_clip.captions import CONTEXT_LENGTH, VOCABULARY
from cl_forget.models.zoo.emoji_clip.recipe import Tower

if TYPE_CHECKING:
    from open_clip.model import CLIP
    from torch import Tensor

MEAN = STD = 0.5  # of every channel

_VISION: dict[Tower, dict[str, Any]] = {
    "vit": {
        "image_size": 32,
        "patch_size": 8,
        "width": 128,
        "layers": 4,
        "head_width": 32,
        "mlp_ratio": 4.0,
        "pool_type": "avg",  # learns faster than a class token when pictures are few
    },
    "rn": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64},
}


def model_config(tower: Tower) -> dict[str, Any]:
    """open_clip's `model_cfg` of one of the two models."""
    return {
        "embed_dim": 128,
        "vision_cfg": dict(_VISION[tower]),
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": VOCABULARY,
            "hf_tokenizer_name": "emoji-clip",
            "width": 128,
            "heads": 4,
            "layers": 2,
        },
    }


def build_model(tower: Tower, seed: int) -> "CLIP":
    """One of the two models with its initial weights (global random generator)."""
    import torch
    from open_clip.model import CLIP

    from cl_forget.models.zoo.emoji_clip._initialise import initialise

    torch.manual_seed(seed)
    model = CLIP(**model_config(tower))
    if tower == "vit":
        initialise(model.visual)
    return model


def load_tower(folder: Path) -> "CLIP":
    """A model of the zoo, in evaluation mode, with nothing to train."""
    import open_clip

    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    return model.eval().requires_grad_(False)


def normalised(pixels: "Tensor") -> "Tensor":
    """Pixels in [0, 1], (batch, 3, height, width), to the model's input."""
    return (pixels - MEAN) / STD


def export(model: "CLIP", tower: Tower, folder: Path) -> None:
    """Write config and weights in open_clip's folder format. Weights are stored as float16; open_clip loads
    them into float32."""
    import torch
    from safetensors.torch import save

    config = {
        "model_cfg": model_config(tower),
        "preprocess_cfg": {"mean": (MEAN,) * 3, "std": (STD,) * 3, "interpolation": "bicubic"},
    }
    write_bytes(folder / "open_clip_config.json", (json.dumps(config, indent=2) + "\n").encode())
    weights = {
        name: (tensor.half() if torch.is_floating_point(tensor) else tensor).detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
    }
    write_bytes(folder / "open_clip_model.safetensors", save(weights))
