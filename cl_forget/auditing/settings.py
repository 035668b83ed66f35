"""Whether two models compute the same function of their weights: what their configurations say besides sizes.

Both models of a pair are measured, and mixed, in one network. A fine-tune that also changed how the network reads
its weights (another base of the rotary frequencies, another activation, other image statistics) would be measured
as something that nobody trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cl_forget.ground.documents import read_object
from cl_forget.ground.errors import UserError
from cl_forget.models.base import FoundationModel
from cl_forget.models.causal_lm import CausalLM
from cl_forget.models.classifier import ImageClassifier
from cl_forget.models.clip import ClipModel
from cl_forget.models.clip_folder import CONFIG

BOOKKEEPING = frozenset({
    "architectures", "auto_map", "bos_token_id", "dtype", "eos_token_id", "finetuning_task", "id2label",
    "initializer_range", "is_encoder_decoder", "label2id", "max_length", "max_position_embeddings",
    "model_max_length", "n_ctx", "n_positions", "name_or_path", "num_labels", "output_attentions",
    "output_hidden_states", "output_router_logits", "pad_token_id", "pretraining_tp", "problem_type",
    "quantization_config", "return_dict", "sep_token_id", "task_specific_params", "tie_word_embeddings",
    "torch_dtype", "transformers_version", "use_cache", "vocab_size",
})  # fmt: skip
"""Fields that change nothing of what weights compute on a text, or that the weights' own shapes tell."""
_LOADING = ("_pretrained", "patch_dropout", "size", "mode")


def refuse_other_settings(model: FoundationModel, base: str, tuned: Path) -> None:
    """Refuse a tuned model whose configuration is not its base's.

    Args:
        model: the base, loaded.
        base: its name, for the message.
        tuned: the tuned model's folder or file; what has no configuration beside it passes.

    Raises:
        UserError: names the first field that differs, with both values.
    """
    if isinstance(model, ImageClassifier):
        pairs = _image(model, tuned)
    else:
        pairs = (
            _of_transformers(model.lm.config, tuned) if isinstance(model, CausalLM) else _clip(model, tuned)
        )
    for field, before, after in pairs:
        if before != after:
            raise UserError(
                f"{tuned} is configured otherwise than {base}: {field} is {_short(after)} and not "
                f"{_short(before)}, so the same weights mean something else in it; give both the same configuration, "
                "or name the base it was made from."
            )


def _image(model: ImageClassifier, folder: Path) -> list[tuple[str, Any, Any]]:
    if model.architecture is None:
        config = getattr(model.net, "config", None)
        return [] if config is None else _of_transformers(config, folder)
    if not (folder / "config.json").is_file():
        return []
    from timm.data import resolve_data_config

    own = read_object(folder / "config.json", "save the model again.")
    before = resolve_data_config({}, model=model.net)
    after = own.get("pretrained_cfg") or {}
    images = [(name, list(before[name]), list(after.get(name, before[name]))) for name in ("mean", "std")]
    return [("architecture", model.architecture, own.get("architecture", model.architecture)), *images]


def _of_transformers(config: Any, folder: Path) -> list[tuple[str, Any, Any]]:
    if not (folder / "config.json").is_file():
        return []
    from transformers import AutoConfig

    from cl_forget.models.sources import trusts_code

    try:
        own = AutoConfig.from_pretrained(folder, trust_remote_code=trusts_code())
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{folder}/config.json cannot be read ({first}); save the model again.") from None
    before, after = config, own
    if before.model_type != after.model_type:
        return [("model_type", before.model_type, after.model_type)]
    known = type(before)().get_text_config().to_dict()
    settings = [name for name in known if not _is_bookkeeping(name)]
    one, other = before.get_text_config().to_dict(), after.get_text_config().to_dict()
    return [(name, one.get(name), other.get(name)) for name in settings]


def _is_bookkeeping(name: str) -> bool:
    training_only = (
        "dropout" in name or name.endswith(("_pdrop", "_loss_coef")) or name.startswith("summary_")
    )
    return name in BOOKKEEPING or name.startswith("_") or training_only


def _clip(model: FoundationModel, folder: Path) -> list[tuple[str, Any, Any]]:
    if not isinstance(model, ClipModel) or model.origin is None or not (folder / CONFIG).is_file():
        return []
    before = model.origin.config
    after = read_object(folder / CONFIG, "save the model again.")
    one, other = before.get("model_cfg", {}), after.get("model_cfg", {})
    quick = [("quick_gelu", bool(one.get("quick_gelu")), bool(other.get("quick_gelu")))]
    return [*quick, *_shared("", before, after)]


def _shared(where: str, before: Any, after: Any) -> list[tuple[str, Any, Any]]:
    """Every field that both say something of, by its dotted name."""
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        return [(where, before, after)]
    return [
        found
        for name in before
        if name in after and name != "quick_gelu" and not str(name).endswith(_LOADING)
        for found in _shared(f"{where}.{name}".strip("."), before[name], after[name])
    ]


def _short(value: Any) -> str:
    said = str(value)
    return said if len(said) < 60 else said[:57] + "..."
