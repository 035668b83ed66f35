"""What a sweep keeps of each trial, and the table of all of them.

A *trial* is one setting of one method on one stream with one seed: one `Run` and what came of it. A sweep's
folder, on a local path or at any fsspec address, holds

    sweep.yaml            the sweep as it was asked for
    sweep.json            its name, mode and plan (`SweepState`): how many trials, what sharing saves
    trials/<id>/          the run folder of one trial (configuration, events, checkpoints, result.json) and
    trials/<id>/trial.json    its record, written whole when its status changes: the only truth
    trials.csv, trials.parquet    the table of all records, made again whenever asked for
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, field_validator

from cl_forget.ground.documents import read_text, refuse_later
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import below, whole, write_text
from cl_forget.ground.records import Cost, Fingerprints
from cl_forget.ground.redact import redact
from cl_forget.ground.spreadsheet import csv_text

SCHEMA = 2
"""1: the first. 2: `attempts`, `taken_over`, `errors`; what earlier records do not hold is not known."""

Status = Literal["planned", "running", "finished", "pruned", "diverged", "out_of_memory", "failed"]
Role = Literal["tune", "report"]

OVER = frozenset({"finished", "pruned", "diverged", "out_of_memory", "failed"})
"""The statuses after which nothing more is done for a trial."""

FOR_GOOD = frozenset({"finished", "pruned", "diverged"})
"""Those that stay; what has failed or ran out of memory is tried again by a resumed sweep."""


_PLAIN = re.compile(r"(trials/)?[a-z0-9][a-z0-9.-]{,200}")
"""What ids and folders look like; all others are looked at closely."""

Number = int | Annotated[float, Field(allow_inf_nan=False)] | None
_NUMBERS: TypeAdapter[Any] = TypeAdapter(dict[str, Number | dict[str, Number]])


def _by_name_where_named_so(metrics: dict[str, Any]) -> dict[str, Any]:
    for name, value in metrics.items():
        if value is not None and isinstance(value, dict) != ("_by_" in name):
            raise ValueError(
                f"{name}: only what is named _by_task, _by_suite or _by_probe holds numbers by name"
            )
    return metrics


Metrics = Annotated[
    dict[str, Any], AfterValidator(_NUMBERS.validate_python), AfterValidator(_by_name_where_named_so)
]
"""Metric name -> value, or values by task, suite or depth."""


class Attempt(BaseModel):
    """One time that a process worked on a trial.

    Attributes:
        worker: names the process, and no other one of whatever machine; it works on one trial at a time.
        started: seconds since 1970, by the clock of its machine.
        ended: the same; None while it works, and for ever where the process died.
    """

    model_config = ConfigDict(extra="forbid")

    worker: str
    started: float
    ended: float | None = None


class Trial(BaseModel):
    """One trial: what was asked, how it stands, what was measured.

    Attributes:
        sweep: name of the sweep.
        id: name of its folder below `trials/`; readable, unique in the sweep, the same whenever it is planned.
        method: the arm's name.
        mitigations: the methods composed in it, as an experiment file writes them, knob value included.
        knob: "<mitigation>.<field>" of the strength that the curve follows; None for a method without one.
        value: where that knob stands; None without a knob.
        role: "tune" for what selection reads, "report" for what is run afterwards with the selected setting.
            A sweep without `report_on` has only "tune" trials and reports their test metrics.
        seed: trials of one seed see the same data in the same order, whatever the method.
        status: how it stands; "pruned" was stopped early by the scheduler.
        reason: one line that says why, for every status but planned, running and finished.
        folder: its run folder, relative to the sweep's; None before there is one.
        shared_with: id of the trial whose fine-tuning (or its first stages) this one took over; None if it
            trained everything itself.
        stages: stages of its stream; 0 in records that do not say.
        shared_stages: how many stages it took over.
        config: the fields in which it differs from the sweep's own, dotted name -> value.
        validation, test: metric name -> value as in `Result.metrics`; empty until it is finished.
        errors: standard errors over test items of what the final table shows (`item_errors`); empty where they are
            not known, as in records of schema 1.
        cost: of the whole fine-tuning, also where it was taken over; None until something was trained.
        taken_over: the part of `cost` that was not paid, as it came with the stages taken over; None where nothing
            was, or where a record of schema 1 does not say.
        fingerprints: of the base model and the data; None until it is finished.
        seconds: wall-clock time this trial itself took; None until it is over.
        attempts: every time that somebody worked on it, in order; empty in records of schema 1.
        redone_steps: training steps that were done again, as a process had died since the checkpoint before them.
        history: what was reported while it ran: one record per report ("step", "score", ...).
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA
    sweep: str
    id: str
    method: str
    mitigations: list[Annotated[dict[str, Any], Field(min_length=1, max_length=1)]] = Field(
        default_factory=list
    )
    knob: str | None = None
    value: float | None = None
    role: Role = "tune"
    seed: int = 0
    status: Status = "planned"
    reason: str | None = None
    folder: str | None = None
    shared_with: str | None = None
    stages: int = 0
    shared_stages: int = 0
    config: dict[str, Any] = Field(default_factory=dict)
    validation: Metrics = Field(default_factory=dict)
    test: Metrics = Field(default_factory=dict)
    errors: dict[str, float] = Field(default_factory=dict)
    cost: Cost | None = None
    taken_over: Cost | None = None
    fingerprints: Fingerprints | None = None
    seconds: float | None = None
    attempts: list[Attempt] = Field(default_factory=list)
    redone_steps: int = 0
    history: list[dict[str, Any]] = Field(default_factory=list)

    @field_validator("id", "folder")
    @classmethod
    def _below_the_sweep(cls, name: str | None) -> str | None:
        if name is not None and not _PLAIN.fullmatch(name):
            try:
                below(Path(), name, "the trial")
            except UserError as error:
                raise ValueError(str(error)) from None
        return name

    @property
    def over(self) -> bool:
        """Whether nothing more is done for it."""
        return self.status in OVER

    @property
    def passes(self) -> int:
        """What its whole fine-tuning cost in passes (`Cost.passes`), in samples; 0 before anything was trained.

        A trial that was stopped early cost what it had last reported.
        """
        if self.cost is None:
            return int(self.history[-1].get("passes_so_far", 0)) if self.history else 0
        return self.cost.passes

    @property
    def own_passes(self) -> int:
        """The passes that were made for it: without those of the stages that it took over from another one."""
        if self.cost is None or self.attempts:  # then the record says what was taken over
            return self.passes - (0 if self.taken_over is None else self.taken_over.passes)
        return round(self.passes * (1 - self.share_taken))

    @property
    def share_taken(self) -> float:
        """The share of its training that it was to take over."""
        return min(1.0, self.shared_stages / self.stages) if self.shared_with and self.stages else 0.0

    def save(self, sweep: Path) -> None:
        """Write the record below the sweep's folder, whole or not at all, without secrets."""
        folder = sweep / "trials" / self.id
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "trial.json", self.shown().model_dump_json(indent=1))

    def shown(self) -> Trial:
        """The record without the secrets that its settings or an error message may hold."""
        return self.model_copy(
            update={name: redact(getattr(self, name)) for name in ("mitigations", "config", "reason")}
        )


