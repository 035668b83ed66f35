"""What a simulation returns and what `result.json` holds; every field that could not be computed is None.

A *row* is one evaluation of the model: row 0 is the pre-trained model, row j the model after stage j.
Accuracies are fractions in [0, 1] everywhere; reports show them as percentages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from cl_forget.ground.errors import UserError
from cl_forget.ground.files import StrPath
from cl_forget.ground.records import Row, _Record

SCHEMA = 1


class CurvePoint(_Record):
    """The final model edited at one value of a post-hoc knob."""

    value: float
    row: Row


class Curve(_Record):
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


class Result(_Record):
    """One run: one method (a chain of mitigations), one seed.

    Attributes:
        method: the name of the arm, for tables and legends.
        run: the resolved configuration.
        tasks, suites, probes: names, in order; `probes` without the stream's own tasks.
        rows: row 0 (pre-trained), then one per stage.
        metrics: "test" and "validation" -> metric name -> value, as `cl_forget.evaluation.metrics.summary`
            gives them; selection reads "validation". Per-task values are dicts.
        environment: versions, commit, machine, threads.
        notes: sentences that whoever reads the numbers has to know.
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
    metrics: dict[str, Any] = Field(default_factory=dict)
    environment: dict[str, Any] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)

    @classmethod
    def load(cls, path: StrPath) -> Result:
        """Read `result.json` (or the run folder that holds it).

        Raises:
            UserError: the file is missing, not JSON, or of another schema.
        """
        path = Path(path)
        file = path / "result.json" if path.is_dir() else path
        if not file.exists():
            raise UserError(_no_result(path))
        if file.suffix != ".json":
            raise UserError(f"{file} is no result.json; give a run's folder.")
        try:
            return cls.model_validate_json(file.read_text())
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}; make it readable.") from None
        except ValueError as error:
            line = str(error).splitlines()
            raise UserError(
                f"{file} is not a result of this version ({line[0]}); run it again or delete it."
            ) from error


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
