"""Where causal language models come from: the hub, local folders, GGUF files, the embedded one."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.errors import UserError
from cl_forget.models._quiet import quiet_transformers
from cl_forget.models.sources import hub_offline_if_unreachable, out_of_reach

if TYPE_CHECKING:
    from cl_forget.models.causal_lm import CausalLM

PICO_LM = Path(__file__).parent / "zoo" / "pico_lm"


def load_pico_lm() -> CausalLM:
    """The embedded language model: a small Llama, pre-trained on skills with exact answers."""
    return load_hf(str(PICO_LM))


def load_hf(what: str = "") -> CausalLM:
    """hf:<name on the hub or local folder>: any causal language model of transformers.

    Raises:
        UserError: no such model, unreadable or unsafe weights, no tokenizer, or the hub is out of reach.
    """
    from transformers import AutoModelForCausalLM

    where = _where(what, "hf")

    def load() -> Any:
        import torch

        # Only safetensors: the older format is a pickle, and nothing from outside is unpickled.
        return AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32, use_safetensors=True)

    return _load("hf", what, load, {"pretrained_model_name_or_path": where})


def load_random(what: str = "") -> CausalLM:
    """random:<name or folder>: the architecture and tokenizer found there, with random but fixed weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    where = _where(what, "random")

    def load() -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(where), dtype=torch.float32)

    return _load("random", what, load, {"pretrained_model_name_or_path": where})


def load_gguf(what: str = "") -> CausalLM:
    """gguf:<file>: a language model in llama.cpp's format, its weights converted to float32.

    Raises:
        UserError: no such file, not a GGUF, or an architecture that transformers cannot read from one.
    """
    from transformers import AutoModelForCausalLM

    file = Path(what).expanduser()
    if not what or not file.is_file():
        raise UserError(f"no file at '{what}': write gguf:<path of a .gguf file>.")
    with file.open("rb") as opened:
        if opened.read(4) != b"GGUF":
            raise UserError(f"{file} is not a GGUF file (it does not begin with 'GGUF'); give a whole one.")
    source = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}

    def load() -> Any:
        import torch

        lm: Any = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
        # The weights are plain float32 by now; transformers would refuse to save what it still holds quantised.
        lm.hf_quantizer = None
        if hasattr(lm.config, "quantization_config"):
            del lm.config.quantization_config
        return lm

    return _load("gguf", what, load, source)


def _where(what: str, source: str) -> str:
    """A folder as it is, anything that looks like a path but is none refused."""
    if not what:
        raise UserError(f"write {source}:<name on the hub, or folder>.")
    folder = Path(what).expanduser()
    if folder.is_dir():
        if (folder / "adapter_config.json").is_file():
            raise UserError(
                f"{folder} holds an adapter and no model of its own; merge it into its base (`merge_and_unload`, "
                "`save_pretrained`) and give that folder."
            )
        if not (folder / "config.json").is_file():
            raise UserError(f"no transformers model in {folder}: it must hold config.json and weights.")
        return str(folder)
    if folder.is_absolute() or what.startswith((".", "~")) or what.count("/") > 1:
        raise UserError(f"no folder at '{what}': give one that exists, or a name on the hub.")
    return what


def _load(source: str, what: str, load: Any, tokenizer: dict[str, str]) -> CausalLM:
    from transformers import AutoTokenizer

    from cl_forget.models.causal_lm import CausalLM

    local = Path(tokenizer["pretrained_model_name_or_path"]).is_dir()
    reach = contextlib.nullcontext() if local else hub_offline_if_unreachable()
    with reach, quiet_transformers():
        try:
            lm = load()
        except Exception as error:
            raise UserError(_why_not(source, what, local, error)) from error
        try:
            words = AutoTokenizer.from_pretrained(**tokenizer)
        except Exception as error:
            raise UserError(
                f"'{source}:{what}' has no tokenizer that can be read ({_first_line(error)}); put the model's "
                "tokenizer files beside its weights."
            ) from error
    return CausalLM(lm, words)


def _why_not(source: str, what: str, local: bool, error: Exception) -> str:
    name = f"{source}:{what}"
    said = f"{type(error).__name__} {error} {error.__cause__} {error.__context__}".lower()
    if "gated" in said:
        return (
            f"'{name}' is gated on the hub; accept its terms there and set HF_TOKEN, or give a local folder."
        )
    if not local and out_of_reach(error):
        return (
            f"'{name}' could not be had from the hub ({type(error).__name__}): check the name and the network, "
            f"or download the model elsewhere and write {source}:<folder>."
        )
    if "safetensors" in said and "no file named" in said:
        return f"'{name}' has no model.safetensors; save it again with save_pretrained, which writes one."
    cure = (
        "give a whole file of an architecture that transformers reads from GGUF (llama, qwen2, gemma, ...), or "
        "a folder as hf:<folder>."
        if source == "gguf"
        else "check that it is a whole causal language model of this version of transformers."
    )
    return f"'{name}' cannot be loaded: {_first_line(error)}; {cure}"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0].rstrip(".:")
