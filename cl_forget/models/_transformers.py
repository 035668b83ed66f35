"""Models of transformers out of folders and from the hub, each tensor of which must be there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.ground.documents import read_object
from cl_forget.ground.errors import UserError, first_line
from cl_forget.ground.hub import out_of_reach
from cl_forget.models.plausible import refuse_implausible
from cl_forget.models.sources import TRUST, trusts_code

if TYPE_CHECKING:
    from cl_forget.weights.checkpoint import Checkpoint

Report = Mapping[str, Any]
"""What transformers says of loading: `missing_keys`, `unexpected_keys`, `mismatched_keys`."""


def place_of(what: str, source: str) -> str:
    """A folder as it is, anything that looks like a path but is none refused.

    Args:
        what: a name on the hub, or a folder.
        source: "hf", "hf-image", ..., for messages.

    Raises:
        UserError: nothing is named, no such folder, or no model of transformers in it.
    """
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


def opened(folder: Path) -> Checkpoint:
    """The weights in a folder, whose configuration can be theirs.

    Raises:
        UserError: no weights, or the configuration asks for a larger model.
    """
    from cl_forget.weights.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(folder)
    own = folder / "config.json"
    config = read_object(own, "save the model again.")
    if config.get("model_type") == "beit":  # its words are patches of pictures: no tensor has so many rows
        config = {**config, "vocab_size": None}
    refuse_implausible(str(own), config, checkpoint.source.infos)
    return checkpoint


def from_folder(folder: Path, checkpoint: Checkpoint, config: Any, auto: Any) -> tuple[Any, Report]:
    """A model from a folder, whatever was wrapped around it when it was saved, and the report on it.

    Args:
        folder: it.
        checkpoint: its weights; they learn the model's names for them.
        config: its configuration, read.
        auto: the class of transformers that makes it.

    Raises:
        UserError: the weights are whole numbers.
    """
    import torch

    with torch.device("meta"):
        shell = auto.from_config(config, trust_remote_code=trusts_code())
    plain = all(file.endswith(".safetensors") for file in checkpoint.files)
    renamed = checkpoint.renames(shell.state_dict().keys())
    # transformers is given the tensors, and converts what it has come to call otherwise.
    checkpoint.know(shell.state_dict().keys())
    if not hasattr(config, "quantization_config"):
        _refuse_whole_numbers(checkpoint, shell)
    if plain and not renamed:
        return from_hub(str(folder), auto, config=config)
    state = {name: checkpoint.source.load(name) for name in checkpoint.source.infos}
    loaded: tuple[Any, Report] = type(shell).from_pretrained(
        None,
        config=config,
        state_dict=state,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    return loaded


def from_hub(name: str, auto: Any, **more: Any) -> tuple[Any, Report]:
    """A model by its name, in single precision, and the report on it.

    Args:
        name: on the hub, or a folder.
        auto: the class of transformers that makes it.
        more: what else `from_pretrained` is given.
    """
    import torch

    # Only safetensors from afar: the older format is a pickle.
    loaded: tuple[Any, Report] = auto.from_pretrained(
        name,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are in the report, and refused
        trust_remote_code=trusts_code(),
        **{"use_safetensors": True, **more},
    )
    return loaded


def _refuse_whole_numbers(checkpoint: Checkpoint, shell: Any) -> None:
    from cl_forget.weights.keys import refuse_quantised

    infos = checkpoint.source.infos
    floats = (name for name, tensor in shell.state_dict().items() if tensor.is_floating_point())
    stored = [name for name in floats if name in infos and not infos[name].dtype.is_floating_point]
    refuse_quantised(str(checkpoint.path), stored)


def check_report(where: str, report: Report, forgiven: Callable[[str], bool] = lambda name: False) -> None:
    """Refuse a model some of whose tensors transformers made up, or left lying.

    Args:
        where: what was loaded.
        report: on it.
        forgiven: says of a missing tensor's name that the caller does without it.

    Raises:
        UserError: names the first ones.
    """
    from cl_forget.weights.keys import harmless, refuse_unless_whole

    foreign = [name for name in report["unexpected_keys"] if not harmless(name, (1, 1, 0, 0))]
    mis_shaped = [key[0] for key in report["mismatched_keys"]]
    missing = sorted(name for name in report["missing_keys"] if not forgiven(name))
    refuse_unless_whole(where, missing, foreign, mis_shaped)


def known_trouble(name: str, local: bool, error: Exception) -> str | None:
    """What stands behind an error of loading, and the cure, for those that say nothing of the model itself.

    Args:
        name: the model's, "hf:..." or "hf-image:...".
        local: whether it is a folder.
        error: what transformers raised.
    """
    said = f"{type(error).__name__} {error} {error.__cause__} {error.__context__}".lower()
    if "gated" in said:
        return (
            f"'{name}' is gated on the hub; accept its terms there and set HF_TOKEN, or give a local folder."
        )
    if not local and out_of_reach(error):
        source = name.partition(":")[0]
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
    return None