def load_trial(sweep: Path, identity: str) -> Trial | None:
    """The record of one trial; None if there is none.

    Raises:
        UserError: it is not one of this version; a later one may have written it.
    """
    file = sweep / "trials" / identity / "trial.json"
    if not file.exists():
        return None
    text = read_text(file, "delete its folder to run the trial again.")
    try:
        trial = Trial.model_validate_json(text)
    except ValueError as error:
        refuse_later(file, _schema_of(text), SCHEMA)
        raise UserError(
            f"{file} is not a trial of this version ({str(error).splitlines()[0]}); delete its folder to run the "
            "trial again."
        ) from None
    refuse_later(file, trial.schema_version, SCHEMA)
    return trial


def _schema_of(text: str) -> Any:
    with suppress(ValueError, RecursionError):
        plain = json.loads(text)
        return plain.get("schema_version") if isinstance(plain, dict) else None
    return None


def load_trials(sweep: Path) -> list[Trial]:
    """Every record below a sweep's folder, in order of id; errors as `load_trial`."""
    names = sorted(file.parent.name for file in (sweep / "trials").glob("*/trial.json"))
    return [trial for trial in (load_trial(sweep, name) for name in names) if trial is not None]


def columns(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """One flat record per trial with the same keys in all: "validation.generality_by_suite.emoji", ...

    What a trial does not have is None.
    """
    flat = [dict(_flatten(_plain(trial.shown()))) for trial in trials]
    names = list(dict.fromkeys(name for record in flat for name in record))
    first = [name for name in names if "." not in name]
    rest = sorted(name for name in names if "." in name)
    return [{name: record.get(name) for name in [*first, *rest]} for record in flat]


def write_table(trials: Sequence[Trial], folder: Path) -> list[Path]:
    """Write `trials.csv` and `trials.parquet`, whole or not at all; returns both."""

    import pyarrow
    import pyarrow.parquet

    records = columns(trials)
    names = list(records[0]) if records else ["id"]
    write_text(folder / "trials.csv", csv_text(names, ([record[n] for n in names] for record in records)))
    with whole(folder / "trials.parquet") as temporary:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(_columnar(records)), temporary)
    return [folder / "trials.csv", folder / "trials.parquet"]


def _plain(trial: Trial) -> dict[str, Any]:
    left_out = {"history", "schema_version", "fingerprints", "attempts", "taken_over", "errors"}
    plain = trial.model_dump(mode="json", exclude=left_out)
    plain["mitigations"] = json.dumps(plain["mitigations"])
    return plain


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _flatten(item, f"{prefix}{key}.")
        elif item is None and key == "cost":
            continue
        else:
            yield f"{prefix}{key}", item


def _columnar(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lists and mixed settings as text, so that every column has one type."""
    records = list(records)
    mixed = {
        name
        for name in (records[0] if records else {})
        if name.startswith("config.")
        and len({type(r[name]) for r in records if r[name] is not None} - {int, float}) > 0
    }
    return [{k: json.dumps(v) if k in mixed and v is not None else v for k, v in r.items()} for r in records]
