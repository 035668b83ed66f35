"""The typed experiment file: load, override, validate, explain.

An experiment names a model, a stream, one or more methods (each a list of mitigations), how to train, what
generality is measured on, and the seeds. `Experiment.runs()` takes it apart into `Run`s: one method, one
seed. Everything is checked before anything is loaded, and a mistake is answered with the file, the line,
the field and the nearest valid name.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    model_serializer,
    model_validator,
)

from cl_forget.documents import MAX_YAML_CHARACTERS, parse_yaml, read_text
from cl_forget.errors import UserError
from cl_forget.files import StrPath
from cl_forget.mitigations import MITIGATIONS, Chain, Mitigation
from cl_forget.recorded import check_recorded, is_recorded
from cl_forget.registry import closest

FOLDER_BYTES = 120  # of a folder's name; file systems take 255, and suffixes come on top
PLAIN = "full fine-tuning"
"""The name of the arm without any mitigation: the control every other arm is compared with."""


class Section(BaseModel):
    """A part of a file: frozen, and no field that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


Decay = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What every generator of random numbers takes."""
FolderName = Annotated[str, Field(pattern=r"^[\w.-]*\w[\w.-]*$")]
"""Letters, digits, `_`, `.` and `-`, and not of points alone."""
ArmName = Annotated[str, Field(min_length=1, max_length=200)]


class Training(Section):
    """How one task is fine-tuned.

    Attributes:
        epochs: passes over the task's training data.
        batch_size: samples per optimiser step.
        micro_batch_size: samples per forward pass; smaller than `batch_size` means gradient accumulation.
        lr: peak learning rate of AdamW.
        weight_decay: AdamW's own decay, towards 0 and not towards the pre-trained weights.
        betas: AdamW's decay rates of the first and second moment.
        warmup: fraction of the steps over which the learning rate rises linearly.
        schedule: what it does afterwards.
        clip: largest gradient norm; null for no clipping.
        head: where the head of each task starts, for every method alike: "zero-shot" is the classifier made
            from its class names, "probe" a linear probe on the frozen features that the task begins with; null
            is zero-shot where the model reads class names, else probe. What a probe set is also where
            penalties and averages (L2-SP, KD, WiSE-FT) have the head of the model that training starts from.
        batch_norm: "frozen" keeps every BatchNorm layer in evaluation mode while training: it normalises by the
            pre-trained model's statistics, which stay; its weight and bias are trained as ever. "update" is a
            plain loop, in which each task overwrites the statistics. No difference without BatchNorm.
        label_smoothing: of the task's cross-entropy.
        augment: random augmentation of training images; with any, frozen models run on every batch instead
            of once per sample.
        precision: "bf16" runs forward and backward passes of training under bfloat16 autocast; weights,
            optimiser state and evaluation stay float32.
        gradient_checkpointing: keep only the blocks' inputs of a forward pass and compute the rest again in
            the backward pass: less memory, about a third more time.
        checkpoint_seconds: how often a run saves its state inside a task.
        strategy: "single" trains in this process; "fsdp" splits the weights over `workers` processes, which
            Ray Train places on the cluster's machines.
        workers: how many; each takes its part of every batch, so results do not depend on it beyond rounding.
    """

    epochs: int = Field(5, ge=1, le=10_000)
    batch_size: int = Field(64, ge=1)
    micro_batch_size: int | None = Field(None, ge=1)
    lr: float = Field(3e-4, gt=0, le=10)
    weight_decay: float = Field(0.0, ge=0, le=10)
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    warmup: float = Field(0.1, ge=0, le=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    clip: float | None = Field(1.0, gt=0)
    head: Literal["zero-shot", "probe"] | None = None
    batch_norm: Literal["frozen", "update"] = "frozen"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    augment: Literal["none", "shift", "shift-flip"] = "none"
    precision: Literal["float32", "bf16"] = "float32"
    gradient_checkpointing: bool = False
    checkpoint_seconds: float = Field(30.0, gt=0)
    strategy: Literal["single", "fsdp"] = "single"
    workers: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _workers_need_a_strategy(self) -> Training:
        if self.strategy == "single" and self.workers > 1:
            raise ValueError(f"{self.workers} workers need `strategy: fsdp`; set it, or leave `workers` out")
        return self

    @model_validator(mode="after")
    def _micro_batches_divide(self) -> Training:
        if self.micro_batch_size is not None and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of micro_batch_size ({self.micro_batch_size})"
            )
        return self


class TextOptions(Section):
    """How a language model reads texts; other models take no notice.

    Attributes:
        chat: whether prompts are put into the tokenizer's chat template; null: where it has one. Prompts given
            as messages always are, plain text never is.
        template_arguments: what else the chat template is given, such as {enable_thinking: false}.
        max_length: longest sequence in tokens; null for the model's own context.
        too_long: "refuse" a sequence beyond that, or "truncate" it: the start of the prompt goes first, then
            the end of the response.
        packing: whether several short sequences share a row of a batch instead of being padded; null: where
            that saves a third of the tokens and the model is seen to keep them apart.
        embedding: a sample's representation: the "mean" of the last hidden state over the positions that
            answer, or the "last" of them.
        top_logits: how many of a frozen model's logits are kept per token, with the total of the rest.
    """

    chat: bool | None = None
    template_arguments: dict[str, Any] = {}
    max_length: int | None = Field(None, ge=2)
    too_long: Literal["refuse", "truncate"] = "refuse"
    packing: bool | None = None
    embedding: Literal["mean", "last"] = "mean"
    top_logits: int = Field(64, ge=1)


class Evaluation(Section):
    """How a model is measured after each task.

    Attributes:
        batch_size: samples per forward pass.
        limit: samples per validation, test or shifted set at most, always the same ones, classes balanced;
            null reads all of them. A quick look needs few, a claim needs all.
        curves: whether a post-hoc method (WiSE-FT, LiNeS, ...) is also evaluated at every value of its knob.
        export: whether the final model, every edit applied, is written in the format it came in.
    """

    batch_size: int = Field(256, ge=1)
    limit: int | None = Field(None, ge=1)
    curves: bool = True
    export: bool = True


def _wandb_mode(value: Any) -> Any:
    # YAML reads a bare `off` as false, and `on` as true.
    return {False: "off", True: "online"}.get(value, value) if isinstance(value, bool) else value


class Tracking(Section):
    """Where a run is followed besides its own files; nothing here changes a number.

    Attributes:
        wandb: Weights & Biases; null is online if logged in, else off.
        project, entity: where in W&B; null is the user's default entity.
        group: what the runs of one comparison have in common; null is the experiment's name.
        job_type: what kind of run it is, in W&B's list.
        tags: labels of the run.
        artifacts: whether the checkpoints and the final model are uploaded too.
        timeout: the longest a run waits for W&B, seconds: once at its start and once at its end.
        kl_every: optimiser steps between two measurements of the KL to the pre-trained model during training,
            on a few validation samples of the first suite; only where a run is followed.
    """

    wandb: Annotated[Literal["online", "offline", "off"], BeforeValidator(_wandb_mode)] | None = None
    project: str = Field("cl-forget", pattern=r"^[^/\\#?%:]{1,128}$")
    entity: str | None = Field(None, min_length=1)
    group: str | None = Field(None, min_length=1, max_length=128)
    job_type: str = Field("run", min_length=1, max_length=64)
    tags: list[Annotated[str, Field(min_length=1, max_length=64)]] = []
    artifacts: bool = False
    timeout: float = Field(20.0, gt=0, le=600)
    kl_every: int = Field(25, ge=1)

    def resolved(self, **ours: str) -> Tracking:
        """With every label that nobody has set taken from W&B's own variable, else from `ours`.

        Args:
            ours: field -> what we call it where neither says anything.
        """
        found: dict[str, Any] = {}
        for field, variable in _WANDB_LABELS.items():
            if field in self.model_fields_set and getattr(self, field) is not None:
                continue
            if said := os.environ.get(variable):
                found[field] = (
                    [tag.strip() for tag in said.split(",") if tag.strip()] if field == "tags" else said
                )
            elif field in ours:
                found[field] = ours[field]
        return self.model_copy(update=found)


_WANDB_LABELS = {
    "project": "WANDB_PROJECT",
    "entity": "WANDB_ENTITY",
    "group": "WANDB_RUN_GROUP",
    "job_type": "WANDB_JOB_TYPE",
    "tags": "WANDB_TAGS",
}
"""Fields of `track` that W&B reads from the environment where the file does not set them."""


def parse_mitigation(item: Any) -> Mitigation:
    """A mitigation from what an experiment file may say: `name`, `{name: knob value}`, `{name: {field: value}}`.

    Raises:
        ValueError: unknown method or field, or a value out of range; the message is one line with the cure.
    """
    if isinstance(item, Mitigation):
        return item
    if isinstance(item, str):
        item = {item: {}}
    if not isinstance(item, dict) or len(item) != 1:
        raise ValueError("a mitigation is written as `name`, `{name: strength}` or `{name: {field: value}}`")
    name, fields = next(iter(item.items()))
    try:
        cls: type[Mitigation] = MITIGATIONS.get(str(name))
    except UserError as error:
        raise ValueError(str(error)) from None
    if fields is None:
        fields = {}
    if not isinstance(fields, dict):
        if cls.knob is None:
            raise ValueError(f"'{name}' has no knob to set to {fields!r}; write `{name}` alone")
        fields = {cls.knob: fields}
    try:
        return cls(**fields)
    except ValidationError as error:
        field, message = explain(error, cls)
        raise ValueError(f"{name}: {field}: {message}" if field else f"{name}: {message}") from None


def compose(mitigations: Sequence[Mitigation], train: Training) -> Chain:
    """The mitigations of one arm, checked against each other and against how it is trained.

    Raises:
        UserError: they do not go together; the message gives the reason.
    """
    chain = Chain(mitigations)
    for m in chain:
        if m.own_head is not None and train.head == "probe":
            raise UserError(
                f"'{m.name}' cannot start from train.head: probe: {m.own_head}; give this method "
                "`train: {head: zero-shot}`."
            )
    return chain


MitigationItem = Annotated[SerializeAsAny[Mitigation], BeforeValidator(parse_mitigation)]


def _named_data(value: Any) -> Any:
    """Refuse what names no stream or suite: each is a name, or one name with its options."""
    items = value if isinstance(value, list | tuple) else [value]
    if not items:
        raise ValueError("is empty; name at least one task")
    for item in items:
        named = bool(item) and (isinstance(item, str) or (isinstance(item, dict) and len(item) == 1))
        if not named:
            raise ValueError(
                f"is written as `name` or `{{name: {{option: value}}}}`, not as {shortened(item)}"
            )
    return value


Stream = Annotated[str | dict[str, Any] | list[str | dict[str, Any]], BeforeValidator(_named_data)]
Suite = Annotated[str | dict[str, Any], BeforeValidator(_named_data)]


class Shared(Section):
    """What an experiment and each of its runs have in common."""

    model: str = Field(min_length=1)
    stream: Stream
    train: Training = Training()
    text: TextOptions = TextOptions()
    suites: list[Suite] = []
    probes: list[Suite] = []
    evaluate: Evaluation = Evaluation()
    track: Tracking = Tracking()


class Run(Shared):
    """One method, one seed: what `simulate` takes.

    Attributes:
        method: the arm's name in tables and legends.
        model: "emoji-clip", "open_clip:<architecture>/<tag>", "hf:<name or folder>", ...
        stream: a stream's name, `{name: {option: value}}`, or a list of these.
        mitigations: the methods composed in this arm; none is plain full fine-tuning.
        train: how each task is fine-tuned.
        text: how a language model reads texts.
        suites: what generality is measured on.
        probes: tasks, never tuned on, whose linear-probe accuracy is followed (Δ_LP).
        evaluate: how the model is measured.
        track: where the run is followed besides its own files.
        seed: fixes the order of the data and every random number.
    """

    method: str = PLAIN
    mitigations: list[MitigationItem] = []
    seed: Seed = 0

    @model_serializer(mode="wrap")
    def _plain(self, handler: Any) -> dict[str, Any]:
        plain: dict[str, Any] = handler(self)
        plain["mitigations"] = [{m.name: m.model_dump(mode="json")} for m in self.mitigations]
        return plain

    @classmethod
    def parse(cls, fields: dict[str, Any]) -> Run:
        """A run from plain values; raises `UserError` with one line where pydantic would list several."""
        try:
            return cls(**fields)
        except ValidationError as error:
            path, message = explain(error, cls)
            raise UserError(f"{path}: {message}" if path else message) from None

    def chain(self) -> Chain:
        """The mitigations composed; raises `UserError` if they, and `train`, do not go together."""
        return compose(self.mitigations, self.train)

    def training_key(self, specs: int | None = None) -> str:
        """Equal for two runs whose fine-tuning is the same to the bit; post-hoc methods do not count.

        Args:
            specs: only on the tasks of this many entries of the stream; None for all of it.
        """
        fields = _without_bookkeeping(self.model_dump(mode="json"))
        trained = [{m.name: m.model_dump(mode="json")} for m in self.chain().trained]
        if {"lp_ft": {}} in trained:  # another name of the same training
            trained.remove({"lp_ft": {}})
            fields["train"]["head"] = "probe"
        kept = {key: fields[key] for key in ("model", "train", "text", "seed")}
        kept["validation_limit"] = fields["evaluate"]["limit"]  # early stopping and HMA read validation data
        return _digest({**kept, "stream": self.specs()[:specs], "mitigations": trained})

    def training_keys(self) -> list[str]:
        """The training key after each entry of the stream, as far as later entries do not change it."""
        count = len(self.specs())
        first = count if self.chain().using("arrange") else 1  # joint training mixes the tasks
        return [self.training_key(specs) for specs in range(first, count + 1)]

    def shared_specs(self, keys: Sequence[str]) -> int:
        """How many entries of the stream are trained as in the run with these `training_keys`, from the first."""
        own = self.training_keys()
        shared = [
            number for number, key in enumerate(own, start=len(self.specs()) - len(own) + 1) if key in keys
        ]
        return max(shared, default=0)

    def specs(self) -> list[str | dict[str, Any]]:
        """The entries of the stream, one at least."""
        return self.stream if isinstance(self.stream, list) else [self.stream]

    def key(self) -> str:
        """Equal for two runs that ask for the same result."""
        fields = _without_bookkeeping(self.model_dump(mode="json"))
        fields["mitigations"].sort(key=lambda item: next(iter(item)))
        return _digest(fields)


class Experiment(Shared):
    """The experiment file.

    Attributes:
        name: of the folder its results go to.
        methods: arm name -> list of mitigations; or `mitigations` for a single arm.
        seeds: each method is run once per seed, paired.
    """

    name: FolderName = "experiment"
    mitigations: list[MitigationItem] | None = None
    methods: dict[ArmName, list[MitigationItem]] | None = None
    seeds: list[Seed] = Field([0], min_length=1)

    @model_validator(mode="after")
    def _one_way_to_name_methods(self) -> Experiment:
        if self.mitigations is not None and self.methods is not None:
            raise ValueError("choose one of `mitigations` (a single arm) and `methods` (named arms)")
        if self.methods is not None and not self.methods:
            raise ValueError("`methods` is empty; name at least one, for instance `full fine-tuning: []`")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("`seeds` names a seed twice")
        folders: dict[str, str] = {}
        for arm, mitigations in self._arms().items():
            if (taken := folders.setdefault(folder_name(arm), arm)) != arm:
                raise ValueError(f"methods '{taken}' and '{arm}' would share a folder; rename one")
            try:
                compose(mitigations, self.train)
            except UserError as error:
                raise ValueError(f"method '{arm}': {error}") from None
        return self

    def _arms(self) -> dict[str, list[Mitigation]]:
        if self.methods is not None:
            return {arm: list(mitigations) for arm, mitigations in self.methods.items()}
        mitigations = list(self.mitigations or [])
        return {" + ".join(m.name for m in Chain(mitigations)) or PLAIN: mitigations}

    def runs(self) -> list[Run]:
        """One run per method and seed; all methods of a seed stand together."""
        shared = {field: getattr(self, field) for field in Shared.model_fields}
        shared["track"] = self.track.resolved(group=self.name)
        return [
            Run(method=arm, mitigations=mitigations, seed=seed, **shared)
            for seed in self.seeds
            for arm, mitigations in self._arms().items()
        ]


def folder_name(method: str) -> str:
    """A method's name made safe for file systems: letters and digits of any script, points and dashes.

    A name too long for them is cut, and ends with its hash instead.
    """
    name = re.sub(r"(?:[^\w.]|_)+", "-", method).strip("-").lower() or "method"
    if len(name.encode()) <= FOLDER_BYTES:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name.encode()[: FOLDER_BYTES - 9].decode(errors='ignore').rstrip('-.')}-{digest}"


def load_experiment(path: StrPath, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment file and apply `key=value` overrides.

    Args:
        path: YAML file.
        overrides: "train.lr=1e-4", "seeds=[0,1]", "methods.LDIFS.0.ldifs.strength=2"; values are YAML.

    Raises:
        UserError: one line with file, line, field, what is wrong and the nearest valid name.
    """
    return load_file(path, Experiment, overrides)


