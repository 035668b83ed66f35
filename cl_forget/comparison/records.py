"""What a simulation returns and what `result.json` holds; every field that could not be computed is None.

A *row* is one evaluation of the model: row 0 is the pre-trained model, row j the model after stage j.
Accuracies are fractions in [0, 1] everywhere; reports show them as percentages.

`SCHEMA` rises whenever a field is added, renamed, or comes to mean something else. Every version reads the files
of all earlier schemas; what those did not hold is None. A file of a later schema is refused.
`Result.model_json_schema()` is the schema itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from cl_forget.evaluation.metrics import Split, stages
from cl_forget.ground.documents import refuse_later
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import StrPath
from cl_forget.ground.records import Fingerprints, Metrics, Record, Row, TaskScores

SCHEMA = 3
"""1: the first. 2: `fingerprints`, `notes`; `Cost.frozen_samples` counts passes the cache held, too. 3: `lost`,
`gained` and `choices` of scores, with the metrics made of them."""


class CurvePoint(Record):
    """The final model edited at one value of a post-hoc knob."""

    value: float
    row: Row


class Curve(Record):
    """A post-hoc method's whole trade-off curve from one fine-tune.

    Attributes:
        mitigation: the method whose knob is turned.
        knob: name of the knob.
        formula: what the knob does, so that nobody mistakes its end.
    """

    mitigation: str
    knob: str
    formula: str
    points: list[CurvePoint]


class Result(Record):
    """One run: one method (a chain of mitigations), one seed.

    Attributes:
        schema_version: of the file that it is written to.
        method: the name of the arm, for tables and legends.
        seed: of the run.
        model: the name the foundation model was loaded by.
        run: the resolved configuration.
        tasks, suites, probes: names, in order; `probes` without the stream's own tasks.
        rows: row 0 (pre-trained), then one per stage.
        curves: the final model at every value of a post-hoc method's knob.
        metrics: "test" and "validation" -> metric name -> value, as `cl_forget.evaluation.metrics.summary`
            gives them; selection reads "validation". Per-task values are dicts.
        environment: versions, commit, machine, threads.
        notes: sentences that whoever reads the numbers has to know.
        fingerprints: of the base model and the data; None in files of schema 1.
    """

    schema_version: int = SCHEMA
    method: str
    seed: int
    model: str
    run: dict[str, Any]
    tasks: list[str]
    suites: list[str]
    probes: list[str] = Field(default_factory=list)
    rows: list[Row]
    curves: list[Curve] = Field(default_factory=list)
    metrics: dict[Split, Metrics] = Field(default_factory=dict)
    environment: dict[str, Any] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    fingerprints: Fingerprints | None = None

    @classmethod
    def load(cls, path: StrPath, whole: bool = True) -> Result:
        """Read `result.json` (or the run folder that holds it).

        Args:
            path: of the file or the folder.
            whole: whether the numbers are wanted, and so have to be all there; else the types alone are checked.

        Raises:
            UserError: the file is missing, not JSON, of a later schema, or does not hold a whole result.
        """
        path = Path(path)
        file = path / "result.json" if path.is_dir() else path
        if not file.exists():
            raise UserError(_no_result(path))
        if file.suffix != ".json":
            raise UserError(f"{file} is no result.json; give a run's folder.")
        try:
            content = file.read_bytes()
            version = _schema_of(content)
            refuse_later(file, version, SCHEMA)
            result = cls.model_validate_json(content, strict=True)
            problem = next(_problems(result), None) if whole else None
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}; make it readable.") from None
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            problem = f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
        except (ValueError, RecursionError) as error:
            problem = str(error).splitlines()[0] or type(error).__name__
        if problem is not None:
            raise UserError(
                f"{file} is not a result of this version ({problem}); restore it from a copy, or run it again."
            )
        return result


def _schema_of(content: bytes) -> Any:
    """The schema's number in a file; raises ValueError where JSON would let a number through that is none."""

    def refuse(text: str) -> float:
        raise ValueError(f"{text} is not a finite number")

    def finite(text: str) -> float:
        return value if math.isfinite(value := float(text)) else refuse(text)

    plain = json.loads(content, parse_constant=refuse, parse_float=finite)
    return plain.get("schema_version") if isinstance(plain, dict) else None


def _problems(result: Result) -> Iterator[str]:
    """What is missing from a result, or contradicts itself; raises ValueError as `stages` does."""
    if result.schema_version < 1:
        yield f"there is no schema {result.schema_version}"
    if result.run.get("seed", result.seed) != result.seed:
        yield f"seed: {result.seed}, and that of its run is {result.run['seed']}"
    for name in ("train", "evaluate", "text", "track"):
        if not isinstance(result.run.get(name) or {}, dict):
            yield f"run.{name}: a {type(result.run[name]).__name__} in the place of settings"
    if not result.tasks or len(set(result.tasks)) < len(result.tasks):
        yield "tasks: there are none, or one is named twice"
    if not result.rows or result.rows[0].after is not None:
        yield "rows: row 0, the pre-trained model, is missing"
    if "speciality" not in result.metrics.get("test", {}):
        yield "metrics: those on test data are missing"
    for split, metrics in result.metrics.items():
        yield from (f"metrics.{split}.{name}: no number" for name in _not_numbers(metrics))
    if not isinstance(result.environment.get("packages", {}), dict):
        yield "environment.packages: not by name"
    if not isinstance(result.run.get("mitigations", []), list):
        yield "run.mitigations: no list"
    stages(result.rows, result.tasks)  # raises where two rows claim one stage
    rows = {f"rows.{number}": row for number, row in enumerate(result.rows)}
    rows |= {f"curves.{c.mitigation}.{p.value:g}": p.row for c in result.curves for p in c.points}
    for place, row in rows.items():
        for kind, names in (("tasks", result.tasks), ("suites", result.suites)):
            measured: dict[str, TaskScores] = getattr(row, kind)
            if measured.keys() != set(names):
                odd = sorted(measured.keys() ^ set(names))
                yield f"{place}.{kind}: {', '.join(odd)} stands in only one of the row and the result's {kind}"
            yield from (f"{place}.{kind}.{name}: {bad}" for name, s in measured.items() for bad in _bad(s))


def _not_numbers(metrics: Mapping[str, Any]) -> Iterator[str]:
    """The names of metrics that are neither a number, nor None, nor numbers by name; of unknown ones, too."""
    for name, value in metrics.items():
        found = value.values() if isinstance(value, dict) else [value]
        if any(isinstance(one, bool) or not isinstance(one, int | float | None) for one in found):
            yield name


def _bad(scores: TaskScores) -> Iterator[str]:
    for one in (scores.validation, scores.test, *scores.shifted.values()):
        for accuracy in (one.accuracy, one.hardest_decile_accuracy):
            if accuracy is not None and not 0 <= accuracy <= 1:
                yield f"an accuracy of {accuracy:g}"


def _no_result(path: Path) -> str:
    """Why there is no result at `path`, and what to give instead."""
    if not path.exists():
        return f"no folder {path}: give the folder of a finished run."
    if (path / "state.json").is_file():
        return f"the run in {path} has not finished; resume it with --resume."
    below = next(iter(sorted(path.rglob("result.json"))), None)
    if below is not None:
        return f"{path} is no run's own folder; give one below it, such as {below.parent}."
    return f"{path} holds no run: give a folder that `cl-forget run` wrote."
