"""A base and the model that was tuned from it: found on disk, checked against each other, loaded once."""

from __future__ import annotations

import copy
import json
import logging
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from cl_forget.auditing.settings import refuse_other_settings
from cl_forget.comparison.recorded import recorded_run
from cl_forget.ground.documents import read_object
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import write_text
from cl_forget.models import MODELS, load_model, weights_of
from cl_forget.models.adapters import FOLDER as ADAPTER
from cl_forget.models.causal_lm import CausalLM
from cl_forget.models.clip import HEADS as HEAD_FILE
from cl_forget.models.clip import WEIGHTS
from cl_forget.models.lm_sources import load_hf
from cl_forget.weights.checkpoint import Checkpoint, in_memory, open_checkpoint
from cl_forget.weights.distance import squared_distance
from cl_forget.weights.formats import read_adapter_config
from cl_forget.weights.interpolation import interpolate
from cl_forget.weights.layout import Layout
from cl_forget.weights.merge import check_pair, merge, untied_head
from cl_forget.weights.quantisation import is_matrix, kept_transposed, rounded
from cl_forget.weights.reading import InMemory, SafetensorsFile, TensorSource
from cl_forget.weights.writing import write_safetensors

if TYPE_CHECKING:
    from cl_forget.config.run import Run
    from cl_forget.models.base import FoundationModel
    from cl_forget.models.options import TextOptions
    from cl_forget.streams.base import Experience
    from cl_forget.weights.interpolation import Share

logger = logging.getLogger("cl_forget")


class Rounded(NamedTuple):
    """How many numbers were rounded, and ‖Q(θ) - θ‖ / ‖θ‖ over them."""

    parameters: int
    relative: float | None


@dataclass
class Pair:
    """Two checkpoints of one architecture and the model that runs them.

    Attributes:
        base_name, tuned_name: as the user named them.
        model: runs either; made from the base.
        base, tuned: the weights on disk.
        run: the finished run that the tuned model comes from, if it does.
    """

    base_name: str
    tuned_name: str
    model: FoundationModel
    base: Checkpoint
    tuned: Checkpoint
    run: Run | None

    def __post_init__(self) -> None:
        if isinstance(self.model, CausalLM) and self.model.tied and untied_head(self.tuned.source):
            self.model.untie()
        self._prefix = _prefix(self.model, self.tuned)
        self._heads: SafetensorsFile | None = None
        self._base_weights: dict[str, Tensor] = {}
        self._tuned_weights: dict[str, Tensor] = {}

    # -- tasks -----------------------------------------------------------------------------------------
    def add_tasks(self, tasks: list[Experience]) -> None:
        """Give the model the heads that the tuned model's run trained for these tasks."""
        folder = self.tuned.path.parent if self.tuned.path.name == ADAPTER else self.tuned.path
        file = folder / HEAD_FILE
        if self.run is None or not file.is_file():
            return
        self._heads = SafetensorsFile(file)
        for task in tasks:
            names = {name.removeprefix("heads.") for name in self.model.head_parameters(task)}
            if names.issubset(self._heads.infos):
                self.model.add_task(task)
                projection = f"{next(iter(names)).rpartition('.')[0]}.projection"
                if projection in self._heads.infos:
                    self.model.add_random_features(task, self._heads.load(projection))

    # -- weights in memory -----------------------------------------------------------------------------
    def load(self) -> None:
        """Read both models' weights into memory, for editing in place; tied tensors once."""
        self.base_model = copy.deepcopy(self.model).eval().requires_grad_(False)
        for name, before in _tensors(self.base_model).items():
            tuned = self._tuned_tensor(name)
            if tuned is not None:
                self._base_weights[name] = before
                self._tuned_weights[name] = tuned.to(before.device, before.dtype)
        self.layout = Layout([self.file_name(name) for name in self._tuned_weights])

    def _tuned_tensor(self, name: str) -> Tensor | None:
        """A tensor of the tuned model by the model's own name; None where its files do not hold it."""
        if name.startswith("heads."):
            head = name.removeprefix("heads.")
            known = self._heads is not None and head in self._heads.infos
            return self._heads.load(head) if known and self._heads is not None else None
        file_name = self.file_name(name)
        return self.tuned.source.load(file_name) if file_name in self.tuned.source.infos else None

    def file_name(self, parameter: str) -> str:
        """The name in the model's file of one of the model's tensors; a task's head keeps its own."""
        return parameter.removeprefix(self._prefix)

    def place(self, share: Callable[[str], Share]) -> None:
        """Set the model to `θ0 + s·(θ-θ0)`.

        Args:
            share: name of a tensor in the file -> its s.
        """
        tensors = _tensors(self.model)
        with torch.no_grad():
            for name, base in self._base_weights.items():
                s = share(self.file_name(name))
                tensors[name].copy_(interpolate(base, self._tuned_weights[name], s))

    def round_weights(self, bits: int) -> Rounded:
        """Round the model's matrices as they stand, tensor by tensor; the next `place` undoes it."""
        tensors, transposed = _tensors(self.model), set(kept_transposed(self.model))
        parameters, moved, size = 0, 0.0, 0.0
        for name in self._base_weights:
            tensor = tensors[name]
            if is_matrix(self.file_name(name), tensor):
                new = rounded(tensor, bits, name in transposed)
                parameters += tensor.numel()
                moved += squared_distance(new, tensor)
                size += squared_distance(tensor)
                tensor.copy_(new)
        return Rounded(parameters, math.sqrt(moved / size) if size else None)

    def moved_names(self) -> list[str]:
        """Names in the file of the tensors that tuning changed; `load` first."""
        return [
            self.file_name(name)
            for name, base in self._base_weights.items()
            if not torch.equal(base, self._tuned_weights[name])
        ]

    @cached_property
    def _tied(self) -> dict[str, str]:
        """Second name in the file -> first name, of each parameter that has two."""
        first: dict[int, str] = {}
        named = self.model.named_parameters(remove_duplicate=False)
        return {self.file_name(n): first.setdefault(id(t), self.file_name(n)) for n, t in named}

    # -- weights on disk -------------------------------------------------------------------------------
    def write(self, share: Callable[[str], Share], output: Path, merge_adapter: bool = False) -> list[Path]:
        """Write the edit in the format the tuned model came in, streaming; a run's heads go beside it."""

        def of(name: str) -> Share:
            return share(self._tied.get(name, name))  # tied tensors move together

        written = merge(self.base.source, self.tuned, of, output, self.base if merge_adapter else None)
        if isinstance(self.model, CausalLM) and not self.model.tied:
            _say_untied(output / "config.json")
        if self._heads is not None:
            base = InMemory({n: t for n, t in self._base_weights.items() if n.startswith("heads.")})
            heads = self._heads

            def head(name: str) -> Tensor:
                full = f"heads.{name}"
                tuned = heads.load(name)
                return interpolate(base.load(full), tuned, share(full)) if full in base.infos else tuned

            write_safetensors(output / HEAD_FILE, heads.infos, head)
            written.append(output / HEAD_FILE)
        return sorted(written)


