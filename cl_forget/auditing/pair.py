"""A base and the model that was tuned from it: found on disk, checked against each other, loaded once."""

from __future__ import annotations

import copy
import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from cl_forget.auditing.reading import Reading, check_whose, choose_reading
from cl_forget.auditing.settings import refuse_other_settings
from cl_forget.comparison.recorded import recorded_run
from cl_forget.evaluation.batch_norm import renewed, statistics
from cl_forget.ground.documents import read_object
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import write_text
from cl_forget.models import MODELS, load_model, weights_of
from cl_forget.models.adapters import FOLDER as ADAPTER
from cl_forget.models.causal_lm import CausalLM
from cl_forget.models.classifier import MODEL, ImageClassifier
from cl_forget.models.clip import HEADS as HEAD_FILE
from cl_forget.models.clip import WEIGHTS
from cl_forget.models.lm_sources import load_hf
from cl_forget.weights.changes import Changes, change
from cl_forget.weights.checkpoint import Checkpoint, in_memory, open_checkpoint
from cl_forget.weights.distance import squared_distance
from cl_forget.weights.formats import read_adapter_config
from cl_forget.weights.interpolation import TensorEdit, interpolate
from cl_forget.weights.layout import Layout
from cl_forget.weights.matrices import kept_transposed
from cl_forget.weights.merge import check_pair, in_base, merge, untied_head
from cl_forget.weights.quantisation import is_matrix, rounded
from cl_forget.weights.reading import InMemory, SafetensorsFile, TensorSource
from cl_forget.weights.writing import write_safetensors

if TYPE_CHECKING:
    from cl_forget.config.run import Run
    from cl_forget.models.base import FoundationModel, Prepared
    from cl_forget.models.options import TextOptions
    from cl_forget.streams.base import Experience
    from cl_forget.weights.interpolation import Share

logger = logging.getLogger("cl_forget")


STATISTICS, STATISTICS_BATCH = 512, 64
"""Samples of each task that BatchNorm statistics are re-estimated on, and of a batch."""


