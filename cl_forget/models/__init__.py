"""Foundation models by name: `emoji-clip`, `open_clip:<architecture>/<tag>`, and what other packages add."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl_forget.registry import Registry

if TYPE_CHECKING:
    from cl_forget.models.base import FoundationModel

MODELS = Registry(
    "model",
    "cl_forget.models",
    {
        "emoji-clip": "cl_forget.models.sources:load_emoji_clip",
        "open_clip": "cl_forget.models.sources:load_open_clip",
    },
)

RECIPES = Registry(
    "recipe",
    "cl_forget.recipes",
    {"emoji-clip": "cl_forget.models.zoo.emoji_clip.pretrain:pretrain"},
)


def load_model(spec: str) -> FoundationModel:
    """The model named `spec`: a registered name, or `<source>:<what the source takes>`.

    Raises:
        UserError: unknown name, missing file, or a hub that cannot be reached.
    """
    source, _, rest = spec.partition(":")
    load = MODELS.get(source)
    model: FoundationModel = load(rest) if rest else load()
    model.spec = spec
    return model