def _say_untied(file: Path) -> None:
    """A model with a head of its own says so in its configuration, so that every library reads the head."""
    if not file.is_file():
        return
    config = read_object(file, "save the model again.")
    for part in (config, config.get("text_config")):
        if isinstance(part, dict) and part.get("tie_word_embeddings", True):
            part["tie_word_embeddings"] = False
    write_text(file, json.dumps(config, indent=2) + "\n")


def _tensors(model: FoundationModel) -> dict[str, Tensor]:
    """Parameters and buffers by name; one that is tied to another counts once."""
    found = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: tensor.detach() for name, tensor in found.items()}


def run_behind(base: str | None, tuned: str) -> Run | None:
    """The finished run that the tuned model comes from; None where it comes from none. Loads nothing.

    Args:
        base, tuned: as for `load_pair`.

    Raises:
        UserError: the tuned model is not there, or nobody says what it was tuned from.
    """
    require_there(tuned)
    run = _run_of(tuned)
    if base is None and run is None:
        raise UserError(f"name the model that {tuned} was fine-tuned from, with --base.")
    return run


def load_pair(base: str | None, tuned: str, text: TextOptions | None = None) -> Pair:
    """Find, check and load two models.

    Args:
        base: a model as an experiment file names it, or the path of its file or folder; a finished run knows
            its own.
        tuned: the same, a LoRA adapter's folder, or the folder of a finished run.
        text: how a language model reads texts; by default as its run did.

    Raises:
        UserError: either cannot be found or read, or they do not fit each other.
    """
    run = run_behind(base, tuned)
    if base is None:
        assert run is not None, "refused otherwise"
        base = run.model
    spec = as_spec(base)
    model = load_model(spec, text or (run.text if run is not None else None))
    before = _base_checkpoint(spec, model)
    path = _path_of(tuned)
    after = _tuned_checkpoint(_exported(path) if run is not None else path, before.source, model)
    if run is not None and after.path == path:  # the run's own files are not the model's
        after.companions = before.path if before.path.is_dir() else None
    check_pair(before.source, after.source)
    if after.kind == "adapter":
        _say_other_base(after.path, base)
    else:
        refuse_other_settings(model, base, after.path)
    return Pair(base, tuned, model, before, after, run)


def require_there(name: str, what: str = "fine-tuned model", option: str = "--tuned") -> None:
    """Refuse what is neither a path nor a model's name.

    Args:
        name: as the user wrote it.
        what: what it should be.
        option: where it is given.

    Raises:
        UserError: it is neither.
    """
    if name.partition(":")[0] not in MODELS and not Path(name).expanduser().exists():
        raise UserError(f"no file or folder at {name}: give the {what}'s with {option}.")


def _say_other_base(adapter: Path, base: str) -> None:
    """One line where an adapter names another base: a model of the same shape would be taken without complaint."""
    named = read_adapter_config(adapter).get("base_model_name_or_path")
    if named and Path(named).name.lower() != Path(base.rpartition(":")[2]).name.lower():
        logger.warning(
            "the adapter in %s says that it was trained on '%s', and the base given is '%s': check that they are the "
            "same weights.",
            adapter, named, base,
        )  # fmt: skip


