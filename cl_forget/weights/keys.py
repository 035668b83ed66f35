"""What the tensors of a checkpoint are called, once the marks of what was wrapped around the model are taken off.

Training code saves a model inside other things: a dict (`{"state_dict": …, "epoch": 3}`), a compiled module
(`_orig_mod.`), data parallelism (`module.`), a Lightning module (`model.`), peft (`base_model.model.`). The names
that the model's own library loads are known; those in a file are matched with them here, for every model and verb.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from torch import Tensor

from cl_forget.ground.errors import UserError

NESTS = (
    *(
        "state_dict",
        "model_state_dict",
        "model_state",
        "model",
        "module",
        "net",
        "network",
        "weights",
        "params",
    ),
    *("student", "state_dict_ema", "model_state_dict_ema", "ema_state_dict", "ema_model", "model_ema", "ema"),
)
"""Where in a training checkpoint the weights lie: the first that is there; averages only where there is no other."""

TIED = {"lm_head.weight": ("model.embed_tokens.weight", "transformer.wte.weight", "gpt_neox.embed_in.weight")}
"""Output heads that a file may leave out because the model ties them to its embedding."""

_MARKS = re.compile(
    r"(^|(?<=\.))(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\.|^(module\.)+"
)
_HARMLESS = re.compile(r"(^|\.)(rotary_emb\.inv_freq|masked_bias|position_ids)$")
_MASK = re.compile(r"(^|\.)(attn|attention|crossattention)\.bias$")

Shape = tuple[int, ...]


def tensors_of(loaded: Any) -> dict[str, Tensor] | None:
    """The state dict in what a training script saved; None where there is none.

    Dicts of `NESTS` are opened, however deep; dicts of modules become dotted names; what is no tensor is left out.
    """
    while isinstance(loaded, Mapping):
        inner = next((loaded[key] for key in NESTS if isinstance(loaded.get(key), Mapping)), None)
        if inner is None:
            break
        loaded = inner
    if not isinstance(loaded, Mapping):
        return None
    found = dict(_flat(loaded))
    return found or (None if loaded else {})


def _flat(tree: Mapping[Any, Any], before: str = "") -> Iterable[tuple[str, Tensor]]:
    for key, value in tree.items():
        if isinstance(value, Tensor):
            yield f"{before}{key}", value
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")


def harmless(name: str, shape: Shape) -> bool:
    """Whether a tensor is a constant that older versions of a library saved and newer ones make anew."""
    mask = _MASK.search(name) is not None and len(shape) == 4 and shape[:2] == (1, 1)
    return mask or _HARMLESS.search(name) is not None


def unmarked(name: str) -> str:
    """A name without the marks that compiling and data parallelism leave."""
    while (shorter := _MARKS.sub("", name)) != name:
        name = shorter
    return name


def fit(names: Iterable[str], expected: Collection[str]) -> dict[str, str]:
    """Name in a file -> the name by which the model knows it; a name that fits nothing keeps its own, unmarked.

    One prefix is taken off, and one put on, for the whole file: those that make most names fit.

    Args:
        names: in the file.
        expected: what the model's own library calls its tensors.
    """
    plain = {name: name if name in expected else unmarked(name) for name in names}
    pairs = Counter({("", ""): sum(name in expected for name in plain.values())})
    strangers = [name for name in plain.values() if name not in expected]
    offs = [p for p in _prefixes(strangers) if 2 * sum(n.startswith(p) for n in plain.values()) >= len(plain)]
    for off in offs:
        for on in ("", *_prefixes(expected)):
            pairs[off, on] = sum(_moved(name, off, on) in expected for name in plain.values())
    best = max(pairs, key=lambda pair: (pairs[pair], -len(pair[0]) - len(pair[1])))
    found: dict[str, str] = {}
    taken: set[str] = set()
    # A name that already fits comes first; what would be a second tensor of one name keeps the name in its file.
    for name, short in sorted(plain.items(), key=lambda item: item[1] not in expected):
        moved = short if short in expected else _moved(short, *best)
        found[name] = next((n for n in (moved, short) if n not in taken), name)
        taken.add(found[name])
    return {name: found[name] for name in plain}


def _moved(name: str, off: str, on: str) -> str:
    return on + name.removeprefix(off) if name.startswith(off) else name


def _prefixes(names: Iterable[str]) -> list[str]:
    """What names begin with, up to four modules; nothing numbered, since that is no wrapper."""
    found: dict[str, None] = {"": None}
    for name in names:
        parts = name.split(".")[:-1][:4]
        for count, part in enumerate(parts, 1):
            if part.isdigit():
                break
            found[".".join(parts[:count]) + "."] = None
    return list(found)


def refuse_quantised(where: str, names: Collection[str]) -> None:
    """Raise where weights are stored as whole numbers: without what they are to be scaled by, they mean nothing.

    Args:
        where: the checkpoint.
        names: its tensors of whole numbers for which the model has fractions.

    Raises:
        UserError: there are any.
    """
    if names:
        raise UserError(
            f"{where} is quantised: {len(names)} weights are whole numbers, the first '{min(names)}'; give the "
            "model in bfloat16 or float32."
        )


def refuse_unless_whole(
    where: str, missing: Collection[str], foreign: Collection[str], mis_shaped: Collection[str] = ()
) -> None:
    """Raise where a checkpoint is not the whole model, or more than it.

    Args:
        where: the checkpoint.
        missing: names that the model has and the checkpoint lacks.
        foreign: names that it has and the model lacks.
        mis_shaped: names with another shape than the model's.

    Raises:
        UserError: any of the three; names the first ones and how many there are.
    """
    if not missing and not foreign and not mis_shaped:
        return
    said = [
        f"{what} {len(names)} ({', '.join(sorted(names)[:3])}{', …' if len(names) > 3 else ''})"
        for what, names in (("missing:", missing), ("foreign:", foreign), ("of another shape:", mis_shaped))
        if names
    ]
    cure = "give the checkpoint of a whole model of this architecture"
    if any("lora_" in name or ".base_layer." in name for name in foreign):
        cure = "merge the adapter first (peft's merge_and_unload) and save the model again"
    elif any(
        re.search(r"(^|\.)(score|classifier|v_head|value_head|classification_head)\.", n) for n in foreign
    ):
        cure = "it is a classifier or reward model; give the language model it was made from"
    raise UserError(f"the tensors in {where} are not those of the model: {'; '.join(said)}; {cure}.")