@dataclass(frozen=True)
class Given(TensorEdit):
    """A tensor that is known already."""

    tensor: Tensor

    def __call__(self, anchor: Tensor, tuned: Tensor) -> Tensor:
        """It, in their data type."""
        return self.tensor.to(anchor)


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
        others: tuned models that came before it, to be merged with it.
        reading: whose tokenizer reads texts for all of them; None where the model reads none.
        sources: data that BatchNorm statistics of an edit are re-estimated on; empty where they are mixed like
            weights.
    """

    base_name: str
    tuned_name: str
    model: FoundationModel
    base: Checkpoint
    tuned: Checkpoint
    run: Run | None
    others: tuple[Checkpoint, ...] = ()
    reading: Reading | None = None

    def __post_init__(self) -> None:
        if isinstance(self.model, CausalLM) and self.model.tied and untied_head(self.tuned.source):
            self.model.untie()
        self._prefix = _prefix(self.model, self.tuned)
        self._heads = [_heads_beside(model) for model in self.models]
        self._base_weights: dict[str, Tensor] = {}
        self._tuned_weights: dict[str, Tensor] = {}
        self.sources: list[Prepared] = []
        self._renewed: dict[str, Tensor] = {}

    @property
    def models(self) -> list[Checkpoint]:
        """The tuned models in order; the last is `tuned`."""
        return [*self.others, self.tuned]

    # -- tasks -----------------------------------------------------------------------------------------
    def add_tasks(self, tasks: list[Experience]) -> None:
        """Give the model the heads that the tuned models' runs trained for these tasks."""
        for task in tasks:
            names = {name.removeprefix("heads.") for name in self.model.head_parameters(task)}
            owner = next(
                (h for h in reversed(self._heads) if h is not None and names.issubset(h.infos)), None
            )
            if owner is not None:
                self.model.add_task(task)
                projection = f"{next(iter(names)).rpartition('.')[0]}.projection"
                if projection in owner.infos:
                    self.model.add_random_features(task, owner.load(projection))
            elif not self.model.can_answer(task):
                raise UserError(
                    f"'{self.model.spec}' has no head for task '{task.name}', and its classes are not those it was "
                    "pre-trained on: give as tuned model the folder of the run that made one."
                )

    # -- weights in memory -----------------------------------------------------------------------------
    def load(self) -> None:
        """Read both models' weights into memory, for editing in place; tied tensors once."""
        self.base_model = copy.deepcopy(self.model).eval().requires_grad_(False)
        for name, before in _tensors(self.base_model).items():
            tuned = self._tuned_tensor(name)
            if tuned is not None:
                tuned = tuned.to(before.device, before.dtype)
                # Where no head comes with the base, a task's head starts nowhere: it stays as tuned in every edit.
                starts = not (name.startswith("heads.") and isinstance(self.model, ImageClassifier))
                self._base_weights[name] = before if starts else tuned
                self._tuned_weights[name] = tuned
        self.layout = Layout([self.file_name(name) for name in self._tuned_weights])

    def _tuned_tensor(self, name: str) -> Tensor | None:
        """A tensor of the tuned model by the model's own name; None where its files do not hold it."""
        if name.startswith("heads."):
            heads, head = self._heads[-1], name.removeprefix("heads.")
            if heads is not None and head in heads.infos:
                return heads.load(head)
            known = any(of is not None and head in of.infos for of in self._heads)
            return (
                _tensors(self.base_model)[name] if known else None
            )  # another model's, as it was for this one
        file_name = self.file_name(name)
        return self.tuned.source.load(file_name) if file_name in self.tuned.source.infos else None

    def file_name(self, parameter: str) -> str:
        """The name in the model's file of one of the model's tensors; a task's head keeps its own."""
        return parameter.removeprefix(self._prefix)

    def place(self, share: Callable[[str], Share]) -> None:
        """Set the model to `θ0 + s·(θ-θ0)`, or what else an edit makes of both.

        Args:
            share: name of a tensor in the file -> its s, or its edit.
        """
        tensors = _tensors(self.model)
        with torch.no_grad():
            for name, base in self._base_weights.items():
                s = share(self.file_name(name))
                tensors[name].copy_(interpolate(base, self._tuned_weights[name], s))
            self._renewed = self._new_statistics(tensors) if self.sources else {}
            for name, fresh in self._renewed.items():
                tensors[name].copy_(fresh)

    def _new_statistics(self, placed: dict[str, Tensor]) -> dict[str, Tensor]:
        """BatchNorm's statistics at the edited weights; none at either end, which has its own."""
        known = set(statistics(self.model))
        weights = [name for name in self._base_weights if name not in known]
        for end in (self._base_weights, self._tuned_weights):
            if all(torch.equal(placed[name], end[name]) for name in weights if not name.startswith("heads.")):
                return {}
        return renewed(self.model, self.model.state_dict(), self.sources, STATISTICS, STATISTICS_BATCH)

    def moved_statistics(self) -> bool:
        """Whether tuning has changed BatchNorm's running statistics; `load` first."""
        names = [name for name in statistics(self.model) if name in self._base_weights]
        return any(not torch.equal(self._base_weights[n], self._tuned_weights[n]) for n in names)

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
    def changes(self) -> Changes:
        """What each tuned model changed of the base, read from disk tensor by tensor; `load` first.

        The names are the model's own, as in a simulation. A head that a model does not have, it did not change.
        """
        base_heads = {n: t for n, t in self._base_weights.items() if n.startswith("heads.")}

        def load(name: str, position: int) -> Tensor:
            if name in base_heads:
                heads, base = self._heads[position], base_heads[name].cpu()
                head = name.removeprefix("heads.")
                there = heads is not None and head in heads.infos
                return change(heads.load(head) if there and heads is not None else base, base)
            file, source = name.removeprefix(self._prefix), self.models[position].source
            before = in_base(self.base.source, file)
            assert before is not None, "check_pair refuses what the base does not have"
            return change(source.load(file), self.base.source.load(before))

        return Changes(
            names=[*(self._prefix + file for file in self._floats()), *base_heads],
            count=len(self.models),
            load=load,
            parameters=frozenset(name for name, _ in self.model.named_parameters()),
            seed=0 if self.run is None else self.run.seed,
        )

    def _floats(self) -> list[str]:
        """Names in the file of the tensors that can be merged, each once."""
        infos, base = self.tuned.source.infos, self.base.source
        return [
            name
            for name, info in infos.items()
            if info.dtype.is_floating_point and in_base(base, name) and self._tied.get(name, name) == name
        ]

    def write(self, share: Callable[[str], Share], output: Path, merge_adapter: bool = False) -> list[Path]:
        """Write the edit in the format the tuned model came in, streaming; a run's heads go beside it."""
        if self.sources:
            self.place(share)
        fresh = {self.file_name(name): tensor for name, tensor in self._renewed.items()}

        def of(name: str) -> Share:
            if name in fresh:
                return Given(fresh[name])
            return share(self._tied.get(name, name))  # tied tensors move together

        written = merge(self.base.source, self.tuned, of, output, self.base if merge_adapter else None)
        if isinstance(self.model, CausalLM) and not self.model.tied:
            _say_untied(output / "config.json")
        heads = {name: of for of in self._heads if of is not None for name in of.infos}
        if heads:
            base = InMemory({n: t for n, t in self._base_weights.items() if n.startswith("heads.")})

            def head(name: str) -> Tensor:
                full = f"heads.{name}"
                if full not in base.infos:
                    return heads[name].load(name)
                tuned = self._tuned_tensor(full)
                assert tuned is not None, "a head of the base is one of a tuned model's"
                return interpolate(base.load(full), tuned.cpu(), share(full))

            write_safetensors(output / HEAD_FILE, {name: of.infos[name] for name, of in heads.items()}, head)
            written.append(output / HEAD_FILE)
        return sorted(written)


