"""Reading results: whole ones of every schema so far, and nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reporting.samples import make_results

from cl_forget.comparison.records import SCHEMA, Result
from cl_forget.ground.errors import UserError
from cl_forget.ground.records import Drift, Fingerprints, Scores

ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (result,) = make_results(["LDIFS"], (0,))
    (tmp_path / "result.json").write_text(result.model_dump_json())
    return tmp_path / "result.json"


def test_results_of_the_first_schema_are_read() -> None:
    old = sorted((ROOT / "experiments").rglob("result.json"))
    assert old
    for path in old:
        assert Result.load(path).schema_version in range(1, SCHEMA + 1)


def put(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(plain: dict[str, Any]) -> None:
        here: Any = plain
        for part in path[:-1]:
            here = here[part]
        here[path[-1]] = value

    return change


def drop(*path: Any) -> Callable[[dict[str, Any]], None]:
    def change(plain: dict[str, Any]) -> None:
        here: Any = plain
        for part in path[:-1]:
            here = here[part]
        del here[path[-1]]

    return change


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "a later schema": (put("schema_version", value=SCHEMA + 1), "update it"),
    "no schema": (put("schema_version", value=0), "no schema 0"),
    "a schema in words": (put("schema_version", value="1"), "schema_version"),
    "no metrics": (put("metrics", value={}), "metrics"),
    "metrics of one split only": (drop("metrics", "test"), "metrics"),
    "a metric in words": (put("metrics", "test", "speciality", value="high"), "metrics.test.speciality"),
    "a task missing from a row": (drop("rows", 1, "tasks", "clocks"), "rows.1.tasks: clocks"),
    "a task too many": (put("tasks", value=["digits", "clocks", "letters", "more"]), "rows.0.tasks: more"),
    "a suite missing from a row": (drop("rows", 2, "suites", "emoji"), "rows.2.suites: emoji"),
    "no rows": (put("rows", value=[]), "row 0"),
    "no row 0": (drop("rows", 0), "row 0"),
    "a number in words": (put("rows", 0, "tasks", "digits", "test", "accuracy", value="0.5"), "accuracy"),
    "truth as a number": (put("rows", 0, "tasks", "digits", "test", "accuracy", value=True), "accuracy"),
    "infinity": (put("rows", 0, "tasks", "digits", "test", "loss", value=math.inf), "not a finite number"),
    "no number": (put("metrics", "test", "speciality", value=math.nan), "not a finite number"),
    "a percentage": (put("rows", 0, "tasks", "digits", "test", "accuracy", value=95.0), "accuracy of 95"),
    "fewer than no samples": (put("rows", 0, "tasks", "digits", "test", "samples", value=-1), "samples"),
    "seed missing": (drop("seed"), "seed"),
    "another seed than its run's": (put("seed", value=7), "seed: 7"),
    "settings in a list": (put("run", "train", value=[{}]), "run.train: a list"),
    "an unknown field": (put("comment", value="mine"), "comment"),
    "environment of another shape": (put("environment", "packages", value=["torch"]), "environment.packages"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_not_whole_is_refused_in_one_line_that_says_why(kind: str, file: Path) -> None:
    damage, words = DAMAGE[kind]
    plain = json.loads(file.read_text())
    damage(plain)
    file.write_text(json.dumps(plain))
    with pytest.raises(UserError) as refused:
        Result.load(file)
    assert words in str(refused.value) and "\n" not in str(refused.value) and str(file) in str(refused.value)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"[" * 100_000, b"3", b"1e999", b'{"schema_version": 1']
)
def test_what_is_no_object_is_refused_in_one_line(content: bytes, file: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"result\.json.*not a result"):
        Result.load(file)


def test_what_overflowed_could_not_be_computed(file: Path) -> None:
    """A model that was destroyed has a perplexity beyond all numbers; its result can be read all the same."""
    assert Scores(perplexity=math.inf, loss=math.nan, accuracy=0.0) == Scores(accuracy=0.0)
    assert Drift(cka={"a": math.nan, "b": 1.0}).cka == {"b": 1.0}


def test_other_weights_or_data_are_named() -> None:
    one = Fingerprints(model="m", data={"digits": "d", "clocks": "c"})
    one.check(Fingerprints(model="m", data={"digits": "d", "letters": "l"}), "it")
    with pytest.raises(
        UserError, match="weights and the data of digits are not what the run in runs/a began with"
    ):
        one.check(Fingerprints(model="n", data={"digits": "x"}), "the run in runs/a")
