"""A field takes what is written for what it is: no yes for a number, no text for either."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cl_forget.config.experiment import Experiment
from cl_forget.config.run import Run, Shared
from cl_forget.config.sweep import Sweep
from cl_forget.ground.errors import UserError
from cl_forget.ground.section import Exact, as_written
from cl_forget.mitigations import MITIGATIONS
from cl_forget.streams import load_stream

BASE: dict[str, Any] = {"model": "tiny-clip", "stream": ["squares"]}


def refusal(fields: dict[str, Any], kind: type[Exact] = Experiment) -> str:
    with pytest.raises(ValidationError) as refused:
        kind(**fields)
    return str(refused.value)


NUMBERS = [
    (section, name)
    for section in ("train", "text", "evaluate", "track")
    for name, field in type(Shared(**BASE).__getattribute__(section)).model_fields.items()
    if any(kind in str(field.annotation) for kind in ("int", "float"))
    and "Literal" not in str(field.annotation)
]


@pytest.mark.parametrize(("section", "name"), NUMBERS)
def test_no_number_of_any_section_takes_true_or_quotes(section: str, name: str) -> None:
    annotation = type(getattr(Shared(**BASE), section)).model_fields[name].annotation
    series = "tuple" in str(annotation)
    for value in (True, "3"):
        said = refusal({**BASE, section: {name: [value, 0.9] if series else value}})
        assert "should be a number" in said, value


@pytest.mark.parametrize("name", MITIGATIONS.names())
def test_no_number_of_any_method_takes_true(name: str) -> None:
    method = MITIGATIONS.get(name)
    for field, info in method.model_fields.items():
        if info.annotation in (int, float) or str(info.annotation) in ("int | None", "float | None"):
            with pytest.raises(ValidationError) as refused:
                method(**{field: True})
            assert "should be a number" in str(refused.value), field


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Experiment, {"seeds": [True]}),
        (Run, {"seed": True}),
        (Sweep, {"methods": {"a": []}, "budget": {"trials": True}}),
        (Sweep, {"methods": {"a": []}, "protocol": {"retention": True}}),
        (Sweep, {"methods": {"a": []}, "score": {"speciality": "0.5"}}),
        (Sweep, {"methods": {"a": []}, "asha": {"grace": False}}),
        (Sweep, {"methods": {"a": []}, "space": {"train.lr": {"log_uniform": [True, 2]}}}),
        (Sweep, {"methods": {"a": []}, "report_on": {"seeds": ["1"]}}),
    ],
)
def test_lists_and_sections_of_sections_likewise(kind: type[Exact], fields: dict[str, Any]) -> None:
    assert "should be a number" in refusal({**BASE, **fields}, kind)


def test_what_loses_nothing_is_converted() -> None:
    train = Experiment(**BASE, train={"lr": 1, "epochs": 2.0, "clip": None, "weight_decay": "1e-4"}).train
    assert (train.lr, train.epochs, train.clip, train.weight_decay) == (1.0, 2, None, 1e-4)
    sweep = Sweep(**BASE, methods={"a": []}, space={"train.lr": ["1e-4", 1e-3]})
    assert sweep.space["train.lr"].values == [1e-4, 1e-3]


@pytest.mark.parametrize("value", [1, 0, "yes", "true", 1.0])
def test_true_and_false_are_written_as_such(value: object) -> None:
    assert "should be true or false" in refusal({**BASE, "evaluate": {"curves": value}})


@pytest.mark.parametrize("fields", [{"methods": None}, {"mitigations": None}, {"methods": {}}])
def test_an_empty_list_of_methods_is_not_plain_fine_tuning(fields: dict[str, Any]) -> None:
    assert "is empty; name" in refusal({**BASE, **fields})
    assert Experiment(**BASE, mitigations=[]).runs()[0].mitigations == []
    again = Experiment(**Experiment(**BASE, mitigations=[]).model_dump())
    assert again.runs()[0].method == "full fine-tuning"


@pytest.mark.parametrize(
    ("annotation", "value", "read"),
    [
        (int | str, "3", "3"),
        (float | None, None, None),
        (bool | int, True, True),
        (tuple[str, ...] | dict[str, str] | None, ["a"], ["a"]),
        (dict[str, float], {"a": "1e-3"}, {"a": 1e-3}),
        (list[int], [1, "many"], [1, "many"]),
        (Path, "data", "data"),
        (Any, True, True),
    ],
)
def test_alternatives_and_series(annotation: Any, value: Any, read: Any) -> None:
    assert as_written(value, annotation) == read


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"folder": {"path": ""}}, "'path' is empty"),
        ({"folder": {"path": "  "}}, "is empty"),
        ({"torchvision": {"dataset": "CIFAR10", "root": ""}}, "'root' is empty"),
        ({"jsonl": {"path": ""}}, "is empty"),
        ({"folder": {"path": ".", "limit": True}}, "'limit' should be a number"),
        ({"torchvision": {"dataset": "CIFAR10", "download": 1}}, "should be true or false"),
    ],
)
def test_options_of_streams_are_as_strict(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_stream([spec])
