"""Where causal language models come from: the hub, local folders, GGUF files, the embedded one."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.ground.errors import UserError, first_line
from cl_forget.ground.hub import hub_offline_if_unreachable
from cl_forget.models._quiet import panics_are_errors, quiet_transformers
from cl_forget.models._transformers import (
    check_report,
    from_folder,
    from_hub,
    known_trouble,
    opened,
    place_of,
)
from cl_forget.models.gguf_header import check_gguf
from cl_forget.models.plausible import refuse_not_finite
from cl_forget.models.sources import trusts_code

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
    where = place_of(what, "hf")

    def load() -> Any:
        return _from_folder(Path(where)) if Path(where).is_dir() else _from_hub(where)

    return _load("hf", what, load, {"pretrained_model_name_or_path": where})


def _from_hub(name: str, **more: Any) -> Any:
    """A model by its name, if every tensor of it was there."""
    from transformers import AutoModelForCausalLM

    lm, report = from_hub(name, AutoModelForCausalLM, **more)
    check_report(str(more.get("gguf_file", name)), report)
    return lm


def _from_folder(folder: Path) -> Any:
    """A model from a folder, whatever was wrapped around it when it was saved."""
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    from cl_forget.weights.merge import untied_head

    checkpoint = opened(folder)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=trusts_code())
    if config.is_encoder_decoder:
        raise _not_causal(f"hf:{folder}", config.model_type)
    if untied_head(checkpoint.source):  # whatever the configuration says
        config.tie_word_embeddings = config.get_text_config().tie_word_embeddings = False
    lm, report = from_folder(folder, checkpoint, config, AutoModelForCausalLM)
    check_report(str(folder), report)
    with contextlib.suppress(OSError):  # a folder need not have one
        lm.generation_config = GenerationConfig.from_pretrained(folder)
    return lm


def load_random(what: str = "") -> CausalLM:
    """random:<name or folder>: the architecture and tokenizer found there, with random but fixed weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    where = place_of(what, "random")

    def load() -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            config = AutoConfig.from_pretrained(where, trust_remote_code=trusts_code())
            return AutoModelForCausalLM.from_config(
                config, dtype=torch.float32, trust_remote_code=trusts_code()
            )

    return _load("random", what, load, {"pretrained_model_name_or_path": where})


def load_gguf(what: str = "") -> CausalLM:
    """gguf:<file>: a language model in llama.cpp's format, its weights converted to float32.

    Raises:
        UserError: no such file, not a GGUF, or an architecture that transformers cannot read from one.
    """
    file = Path(what).expanduser()
    if not what or not file.is_file():
        raise UserError(f"no file at '{what}': write gguf:<path of a .gguf file>.")
    with file.open("rb") as opened:
        if opened.read(4) != b"GGUF":
            raise UserError(f"{file} is not a GGUF file (it does not begin with 'GGUF'); give a whole one.")
    check_gguf(file)
    source = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}

    def load() -> Any:
        lm = _from_hub(str(file.parent), gguf_file=file.name, use_safetensors=None)
        # The weights are plain float32 by now; transformers would refuse to save what it still holds quantised.
        lm.hf_quantizer = None
        if hasattr(lm.config, "quantization_config"):
            del lm.config.quantization_config
        return lm

    return _load("gguf", what, load, source)


def _load(source: str, what: str, load: Any, tokenizer: dict[str, str]) -> CausalLM:
    from transformers import AutoTokenizer

    from cl_forget.models.causal_lm import CausalLM

    local = Path(tokenizer["pretrained_model_name_or_path"]).is_dir()
    reach = contextlib.nullcontext() if local else hub_offline_if_unreachable()
    with reach, quiet_transformers():
        try:
            with panics_are_errors():
                lm = load()
        except UserError:
            raise
        except Exception as error:
            raise UserError(_why_not(source, what, local, error)) from error
        if getattr(lm, "_hf_peft_config_loaded", False):
            raise UserError(
                f"'{source}:{what}' is an adapter; merge it into its base (`merge_and_unload`, `save_pretrained`) "
                "and give that folder."
            )
        try:
            with panics_are_errors():
                words = AutoTokenizer.from_pretrained(**tokenizer, trust_remote_code=trusts_code())
        except Exception as error:
            raise UserError(
                f"'{source}:{what}' has no tokenizer that can be read ({first_line(error)}); put the model's "
                "tokenizer files beside its weights."
            ) from error
    refuse_not_finite(f"{source}:{what}", lm)
    model = CausalLM(lm, words)
    if lm.config.is_encoder_decoder or not model.looks_back_only():
        raise _not_causal(f"{source}:{what}", type(lm).__name__)
    return model


def _not_causal(name: str, kind: str) -> UserError:
    return UserError(
        f"'{name}' ({kind}) sees a whole text at once and not only what came before, as an encoder does; use a "
        "causal language model (gpt2, llama, qwen, gemma, ...)."
    )


def _why_not(source: str, what: str, local: bool, error: Exception) -> str:
    name = f"{source}:{what}"
    if (known := known_trouble(name, local, error)) is not None:
        return known
    cure = (
        "give a whole file of an architecture that transformers reads from GGUF (llama, qwen2, gemma, ...), or "
        "a folder as hf:<folder>."
        if source == "gguf"
        else "check that it is a whole causal language model of this version of transformers."
    )
    return f"'{name}' cannot be loaded: {first_line(error)}; {cure}"
