"""Where causal language models come from: the hub, local folders, GGUF files, the embedded one."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.ground.documents import read_object
from cl_forget.ground.errors import UserError, first_line
from cl_forget.ground.hub import hub_offline_if_unreachable, out_of_reach
from cl_forget.models._quiet import panics_are_errors, quiet_transformers
from cl_forget.models.gguf_header import check_gguf
from cl_forget.models.plausible import refuse_implausible, refuse_not_finite
from cl_forget.models.sources import TRUST, trusts_code

if TYPE_CHECKING:
    from cl_forget.models.causal_lm import CausalLM
    from cl_forget.weights.checkpoint import Checkpoint

PICO_LM = Path(__file__).parent / "zoo" / "pico_lm"


def load_pico_lm() -> CausalLM:
    """The embedded language model: a small Llama, pre-trained on skills with exact answers."""
    return load_hf(str(PICO_LM))


def load_hf(what: str = "") -> CausalLM:
    """hf:<name on the hub or local folder>: any causal language model of transformers.

    Raises:
        UserError: no such model, unreadable or unsafe weights, no tokenizer, or the hub is out of reach.
    """
    where = _where(what, "hf")

    def load() -> Any:
        return _from_folder(Path(where)) if Path(where).is_dir() else _from_hub(where)

    return _load("hf", what, load, {"pretrained_model_name_or_path": where})


def _from_hub(name: str, **more: Any) -> Any:
    """A model by its name, if every tensor of it was there."""
    import torch
    from transformers import AutoModelForCausalLM

    # Only safetensors from afar: the older format is a pickle.
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        name,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are in the report, and refused
        trust_remote_code=trusts_code(),
        **{"use_safetensors": True, **more},
    )
    lm, report = loaded
    _check_report(str(more.get("gguf_file", name)), report)
    return lm


def _from_folder(folder: Path) -> Any:
    """A model from a folder, whatever was wrapped around it when it was saved."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    from cl_forget.weights.checkpoint import open_checkpoint
    from cl_forget.weights.merge import untied_head

    checkpoint = open_checkpoint(folder)
    own = folder / "config.json"
    refuse_implausible(str(own), read_object(own, "save the model again."), checkpoint.source.infos)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=trusts_code())
    if config.is_encoder_decoder:
        raise _not_causal(f"hf:{folder}", config.model_type)
    own_head = untied_head(checkpoint.source)
    if own_head:  # whatever the configuration says
        config.tie_word_embeddings = config.get_text_config().tie_word_embeddings = False
    with torch.device("meta"):
        shell = AutoModelForCausalLM.from_config(config, trust_remote_code=trusts_code())
    plain = all(file.endswith(".safetensors") for file in checkpoint.files)
    renamed = checkpoint.renames(shell.state_dict().keys())
    # transformers is given the tensors, and converts what it has come to call otherwise.
    checkpoint.know(shell.state_dict().keys())
    if not hasattr(config, "quantization_config"):
        _refuse_whole_numbers(checkpoint, shell)
    if plain and not renamed:
        return _from_hub(str(folder), config=config)
    state = {name: checkpoint.source.load(name) for name in checkpoint.source.infos}
    lm, report = type(shell).from_pretrained(
        None,
        config=config,
        state_dict=state,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    _check_report(str(folder), report)
    with contextlib.suppress(OSError):  # a folder need not have one
        lm.generation_config = GenerationConfig.from_pretrained(folder)
    return lm


def _refuse_whole_numbers(checkpoint: Checkpoint, shell: Any) -> None:
    from cl_forget.weights.keys import refuse_quantised

    infos = checkpoint.source.infos
    floats = (name for name, tensor in shell.state_dict().items() if tensor.is_floating_point())
    stored = [name for name in floats if name in infos and not infos[name].dtype.is_floating_point]
    refuse_quantised(str(checkpoint.path), stored)


def _check_report(where: str, report: Mapping[str, Any]) -> None:
    """Refuse a model some of whose tensors transformers made up, or left lying."""
    from cl_forget.weights.keys import harmless, refuse_unless_whole

    foreign = [name for name in report["unexpected_keys"] if not harmless(name, (1, 1, 0, 0))]
    mis_shaped = [key[0] for key in report["mismatched_keys"]]
    refuse_unless_whole(where, sorted(report["missing_keys"]), foreign, mis_shaped)


def load_random(what: str = "") -> CausalLM:
    """random:<name or folder>: the architecture and tokenizer found there, with random but fixed weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    where = _where(what, "random")

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
    if "trust_remote_code" in said or "custom code" in said:
        return (
            f"'{name}' brings Python code of its own, which is not run; if you trust its authors, set the "
            f"environment variable {TRUST}=1."
        )
    if "quantiz" in said:
        return f"'{name}' is quantised ({first_line(error)}); give the model in bfloat16 or float32."
    if "safetensors" in said and "no file named" in said:
        return f"'{name}' has no model.safetensors; save it again with save_pretrained, which writes one."
    cure = (
        "give a whole file of an architecture that transformers reads from GGUF (llama, qwen2, gemma, ...), or "
        "a folder as hf:<folder>."
        if source == "gguf"
        else "check that it is a whole causal language model of this version of transformers."
    )
    return f"'{name}' cannot be loaded: {first_line(error)}; {cure}"