def as_spec(name: str) -> str:
    """The model's spec from a spec or a path.

    Raises:
        UserError: neither.
    """
    if name.partition(":")[0] in MODELS:
        return name
    path = Path(name).expanduser()
    if (path / "open_clip_config.json").is_file():
        return f"open_clip:local-dir:{path}"
    if (path / "adapter_config.json").is_file():
        raise UserError(f"{name} is a LoRA adapter; give it as --tuned, and as --base the model it adapts.")
    if (path / "config.json").is_file() and "hf" in MODELS:
        return f"hf:{path}"
    if path.is_file():
        raise UserError(
            f"{name} is a file of weights without an architecture; write open_clip:<architecture>/{name}."
        )
    if path.is_dir():
        raise UserError(
            f"{path} holds neither open_clip_config.json nor config.json; give a model's own folder."
        )
    MODELS.get(name)  # says what is known, and the nearest
    return name


def _run_of(tuned: str) -> Run | None:
    folder = Path(tuned).expanduser()
    if not (folder / "result.json").is_file():
        return None
    return recorded_run(folder)


def _exported(folder: Path) -> Path:
    """Where in a run's folder its model lies: merged, on a language model in a folder of its own, or an adapter."""
    merged = folder / "model"
    if merged.is_dir():
        return merged
    adapter = folder / ADAPTER
    return adapter if adapter.is_dir() and not (folder / WEIGHTS).is_file() else folder


def _path_of(tuned: str) -> Path:
    """Where a tuned model lies, from a path or a spec."""
    if tuned.partition(":")[0] in MODELS:
        path = weights_of(tuned)
        if path is None:
            raise UserError(f"'{tuned}' is no local file or folder; download it and give its path.")
        return path
    return Path(tuned).expanduser()


def _base_checkpoint(spec: str, model: FoundationModel) -> Checkpoint:
    path = weights_of(spec)
    if path is not None and path.suffix != ".gguf":
        found = open_checkpoint(path)
        found.know(_names(model))
        if not isinstance(model, CausalLM) or _fits(found, model):
            return found
    return _as_loaded(model, path or Path(spec))


def _tuned_checkpoint(path: Path, base: TensorSource, model: FoundationModel) -> Checkpoint:
    """The tuned model, read by its library where the files have other names than the library's."""
    found = open_checkpoint(path, base)
    found.know(_names(model))
    if found.kind != "folder" or not isinstance(model, CausalLM) or _fits(found, model):
        return found
    if not (path / "config.json").is_file():
        return found
    dtypes = Counter(info.dtype for info in found.source.infos.values())
    return _as_loaded(load_hf(str(path)), path, dtypes.most_common(1)[0][0])


def _as_loaded(model: FoundationModel, path: Path, dtype: torch.dtype | None = None) -> Checkpoint:
    """A model as its library loaded it, where the files store it otherwise; the library writes it again."""
    inner = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("heads.")}
    stem = _common(list(inner))
    found = in_memory(
        {name.removeprefix(stem): t.to(dtype or t.dtype) for name, t in inner.items()}, str(path)
    )
    found.companions = path if path.is_dir() else None

    def save(folder: Path, tensor: Callable[[str], Tensor]) -> None:
        assert isinstance(model, CausalLM)
        twin = copy.deepcopy(model)
        twin.load_state_dict({name: tensor(name.removeprefix(stem)) for name in inner})
        twin.lm.to(dtype or twin.lm.dtype).save_pretrained(folder)

    if isinstance(model, CausalLM):
        found.saver = save
    return found


def _names(model: FoundationModel) -> set[str]:
    """What the model's own library calls its tensors, tied ones by all their names."""
    known = set(model.state_dict()) | {name for name, _ in model.named_parameters(remove_duplicate=False)}
    inner = [name for name in known if not name.startswith("heads.")]
    return {name.removeprefix(_common(inner)) for name in inner}


def _fits(found: Checkpoint, model: FoundationModel) -> bool:
    """Whether every tensor of the files is one of the model's, by name."""
    return set(found.source.infos) <= _names(model)


def _common(names: list[str]) -> str:
    """`clip.` of `clip.visual…`, `clip.logit_scale`: the module the library's own names start in."""
    first = names[0].partition(".")[0] + "."
    return first if all(name.startswith(first) for name in names) else ""


def _prefix(model: FoundationModel, tuned: Checkpoint) -> str:
    """What the model's names have in front of those in the file."""
    known = set(model.state_dict()) | {n for n, _ in model.named_parameters(remove_duplicate=False)}
    wanted = [name for name, info in tuned.source.infos.items() if info.dtype.is_floating_point]
    for prefix in ("", *(f"{child}." for child, _ in model.named_children())):
        if all(prefix + name in known for name in wanted):
            return prefix
    prefixes = [f"{child}." for child, _ in model.named_children()]
    strange = next(name for name in wanted if not any(p + name in known for p in ("", *prefixes)))
    raise UserError(
        f"'{strange}' of {tuned.path} is no tensor of '{model.spec}' as its library loads it; load the model with "
        "that library and save it again."
    )
