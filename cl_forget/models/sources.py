"""Where CLIP models come from: the embedded one, open_clip's tags, local files and folders."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.ground.documents import read_object
from cl_forget.ground.errors import UserError
from cl_forget.ground.hub import hub_offline_if_unreachable, out_of_reach
from cl_forget.ground.registry import closest
from cl_forget.models.plausible import refuse_implausible, refuse_not_finite

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.models.clip import ClipModel
    from cl_forget.weights.checkpoint import Checkpoint


logger = logging.getLogger("cl_forget")

TRUST = "CL_FORGET_TRUST_REMOTE_CODE"
"""Environment variable: 1 lets models run code that comes with them. No file, so no recorded run, can set it."""


def trusts_code() -> bool:
    """Whether the user lets models run code of their own; see `TRUST`."""
    return os.environ.get(TRUST) == "1"


def load_emoji_clip() -> ClipModel:
    """The embedded CLIP model, pre-trained on emoji: small enough to fine-tune in seconds on a CPU."""
    return load_open_clip(f"local-dir:{Path(__file__).parent / 'zoo' / 'emoji_clip'}")


def load_emoji_clip_rn() -> ClipModel:
    """The embedded CLIP model with a convolutional image tower (open_clip's ResNet, with BatchNorm)."""
    return load_open_clip(f"local-dir:{Path(__file__).parent / 'zoo' / 'emoji_clip_rn'}")


def load_open_clip(what: str = "") -> ClipModel:
    """open_clip:<architecture>/<tag, checkpoint file or none>, or open_clip:local-dir:<folder>.

    A folder is one in open_clip's own format: configuration, weights, tokenizer. "none" gives random
    weights, the same ones every time.

    Raises:
        UserError: unknown architecture or tag, missing or unreadable file, hub out of reach.
    """
    import open_clip
    import torch

    from cl_forget.models.clip import ClipModel
    from cl_forget.models.clip_folder import origin_of
    from cl_forget.weights.checkpoint import open_checkpoint

    checkpoint: Checkpoint | None
    if what.startswith("local-dir:"):
        folder = Path(what.removeprefix("local-dir:")).expanduser()
        if not (folder / "open_clip_config.json").is_file():
            raise UserError(
                f"no open_clip model in {folder}: it must hold open_clip_config.json and weights."
            )
        config = read_object(folder / "open_clip_config.json", "give a folder in open_clip's format.")
        if "trust_remote_code" in json.dumps(config) and not trusts_code():
            raise UserError(_brings_code(what))
        name, tag, checkpoint = f"local-dir:{folder}", None, (found := open_checkpoint(folder))
        refuse_implausible(f"{folder}/open_clip_config.json", config, found.source.infos)
    else:
        name, weights = _architecture_and_weights(what)
        tag = None if isinstance(weights, Path) else weights
        checkpoint = open_checkpoint(weights) if isinstance(weights, Path) else None
    try:
        # The initial weights are drawn from a seed of their own, so "none" is one model, not many.
        with torch.random.fork_rng(devices=[]), hub_offline_if_unreachable(), no_questions():
            torch.manual_seed(0)
            clip, _, preprocess = open_clip.create_model_and_transforms(
                name,
                pretrained=tag,
                load_weights=tag is not None,
                pretrained_text=tag is not None or checkpoint is None,
                force_patch_dropout=0.0,
                force_quick_gelu=tag is not None and _trained_with_quick_gelu(name, tag),
            )
            tokenizer = open_clip.get_tokenizer(name)
        if checkpoint is not None:
            _load_checkpoint(clip, checkpoint)
        model = ClipModel(clip, preprocess, tokenizer)
    except UserError:
        raise
    except Exception as error:
        raise UserError(_why_not_loaded(what, error)) from error
    refuse_not_finite(f"open_clip:{what}", clip)
    model.origin = origin_of(name, clip)
    return model


def _load_checkpoint(clip: Any, checkpoint: Checkpoint) -> None:
    """Set a model to a checkpoint that holds all of it and nothing else.

    open_clip loads these too, but it resizes position embeddings and takes a folder without weights in silence.
    """
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    from cl_forget.weights.keys import harmless, refuse_quantised, refuse_unless_whole

    own = clip.state_dict()
    checkpoint.know(own.keys())
    source = checkpoint.source
    state = {name: source.load(name) for name in source.infos}
    if any(name not in own for name in state):  # other libraries' formats, and open_clip's old one
        state = convert_state_dict(clip, state)
        if "positional_embedding" in state and not hasattr(clip, "positional_embedding"):
            state = convert_to_custom_text_state_dict(state)
    state = {name: t for name, t in state.items() if name in own or not harmless(name, tuple(t.shape))}
    for name in ("logit_scale", "logit_bias"):  # a number, or a vector of one
        if name in state and name in own and state[name].numel() == own[name].numel():
            state[name] = state[name].reshape(own[name].shape)
    both = state.keys() & own.keys()
    refuse_quantised(str(checkpoint.path), [n for n in both if _is_float(own[n]) and not _is_float(state[n])])
    refuse_unless_whole(
        str(checkpoint.path),
        [name for name in own if name not in state],
        [name for name in state if name not in own],
        [name for name in both if state[name].shape != own[name].shape],
    )
    clip.load_state_dict(state)


def _is_float(tensor: Tensor) -> bool:
    return tensor.is_floating_point()


@contextlib.contextmanager
def no_questions() -> Iterator[None]:
    """What comes from outside is not asked about on the terminal: code of its own is not run (see `trusts_code`)."""
    from transformers import dynamic_module_utils

    was = dynamic_module_utils.TIME_OUT_REMOTE_CODE
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = was if trusts_code() else 0
    try:
        yield
    finally:
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = was


def _architecture_and_weights(what: str) -> tuple[str, str | Path | None]:
    """The architecture, and a tag, a file, or nothing."""
    import open_clip

    architecture, _, weights = what.partition("/")
    known = open_clip.list_models()
    if architecture not in known:
        raise UserError(
            f"open_clip has no architecture '{architecture}'.{closest(architecture, known)} "
            "Write open_clip:<architecture>/<tag, checkpoint file or none>."
        )
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if weights == "none":
        return architecture, None
    if weights in tags:
        return architecture, weights
    if weights and Path(weights).expanduser().exists():
        if f"{architecture}-quickgelu" in known:
            logger.warning(
                "%s does not say which activation it was trained with, and %s has GELU: weights of OpenAI, "
                "MetaCLIP and DFN need open_clip:%s-quickgelu/... .",
                weights, architecture, architecture,
            )  # fmt: skip
        return architecture, Path(weights).expanduser()
    if "/" in weights or weights.endswith((".pt", ".bin", ".safetensors")):
        raise UserError(f"no checkpoint file at '{weights}': give a path that exists, a tag, or 'none'.")
    raise UserError(
        f"'{architecture}' has no weights '{weights}'.{closest(weights, tags)} Known tags: "
        f"{', '.join(tags) or 'none'}; or a checkpoint file, or 'none' for random weights."
    )


def _trained_with_quick_gelu(architecture: str, tag: str) -> bool:
    """Whether weights want QuickGELU, which open_clip would only warn of where the architecture's name lacks it."""
    import open_clip

    return bool(open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu", False))


def _brings_code(what: str) -> str:
    return (
        f"'open_clip:{what}' brings Python code of its own, which is not run; if you trust its authors, set the "
        f"environment variable {TRUST}=1."
    )


def _why_not_loaded(what: str, error: Exception) -> str:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if "trust_remote_code" in str(error):
        return _brings_code(what)
    if out_of_reach(error):
        return (
            f"the weights of 'open_clip:{what}' could not be downloaded ({type(error).__name__}); download them "
            "elsewhere and name the local file: open_clip:<architecture>/<path to checkpoint>."
        )
    return (
        f"'open_clip:{what}' cannot be loaded: {first}. Check that the file is a whole open_clip checkpoint."
    )