Named = TypeVar("Named", bound=BaseModel)


def load_file(path: StrPath, kind: type[Named], overrides: Sequence[str] = ()) -> Named:
    """Read a YAML file as `kind`, named after the file where it gives no name; errors as `load_experiment`."""
    path = Path(path)
    if not path.exists():
        word, example = ("experiment", "quickstart") if kind is Experiment else ("sweep", "quickstart-sweep")
        raise UserError(f"no {word} file at {path}; experiments/{example}.yaml is one to start from.")
    text = read_text(path, "give a YAML text file.", limit=4 * MAX_YAML_CHARACTERS)
    fields, lines = _read_yaml(text, path)
    experiment = _of_one_run(fields)
    if experiment is not fields or is_recorded(path):
        check_recorded(fields, str(path))
    fields = experiment
    for override in overrides:
        _override(fields, override)
    try:
        return kind(**{"name": re.sub(r"[^\w.-]+", "-", path.stem), **fields})
    except ValidationError as error:
        location = error.errors()[0]["loc"]
        where, message = explain(error, kind)
        raise UserError(
            f"{path}, line {_line(lines, location)}: {where + ': ' if where else ''}{message}"
        ) from None


def _of_one_run(fields: dict[str, Any]) -> dict[str, Any]:
    """The `config.yaml` in a run's folder as an experiment, so that it can be run again; others as they are."""
    named = isinstance(fields.get("method", PLAIN), str)
    if "seed" not in fields or "seeds" in fields or "methods" in fields or not named:
        return fields
    rest = {name: value for name, value in fields.items() if name not in ("method", "mitigations", "seed")}
    mitigations = fields.get("mitigations") or []
    return {**rest, "methods": {fields.get("method", PLAIN): mitigations}, "seeds": [fields["seed"]]}