def _heads_beside(tuned: Checkpoint) -> SafetensorsFile | None:
    """The heads that a run has written beside its model or adapter."""
    folder = tuned.path.parent if tuned.path.name in (ADAPTER, MODEL) else tuned.path
    file = folder / HEAD_FILE
    return SafetensorsFile(file) if (folder / "result.json").is_file() and file.is_file() else None


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


def load_pair(
    base: str | None,
    tuned: str,
    text: TextOptions | None = None,
    others: Sequence[str] = (),
    tokenizer: str | None = None,
    like: Reading | None = None,
) -> Pair:
    """Find, check and load two models, and those that are to be merged.

    Args:
        base: a model as an experiment file names it, or the path of its file or folder; a finished run knows
            its own.
        tuned: the same, a LoRA adapter's folder, or the folder of a finished run.
        text: how a language model reads texts; by default as its run did.
        others: tuned models that came before `tuned`, named likewise.
        tokenizer: whose reads the texts of all models, "base" or "tuned"; None for `choose_reading`.
        like: what reads already, where other models have been measured beside the same base.

    Raises:
        UserError: any of them cannot be found or read, or they do not fit each other.
    """
    check_whose(tokenizer)
    run = run_behind(base, tuned)
    if base is None:
        assert run is not None, "refused otherwise"
        base = run.model
    spec = as_spec(base)
    model = load_model(spec)
    before = _base_checkpoint(spec, model)
    *earlier, after = [_tuned_model(name, base, before, model) for name in (*others, tuned)]
    for name, other in zip(others, earlier, strict=True):
        if untied_head(other.source) != untied_head(after.source):
            raise UserError(
                f"of {name} and {tuned} only one has an output head that is not its embedding: give both one of "
                "their own (tie_word_embeddings=False, then save) before merging them."
            )
    options = text or (run.text if run is not None else None)
    reading = None
    if isinstance(model, CausalLM):
        plain = options is not None and options.chat is False
        paths = [one.path for one in (*earlier, after)]
        reading = choose_reading(model, base, paths, tokenizer, like, plain)
        model.tokenizer = reading.tokenizer
    elif tokenizer is not None:
        raise UserError(f"--tokenizer is for language models, and '{spec}' is none; leave it out.")
    # Only now: what a user asks of a chat template may be asked of the tuned model's.
    if options is not None:
        model.read_as(options)
    return Pair(base, tuned, model, before, after, run, tuple(earlier), reading)


def _tuned_model(name: str, base: str, before: Checkpoint, model: FoundationModel) -> Checkpoint:
    """A tuned model's weights, checked against the base's."""
    run, path = _run_of(name), _path_of(name)
    after = _tuned_checkpoint(_exported(path) if run is not None else path, before.source, model)
    if run is not None and after.path == path:  # the run's own files are not the model's
        after.companions = before.path if before.path.is_dir() else None
    if isinstance(model, ImageClassifier):
        _leave_other_head(model, before, after)
    check_pair(before.source, after.source)
    if after.kind == "adapter":
        _say_other_base(after.path, base)
    else:
        refuse_other_settings(model, base, after.path)
    return after


