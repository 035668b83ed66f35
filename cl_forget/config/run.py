"""The typed experiment file: load, override, validate, explain.

An experiment names a model, a stream, one or more methods (each a list of mitigations), how to train, what
generality is measured on, and the seeds. `Experiment.runs()` takes it apart into `Run`s: one method, one
seed. Everything is checked before anything is loaded, and a mistake is answered with the file, the line,
the field and the nearest valid name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny, ValidationError, model_serializer

from cl_forget.config.explaining import explain, shortened
from cl_forget.config.tracking import Tracking
from cl_forget.evaluation.options import Evaluation
from cl_forget.ground.errors import UserError
from cl_forget.ground.redact import MARK
from cl_forget.ground.section import Section
from cl_forget.mitigations import MITIGATIONS, Chain, Mitigation
from cl_forget.models.options import TextOptions
from cl_forget.training.options import Training

FOLDER_BYTES = 120  # of a folder's name; file systems take 255, and suffixes come on top


PLAIN = "full fine-tuning"
"""The name of the arm without any mitigation: the control every other arm is compared with."""


Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What every generator of random numbers takes."""


def _each_once(seeds: list[int]) -> list[int]:
    if len(set(seeds)) != len(seeds):
        raise ValueError("names a seed twice; list each once")
    return seeds


Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_each_once)]
"""One run for each: what is run twice on a seed is the same run."""


def _names_a_folder(name: str) -> str:
    if not re.fullmatch(r"[\w.-]*\w[\w.-]*", name):
        raise ValueError(
            f"is written with letters, digits, `_`, `.` and `-`, and not with points alone (got {shortened(name)})"
        )
    return name


FolderName = Annotated[str, AfterValidator(_names_a_folder)]
"""Letters, digits, `_`, `.` and `-`, and not of points alone."""


ArmName = Annotated[str, Field(min_length=1, max_length=200)]


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
        field, message = explain(error, cls, str(name))
        raise ValueError(f"{name}: {field}: {message}" if field else f"{name}: {message}") from None


def arm_name(mitigations: Sequence[Mitigation]) -> str:
    """What an arm is called that has no name of its own: its mitigations, in the chain's order."""
    try:
        ordered: Iterable[Mitigation] = Chain(mitigations)
    except UserError:  # they do not go together, which whoever runs them is told
        ordered = mitigations
    return " + ".join(m.name for m in ordered) or PLAIN


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


# What the constructors take, for type checkers: pydantic turns each of these into the type of the field. Without them
# a checker that does not know pydantic's validators would ask for the fields' own types.
MitigationInput = Mitigation | str | Mapping[str, Any]
"""A method: an object, its name, `{name: knob}` or `{name: {field: value}}`."""

DataInput = str | Mapping[str, Any]
"""A task or suite: its name, or `{name: {option: value}}`."""

StreamInput = DataInput | Sequence[DataInput]
"""One task, or several in order."""


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
    """What an experiment and each of its runs have in common.

    Attributes:
        imports: modules ("my_package.methods") and Python files ("my_method.py", looked for beside the file that
            names it) to import before names are looked up: they register methods, models and streams of your own.
            Reading a file imports them; making a `Run` in Python does not.
        model: "emoji-clip", "open_clip:<architecture>/<tag>", "timm:<name>", "hf:<name or folder>", ...
        stream: a stream's name, `{name: {option: value}}`, or a list of these.
        train: how each task is fine-tuned.
        text: how a language model reads texts.
        suites: what generality is measured on.
        probes: tasks, never tuned on, whose linear-probe accuracy is followed (Δ_LP).
        evaluate: how the model is measured.
        track: where the run is followed besides its own files.
    """

    imports: list[str] = Field(default_factory=list)
    model: str = Field(min_length=1)
    stream: Stream
    train: Training = Training()
    text: TextOptions = TextOptions()
    suites: list[Suite] = Field(default_factory=list)
    probes: list[Suite] = Field(default_factory=list)
    evaluate: Evaluation = Evaluation()
    track: Tracking = Tracking()


