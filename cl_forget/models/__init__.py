"""Foundation models by name: `emoji-clip`, `open_clip:...`, `timm:...`, `hf:...`, and what packages add."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from cl_forget.ground.errors import UserError, about
from cl_forget.ground.hints import own_model
from cl_forget.ground.registry import Registry

if TYPE_CHECKING:
    from cl_forget.models.base import FoundationModel
    from cl_forget.models.options import TextOptions

MODELS = Registry(
    "model",
    "cl_forget.models",
    {
        "emoji-clip": "cl_forget.models.sources:load_emoji_clip",
        "emoji-clip-rn": "cl_forget.models.sources:load_emoji_clip_rn",
        "open_clip": "cl_forget.models.sources:load_open_clip",
        "pico-lm": "cl_forget.models.lm_sources:load_pico_lm",
        "smollm2-135m": "cl_forget.models.smollm2:load_smollm2",
        "timm": "cl_forget.models.timm_sources:load_timm",
        "efficientnet-lite0": "cl_forget.models.efficientnet_lite0:load_efficientnet_lite0",
        "hf-image": "cl_forget.models.hf_image_sources:load_hf_image",
        "hf": "cl_forget.models.lm_sources:load_hf",
        "gguf": "cl_forget.models.lm_sources:load_gguf",
        "random": "cl_forget.models.lm_sources:load_random",
    },
)

_IMPORTED = {
    "cl_forget.models.sources": ("open_clip", "cl_forget.models.clip"),
    "cl_forget.models.timm_sources": ("timm", "cl_forget.models.classifier"),
    "cl_forget.models.efficientnet_lite0": ("timm", "cl_forget.models.classifier"),
    "cl_forget.models.hf_image_sources": ("transformers", "cl_forget.models.classifier"),
    "cl_forget.models.lm_sources": ("transformers", "cl_forget.models.causal_lm"),
    "cl_forget.models.smollm2": ("transformers", "cl_forget.models.causal_lm"),
}

RECIPES = Registry(
    "recipe",
    "cl_forget.recipes",
    {
        "emoji-clip": "cl_forget.models.zoo.emoji_clip.pretrain:pretrain",
        "emoji-clip-rn": "cl_forget.models.zoo.emoji_clip_rn.pretrain:pretrain",
        "pico-lm": "cl_forget.models.zoo.pico_lm.pretrain:pretrain",
    },
)


def load_model(spec: str, text: TextOptions | None = None) -> FoundationModel:
    """The model named `spec`: a registered name, or `<source>:<what the source takes>`.

    Args:
        spec: the name.
        text: how it reads texts, if it is a language model.

    Raises:
        UserError: unknown name, missing file, a hub that cannot be reached, or options that do not fit.
    """
    with about(spec):
        check_model(spec)
        source, colon, rest = spec.partition(":")
        load = MODELS.get(source)
        takes = inspect.signature(load).parameters
        if colon and not takes:
            raise UserError(f"'{source}' takes nothing behind its name: write {source}, not '{spec}'.")
        model: FoundationModel = load(rest) if takes else load()
    model.spec = spec
    if text is not None:
        model.read_as(text)
    return model


def check_model(spec: str) -> None:
    """Refuse a model of a source that nobody knows; nothing is imported or loaded.

    Args:
        spec: as for `load_model`.

    Raises:
        UserError: unknown name.
    """
    source = spec.partition(":")[0]
    if source in MODELS:
        return
    if written := own_model(spec):
        raise UserError(f"unknown model '{spec}'.{written}")
    MODELS.get(source)  # says which is near


def modules_of(spec: str) -> tuple[str, ...]:
    """The heavy modules that loading a model imports, as far as they are known without loading it.

    Args:
        spec: as for `load_model`; nothing is said of an unknown one.
    """
    source = spec.partition(":")[0]
    place = MODELS.place(source).partition(":")[0] if source in MODELS else ""
    return _IMPORTED.get(place, ())


def weights_of(spec: str) -> Path | None:
    """The local file or folder that a model's weights are read from; None where they come from elsewhere.

    Args:
        spec: as for `load_model`.
    """
    source, _, rest = spec.partition(":")
    if not rest:
        folder = Path(__file__).parent / "zoo" / source.replace("-", "_")
        return folder if folder.is_dir() else None
    # open_clip and timm name an architecture before a file.
    named = source in ("open_clip", "timm") and ":" not in rest
    place = rest.partition("/")[2] if named else rest.removeprefix("local-dir:")
    path = Path(place).expanduser()
    return path if place and path.exists() else None