def _leave_other_head(model: ImageClassifier, before: Checkpoint, after: Checkpoint) -> None:
    """Look away from a tuned classifier's head that is for other classes than the base's: it is no edit of that."""
    heads = [name for name in model.own_head_parameters if name in after.source.infos]
    known = before.source.infos
    if all(n in known and known[n].shape == after.source.infos[n].shape for n in heads) and (
        len(heads) == len(model.own_head_parameters)
    ):
        return
    logger.warning(
        "the head of %s is not for the base's classes: it is kept as it is and left out of the comparison, and the "
        "base's own head answers for both models.",
        after.path,
    )
    for on_disk in (before, after):
        on_disk.leave(model.own_head_parameters)


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
        return f"{_library_of(path)}{path}"
    if path.is_file():
        raise UserError(
            f"{name} is a file of weights without an architecture; write open_clip:<architecture>/{name}, or timm:"
            "<architecture>/… for an image classifier."
        )
    if path.is_dir():
        raise UserError(
            f"{path} holds neither open_clip_config.json nor config.json; give a model's own folder."
        )
    MODELS.get(name)  # says what is known, and the nearest
    return name


def _library_of(folder: Path) -> str:
    """Which source of models a folder with `config.json` belongs to, as its spec begins."""
    config = read_object(folder / "config.json", "save the model again.")
    if "architecture" in config and "model_type" not in config:
        return "timm:local-dir:"
    kinds = [str(kind) for kind in config.get("architectures") or ()]
    writes = any(kind.endswith(("ForCausalLM", "LMHeadModel", "ConditionalGeneration")) for kind in kinds)
    seen = "vision_config" in config or not {"image_size", "num_channels", "patch_size"}.isdisjoint(config)
    classifies = any(kind.endswith("ForImageClassification") for kind in kinds)
    return "hf-image:" if classifies or (seen and not writes) else "hf:"


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
        if not isinstance(model, (CausalLM, ImageClassifier)) or _fits(found, model):
            return found
    return _as_loaded(model, path or Path(spec))


def _tuned_checkpoint(path: Path, base: TensorSource, model: FoundationModel) -> Checkpoint:
    """The tuned model, read by its library where the files have other names than the library's."""
    found = open_checkpoint(path, base)
    found.know(_names(model))
    if found.kind == "adapter" or not isinstance(model, (CausalLM, ImageClassifier)) or _fits(found, model):
        return found
    if isinstance(model, CausalLM) and not (path / "config.json").is_file():
        return found
    dtypes = Counter(info.dtype for info in found.source.infos.values())
    return _as_loaded(load_again(model, path), path, dtypes.most_common(1)[0][0])


def load_again(model: CausalLM | ImageClassifier, path: Path) -> FoundationModel:
    """Another file or folder, loaded by the library that a model comes from; refuses what is not whole."""
    if isinstance(model, CausalLM):
        return load_hf(str(path))
    return load_model(_again(model, path))


def _again(model: ImageClassifier, path: Path) -> str:
    """The spec by which another file or folder is loaded as a classifier was."""
    library = model.spec.partition(":")[0]
    if library != "timm":
        return f"{library}:{path}"
    if path.is_dir():
        return f"timm:local-dir:{path}"
    return f"timm:{model.architecture}/{path}"


def _as_loaded(model: FoundationModel, path: Path, dtype: torch.dtype | None = None) -> Checkpoint:
    """A model as its library loaded it, where the files store it otherwise; the library writes it again."""
    inner = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("heads.")}
    stem = _common(list(inner))
    found = in_memory(
        {name.removeprefix(stem): t.to(dtype or t.dtype) for name, t in inner.items()}, str(path)
    )
    found.companions = path if path.is_dir() else None

    def save(folder: Path, tensor: Callable[[str], Tensor]) -> None:
        twin = copy.deepcopy(model)
        twin.load_state_dict({name: tensor(name.removeprefix(stem)) for name in inner}, strict=False)
        if isinstance(twin, CausalLM):
            twin.lm.to(dtype or twin.lm.dtype).save_pretrained(folder)
        elif isinstance(twin, ImageClassifier):
            twin.to(dtype or next(twin.parameters()).dtype).save_net(folder)

    if isinstance(model, (CausalLM, ImageClassifier)):
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