class Run(Shared):
    """One method, one seed: what `simulate` takes.

    Attributes:
        method: the arm's name in tables and legends; its mitigations' names unless given.
        model: "emoji-clip", "open_clip:<architecture>/<tag>", "timm:<name>", "hf:<name or folder>", ...
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

    mitigations: list[MitigationItem] = Field(default_factory=list)
    method: ArmName = Field(default_factory=lambda given: arm_name(given.get("mitigations", [])))
    seed: Seed = 0

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            imports: Sequence[str] = ...,
            model: str,
            stream: StreamInput,
            mitigations: Sequence[MitigationInput] = ...,
            method: str = ...,
            seed: int = ...,
            train: Training | Mapping[str, Any] = ...,
            text: TextOptions | Mapping[str, Any] = ...,
            suites: Sequence[DataInput] = ...,
            probes: Sequence[DataInput] = ...,
            evaluate: Evaluation | Mapping[str, Any] = ...,
            track: Tracking | Mapping[str, Any] = ...,
        ) -> None: ...

    @model_serializer(mode="wrap")
    def _plain(self, handler: Any) -> dict[str, Any]:
        plain: dict[str, Any] = handler(self)
        if not self.imports:
            plain.pop("imports", None)
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
        return self._trained([len(self.specs()) if specs is None else specs])[0].at(self.seed)

    def training_keys(self) -> list[str]:
        """The training key after each entry of the stream, as far as later entries do not change it."""
        return [key.at(self.seed) for key in self.unseeded_training_keys()]

    def unseeded_training_keys(self) -> list[Unseeded]:
        """`training_keys`, with whatever seed."""
        count = len(self.specs())
        first = count if self.chain().using("arrange") else 1  # joint training mixes the tasks
        return self._trained(range(first, count + 1))

    def _trained(self, counts: Iterable[int]) -> list[Unseeded]:
        """The training keys after these numbers of entries."""
        fields = without_bookkeeping(self.model_dump(mode="json"))
        trained = self.chain().trained
        for method in trained:
            fields["train"] |= method.stands_for  # another name of the same training
        kept = {key: fields[key] for key in ("model", "train", "text", "seed")}
        kept["validation_limit"] = fields["evaluate"]["limit"]  # early stopping and HMA read validation data
        kept["mitigations"] = [{m.name: m.identity} for m in trained if not m.stands_for]
        return [Unseeded.of({**kept, "stream": self.specs()[:specs]}) for specs in counts]

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
        return self.unseeded_key().at(self.seed)

    def unseeded_key(self) -> Unseeded:
        """`key`, with whatever seed."""
        fields = without_bookkeeping(self.model_dump(mode="json"))
        fields["mitigations"] = [{m.name: m.identity} for m in sorted(self.mitigations, key=lambda m: m.name)]
        return Unseeded.of(fields)


@dataclass(frozen=True)
class Unseeded:
    """The key of runs that differ in nothing but their seed: what is hashed, before and after it.

    A sweep has every setting on many seeds, and writing a run out takes a hundred times as long as hashing it.
    """

    before: str
    after: str

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Unseeded:
        """Of the fields of one of the runs: its JSON with the names in order, taken apart at the seed."""
        written = {name: f"{json.dumps(name)}: {json.dumps(fields[name], sort_keys=True)}" for name in fields}
        before = "".join(f"{written[name]}, " for name in sorted(written) if name < "seed")
        after = "".join(f", {written[name]}" for name in sorted(written) if name > "seed")
        return cls(f'{{{before}"seed": ', f"{after}}}")

    def at(self, seed: int) -> str:
        """The key of the run with this seed."""
        return hashlib.sha256(f"{self.before}{seed}{self.after}".encode()).hexdigest()[:12]


BOOKKEEPING = ("track", "imports", "train.checkpoint_seconds", "evaluate.items")
"""Fields that change no number."""


def differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Each difference between two configurations, such as "train.lr was 0.001 and is 0.01"; none in bookkeeping.

    Args:
        old, new: plain values, as JSON holds them.
        where: the field that both stand in, dotted.
    """
    if where in BOOKKEEPING or where.endswith(".checkpoint_seconds"):
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            yield from differences(old.get(key), new.get(key), f"{where}.{key}" if where else str(key))
    elif old != new and not (isinstance(old, str) and MARK in old):  # what was secret cannot be compared
        yield f"{where} was {json.dumps(old)} and is {json.dumps(new)}"


def without_bookkeeping(fields: dict[str, Any]) -> dict[str, Any]:
    """A run's fields without those that change no number."""
    fields.pop("imports", None)
    del fields["train"]["checkpoint_seconds"], fields["track"]
    del fields["evaluate"]["keep_stages"], fields["evaluate"]["items"]
    if fields["train"]["steps"] is None:
        del fields["train"]["steps"]
    if not fields["train"]["compile"]:  # as every run was before there was a choice
        del fields["train"]["compile"]
    if fields["train"]["strategy"] == "single":
        del fields["train"]["strategy"], fields["train"]["workers"]
    if fields["evaluate"]["probe_grid"] is None:  # as every run measured before there was a choice
        del fields["evaluate"]["probe_grid"]
    return fields