def explain(error: ValidationError, model: type[BaseModel]) -> tuple[str, str]:
    """The first mistake as (dotted field, one plain line that names the cure)."""
    first = error.errors()[0]
    location = [part for part in first["loc"] if not _is_type_tag(part)]
    dotted = ".".join(str(part) for part in location)
    given = first.get("input")
    if first["type"] == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        return dotted, f"unknown field.{closest(str(location[-1]), known)} Known: {', '.join(known)}."
    if first["type"] == "missing":
        return dotted, "is required; add it to the experiment."
    message = _CURES.get(first["type"]) or first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    shown = "" if first["type"] == "value_error" else f" (got {shortened(given)})"
    return dotted, f"{message}{shown}".rstrip(".") + "."


def shortened(value: Any, limit: int = 80) -> str:
    """A value as Python writes it, the middle of a long one left out."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit // 2]} ... {text[-limit // 4 :]}"


_CURES = {
    "string_type": "should be text",
    "string_too_short": "should not be empty",
    "list_type": "should be a list, written [a, b]",
    "tuple_type": "should be a list, written [a, b]",
    "dict_type": "should be a mapping, written {name: value}",
    "model_type": "should be a mapping, written {field: value}",
    "model_attributes_type": "should be a mapping, written {field: value}",
}
"""Types of mistakes for which pydantic speaks to programmers, in the words of YAML."""


def _is_type_tag(part: Any) -> bool:
    # pydantic names the branch of a union in the location ("list[...]", "str"); users never wrote that.
    return isinstance(part, str) and (part in ("str", "int", "float") or "[" in part)


def _fields_at(model: type[BaseModel], location: Sequence[Any]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        if (
            field is None
            or not isinstance(field.annotation, type)
            or not issubclass(field.annotation, BaseModel)
        ):
            return []
        model = field.annotation
    return list(model.model_fields)


def _read_yaml(text: str, path: Path) -> tuple[dict[str, Any], dict[tuple[Any, ...], int]]:
    """The file's values, and for each path into them the line it stands on."""
    fields, lines = parse_yaml(text, str(path), "check indentation and quotes.")
    if not isinstance(fields, dict):
        raise UserError(
            f"{path}: an experiment is a mapping with `model:` and `stream:`; the file holds none."
        )
    return fields, lines


