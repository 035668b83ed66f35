"""An exported CLIP model as a folder that open_clip loads by itself: `local-dir:<folder>`."""

from __future__ import annotations

import copy
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from cl_forget.ground.documents import read_object
from cl_forget.ground.files import whole, write_text

CONFIG = "open_clip_config.json"
_TOKENIZER = re.compile(
    r"(tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json|vocab\.txt|merges\.txt|.*\.model|.*\.tiktoken"
    r"|chat_template\.jinja|LICEN[CS]E.*|NOTICE.*"
)
"""What lies in a model's folder for its tokenizer, and under which terms it is given on."""


@dataclass(frozen=True)
class Origin:
    """Where a CLIP model came from, as far as a copy of it needs to know.

    Attributes:
        config: `model_cfg` and `preprocess_cfg`, as in open_clip's configuration file.
        folder: holds the tokenizer's files; None where open_clip has the tokenizer.
    """

    config: dict[str, Any]
    folder: Path | None = None


def origin_of(name: str, clip: nn.Module) -> Origin:
    """The origin of a model that open_clip has made.

    Args:
        name: an architecture, or `local-dir:<folder>`.
        clip: the model.
    """
    import open_clip
    from open_clip.transformer import QuickGELU

    folder = Path(name.removeprefix("local-dir:")) if name.startswith("local-dir:") else None
    if folder is not None:
        return Origin(read_object(folder / CONFIG, "give a folder in open_clip's format."), folder)
    model = copy.deepcopy(open_clip.get_model_config(name) or {})
    if any(isinstance(module, QuickGELU) for module in clip.modules()):
        model["quick_gelu"] = True  # some weights ask for it, whatever the architecture says
    for section, field in (("vision_cfg", "timm_model_pretrained"), ("text_cfg", "hf_model_pretrained")):
        if field in model.get(section, {}):
            model[section][field] = False  # the weights are in the folder
    visual: Any = clip.visual
    preprocess = {
        key: value
        for key, value in getattr(visual, "preprocess_cfg", {}).items()
        if key not in ("size", "mode")
    }
    return Origin({"model_cfg": model, "preprocess_cfg": preprocess})


def write_origin(origin: Origin, folder: Path) -> list[Path]:
    """Write the configuration and the tokenizer's files beside a model's weights; each whole or not at all."""
    write_text(folder / CONFIG, json.dumps(origin.config, indent=2))
    written = [folder / CONFIG]
    for file in sorted(origin.folder.iterdir()) if origin.folder is not None else ():
        target = folder / file.name
        if _TOKENIZER.fullmatch(file.name) and file.is_file() and file.resolve() != target.resolve():
            with whole(target) as temporary:
                shutil.copyfile(file, temporary)
            written.append(target)
    return written