def _line(lines: dict[tuple[Any, ...], int], location: Sequence[Any]) -> int:
    """The line of the deepest part of `location` that stands in the file."""
    where = tuple(part for part in location if not _is_type_tag(part))
    while where and where not in lines:
        where = where[:-1]
    return lines.get(where, 1)


def _override(fields: dict[str, Any], override: str) -> None:
    """Set one dotted field, in place."""
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise UserError(f"'{override}' is not an override; write field=value, for instance train.lr=1e-4.")
    value = parse_yaml(text, f"the value of '{override}'", "quote it if it holds special signs.").value
    *parents, last = dotted.split(".")
    here: Any = fields
    for part in parents:
        here = _enter(here, part, override)
    if isinstance(here, list):
        here[_position(here, last, override)] = value
    elif isinstance(here, dict):
        here[last] = value
    else:
        raise UserError(f"'{override}': nothing can be set below {'.'.join(parents)}, which is {here!r}.")


def _enter(here: Any, part: str, override: str) -> Any:
    if isinstance(here, list):
        index = _position(here, part, override)
        if isinstance(here[index], str):  # `- ldifs` is short for `- ldifs: {}`
            here[index] = {here[index]: {}}
        return here[index]
    if isinstance(here, dict):
        if here.get(part) is None:
            here[part] = {}
        return here[part]
    raise UserError(f"'{override}': '{part}' is below {here!r}, which has no fields.")


def _position(here: list[Any], part: str, override: str) -> int:
    if not part.isdecimal() or len(part) > 9 or int(part) >= len(here):
        raise UserError(f"'{override}': '{part}' is not a position in a list of {len(here)}; count from 0.")
    return int(part)


def _without_bookkeeping(fields: dict[str, Any]) -> dict[str, Any]:
    """A run's fields without those that change no number."""
    del fields["train"]["checkpoint_seconds"], fields["track"]
    if fields["train"]["strategy"] == "single":
        del fields["train"]["strategy"], fields["train"]["workers"]
    return fields


def _digest(fields: Any) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]
